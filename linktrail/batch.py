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
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

import pyarrow as pa
import zstandard

from linktrail.batch_columns import MAX_VALUE_BYTES, columns, definition_of
from linktrail.errors import BatchError, NewerSchemaError
from linktrail.events import Row
from linktrail.ipc import has_compressed_body
from linktrail.schema import INTEGER, SCHEMA_VERSION, TABLES, TEXT, TIME
from linktrail.text import column_text

__all__ = [
    "MAX_BYTES",
    "MAX_ROWS",
    "MAX_STREAM_BYTES",
    "MAX_VALUE_BYTES",
    "Header",
    "columns",
    "compress",
    "day_of",
    "decode",
    "digest",
    "encode",
    "read_header",
    "stream_of",
    "to_rows",
]

MAX_ROWS: Final = 5_000
MAX_BYTES: Final = 4 << 20
MAX_STREAM_BYTES: Final = 128 << 20
_MOST_SCHEMA_BYTES: Final = 128 << 10  # a block of zstd; a schema and a header of ours take a twentieth

_PREFIX: Final = "linktrail."
_NUMBERS: Final = frozenset({"schema_version", "batch", "rows", "first_seq", "last_seq", "sealed_at"})
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
    body = rows if isinstance(rows, pa.Table) else columns(table, rows)
    last_seq = first_seq + body.num_rows - 1
    header = Header(SCHEMA_VERSION, cluster, node, run, batch, table, body.num_rows, first_seq, last_seq, previous_digest, sealed_at)
    return compress(stream_of(header, body))


def stream_of(header: Header, rows: pa.Table) -> pa.Buffer:
    """Return ``rows`` (of ``columns``) under ``header`` as the Arrow stream that ``compress`` seals; raises ``BatchError``."""
    header = replace(header, cluster=column_text(header.cluster), node=column_text(header.node))
    body = rows.combine_chunks()
    count = body.num_rows
    if not count:
        raise BatchError(where=f"batch of {header.table}", what="it has no rows")
    sealed = {
        "cluster": pa.repeat(pa.scalar(header.cluster, TEXT), count),
        "node": pa.repeat(pa.scalar(header.node, TEXT), count),
        "run": pa.repeat(pa.scalar(header.run, TEXT), count),
        "seq": pa.arange(header.first_seq, header.first_seq + count),
    }
    schema = definition_of(header.table).arrow(header.metadata())
    whole = pa.table([sealed[name] if name in sealed else body.column(name) for name in schema.names], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(whole)
    stream = sink.getvalue()
    if stream.size > MAX_STREAM_BYTES:
        raise BatchError(where=f"batch of {header.table}", what=f"{stream.size} bytes are over the limit of {MAX_STREAM_BYTES}")
    return stream


def compress(stream: pa.Buffer) -> bytes:
    """Return the sealed bytes of a batch; other threads run meanwhile."""
    sealed: bytes = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True, write_content_size=True).compress(stream)
    return sealed


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
    """Return what a sealed batch says of itself; neither its rows nor the bytes behind its schema are looked at.

    Raises ``BatchError`` and ``NewerSchemaError``.
    """
    _require_size(data, where)
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as plain, pa.ipc.open_stream(plain.read(_MOST_SCHEMA_BYTES)) as reader:
            return Header.from_metadata(reader.schema.metadata, where)
    except (zstandard.ZstdError, pa.ArrowException, OSError, ValueError) as error:
        raise BatchError(where=where, what=f"it does not begin as an Arrow stream in a zstd frame ({error})") from error


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


# --- decoding ---------------------------------------------------------------------------------------------------


def _number(text: str) -> int:
    value = int(text)
    if not -(1 << 63) <= value < (1 << 63):
        raise ValueError(f"{text} is no 64-bit number")
    return value


def _decompress(data: bytes, where: str) -> bytes:
    _require_size(data, where)
    try:
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BatchError(where=where, what=f"it is no whole zstd frame ({error})") from error


def _require_size(data: bytes, where: str) -> None:
    """Refuse a frame that does not say how long its content is, or too long a one, before anything is unpacked."""
    try:
        size = zstandard.get_frame_parameters(data).content_size
    except zstandard.ZstdError as error:
        raise BatchError(where=where, what=f"it is no whole zstd frame ({error})") from error
    if size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        raise BatchError(where=where, what="its frame does not say its size")
    if size > MAX_STREAM_BYTES:
        raise BatchError(where=where, what=f"{size} bytes are over the limit of {MAX_STREAM_BYTES}")


def _check_schema(found: pa.Schema, header: Header, where: str) -> None:
    known = TABLES[header.table].arrow()
    if found.equals(known):
        return
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
    """Check every row, by few passes over whole columns: this is a third of what a batch costs its reader."""
    import pyarrow.compute as pc  # noqa: PLC0415 - see above

    if table.num_rows != header.rows:
        raise BatchError(where=where, what=f"{table.num_rows} rows, but its header says {header.rows}")
    for column, found in zip(TABLES[header.table].columns, table.itercolumns(), strict=False):  # an older collector knew fewer
        if found.null_count and not column.nullable:
            raise BatchError(where=where, what=f"{column.name} is missing in a row")
        if column.type == TIME and any(abs(moment >> 10) > _LAST_MOMENT >> 10 for moment in _bounds(found)):
            raise BatchError(where=where, what=f"{column.name} is a time beyond any clock's")
    expected: Iterable[tuple[str, Any]] = (
        ("cluster", header.cluster),
        ("node", header.node),
        ("run", header.run),
        ("seq", pc.add(pa.arange(0, header.rows), header.first_seq)),
        ("day", _days(table.column("observed_at"))),
    )
    for name, value in expected:
        found = table.column(name)
        if found.null_count or not pc.all(pc.equal(found, value)).as_py():
            raise BatchError(where=where, what=f"{name} of a row contradicts its header")


def _bounds(times: pa.ChunkedArray) -> list[int]:
    """Return the earliest and the latest of some times (us), nothing where all are null."""
    import pyarrow.compute as pc  # noqa: PLC0415 - see above

    return [bound for bound in pc.min_max(times.cast(INTEGER)).as_py().values() if bound is not None]


def _days(observed_at: pa.ChunkedArray) -> pa.Scalar | pa.ChunkedArray:
    """Return the UTC day of these times: one where all are of one, as mostly; the calendar is slow to ask for each."""
    first, last = (bound // _DAY for bound in _bounds(observed_at))
    return pa.scalar(first, pa.int32()).cast(pa.date32()) if first == last else day_of(observed_at)


def _complete(table: pa.Table, header: Header) -> pa.Table:
    schema = TABLES[header.table].arrow()
    bare = table.replace_schema_metadata(None)
    if bare.schema.equals(schema, check_metadata=True):
        return bare
    for field in list(schema)[table.num_columns :]:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return pa.table(table.columns, schema=schema)
