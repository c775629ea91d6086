from __future__ import annotations

import errno
import json
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linktrail.batch import decode
from linktrail.schema import TABLES
from linktrail.testing.clock import START
from processor.files import BLOOM_ROWS, ROW_GROUP, parquet, sort_columns, write_files
from tests.faults.filesystems import FailingFileSystem, QuickFileSystem
from tests.faults.rows import DAY, MAKERS, link, sealed


def links(count: int, *, node: str = "node", moment: int = START) -> pa.Table:
    return decode(sealed([link(number % 700, moment + number * 1000) for number in range(count)], node=node), "here")[1]


def test_a_file_is_sorted_and_packed_as_measured() -> None:
    """Sorted by node, layer, time; integers and timestamps delta-encoded without dictionary; text with one; zstd throughout."""
    rows = pa.concat_tables([links(900, node="b"), links(900, node="a")])
    file = pq.ParquetFile(pa.BufferReader(parquet("links", rows)))
    found = file.read()
    keys = list(zip(*(found.column(name).to_pylist() for name in sort_columns("links")), strict=True))
    assert keys == sorted(keys)
    assert "day" not in found.column_names
    group = file.metadata.row_group(0)
    encodings = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    assert {column.compression for column in encodings.values()} == {"ZSTD"}
    assert "DELTA_BINARY_PACKED" in encodings["observed_at"].encodings
    assert "DELTA_BINARY_PACKED" in encodings["file_inode"].encodings
    assert not encodings["file_inode"].has_dictionary_page
    assert encodings["subject"].has_dictionary_page
    assert [column.column_index for column in group.sorting_columns] == [found.column_names.index(name) for name in sort_columns("links")]


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_has_a_sort_order_of_its_own_columns(table: str) -> None:
    """A file of each table can be written and holds what went in."""
    rows = decode(sealed([MAKERS[table](number) for number in range(10)], table=table), "here")[1]
    back = pq.read_table(pa.BufferReader(parquet(table, rows)))
    assert sorted(back.column("seq").to_pylist()) == list(range(10))
    assert set(sort_columns(table)) <= set(TABLES[table].names)


def test_long_files_have_bloom_filters_on_ids(tmp_path: Path) -> None:
    """Only where there are many rows; a reader can then leave the file out for an absent id (asked of DuckDB)."""
    many = pa.concat_tables([links(5000, moment=START + part) for part in range(BLOOM_ROWS // 5000)])
    files = {"long": parquet("links", many), "short": parquet("links", links(100))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    probe = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, 'layer_id', ?)"
    with duckdb.connect() as connection:
        assert connection.execute(probe, [str(tmp_path / "long"), "layer-absent"]).fetchall() == [(True,)]
        assert connection.execute(probe, [str(tmp_path / "long"), "layer-7"]).fetchall() == [(False,)]
        assert connection.execute(probe, [str(tmp_path / "short"), "layer-absent"]).fetchall() == [(False,)]


def test_long_files_can_be_searched_whole_at_less_cost() -> None:
    """Kinds and targets are in lz4 where there are many rows, and row groups are small enough to leave most of a day out."""
    many = pa.concat_tables([links(5000, moment=START + part) for part in range(1 + ROW_GROUP // 5000)])
    metadata = pq.ParquetFile(pa.BufferReader(parquet("links", many))).metadata
    group = metadata.row_group(0)
    codecs = {group.column(index).path_in_schema: group.column(index).compression for index in range(group.num_columns)}
    assert {name for name, codec in codecs.items() if codec != "ZSTD"} == {"link_kind", "target"}
    assert (group.num_rows, metadata.num_row_groups) == (ROW_GROUP, 2)


def test_rows_of_several_days_make_a_file_a_day(tmp_path: Path) -> None:
    """Each file lies in the directory of its day and says how many rows it has, and from when to when."""
    rows = pa.concat_tables([links(3, moment=START + days * DAY) for days in (2, 0, 1)])
    files = write_files(QuickFileSystem(), tmp_path, "links", rows, known_days=set())
    assert [file.day for file in files] == [date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 25)]
    for file in files:
        assert file.path.startswith(f"day={file.day}/part-")
        assert (tmp_path / file.path).stat().st_size == file.size
        statistics = json.loads(file.statistics)
        assert statistics["numRecords"] == file.rows == 3
        assert statistics["minValues"]["node"] == statistics["maxValues"]["node"] == "node"
        assert statistics["minValues"]["observed_at"] == f"{file.day}T16:00:00.000000Z"
        assert statistics["maxValues"]["observed_at"] == f"{file.day}T16:00:00.000002Z"


@pytest.mark.parametrize("fail_at", range(1, 9))
def test_a_failed_write_leaves_no_file(tmp_path: Path, fail_at: int) -> None:
    """A full disk gets back the space of the files that were finished before it was full."""
    rows = pa.concat_tables([links(3, moment=START + days * DAY) for days in range(2)])
    with pytest.raises(OSError, match="No space left"):
        write_files(FailingFileSystem(fail_at, errno.ENOSPC), tmp_path, "links", rows, known_days=set())
    assert not list(tmp_path.rglob("*.parquet"))
