"""Sealed batches: rows of one table on their way from a collector to the lake (spool file = Kafka record value = dead letter).

Format. A batch is one zstd frame (content size and checksum in it) around one whole Arrow IPC stream of exactly the columns
of its table (``linktrail.schema``), one record batch, with the header in the Arrow schema metadata under ``linktrail.*`` keys.
``zstd -d`` and any Arrow reader open it without linktrail; its digest is the SHA-256 of the file, as ``sha256sum`` prints it.

Promises. ``decode(encode(rows))`` gives the rows back. A stored interval always contains the true one: Arrow has microseconds here,
so lower bounds are rounded down and upper bounds up. ``day``, ``cluster``, ``node``, ``run`` and ``seq`` are filled in by sealing, so a row
cannot contradict its batch. Whatever bytes ``decode`` is given, it returns a valid table that agrees with its header, or raises
``BatchError``; it never makes more than ``MAX_STREAM_BYTES`` of them.

A collector only encodes, and that needs nothing of ``pyarrow.compute`` (11 MB of memory): it is loaded by what decodes.

Limits. Up to ``MAX_ROWS`` rows and about ``MAX_BYTES`` before compression, so that a batch fits a Kafka record. A single value
over ``MAX_VALUE_BYTES`` is cut, and says so. Unsigned 64-bit numbers (inodes) from 2^63 on are stored as the signed number of
the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import pyarrow as pa
import zstandard

from linktrail.clock import ceil_microseconds, floor_microseconds
from linktrail.errors import BatchError, NewerSchemaError
from linktrail.events import Row
from linktrail.ipc import has_compressed_body
from linktrail.schema import BYTES, INTEGER, SCHEMA_VERSION, TABLES, TEXT, TIME, Table
from linktrail.text import column_text

MAX_ROWS: Final = 5_000
MAX_BYTES: Final = 4 << 20
MAX_VALUE_BYTES: Final = 1 << 20
MAX_STREAM_BYTES: Final = 128 << 20

_PREFIX: Final = "linktrail."
_NUMBERS: Final = frozenset({"schema_version", "batch", "rows", "first_seq", "last_seq", "sealed_at"})
_SEALED_COLUMNS: Final = frozenset({"cluster", "node", "run", "seq"})
_UPPER_BOUNDS: Final = frozenset({"occurred_before", "since_before"})
_LAST_MOMENT: Final = ((1 << 63) - 1) // 1000  # in microseconds; a clock of nanoseconds ends there, in the year 2262
_ZSTD_LEVEL: Final = 3
_DAY: Final = 86_400_000_000  # in microseconds


@dataclass(frozen=True, slots=True)
class Header:
    """What a batch says about itself. ``batch`` and ``first_seq`` count from 0 in ``run``; ``sealed_at`` is ns UTC.

    ``previous_digest`` is the digest of the batch before it in the run, empty for the first.
    """

    schema_version: int
    cluster: str
    node: str
    run: str
    batch: int
    table: str
    rows: int
    first_seq: int
    last_seq: int
    previous_digest: str
    sealed_at: int

    def metadata(self) -> dict[bytes, bytes]:
        """Return the header as Arrow schema metadata."""
        return {f"{_PREFIX}{field.name}".encode(): str(getattr(self, field.name)).encode() for field in fields(self)}

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes] | None, where: str) -> Self:
        """Read the header from Arrow schema metadata; raises ``BatchError`` or ``NewerSchemaError``."""
        try:
            texts = {key.decode().removeprefix(_PREFIX): value.decode() for key, value in (metadata or {}).items()}
            if (version := _number(texts["schema_version"])) > SCHEMA_VERSION:
                raise NewerSchemaError(where=where, found=version, known=SCHEMA_VERSION)
            values: dict[str, Any] = {
                field.name: _number(texts[field.name]) if field.name in _NUMBERS else texts[field.name] for field in fields(cls)
            }
        except (KeyError, ValueError) as error:
            raise BatchError(where=where, what=f"its header is missing or damaged ({error})") from error
        header = cls(**values)
        if header.table not in TABLES:
            raise BatchError(where=where, what=f"there is no table {header.table}")
        if header.rows < 1 or header.last_seq - header.first_seq + 1 != header.rows or min(header.first_seq, header.batch) < 0:
            raise BatchError(where=where, what="its row numbers contradict its row count")
        return header


def digest(data: bytes) -> str:
    """Return the SHA-256 of sealed bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def columns(table: str, rows: Sequence[Row]) -> pa.Table:
    """Return ``rows`` (times in ns) as Arrow columns of ``table``, without those that only sealing can know.

    Fills ``day`` from ``observed_at``. Raises ``BatchError`` when a row has a column the table has not, lacks one that it must
    have, or holds a value of the wrong type: found where the row is made, not where the batch is sealed.
    """
    definition = _definition(table)
    present: set[str] = set().union(*rows)
    if unknown := present.difference(definition.names):
        raise BatchError(where=f"row of {table}", what=f"unknown columns {', '.join(sorted(unknown))}")
    arrays: dict[str, pa.Array] = {}
    for column in definition.columns:
        if column.name in _SEALED_COLUMNS or column.name == "day":
            continue
        if column.nullable and column.name not in present:
            arrays[column.name] = pa.nulls(len(rows), column.type)
            continue
        values = [row.get(column.name) for row in rows]
        if not column.nullable and None in values:
            raise BatchError(where=f"row of {table}", what=f"{column.name} is missing")
        try:
            arrays[column.name] = _array(column.name, column.type, values)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            raise BatchError(where=f"row of {table}", what=f"{column.name} holds a value of the wrong type ({error})") from error
    arrays["day"] = _days(arrays["observed_at"])
    schema = pa.schema([field for field in definition.arrow() if field.name in arrays])
    return pa.table([arrays[field.name] for field in schema], schema=schema)


def day_of(observed_at: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the UTC day of each timestamp; the lake is partitioned by it."""
    import pyarrow.compute as pc  # noqa: PLC0415 - see above

    return pc.cast(pc.floor_temporal(observed_at, unit="day"), pa.date32())


def encode(
    table: str,
    rows: Sequence[Row] | pa.Table,
    *,
    cluster: str,
    node: str,
    run: str,
    batch: int,
    first_seq: int,
    previous_digest: str,
    sealed_at: int,
) -> bytes:
    """Seal ``rows`` (dictionaries, or what ``columns`` made of them) as batch number ``batch`` of ``run``; raises ``BatchError``."""
    body = (rows if isinstance(rows, pa.Table) else columns(table, rows)).combine_chunks()
    count = body.num_rows
    if not count:
        raise BatchError(where=f"batch of {table}", what="it has no rows")
    cluster, node = column_text(cluster), column_text(node)
    header = Header(SCHEMA_VERSION, cluster, node, run, batch, table, count, first_seq, first_seq + count - 1, previous_digest, sealed_at)
    sealed = {
        "cluster": pa.repeat(pa.scalar(cluster, TEXT), count),
        "node": pa.repeat(pa.scalar(node, TEXT), count),
        "run": pa.repeat(pa.scalar(run, TEXT), count),
        "seq": pa.array(range(first_seq, first_seq + count), INTEGER),
    }
    schema = _definition(table).arrow(header.metadata())
    whole = pa.table([sealed[name] if name in sealed else body.column(name) for name in schema.names], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(whole)
    stream = sink.getvalue()
    if stream.size > MAX_STREAM_BYTES:
        raise BatchError(where=f"batch of {table}", what=f"{stream.size} bytes are over the limit of {MAX_STREAM_BYTES}")
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True, write_content_size=True).compress(stream)


def decode(data: bytes, where: str) -> tuple[Header, pa.Table]:
    """Return header and rows of a sealed batch; ``where`` names it in errors.

    The table has exactly the columns of its definition; those that an older collector did not know are null. Raises ``BatchError``
    for anything that is not a batch, ``NewerSchemaError`` for one that only a newer linktrail can read whole.
    """
    stream = _decompress(data, where)
    try:
        with pa.ipc.open_stream(stream) as reader:
            header = Header.from_metadata(reader.schema.metadata, where)
            _check_schema(reader.schema, header, where)
            if has_compressed_body(stream):
                raise BatchError(where=where, what="its Arrow buffers are compressed, which could hide any size")
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BatchError(where=where, what=f"it is no Arrow stream ({error})") from error
    _check_rows(table, header, where)
    return header, _complete(table, header)


def read_header(data: bytes, where: str) -> Header:
    """Return what a sealed batch says of itself, its rows unchecked. Raises ``BatchError`` and ``NewerSchemaError``."""
    try:
        with pa.ipc.open_stream(_decompress(data, where)) as reader:
            return Header.from_metadata(reader.schema.metadata, where)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BatchError(where=where, what=f"it is no Arrow stream ({error})") from error


def to_rows(table: pa.Table) -> list[Row]:
    """Return the rows of ``table`` as dictionaries with times in nanoseconds, as they were before sealing; nulls are left out."""
    import pyarrow.compute as pc  # noqa: PLC0415 - see above

    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    for name in times:
        table = table.set_column(table.schema.get_field_index(name), name, pc.cast(table.column(name), INTEGER))
    found: list[Row] = []
    for record in table.to_pylist():
        row = {name: value for name, value in record.items() if value is not None}
        row.update({name: row[name] * 1000 for name in times if name in row})
        found.append(row)
    return found


# --- encoding ---------------------------------------------------------------------------------------------------


def _definition(table: str) -> Table:
    if table not in TABLES:
        raise BatchError(where=f"row of {table}", what="there is no such table")
    return TABLES[table]


def _days(observed_at: pa.Array) -> pa.Array:
    """Return what ``day_of`` does."""
    return pa.array([microseconds // _DAY for microseconds in observed_at.view(INTEGER).to_pylist()], pa.int32()).view(pa.date32())


def _array(name: str, kind: pa.DataType, values: list[Any]) -> pa.Array:
    if kind == TIME:
        to_microseconds = ceil_microseconds if name in _UPPER_BOUNDS else floor_microseconds
        return pa.array([None if value is None else to_microseconds(value) for value in values], INTEGER).view(TIME)
    try:
        array = pa.array(values, kind)
    except (pa.ArrowException, UnicodeError, OverflowError):
        array = pa.array([_fitting(value) for value in values], kind)
    if kind in (TEXT, BYTES) and array.nbytes > MAX_VALUE_BYTES:
        array = pa.array([_cut(_fitting(value)) for value in values], kind)
    return array


def _fitting(value: Any) -> Any:  # noqa: ANN401 - whatever a row holds
    """Make the two kinds of value fit that a disk can hold and a column cannot: names that are not UTF-8, unsigned numbers."""
    if isinstance(value, str):
        return column_text(value)
    if isinstance(value, int) and (1 << 63) <= value < (1 << 64):
        return value - (1 << 64)
    return value


def _cut(value: Any) -> Any:  # noqa: ANN401 - text or bytes
    size = len(value.encode()) if isinstance(value, str) else len(value or b"")
    if size <= MAX_VALUE_BYTES:
        return value
    if isinstance(value, str) and value.startswith(("{", "[")):  # a column of JSON must stay JSON
        note = f'{{"omitted_bytes":{size}}}'
        return f"[{note}]" if value.startswith("[") else note
    if isinstance(value, str):
        return f"{value.encode()[: MAX_VALUE_BYTES // 2].decode(errors='ignore')}... ({size} bytes)"
    return value[: MAX_VALUE_BYTES // 2]


# --- decoding ---------------------------------------------------------------------------------------------------


def _number(text: str) -> int:
    value = int(text)
    if not -(1 << 63) <= value < (1 << 63):
        raise ValueError(f"{text} is no 64-bit number")
    return value


def _decompress(data: bytes, where: str) -> bytes:
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            raise BatchError(where=where, what="its frame does not say its size")
        if size > MAX_STREAM_BYTES:
            raise BatchError(where=where, what=f"{size} bytes are over the limit of {MAX_STREAM_BYTES}")
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BatchError(where=where, what=f"it is no whole zstd frame ({error})") from error


def _check_schema(found: pa.Schema, header: Header, where: str) -> None:
    known = TABLES[header.table].arrow()
    for index, field in enumerate(found):
        if index >= len(known):
            version = f"{header.schema_version} and a column {field.name}"
            raise NewerSchemaError(where=where, found=version, known=SCHEMA_VERSION)
        if field.name != known.field(index).name or field.type != known.field(index).type:
            raise BatchError(where=where, what=f"column {index} is not {known.field(index).name}")
    for field in list(known)[len(found) :]:
        if not field.nullable:
            raise BatchError(where=where, what=f"column {field.name} is missing")


def _check_rows(table: pa.Table, header: Header, where: str) -> None:
    import pyarrow.compute as pc  # noqa: PLC0415 - see above

    if table.num_rows != header.rows:
        raise BatchError(where=where, what=f"{table.num_rows} rows, but its header says {header.rows}")
    nullable = {column.name: column.nullable for column in TABLES[header.table].columns}
    for field in table.schema:
        column = table.column(field.name)
        if column.null_count and not nullable[field.name]:
            raise BatchError(where=where, what=f"{field.name} is missing in a row")
        if field.type == TIME and pc.any(pc.greater(pc.abs(pc.shift_right(pc.cast(column, INTEGER), 10)), _LAST_MOMENT >> 10)).as_py():
            raise BatchError(where=where, what=f"{field.name} is a time beyond any clock's")
    expected: Iterable[tuple[str, Any]] = (
        ("cluster", header.cluster),
        ("node", header.node),
        ("run", header.run),
        ("seq", pc.add(pa.arange(0, header.rows), header.first_seq)),
        ("day", day_of(table.column("observed_at"))),
    )
    for name, value in expected:
        found = table.column(name)
        if found.null_count or not pc.all(pc.equal(found, value)).as_py():
            raise BatchError(where=where, what=f"{name} of a row contradicts its header")


def _complete(table: pa.Table, header: Header) -> pa.Table:
    schema = TABLES[header.table].arrow()
    for field in list(schema)[table.num_columns :]:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return pa.table(table.columns, schema=schema)
