from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import ClassVar

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from linktrail.batch import decode
from linktrail.errors import FencedError, LakeError, LakeFullError, LakeMissingError, LakeNewerError
from linktrail.schema import LINKS, SCHEMA_VERSION, TABLES, TEXT, Column
from linktrail.testing.clock import START
from processor.delta_log import CHECKPOINT_EVERY, entry_name
from processor.lake import VERSION_KEY, Lake
from processor.lake_table import LakeTable
from tests.faults.filesystems import FailingFileSystem, QuickFileSystem
from tests.faults.rows import DAY, link, sealed

REPOSITORY = Path(__file__).parents[2]


def rows(*numbers: int, moment: int = START) -> pa.Table:
    return decode(sealed([link(number, moment) for number in numbers]), "here")[1]


def opened(path: Path) -> Lake:
    return Lake.open_for_writing(path, filesystem=QuickFileSystem())


def numbers(lake: Lake) -> list[int]:
    return sorted(lake.read("links").column("file_inode").to_pylist())


def everything(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_lake_is_made_once(tmp_path: Path) -> None:
    """Opening makes four tables partitioned by day that say their schema version; opening again changes nothing."""
    opened(tmp_path / "lake")
    before = everything(tmp_path / "lake")
    lake = opened(tmp_path / "lake")
    assert everything(tmp_path / "lake") == before
    assert set(lake.tables) == set(TABLES)
    for name, table in lake.tables.items():
        delta = DeltaTable(str(tmp_path / "lake" / name))
        assert table.version == delta.version() == 0
        assert delta.metadata().partition_columns == ["day"]
        assert delta.metadata().configuration[VERSION_KEY] == str(SCHEMA_VERSION)
        assert pa.schema(delta.schema()).names == list(TABLES[name].names)
        assert tuple(delta.protocol())[:2] == (1, 2)  # any reader of Delta can open it
        assert lake.read(name).num_rows == 0
        assert lake.files(name) == []


def test_processes_may_make_the_same_lake_at_once(tmp_path: Path) -> None:
    """Two processors started together get one lake, each table made by exactly one of them."""
    code = (
        "import sys; from pathlib import Path; from tests.processor.test_lake import opened\n"
        "print('ready', flush=True); sys.stdin.read(); print([table.version for table in opened(Path(sys.argv[1])).tables.values()])\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "lake")], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.close()  # all of them start now
    for child in children:
        assert child.stdout is not None
        assert child.stdout.read() == "[0, 0, 0, 0]\n"
        child.stdout.close()
        assert child.wait() == 0


def test_rows_and_position_are_one_commit(tmp_path: Path) -> None:
    """What is read back is what was committed, with the position; a reader needs only the list of files."""
    lake = opened(tmp_path / "lake")
    table = lake.tables["links"]
    assert table.transaction_version("s") is None
    table.commit(rows(1, 2), {"s": 5}, {"s": None})
    table.commit(rows(3, moment=START + DAY), {"s": 6, "t": 1}, {"s": 5, "t": None})
    table.commit(None, {"s": 7}, {"s": 6})
    reader = Lake.open(tmp_path / "lake")
    assert numbers(reader) == [1, 2, 3]
    assert (reader.transaction_version("s", "links"), reader.transaction_version("t", "links"), reader.transaction_version("s")) == (
        7,
        1,
        None,
    )
    assert lake.read("links").schema.equals(TABLES["links"].arrow())
    assert len(reader.files("links")) == 2
    assert reader.files("links", first_day=date(2026, 11, 24)) == reader.files("links")[1:]
    assert reader.files("links", last_day=date(2026, 11, 23)) == reader.files("links")[:1]
    with duckdb.connect() as connection:
        sql = "SELECT day::VARCHAR, file_inode FROM read_parquet($files, hive_partitioning=true) ORDER BY 2"
        found = connection.execute(sql, {"files": reader.files("links")}).fetchall()
    assert found == [("2026-11-23", 1), ("2026-11-23", 2), ("2026-11-24", 3)]


def test_a_reader_sees_new_commits_when_it_looks_again(tmp_path: Path) -> None:
    """A list of files stays what it was until reload."""
    lake = opened(tmp_path / "lake")
    reader = Lake.open(tmp_path / "lake")
    lake.tables["links"].commit(rows(1), {"s": 1}, {"s": None})
    assert numbers(reader) == []
    reader.reload()
    assert numbers(reader) == [1]


def test_a_stale_writer_is_fenced(tmp_path: Path) -> None:
    """Of two processors with the same source, the one that was slower commits nothing and leaves no file."""
    quick, slow = opened(tmp_path / "lake"), opened(tmp_path / "lake")
    quick.tables["links"].commit(rows(1), {"s": 5}, {"s": None})
    with pytest.raises(FencedError):
        slow.tables["links"].commit(rows(1), {"s": 5}, {"s": None})
    assert len(list((tmp_path / "lake" / "links").rglob("*.parquet"))) == 1
    with pytest.raises(FencedError):  # still the handle that was fenced
        slow.tables["links"].commit(rows(2), {"s": 6}, {"s": None})
    slow.resume()
    with pytest.raises(FencedError):  # a position that is not what the caller thinks
        slow.tables["links"].commit(rows(2), {"s": 6}, {"s": 4})
    slow.tables["links"].commit(rows(2), {"s": 6}, {"s": 5})
    assert numbers(Lake.open(tmp_path / "lake")) == [1, 2]


def test_writers_of_other_sources_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Partitions of a topic are processed side by side; both commits stand, and each sees the other's afterwards."""
    one, other = opened(tmp_path / "lake"), opened(tmp_path / "lake")
    one.tables["links"].commit(rows(1), {"s": 1}, {"s": None})
    other.tables["links"].commit(rows(2), {"t": 1}, {"t": None})
    one.tables["links"].commit(rows(3), {"s": 2}, {"s": 1})
    assert numbers(Lake.open(tmp_path / "lake")) == [1, 2, 3]


def test_a_position_never_goes_back(tmp_path: Path) -> None:
    """The library would accept it, and rows would come twice later; so it is refused here."""
    table = opened(tmp_path / "lake").tables["links"]
    table.commit(rows(1), {"s": 5}, {"s": None})
    with pytest.raises(LakeError, match="back"):
        table.commit(rows(2), {"s": 4}, {"s": 5})


def test_a_newer_lake_is_refused_before_anything_happens(tmp_path: Path) -> None:
    """One table of a newer version is enough; nothing is created, repaired or upgraded."""
    opened(tmp_path / "lake")
    DeltaTable(str(tmp_path / "lake" / "usage")).alter.set_table_properties({VERSION_KEY: "2"}, raise_if_not_exists=False)
    with pytest.raises(LakeNewerError, match="schema version 2"):
        Lake.open(tmp_path / "lake")
    _empty(tmp_path / "lake" / "links" / "_delta_log" / f"{0:020d}.json")
    before = everything(tmp_path / "lake")
    with pytest.raises(LakeNewerError, match="schema version 2"):
        opened(tmp_path / "lake")
    assert everything(tmp_path / "lake") == before


def test_what_is_no_lake_is_one_clear_error(tmp_path: Path) -> None:
    """Nothing there, a foreign table, a path that the library cannot open, a file in the way."""
    with pytest.raises(LakeMissingError):
        Lake.open(tmp_path / "lake")
    DeltaTable.create(str(tmp_path / "foreign" / "links"), pa.schema([("a", pa.int64())]))
    with pytest.raises(LakeError, match="not one of linktrail"):
        opened(tmp_path / "foreign")
    for name in ("per%20cent", "n\udc80"):
        with pytest.raises(LakeError, match="without %"):
            opened(tmp_path / name)
        assert not os.path.lexists(tmp_path / name)
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError):
        opened(tmp_path / "file")


@pytest.mark.parametrize("name", ["with space", "hash#1", "question?", "ünï"])
def test_unusual_paths_work(tmp_path: Path, name: str) -> None:
    """File lists are paths, not URLs."""
    opened(tmp_path / name).tables["links"].commit(rows(1), {"s": 1}, {"s": None})
    lake = Lake.open(tmp_path / name)
    assert numbers(lake) == [1]
    assert [Path(file).is_file() for file in lake.files("links")] == [True]


def test_a_lake_from_before_a_column_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees nulls until a writer opens it; then old and new rows stand in one table. An older writer is fenced, not harmed."""
    opened(tmp_path / "lake").tables["links"].commit(rows(1), {"s": 1}, {"s": None})
    old = opened(tmp_path / "lake")
    later = replace(LINKS, columns=(*LINKS.columns, Column("mood", TEXT, "how it feels")))
    monkeypatch.setitem(TABLES, "links", later)
    assert Lake.open(tmp_path / "lake").read("links").column("mood").to_pylist() == [None]
    new = opened(tmp_path / "lake")
    assert new.tables["links"].column_names[-1] == "mood"
    with_mood = rows(2).set_column(len(LINKS.columns), "mood", pa.array(["fine"]))
    new.tables["links"].commit(with_mood, {"s": 2}, {"s": 1})
    found = Lake.open(tmp_path / "lake").read("links").sort_by("file_inode")
    assert found.column("mood").to_pylist() == [None, "fine"]
    assert found.column("file_inode").to_pylist() == [1, 2]
    monkeypatch.setitem(TABLES, "links", LINKS)
    with pytest.raises(FencedError):
        old.tables["links"].commit(rows(3), {"t": 1}, {"t": None})
    old.resume()
    old.tables["links"].commit(rows(3), {"t": 1}, {"t": None})  # an older linktrail may still write: null for what it does not know
    monkeypatch.setitem(TABLES, "links", later)
    found = Lake.open(tmp_path / "lake").read("links").sort_by("file_inode")
    assert found.column("mood").to_pylist() == [None, "fine", None]


def test_the_log_is_folded_into_checkpoints_and_old_entries_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is committed to for months opens, and is committed to, as fast as a new one."""
    monkeypatch.setattr("processor.delta_log.KEPT_ENTRIES", 30)
    lake = opened(tmp_path / "lake")
    table = lake.tables["links"]
    log = tmp_path / "lake" / "links" / "_delta_log"
    table.commit(rows(1), {"s": 1}, {"s": None})
    for position in range(1, 4 * CHECKPOINT_EVERY):
        table.commit(None, {"s": position + 1}, {"s": position})
        assert len(list(log.iterdir())) < 2 * CHECKPOINT_EVERY + 40
    assert not (log / f"{0:020d}.json").exists()
    again = opened(tmp_path / "lake")
    assert again.transaction_version("s", "links") == 4 * CHECKPOINT_EVERY
    assert numbers(again) == [1]


def trimmed_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeTable:
    """Return a handle whose entries are gone, because others committed so often since."""
    monkeypatch.setattr("processor.delta_log.KEPT_ENTRIES", 10)
    old, busy = opened(path).tables["links"], opened(path).tables["links"]
    for position in range(2 * CHECKPOINT_EVERY):
        busy.commit(rows(position), {"busy": position + 1}, {"busy": position or None})
    return old


def test_a_processor_that_was_idle_beside_busy_ones_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handle is brought up to date before positions are compared; what others let go of it does not need."""
    old = trimmed_away(tmp_path / "lake", monkeypatch)
    monkeypatch.setattr("processor.lake_table.FRESH_SECONDS", 0.0)
    old.commit(rows(1000), {"idle": 1}, {"idle": None})
    with pytest.raises(FencedError):
        old.commit(rows(1001), {"busy": 1}, {"busy": None})
    assert numbers(opened(tmp_path / "lake")) == [*range(2 * CHECKPOINT_EVERY), 1000]


def test_a_handle_that_comes_too_late_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between the look at the log and the commit, while the log went on: refused, like any other that was overtaken."""
    old = trimmed_away(tmp_path / "lake", monkeypatch)
    with pytest.raises(FencedError):
        old.commit(rows(1000), {"idle": 1}, {"idle": None})
    old.resume()
    old.commit(rows(1000), {"idle": 1}, {"idle": None})
    assert numbers(opened(tmp_path / "lake")) == [*range(2 * CHECKPOINT_EVERY), 1000]


def test_resuming_makes_durable_what_is_not_known_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others committed since the last time, also where entries since are gone by now; all of the log again after a failure."""

    class Noting(FailingFileSystem):
        synced: ClassVar[list[str]] = []

        def sync_file(self, path: Path) -> None:
            super().sync_file(path)
            self.synced.append(path.name)

    filesystem = Noting()
    table, other = (Lake.open_for_writing(tmp_path / "lake", filesystem=one).tables["links"] for one in (filesystem, QuickFileSystem()))

    def others_commit_and(position: int) -> list[str]:
        other.commit(rows(position), {"s": position + 1}, {"s": position or None})
        filesystem.synced.clear()
        table.resume()
        return filesystem.synced

    assert others_commit_and(0) == [entry_name(1)]
    assert others_commit_and(1) == [entry_name(2)]
    filesystem.fail_at = filesystem.calls + 1
    with pytest.raises(LakeError):
        others_commit_and(2)
    assert others_commit_and(3) == [entry_name(version) for version in range(5)]
    assert others_commit_and(4) == [entry_name(5)]
    monkeypatch.setattr("processor.delta_log.KEPT_ENTRIES", 10)
    for position in range(5, 2 * CHECKPOINT_EVERY):
        other.commit(None, {"s": position + 1}, {"s": position})
    assert not (tmp_path / "lake" / "links" / "_delta_log" / entry_name(6)).exists()
    assert others_commit_and(2 * CHECKPOINT_EVERY)[-1] == entry_name(2 * CHECKPOINT_EVERY + 1)
    assert table.transaction_version("s") == 2 * CHECKPOINT_EVERY + 1
    assert len(table.live_files()) == 6


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("tear", [_truncate, _empty])
def test_a_log_torn_by_power_loss_is_repaired(tmp_path: Path, tear: object) -> None:
    """The last entry, or the checkpoint, was never fsynced: it is set aside with its bytes, and the rest of the table stands."""
    assert callable(tear)
    lake = opened(tmp_path / "lake")
    table = lake.tables["links"]
    for position in range(3):
        table.commit(rows(position), {"s": position + 1}, {"s": position or None})
    DeltaTable(str(table.path)).create_checkpoint()
    log = table.path / "_delta_log"
    tear(log / f"{3:020d}.json")
    tear(log / f"{3:020d}.checkpoint.parquet")
    again = opened(tmp_path / "lake")
    assert numbers(again) == [0, 1]
    assert again.transaction_version("s", "links") == 2
    assert sorted(path.name for path in (log / "_torn").iterdir()) == [
        f"{3:020d}.checkpoint.parquet",
        f"{3:020d}.json",
        "_last_checkpoint",
    ]
    again.tables["links"].commit(rows(7), {"s": 3}, {"s": 2})
    assert numbers(Lake.open(tmp_path / "lake")) == [0, 1, 7]


def test_a_table_torn_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    """Power loss right after the first start leaves an empty first entry."""
    opened(tmp_path / "lake")
    _empty(tmp_path / "lake" / "usage" / "_delta_log" / f"{0:020d}.json")
    assert opened(tmp_path / "lake").read("usage").num_rows == 0


def test_a_damaged_log_that_power_loss_does_not_explain_is_left_alone(tmp_path: Path) -> None:
    """An entry broken before whole ones is an error for a person, not something to tidy away."""
    table = opened(tmp_path / "lake").tables["links"]
    for position in range(3):
        table.commit(rows(position), {"s": position + 1}, {"s": position or None})
    entry = table.path / "_delta_log" / f"{2:020d}.json"
    _truncate(entry)
    before = everything(tmp_path / "lake")
    with pytest.raises(LakeError, match="opening the table failed") as caught:
        opened(tmp_path / "lake")
    assert "\n" not in caught.value.message
    assert everything(tmp_path / "lake") == before


def test_a_full_disk_under_the_lake_is_a_typed_error(tmp_path: Path) -> None:
    """Reported as such, nothing committed, nothing left behind (deltalake's own ENOSPC is tested on a real full disk)."""

    class Full(QuickFileSystem):
        full = False

        def write_new(self, path: Path, data: bytes) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            super().write_new(path, data)

    filesystem = Full()
    lake = Lake.open_for_writing(tmp_path / "lake", filesystem=filesystem)
    filesystem.full = True
    with pytest.raises(LakeFullError):
        lake.tables["links"].commit(rows(1), {"s": 1}, {"s": None})
    filesystem.full = False
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    lake.tables["links"].commit(rows(1), {"s": 1}, {"s": None})
    assert numbers(Lake.open(tmp_path / "lake")) == [1]
