from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from linktrail.durable import LocalFileSystem
from linktrail.errors import LakeError, LakeMissingError, LakeNewerError, QueryError
from linktrail.schema import TABLES, TIME
from processor.lake import Lake
from queries.engine import open_lake
from queries.snapshot import OPENING_ORDER, SCHEMA_VERSION_KEY, read_lake
from tests.queries.lakes import Run, write_lake
from tests.queries.story import first_run

QUESTION = "SELECT count(*) AS n FROM links"


def fingerprint(directory: Path) -> dict[str, str]:
    """Return every file below ``directory`` and the digest of its content."""
    files = [file for file in directory.rglob("*") if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def links(number: int) -> Run:
    """Return a run with ``number`` links."""
    run = Run()
    for index in range(number):
        run.link("layer_record", "created", f"layer{index}", (index, index + 1))
    return run


# --- what is there, and what is not -----------------------------------------------------------------------------


def test_a_missing_lake_is_said(tmp_path: Path) -> None:
    """No directory, an empty one, and a file in its place are all no lake: exit code 11, with the next step."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path, tmp_path / "file"):
        with pytest.raises(LakeMissingError) as caught:
            open_lake(path)
        assert caught.value.exit_code == 11
        assert "linktrail up" in caught.value.advice


def test_an_empty_lake_has_views_of_the_right_types(tmp_path: Path) -> None:
    """Tables without a row, as the processor makes them, answer with no rows and the columns of the schema."""
    Lake.open_for_writing(tmp_path / "lake", filesystem=LocalFileSystem())
    with open_lake(tmp_path / "lake") as engine:
        for name, table in TABLES.items():
            rows = engine.query(f"FROM {name}")
            assert rows.num_rows == 0
            assert rows.schema.names == list(table.names)
            assert rows.schema.types == table.arrow().types


def test_tables_that_do_not_exist_yet_are_empty(tmp_path: Path) -> None:
    """A lake of which only one table was made can be asked everything."""
    write_deltalake(tmp_path / "links", links(2).table("links"), partition_by=["day"])
    with open_lake(tmp_path) as engine:
        counts = {name: engine.query(f"FROM {name}").num_rows for name in TABLES}
    assert counts == {"links": 2, "findings": 0, "usage": 0, "coverage": 0}


def test_rows_come_back_as_they_were_written(story: Path) -> None:
    """Types, values and the partition column survive the way through Delta, Parquet and DuckDB."""
    with open_lake(story) as engine:
        for name, table in TABLES.items():
            found = engine.query(f"FROM {name} WHERE run = 'x' OR run < '20261123T163000Z' ORDER BY seq")
            assert found.schema.types == table.arrow().types
            assert found.cast(table.arrow()).equals(first_run().table(name))


def test_a_newer_lake_is_refused(tmp_path: Path) -> None:
    """A lake with a higher schema version is not guessed at: exit code 11 and both versions."""
    version = {SCHEMA_VERSION_KEY: "2"}
    DeltaTable.create(tmp_path / "links", TABLES["links"].arrow(), configuration=version, raise_if_key_not_exists=False)
    with pytest.raises(LakeNewerError, match="version 2") as caught:
        open_lake(tmp_path)
    assert caught.value.exit_code == 11


@pytest.mark.parametrize("damage", ["log", "data", "gone", "version"])
def test_a_damaged_lake_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    """A torn log, a data file of other bytes, one that is gone, a senseless version: the lake is named, exit code 11."""
    lake = write_lake(tmp_path / "lake", [links(3)])
    data = next((lake / "links").rglob("*.parquet"))
    log = lake / "links" / "_delta_log" / "00000000000000000000.json"
    if damage == "log":
        log.write_text("{")
    elif damage == "data":
        data.write_bytes(b"PAR1 no parquet")
    elif damage == "gone":
        data.unlink()
    else:
        log.write_text(log.read_text().replace('\\"1\\"', '\\"x\\"').replace('"1"', '"x"'))
    with pytest.raises(LakeError) as caught, open_lake(lake) as engine:
        engine.query("FROM links")
    assert caught.value.exit_code == 11
    assert str(lake) in caught.value.message


def test_wrong_sql_is_a_query_error(story: Path) -> None:
    """An error of ours in a question is no lake error."""
    with open_lake(story) as engine, pytest.raises(QueryError, match="nothere"):
        engine.query("SELECT nothere FROM links")


# --- paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "it's", "é", 'q"q', "a#b", "a{b}", "day=2026-01-01", "a=b", "%", "a&b;c"])
def test_lakes_with_odd_paths_can_be_read(tmp_path: Path, name: str) -> None:
    """Whatever the Delta library can write to is read, and a day in the path above the lake is not taken for the partition."""
    write_deltalake(tmp_path / name / "links", links(2).table("links"), partition_by=["day"])
    with open_lake(tmp_path / name) as engine:
        assert engine.rows("SELECT count(*) AS n, min(day)::VARCHAR AS day FROM links") == [{"n": 2, "day": "2026-11-23"}]


@pytest.mark.parametrize("name", ["a[b", "a]b", "a|b", "a^b", "a%41b", "a\\b", "a\nb", "a*b", "a?b", "a\udcffb"])
def test_paths_that_no_library_can_open_are_refused(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Delta and DuckDB fail on some characters (delta-rs panics): that is said, with what to do."""
    (tmp_path / name / "links" / "_delta_log").mkdir(parents=True)
    with pytest.raises(LakeError, match="rename"):
        open_lake(tmp_path / name)
    assert "panicked" not in capfd.readouterr().err


def test_a_relative_path_works(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--lake lake`` means the one in this directory."""
    monkeypatch.chdir(story.parent)
    with open_lake(Path(story.name)) as engine:
        assert engine.rows(QUESTION)[0]["n"] > 10


# --- versions and duplicates ------------------------------------------------------------------------------------


def test_files_from_before_a_column_was_added_are_read_with_nulls(tmp_path: Path) -> None:
    """A lake of an older schema, alone and mixed with new files, shows the younger columns as null."""
    rows = links(2).table("links")
    older = rows.drop_columns(["container_image_id", "detail"])
    write_deltalake(tmp_path / "links", older, partition_by=["day"])
    with open_lake(tmp_path) as engine:
        assert engine.query("FROM links").schema.names == list(TABLES["links"].names)
    write_deltalake(tmp_path / "links", rows.set_column(3, "run", pa.array(["other"] * 2)), mode="append", schema_mode="merge")
    with open_lake(tmp_path) as engine:
        assert engine.rows("SELECT count(*) AS n, count(detail) AS known FROM links") == [{"n": 4, "known": 0}]


def test_columns_of_a_younger_schema_do_no_harm(tmp_path: Path) -> None:
    """A nullable column more is a compatible change; the views show those that are known."""
    rows = links(2).table("links").append_column("from_the_future", pa.array([1, 2]))
    write_deltalake(tmp_path / "links", rows, partition_by=["day"])
    with open_lake(tmp_path) as engine:
        assert engine.query("FROM links").schema.names == list(TABLES["links"].names)


def test_a_table_without_day_directories_is_read(tmp_path: Path) -> None:
    """Where the day stands in no directory name (somebody's own lake), it is the UTC day of observed_at."""
    write_deltalake(tmp_path / "links", links(2).table("links"))
    with open_lake(tmp_path) as engine:
        assert engine.rows("SELECT DISTINCT day::VARCHAR AS day FROM links") == [{"day": "2026-11-23"}]


def test_rows_stored_twice_are_shown_once(tmp_path: Path) -> None:
    """A batch that two processors committed counts once, in every table; what is stored can still be seen."""
    lake = write_lake(tmp_path / "lake", [first_run()], twice=("links", "findings"))
    with open_lake(lake) as engine:
        for name in TABLES:
            table = first_run().table(name)
            assert table is not None
            stored = table.num_rows * (2 if name in {"links", "findings"} else 1)
            assert engine.query(f"FROM lake.{name}").num_rows == stored
            assert engine.query(f"FROM {name}").num_rows == table.num_rows


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.data())
def test_whatever_is_stored_how_often_each_row_is_shown_once(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], data: st.DataObject
) -> None:
    """Any multiset of row numbers (holes, repeats, several runs and days) shows exactly its distinct rows."""
    runs = data.draw(st.lists(st.sampled_from(["r1", "r2"]), min_size=len(numbers), max_size=len(numbers)))
    days = [f"2026-11-{20 + number % 2}" for number in numbers]
    template = links(1).table("links")
    assert template is not None
    rows = pa.concat_tables([template] * len(numbers))
    rows = rows.set_column(rows.schema.get_field_index("seq"), "seq", pa.array(numbers, pa.int64()))
    rows = rows.set_column(rows.schema.get_field_index("run"), "run", pa.array(runs))
    rows = rows.set_column(rows.schema.get_field_index("day"), "day", pa.array(days).cast(pa.date32()))
    lake = tmp_path_factory.mktemp("lake")
    for day in sorted(set(days)):
        folder = lake / "links" / f"day={day}"
        folder.mkdir(parents=True)
        pq.write_table(rows.filter(pa.compute.equal(rows["day"].cast(pa.string()), day)).drop_columns(["day"]), folder / "a.parquet")
    write_log(lake / "links", rows.schema, sorted(set(days)))
    with open_lake(lake) as engine:
        shown = engine.rows("SELECT run, seq FROM links")
    assert sorted((row["run"], row["seq"]) for row in shown) == sorted(set(zip(runs, numbers, strict=True)))


def write_log(table: Path, schema: pa.Schema, days: list[str]) -> None:
    """Write a Delta log by hand: faster than the library, for files that are there already."""
    kinds = {pa.int64(): "long", pa.date32(): "date", pa.bool_(): "boolean", pa.binary(): "binary", TIME: "timestamp"}
    fields = [{"name": field.name, "type": kinds.get(field.type, "string"), "nullable": True, "metadata": {}} for field in schema]
    metadata = {
        "id": "x",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": ["day"],
        "configuration": {SCHEMA_VERSION_KEY: "1"},
    }
    common = {"size": 1, "modificationTime": 0, "dataChange": True}
    adds = [{"add": {"path": f"day={day}/a.parquet", "partitionValues": {"day": day}, **common}} for day in days]
    (table / "_delta_log").mkdir()
    lines = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": metadata}, *adds]
    (table / "_delta_log" / f"{0:020d}.json").write_text("\n".join(map(json.dumps, lines)))


# --- promises ---------------------------------------------------------------------------------------------------


def test_reading_writes_nothing(story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither into the lake nor into the working directory, also where a query would like to spill."""
    monkeypatch.chdir(tmp_path)
    before = fingerprint(story)
    with open_lake(story) as engine:
        engine.query("FROM links_at(now()) ORDER BY ALL")
        assert engine.rows("SELECT current_setting('temp_directory') AS place") == [{"place": ""}]
    assert fingerprint(story) == before
    assert not list(tmp_path.iterdir())


def test_an_open_engine_is_one_snapshot(tmp_path: Path) -> None:
    """What is committed later is seen by the next engine, never in the middle of an answer."""
    lake = write_lake(tmp_path / "lake", [links(2)])
    with open_lake(lake) as engine:
        other = Run("20261123T170000Z-cccccccc")
        other.link("layer_record", "created", "late", (1, 2))
        table = Lake.open_for_writing(lake, filesystem=LocalFileSystem()).tables["links"]
        table.commit(other.table("links"), {"more": 1}, {"more": None})
        assert engine.rows(QUESTION) == [{"n": 2}]
    with open_lake(lake) as engine:
        assert engine.rows(QUESTION) == [{"n": 3}]


def test_coverage_is_opened_first() -> None:
    """The processor commits coverage last; opened first, it never vouches for rows that are not seen yet."""
    assert OPENING_ORDER[0] == "coverage"
    assert set(OPENING_ORDER) == set(TABLES)


def test_files_are_listed_from_the_log(story: Path, tmp_path: Path) -> None:
    """A file that no commit names (left by a crash) is not read."""
    lake = tmp_path / "lake"
    shutil.copytree(story, lake)
    file = Path(read_lake(lake).tables["links"].files[0])
    shutil.copy(file, file.with_name("stray.parquet"))
    with open_lake(lake) as engine, open_lake(story) as other:
        assert engine.rows(QUESTION) == other.rows(QUESTION)
