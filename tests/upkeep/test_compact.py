from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linktrail.batch import decode
from linktrail.clock import NANOSECONDS
from linktrail.errors import FencedError
from linktrail.testing.clock import START, FakeClock
from processor.files import BLOOM_ROWS, ONCE, ROW_GROUP
from processor.lake import Lake
from processor.lake_table import MAINTENANCE
from processor.table_files import LiveFile
from processor.upkeep import compact as compacting
from processor.upkeep.compact import compact, groups
from processor.upkeep.keeper import UpkeepPolicy, maintain
from tests.faults.filesystems import QuickFileSystem
from tests.faults.rows import DAY, MAKERS, sealed

LATER = START + 3 * DAY
TODAY = datetime.fromtimestamp(START // NANOSECONDS, UTC).date()
TIDY = UpkeepPolicy(grace_hours=0)


def rows(*numbers: int, moment: int = START, first_seq: int = 0, table: str = "links") -> pa.Table:
    made = [MAKERS[table](number, moment) for number in numbers]
    return decode(sealed(made, table=table, first_seq=first_seq), "here")[1]


def opened(path: Path) -> Lake:
    return Lake.open_for_writing(path, filesystem=QuickFileSystem())


def commit(lake: Lake, *parts: pa.Table, table: str = "links") -> None:
    for part in parts:
        one = lake.tables[table]
        before = one.transaction_version("s")
        one.commit(part, {"s": (before or 0) + 1}, {"s": before})


def numbers(lake: Lake) -> list[int]:
    return sorted(lake.read("links").column("file_inode").to_pylist())


def file(number: int, rows: int, day: date = TODAY, size: int = 1000) -> LiveFile:
    return LiveFile(f"{number}", day, rows, size, number)


def test_a_closed_day_becomes_one_sorted_indexed_file(tmp_path: Path) -> None:
    """Whatever it was written in: one file a day, in the order and with the settings of a large file, every row once."""
    lake = opened(tmp_path / "lake")
    count = 3 * (BLOOM_ROWS // 2)
    for start in range(0, count, BLOOM_ROWS // 4):
        end = min(count, start + BLOOM_ROWS // 4)
        commit(lake, rows(*range(start, end), first_seq=start), rows(start, first_seq=start))
    commit(lake, rows(count, moment=START + DAY, first_seq=count))
    maintain(tmp_path / "lake", filesystem=QuickFileSystem(), clock=FakeClock(LATER), policy=TIDY)
    lake.reload()
    first, second = lake.files("links")
    assert [Path(one).name.startswith(f"{ONCE}-") for one in (first, second)] == [True, False]  # a lone file was not looked through
    assert numbers(lake) == list(range(count + 1))
    with pq.ParquetFile(first) as parquet:
        group = parquet.metadata.row_group(0)
        names = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
        assert parquet.metadata.num_rows == count <= ROW_GROUP
        assert names["layer_id"].compression == "ZSTD"
        assert "DELTA_BINARY_PACKED" in names["observed_at"].encodings
        assert next(column.column_index for column in group.sorting_columns) == parquet.schema_arrow.names.index("node")
        layers = parquet.read(["layer_id"]).column("layer_id").to_pylist()
    assert layers == sorted(layers)
    assert Path(first).stat().st_size > len(names)  # a Bloom filter adds to it
    assert pq.read_metadata(second).num_rows == 1
    assert len(list((tmp_path / "lake" / "links").rglob("*.parquet"))) == 2


def test_what_is_merged_and_what_is_not() -> None:
    """Closed days whole, within bounds; of an open day only many files of like size; large files and lone ones never."""
    closed = TODAY - timedelta(days=2)
    most = compacting.MERGED_ROWS

    def merged(*files: LiveFile) -> list[list[str]]:
        return [[one.path for one in group] for group in groups(files, START, most=3)]

    assert merged(file(1, 5, closed), file(2, 70_000, closed), file(3, 1, closed - timedelta(days=1))) == [["1", "2"]]
    assert merged(file(1, most, closed), file(2, 5, closed)) == []
    assert merged(*(file(number, most // 2 - 1, closed) for number in range(1, 6))) == [["1", "2"], ["3", "4"]]
    assert merged(*(file(number, 10, closed, size=compacting.MERGED_BYTES // 3) for number in range(4))) == [["0", "1", "2"]]
    assert merged(*(file(number, 10) for number in range(3))) == []
    assert merged(*(file(number, 10) for number in range(4)), file(9, 5000)) == [["0", "1", "2", "3"]]


def test_an_open_day_costs_each_row_a_few_rewrites() -> None:
    """However many commits a day has: few live files at any time, and rewritten rows in proportion to the rows."""
    chance = random.Random(5)
    live: list[LiveFile] = []
    written = rewritten = longest = 0
    for number in range(6000):
        live.append(file(number, chance.randrange(1, 400)))
        written += live[-1].rows
        if number % 10 == 9:
            for group in list(groups(live, START, most=compacting.MOST_SMALL)):
                total = sum(one.rows for one in group)
                rewritten += total
                live = [one for one in live if one not in group] + [file(number, total)]
        longest = max(longest, len(live))
    assert longest < 100
    assert rewritten < 5 * written


def test_rows_stored_twice_are_stored_once_afterwards(tmp_path: Path) -> None:
    """The same row of the same run, in one file or in several; rows without a number are all kept."""
    lake = opened(tmp_path / "lake")
    commit(lake, rows(1, 2), rows(1, 2), rows(3, first_seq=2), rows(3, first_seq=2), rows(9, first_seq=3))
    assert numbers(lake) == [1, 1, 2, 2, 3, 3, 9]
    compact(lake.tables["links"], LATER)
    assert numbers(lake) == [1, 2, 3, 9]
    unnumbered = rows(5).set_column(rows(5).schema.get_field_index("seq"), "seq", pa.nulls(1, pa.int64()))
    assert compacting.once(pa.concat_tables([unnumbered, unnumbered, rows(5), rows(5)])).num_rows == 3


@pytest.mark.parametrize("fresh_seconds", [0.0, 30.0])  # whether the slow one looks again before it commits
def test_of_two_maintainers_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_seconds: float) -> None:
    """From the same state both would put the same rows into new files; only the first may."""
    monkeypatch.setattr("processor.lake_table.FRESH_SECONDS", fresh_seconds)
    lake = opened(tmp_path / "lake")
    commit(lake, *(rows(number, first_seq=number) for number in range(4)))
    quick, slow = opened(tmp_path / "lake").tables["links"], opened(tmp_path / "lake").tables["links"]
    assert compact(quick, LATER) == (4, 1)
    with pytest.raises(FencedError):
        compact(slow, LATER)
    assert len(list((tmp_path / "lake" / "links").rglob("*.parquet"))) == 5  # the loser's file is gone
    lake.reload()
    assert numbers(lake) == [0, 1, 2, 3]
    assert lake.tables["links"].transaction_version(MAINTENANCE) == 1
    slow.reload()
    assert compact(slow, LATER) == (0, 0)


def test_a_processor_that_commits_meanwhile_is_not_disturbed(tmp_path: Path) -> None:
    """Neither by a merge that comes between its commits, nor is the merge by a commit that comes between its reading and its own."""
    lake = opened(tmp_path / "lake")
    commit(lake, *(rows(number, first_seq=number) for number in range(4)))
    keeping = opened(tmp_path / "lake").tables["links"]
    commit(lake, rows(4, first_seq=4))  # keeping does not see it
    assert compact(keeping, LATER) == (4, 1)
    commit(lake, rows(5, first_seq=5))  # the processor did not see the merge
    assert numbers(opened(tmp_path / "lake")) == [0, 1, 2, 3, 4, 5]


def test_a_reader_with_an_older_list_reads_on_until_the_grace_is_over(tmp_path: Path) -> None:
    """Also of files that were old when they were replaced; and with them go what killed writers left."""
    lake = opened(tmp_path / "lake")
    commit(lake, *(rows(number, first_seq=number) for number in range(4)))
    old: list[str] = lake.files("links")
    orphan = Path(old[0]).with_name("part-orphan.parquet")
    orphan.write_bytes(b"PAR1")
    done = maintain(tmp_path / "lake", filesystem=QuickFileSystem(), clock=FakeClock(LATER))
    assert (done.merged, done.made, done.vacuumed) == (4, 1, 0)
    assert sum(pq.read_metadata(one).num_rows for one in old) == 4
    assert orphan.exists()
    done = maintain(tmp_path / "lake", filesystem=QuickFileSystem(), clock=FakeClock(LATER), policy=TIDY)
    assert done.vacuumed == 5
    assert not any(Path(one).exists() for one in [*old, str(orphan)])
    assert numbers(opened(tmp_path / "lake")) == [0, 1, 2, 3]


def test_sizes_are_summed_up_by_day(tmp_path: Path) -> None:
    """A line for everything measured; again when a day got more rows; not again when it did not."""
    lake = opened(tmp_path / "lake")
    commit(lake, rows(5, 7, table="usage"), rows(5, moment=START + 1000, first_seq=2, table="usage"), table="usage")

    def keep() -> int:
        return maintain(tmp_path / "lake", filesystem=QuickFileSystem(), clock=FakeClock(LATER), policy=TIDY).days

    def lines() -> list[tuple[str, int, int, int]]:
        found = lake.derived("usage_daily").read().sort_by("subject").to_pylist()
        return [(line["subject"], line["samples"], line["first_bytes"], line["last_bytes"]) for line in found]

    assert (keep(), keep()) == (1, 0)
    assert lines() == [("layer-5", 2, 5, 5), ("layer-7", 1, 7, 7)]
    lake.resume()
    late = rows(9, table="usage", first_seq=3)
    commit(lake, late.set_column(late.schema.get_field_index("subject"), "subject", pa.array(["layer-7"])), table="usage")
    assert (keep(), keep()) == (1, 0)
    assert lines() == [("layer-5", 2, 5, 5), ("layer-7", 2, 7, 9)]
