"""Is the record whole: proven on lakes that real spools and the real processor made, and that somebody then tampered with."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from collector.spool_reader import SpoolReader
from linktrail.command import main
from linktrail.durable import LocalFileSystem
from processor.upkeep.keeper import UpkeepPolicy, maintain
from queries.answers.verify import Verified, verify
from queries.completeness import to_nanoseconds
from queries.snapshot import read_lake
from tests.faults.filesystems import QuickFileSystem
from tests.processor.scene import Scene

TIDY = UpkeepPolicy(grace_hours=0, most_small=1)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A run of five batches of different tables."""
    made = Scene(tmp_path)
    made.record("links", 1, 2, 3)
    made.record("coverage", 4)
    made.record("usage", 5, 6)
    made.record("findings", 7)
    made.record("links", 8, 9)
    return made


def checked(scene: Scene) -> tuple[Verified, list[dict[str, Any]]]:
    """Process what waits, and verify."""
    scene.processor().drain()
    answer = verify(scene.lake_path, clock=scene.clock)
    return answer, answer.rows.to_pylist()


def spoil(scene: Scene, table: str, predicate: str) -> None:
    """Delete rows behind linktrail's back, as any Delta writer could."""
    deltalake.DeltaTable(scene.lake_path / table).delete(predicate)


def test_a_whole_record(scene: Scene) -> None:
    """Every row of every batch is there, and the chain holds over two runs and two processors."""
    checked(scene)
    scene.spool.close()
    scene.spool = scene.collector()
    scene.record("links", 10)
    answer, rows = checked(scene)
    names = ("verdict", "batches", "rows_stated", "rows_found", "chain_breaks")  # runs of one second are in no order
    assert sorted(tuple(row[name] for name in names) for row in rows) == [("whole", 1, 1, 1, 0), ("whole", 5, 9, 9, 0)]
    sealed = {row["batches"]: (to_nanoseconds(row["first_sealed"]), to_nanoseconds(row["last_sealed"])) for row in rows}

    def of_time(since: int | None, until: int | None) -> list[int]:
        found = verify(scene.lake_path, since=since, until=until, clock=scene.clock).rows.to_pylist()
        return sorted(row["batches"] for row in found)

    assert of_time(sealed[5][0] - 1000, sealed[1][1]) == [1, 5]
    assert of_time(None, sealed[5][0] - 1000) == []
    assert of_time(max(last for _, last in sealed.values()), None) == []
    assert answer.notes == ("2 runs with 10 rows agree with what their collectors sealed.",)
    assert answer.exit_code != 12


@pytest.mark.parametrize(("table", "predicate", "found"), [("links", "seq = 1", 8), ("usage", "seq >= 0", 7), ("coverage", "seq = 3", 8)])
def test_a_row_that_somebody_removed(scene: Scene, table: str, predicate: str, found: int) -> None:
    """The counts disagree: broken, exit code 12."""
    checked(scene)
    spoil(scene, table, predicate)
    answer, [row] = checked(scene)
    assert (row["verdict"], row["rows_stated"], row["rows_found"]) == ("broken", 9, found)
    assert answer.exit_code == 12
    assert answer.notes[0].startswith("1 of 1 runs are broken")


def test_a_batch_that_somebody_removed(scene: Scene) -> None:
    """Its rows speak of no batch, its number is missing, and no gap says so."""
    checked(scene)
    spoil(scene, "coverage", "kind = 'batch' AND batch = 2")
    _, [row] = checked(scene)
    assert (row["verdict"], row["missing_batches"], row["unstated_batches"]) == ("broken", 1, 1)


def test_a_digest_that_does_not_fit(scene: Scene, tmp_path: Path) -> None:
    """One batch says another digest of the batch before it."""
    checked(scene)
    table = deltalake.DeltaTable(scene.lake_path / "coverage")
    table.update(updates={"previous_digest": "'0000'"}, predicate="kind = 'batch' AND batch = 3")
    _, [row] = checked(scene)
    assert (row["verdict"], row["chain_breaks"]) == ("broken", 1)
    assert tmp_path.is_dir()


@pytest.mark.parametrize(("digest", "breaks"), [(None, 0), ("0000", 1)])
def test_a_batch_that_is_stated_twice(scene: Scene, digest: str | None, breaks: int) -> None:
    """The same words twice are one batch; a later copy with another digest is not what the next batch follows."""
    checked(scene)
    table = deltalake.DeltaTable(scene.lake_path / "coverage")
    rows = pa.table(table.to_pyarrow_table())
    copy = rows.filter(pc.and_(pc.equal(rows["kind"], "batch"), pc.equal(rows["batch"], 2)))
    for name, value in {
        "observed_at": pc.add(copy["observed_at"], timedelta(seconds=1)),
        "batch_digest": digest and pa.array([digest]),
    }.items():
        if value is not None:
            copy = copy.set_column(copy.schema.get_field_index(name), copy.schema.field(name), value)
    deltalake.write_deltalake(table, copy, mode="append")
    _, [row] = checked(scene)
    assert (row["verdict"], row["batches"], row["chain_breaks"]) == ("broken" if breaks else "whole", 5, breaks)
    assert row["rows_stated"] == row["rows_found"] == 9


def test_a_batch_lost_on_the_way_is_a_gap_and_no_break(scene: Scene) -> None:
    """The record says itself that a batch never arrived: that is honest, not broken."""
    reader = SpoolReader(scene.path / "spool", filesystem=LocalFileSystem())
    (scene.path / "spool" / f"{2:016}.batch").unlink()
    assert len(reader.offsets()) == 4
    answer, [row] = checked(scene)
    assert (row["verdict"], row["missing_batches"], row["unstated_batches"], row["rows_stated"]) == ("gap", 1, 0, row["rows_found"])
    assert answer.exit_code == 3


def test_rows_that_no_collector_sealed(scene: Scene) -> None:
    """Somebody wrote into the lake: the run has rows that no batch speaks of."""
    checked(scene)
    table = deltalake.DeltaTable(scene.lake_path / "links")
    rows = table.to_pyarrow_table().slice(0, 1)
    forged = rows.set_column(rows.schema.get_field_index("seq"), rows.schema.field("seq"), [[99]])
    deltalake.write_deltalake(table, forged, mode="append")
    _, [row] = checked(scene)
    assert (row["verdict"], row["rows_strange"]) == ("broken", 1)


def test_one_broken_run_beside_a_whole_one(scene: Scene) -> None:
    """Each run is judged by itself, whichever way its rows were counted."""
    checked(scene)
    scene.spool.close()
    scene.clock.advance(60)
    scene.spool = scene.collector()
    scene.record("links", 10, 11, 12)
    checked(scene)
    spoil(scene, "usage", "seq = 4")
    _, rows = checked(scene)
    assert [(row["verdict"], row["rows_stated"], row["rows_found"]) for row in rows] == [("broken", 9, 8), ("whole", 3, 3)]


@pytest.mark.parametrize(("number", "strange", "twice"), [(99, 1, 0), (-1, 1, 0), (2, 0, 1), (3, 1, 1)])
def test_a_row_renumbered(scene: Scene, number: int, strange: int, twice: int) -> None:
    """As many rows as sealed, but one has a number that no batch says, or that another row of its table or of another has."""
    checked(scene)
    deltalake.DeltaTable(scene.lake_path / "links").update(updates={"seq": str(number)}, predicate="seq = 1")
    _, [row] = checked(scene)
    assert (row["verdict"], row["rows_stated"], row["rows_found"], row["rows_strange"]) == ("broken", 9, 8, strange)
    assert row["rows_twice"] == twice


@pytest.mark.parametrize(("column", "value"), [("node", "'other'"), ("run", "'other'"), ("cluster", "'other'")])
def test_a_row_given_to_another(scene: Scene, column: str, value: str) -> None:
    """The rows of a run are those of its cluster, node and run, all three."""
    checked(scene)
    deltalake.DeltaTable(scene.lake_path / "links").update(updates={column: value}, predicate="seq = 8")
    _, [row] = checked(scene)
    assert (row["verdict"], row["rows_found"]) == ("broken", 8)


@pytest.mark.parametrize("numbers", [[0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 2, 2]])
def test_a_file_in_order_that_was_rewritten_in_place(scene: Scene, numbers: list[int]) -> None:
    """Files that upkeep looked through are not searched for copies again when a lake is opened: verify counts what they hold."""
    scene = Scene(scene.path / "merged")
    scene.record("links", 1, 2)
    scene.processor().drain()
    scene.record("links", 3)
    scene.record("coverage", 4)
    scene.processor().drain()
    scene.clock.advance(2 * 86_400)
    assert maintain(scene.lake_path, filesystem=QuickFileSystem(), clock=scene.clock, policy=TIDY).merged
    assert checked(scene)[1][0]["verdict"] == "whole"
    [file] = read_lake(scene.lake_path).tables["links"].files
    assert "/once-" in file
    rows = pq.ParquetFile(file).read()
    taken = rows.take([rows.column("seq").to_pylist().index(number) for number in numbers])
    pq.write_table(taken, file)
    answer, [row] = checked(scene)
    copies = len(numbers) - len(set(numbers))
    assert (row["verdict"], row["rows_stated"], row["rows_found"], row["rows_strange"]) == ("broken", 4, 1 + len(set(numbers)), copies)
    assert answer.exit_code == 12


def test_the_command(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """For a person a sentence, for a program a document, and the exit code for both."""
    checked(scene)
    spoil(scene, "links", "seq = 0")
    assert main(["verify", "--lake", str(scene.lake_path), "--json"]) == 12
    document = json.loads(capsys.readouterr().out)
    assert [row["verdict"] for row in document["rows"]] == ["broken"]
    assert main(["verify", "--lake", str(scene.lake_path), "--node", "another"]) != 12
    assert "Nothing to verify" in capsys.readouterr().err


def test_old_days_that_retention_took_are_no_break(scene: Scene) -> None:
    """When the days before some day are gone whole, what is left still verifies."""
    scene.processor().drain()
    scene.clock.advance(3 * 86_400)
    scene.record("links", 20, 21, occurred_after=None, occurred_before=scene.clock.now().wall, observed_at=scene.clock.now().wall)
    checked(scene)
    today = datetime.fromtimestamp(scene.clock.now().wall / 1e9, UTC).date().isoformat()
    for table in ("links", "findings", "usage", "coverage"):
        spoil(scene, table, f"day < '{today}'")
    answer, [row] = checked(scene)
    assert (row["verdict"], row["batches"], row["rows_found"]) == ("whole", 1, 2)
    assert answer.exit_code != 12
