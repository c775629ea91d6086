from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linktrail import batch
from linktrail.errors import BatchError, NewerSchemaError
from linktrail.events import Row
from linktrail.ipc import has_compressed_body
from linktrail.schema import BYTES, DATE, FLAG, INTEGER, LINKS, SCHEMA_VERSION, TABLES, TEXT, TIME, Column, Table
from linktrail.testing.clock import START
from linktrail.text import column_raw, column_text
from tests.faults.rows import link, sealed

_MOMENTS = st.integers(min_value=0, max_value=4_000_000_000 * 10**9)
_VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    TEXT: st.text(max_size=20),
    BYTES: st.binary(max_size=20),
    INTEGER: st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1),
    TIME: _MOMENTS,
    FLAG: st.booleans(),
}


def _value(column: Column) -> st.SearchStrategy[Any]:
    return st.none() | _VALUES[column.type] if column.nullable else _VALUES[column.type]


def _rows(table: Table) -> st.SearchStrategy[list[Row]]:
    given_by_rows = [column for column in table.columns if column.name not in ("day", "cluster", "node", "run", "seq")]
    return st.lists(st.fixed_dictionaries({column.name: _value(column) for column in given_by_rows}), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), table=st.sampled_from(sorted(TABLES)), first_seq=st.integers(0, 10**9), node=st.text(max_size=8))
def test_what_is_sealed_comes_back(data: st.DataObject, table: str, first_seq: int, node: str) -> None:
    """Every value returns as it was, except times, whose stored interval contains the true one and is less than 1 us wider each way."""
    rows = data.draw(_rows(TABLES[table]))
    sealed_bytes = batch.encode(
        table, rows, cluster="c", node=node, run="r", batch=3, first_seq=first_seq, previous_digest="d", sealed_at=START
    )
    header, found = batch.decode(sealed_bytes, "here")
    assert header == batch.Header(SCHEMA_VERSION, "c", node, "r", 3, table, len(rows), first_seq, first_seq + len(rows) - 1, "d", START)
    for number, (row, back) in enumerate(zip(rows, batch.to_rows(found), strict=True)):
        assert back["seq"] == first_seq + number
        assert (back["cluster"], back["node"], back["run"]) == ("c", node, "r")
        for column in TABLES[table].columns:
            if column.name in row:
                _same(column, row[column.name], back.get(column.name))


def _same(column: Column, before: Any, after: Any) -> None:
    if column.type != TIME or before is None:
        assert after == before, column.name
    elif column.name in ("occurred_before", "since_before"):
        assert before <= after < before + 1000
    else:
        assert before - 1000 < after <= before


@given(moment=_MOMENTS)
@settings(max_examples=50, deadline=None)
def test_the_day_is_that_of_observed_at(moment: int) -> None:
    """A row's partition can be told from its observed_at alone."""
    _, found = batch.decode(sealed([link(1, moment)]), "here")
    assert found.column("day").cast(pa.int32())[0].as_py() == moment // (86_400 * 10**9)
    assert found.schema.field("day").type == DATE


def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    """Text columns get a readable form even where a caller forgot to make one; raw columns keep the bytes."""
    name = b"layer\xff\x80".decode("utf-8", "surrogateescape")
    row = {**link(1), "subject": column_text(name), "subject_raw": column_raw(name), "target": name}
    [back] = batch.to_rows(batch.decode(sealed([row]), "here")[1])
    assert back["subject"] == back["target"] == "layer\\xff\\x80"
    assert back["subject_raw"] == b"layer\xff\x80"


def test_numbers_of_64_unsigned_bits_fit() -> None:
    """An inode number above 2^63 (overlay's xino makes them) keeps its bits."""
    [back] = batch.to_rows(batch.decode(sealed([{**link(1), "file_inode": (1 << 64) - 5}]), "here")[1])
    assert back["file_inode"] == -5


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"colour": "red"}, "unknown columns colour"),
        ({"subject": None}, "subject is missing"),
        ({"observed_at": None}, "observed_at is missing"),
        ({"file_inode": "seven"}, "file_inode holds a value of the wrong type"),
        ({"file_inode": 1 << 64}, "file_inode holds a value of the wrong type"),
        ({"target": 7}, "target holds a value of the wrong type"),
        ({"occurred_before": "now"}, "occurred_before holds a value of the wrong type"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_where_it_is_made(change: Row, what: str) -> None:
    """The error names the column, and comes before anything is buffered."""
    with pytest.raises(BatchError, match=what):
        batch.columns("links", [link(0), {**link(1), **change}])


def test_no_rows_and_no_table_are_refused() -> None:
    """An empty batch would break the numbering; an unknown table has no columns."""
    with pytest.raises(BatchError, match="no rows"):
        sealed([])
    with pytest.raises(BatchError, match="no such table"):
        batch.columns("nothing", [link(0)])


def test_a_giant_value_is_cut_and_says_so() -> None:
    """One monstrous record cannot make a batch that nothing can carry; JSON stays JSON."""
    big = batch.MAX_VALUE_BYTES + 10
    row = {**link(1), "target": "ä" * big, "target_raw": b"x" * big, "detail": json.dumps({"names": "n" * big})}
    [back] = batch.to_rows(batch.decode(sealed([row]), "here")[1])
    assert str(back["target"]).endswith(f"... ({2 * big} bytes)")
    assert len(str(back["target"]).encode()) <= batch.MAX_VALUE_BYTES
    assert back["target_raw"] == b"x" * (batch.MAX_VALUE_BYTES // 2)
    assert json.loads(str(back["detail"]))["omitted_bytes"] > big


def test_a_batch_can_be_verified_without_linktrail(tmp_path: Path) -> None:
    """sha256sum names it, a zstd frame holds it, and any Arrow reader shows rows and header."""
    data = sealed([link(1), link(2)], node="n1")
    file = tmp_path / "0000000000000000.batch"
    file.write_bytes(data)
    printed = subprocess.run(["sha256sum", str(file)], check=True, capture_output=True, text=True).stdout.split()[0]
    assert printed == batch.digest(data) == hashlib.sha256(data).hexdigest()
    with pa.ipc.open_stream(zstandard.decompress(data)) as reader:
        assert reader.schema.metadata[b"linktrail.node"] == b"n1"
        assert reader.read_all().column("file_inode").to_pylist() == [1, 2]


@settings(max_examples=150, deadline=None)
@given(garbage=st.binary(max_size=300))
def test_garbage_is_one_clear_error(garbage: bytes) -> None:
    """Whatever the bytes, with or without a sound frame around them: BatchError, nothing else."""
    for data in (garbage, zstandard.compress(garbage), sealed([link(1)]) + garbage + b"!"):
        with pytest.raises(BatchError):
            batch.decode(data, "there")


_GOOD = sealed([link(number) for number in range(20)])
_STREAM = zstandard.decompress(_GOOD)


@settings(max_examples=200, deadline=None)
@given(where=st.integers(0, len(_STREAM) - 1), replacement=st.integers(0, 255), cut=st.integers(0, len(_STREAM)), cutting=st.booleans())
def test_a_damaged_stream_is_refused_or_still_valid(where: int, replacement: int, cut: int, cutting: bool) -> None:
    """A flipped byte inside never gives a table that contradicts its header or holds text that is not UTF-8."""
    damaged = bytearray(_STREAM)
    damaged[where] = replacement
    data = zstandard.compress(bytes(damaged[:cut]) if cutting else bytes(damaged))
    try:
        header, table = batch.decode(data, "there")
    except BatchError:
        return
    table.validate(full=True)
    assert table.num_rows == header.rows
    assert set(table.column("node").to_pylist()) == {header.node}
    assert table.schema.equals(LINKS.arrow())


@settings(max_examples=100, deadline=None)
@given(where=st.integers(0, len(_GOOD) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_sealed_batch_is_found(where: int, bit: int) -> None:
    """The frame's checksum covers every byte that matters: what decodes is what was sealed."""
    damaged = bytearray(_GOOD)
    damaged[where] ^= 1 << bit
    try:
        _, table = batch.decode(bytes(damaged), "there")
    except BatchError:
        return
    assert table.equals(batch.decode(_GOOD, "here")[1])


def _resealed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return zstandard.compress(sink.getvalue())


def _opened() -> pa.Table:
    with pa.ipc.open_stream(_STREAM) as reader:
        return reader.read_all()


def _with_header(**changes: str) -> bytes:
    table = _opened()
    metadata = {**table.schema.metadata, **{f"linktrail.{name}".encode(): value.encode() for name, value in changes.items()}}
    return _resealed(table.replace_schema_metadata(metadata))


@pytest.mark.parametrize(
    "changes",
    [{"rows": "3"}, {"first_seq": "5"}, {"node": "other"}, {"run": "other"}, {"table": "usage"}, {"table": "x"}, {"batch": "-1"}],
)
def test_rows_that_contradict_their_header_are_refused(changes: dict[str, str]) -> None:
    """A batch cannot smuggle rows of another node, run or numbering."""
    with pytest.raises(BatchError):
        batch.decode(_with_header(**changes), "there")


def test_a_batch_of_an_older_collector_is_complete_with_nulls() -> None:
    """Columns are only ever added at the end and nullable: without the last one, the batch still reads."""
    table = _opened()
    _, found = batch.decode(_resealed(table.drop_columns(["container_image_id"])), "there")
    assert found.column("container_image_id").null_count == 20
    assert found.schema.equals(LINKS.arrow())


def test_a_batch_of_a_newer_collector_is_not_taken_apart() -> None:
    """A higher schema version, or a column that only a newer linktrail knows, is not dropped in silence."""
    with pytest.raises(NewerSchemaError, match=f"{SCHEMA_VERSION + 1}"):
        batch.decode(_with_header(schema_version=str(SCHEMA_VERSION + 1)), "there")
    with pytest.raises(NewerSchemaError, match="mood"):
        batch.decode(_resealed(_opened().append_column("mood", pa.nulls(20, TEXT))), "there")


@pytest.mark.parametrize("moment", [(1 << 63) - 1, -(1 << 63), 9_300_000_000_000_000])
@pytest.mark.parametrize("name", ["observed_at", "occurred_after"])
def test_times_that_no_clock_shows_are_refused(name: str, moment: int) -> None:
    """A hostile time would overflow in every calendar after this."""
    table = _opened()
    column = pa.array([moment] * 20, INTEGER).cast(TIME)
    with pytest.raises(BatchError, match=f"{name} is a time beyond"):
        batch.decode(_resealed(table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)), "there")


@pytest.mark.parametrize("moments", [[START] * 20, [START + number * 5 * 3600 * 10**9 for number in range(20)]])
def test_days_that_contradict_their_rows_are_refused(moments: list[int]) -> None:
    """The lake is partitioned by day: a row in another's partition would never be found there, in a batch of one day or of many."""
    rows = [link(number, moment) for number, moment in enumerate(moments)]
    with pa.ipc.open_stream(zstandard.decompress(sealed(rows))) as reader:
        table = reader.read_all()
    batch.decode(_resealed(table), "here")
    days = table.column("day").to_pylist()
    for lying in ([*days[:-1], days[-1] + timedelta(days=1)], [day - timedelta(days=1) for day in days]):
        with pytest.raises(BatchError, match="day of a row contradicts"):
            batch.decode(_resealed(table.set_column(0, table.schema.field(0), pa.array(lying, DATE))), "there")


def test_rows_may_differ_in_what_they_have() -> None:
    """A column that only some rows have is null in the others, wherever in the batch they are."""
    rows = [link(0), {**link(1), "target": "t"}, link(2)]
    del rows[0]["file_inode"]
    table = batch.columns("links", rows)
    assert table.column("target").to_pylist() == [None, "t", None]
    assert table.column("file_inode").to_pylist() == [None, 1, 2]


def test_the_header_is_read_without_the_rows() -> None:
    """A shipper needs it of every batch; what is behind the schema is for the processor to judge."""
    rows = [{**link(number), "subject": hashlib.sha256(str(number).encode()).hexdigest()} for number in range(batch.MAX_ROWS)]
    data = sealed(rows)
    assert batch.read_header(data[: len(data) // 2], "here") == batch.decode(data, "here")[0]
    for damaged in (data[:40], b"x" + data[1:], zstandard.compress(b"x" * 100), zstandard.compress(bytes(batch.MAX_STREAM_BYTES + 1))):
        with pytest.raises(BatchError):
            batch.read_header(damaged, "there")


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_nothing_may_follow_a_frame(checksum: bool, size: int) -> None:
    """Not even what a decompressor passes over in silence: a digest names exactly what was sealed."""
    table = _opened().replace_schema_metadata({**_opened().schema.metadata, b"padding": b"x" * size})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    whole = zstandard.ZstdCompressor(write_checksum=checksum, level=1).compress(sink.getvalue())
    assert batch.decode(whole, "here")[1].num_rows == 20
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    for data in (whole + zstandard.compress(b""), whole + skippable, whole + whole, whole + b"\0", whole[:-1], skippable + whole):
        with pytest.raises(BatchError):
            batch.decode(data, "there")


def test_a_bomb_is_refused_before_it_is_opened() -> None:
    """Neither a frame that states a monstrous size nor Arrow buffers compressed inside it are unpacked."""
    with pytest.raises(BatchError, match="over the limit"):
        batch.decode(zstandard.compress(bytes(batch.MAX_STREAM_BYTES + 1)), "there")
    sink = pa.BufferOutputStream()
    table = _opened()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    assert has_compressed_body(sink.getvalue().to_pybytes())
    with pytest.raises(BatchError, match="compressed"):
        batch.decode(zstandard.compress(sink.getvalue()), "there")
