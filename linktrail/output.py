"""Rows for people and programs: table, json, jsonl, csv, parquet, md.

Data goes to standard output and messages to standard error. Values are faithful in json, jsonl, csv and parquet (bytes as base64 in the
text forms); table and md are for eyes: names from disks are made printable, sizes human-readable, long ids short where the caller says so.
Times are ISO 8601 UTC everywhere. JSON is ASCII, so that a hostile name cannot reach a terminal through it. A csv cell begins with
whatever the name begins with: import it as text into a spreadsheet.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, BinaryIO, Final, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from linktrail.errors import UsageError
from linktrail.sizes import human_bytes
from linktrail.text import printable

_PLAIN_MARKDOWN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:;()/-+=%")
_SEVERITY_STYLES: Final = {"critical": "bold red", "error": "red", "warning": "yellow"}
_CHUNK: Final = 10_000
_PART: Final = 1_000  # rows of a table that are laid out together


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    MD = "md"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows under a name: ``rows`` for programs (``None``: nothing), ``brief`` for eyes, where that has fewer or merged columns.

    ``nested`` columns hold JSON text; json and jsonl show what it says.
    """

    name: str
    rows: pa.Table | None
    brief: pa.Table | None = None
    nested: frozenset[str] = frozenset()

    @property
    def shown(self) -> pa.Table:
        """What table and md show."""
        return self.rows if self.brief is None else self.brief


def write_output(sheets: Sequence[Sheet], form: Format, document: Mapping[str, object], *, stream: TextIO | None = None) -> None:
    """Write ``sheets`` to ``stream`` (standard output).

    ``document`` is what json says besides the rows (each sheet is a key of its own) and parquet keeps as metadata. csv, jsonl and
    parquet hold the first sheet alone. Raises ``UsageError`` for parquet on a terminal.
    """
    stream = stream or sys.stdout
    first = sheets[0]
    if form is Format.JSON:
        keys = {sheet.name: list(records(sheet.rows, sheet.nested)) for sheet in sheets if sheet.rows is not None}
        stream.write(json.dumps({"schema": 1, **document, **keys}, indent=1) + "\n")
    elif form is Format.JSONL:
        for record in records(first.rows, first.nested):
            stream.write(json.dumps(record, separators=(",", ":")) + "\n")
    elif form is Format.CSV:
        _write_csv(first.rows, stream)
    elif form is Format.PARQUET:
        _write_parquet(first.rows, document, stream)
    elif form is Format.MD:
        stream.write("\n".join(_markdown(sheet.shown) for sheet in sheets if _worth_showing(sheet, first)))
    else:
        _write_tables(sheets, stream)


# --- values -----------------------------------------------------------------------------------------------------


def records(rows: pa.Table, nested: Container[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield rows as JSON-able dictionaries; columns in ``nested`` hold JSON text, which is read."""
    for batch in rows.to_batches(max_chunksize=_CHUNK):
        for record in batch.to_pylist():
            yield {name: _parsed(value) if name in nested else plain(value) for name, value in record.items()}


def _parsed(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return what JSON text says; the text itself where it is none (it came from a lake that somebody else wrote)."""
    try:
        return plain(value) if value is None else json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return plain(value)


def plain(value: Any) -> Any:  # noqa: ANN401, PLR0911 - one value of any Arrow type to its JSON form
    """Return ``value`` as JSON has it: times ISO 8601, bytes base64, numbers without a JSON form ``None`` (NaN) or text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return str(value)


def moment(value: datetime) -> str:
    """Return an instant as ISO 8601 UTC with microseconds; one without a zone stays without."""
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{value.microsecond:06d}Z"


def trim_fraction(text: str) -> str:
    """Return an instant of ISO 8601 without the zeros at the end of its fraction, which say nothing to a person."""
    whole, point, fraction = text.partition(".")
    digits = fraction.removesuffix("Z").rstrip("0")
    return text if not point else f"{whole}{'.' + digits if digits else ''}{'Z' if fraction.endswith('Z') else ''}"


def _for_eyes(name: str, value: Any) -> str:  # noqa: ANN401, PLR0911 - one value of any Arrow type
    if value is None:
        return ""
    if isinstance(value, datetime):
        return trim_fraction(moment(value))
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and _is_size(name):
        return human_bytes(float(value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return printable(bytes(value))
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return printable(", ".join(value))
    plainly = plain(value)
    return printable(json.dumps(plainly) if isinstance(plainly, (dict, list)) else plainly)


def _is_size(name: str) -> bool:
    return name == "bytes" or name.endswith("_bytes")


# --- csv, parquet -----------------------------------------------------------------------------------------------


def _write_csv(rows: pa.Table, stream: TextIO) -> None:
    stream.write(",".join(map(_csv_cell, rows.column_names)) + "\n")
    stream.writelines(",".join(map(_csv_cell, record.values())) + "\n" for record in records(rows))


def _csv_cell(value: Any) -> str:  # noqa: ANN401 - one JSON-able value
    """Return one cell by RFC 4180 (Python's writer leaves a lone carriage return bare, which no reader takes)."""
    if value is None:
        return ""
    text = json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)
    return '"' + text.replace('"', '""') + '"' if any(character in text for character in ',"\r\n') else text


def _write_parquet(rows: pa.Table, document: Mapping[str, object], stream: TextIO) -> None:
    if stream.isatty():
        raise UsageError(what="parquet is not for a terminal; redirect it: linktrail ... --format parquet > rows.parquet")
    rows = _storable(rows)
    metadata = {**(rows.schema.metadata or {}), b"linktrail.answer": json.dumps(document).encode()}
    stream.flush()
    binary: BinaryIO = stream.buffer
    buffer = pa.BufferOutputStream()  # a pipe cannot be sought
    pq.write_table(rows.replace_schema_metadata(metadata), buffer, compression="zstd")
    binary.write(buffer.getvalue())
    binary.flush()


def _storable(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with the one type of SQL that Parquet has no form for, intervals, as text."""
    for number, field in enumerate(rows.schema):
        if pa.types.is_interval(field.type):
            texts = [None if value is None else str(value) for value in rows.column(number).to_pylist()]
            rows = rows.set_column(number, field.name, pa.array(texts, pa.string()))
    return rows


# --- for eyes ---------------------------------------------------------------------------------------------------


def _markdown(table: pa.Table) -> str:
    lines = [" | ".join(table.column_names), " | ".join("--:" if _right(field) else "---" for field in table.schema)]
    lines += [" | ".join(cells) for cells in _cells(table, markdown_text)]
    return "".join(f"| {line} |\n" for line in lines)


def markdown_text(text: str) -> str:
    """Put whatever could mean something in Markdown or HTML into a code span, which means nothing."""
    if set(text) <= _PLAIN_MARKDOWN:
        return text
    longest, run = 0, 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def eye_rows(table: pa.Table) -> Iterator[list[str]]:
    """Yield the rows of ``table`` as the texts that a person sees."""
    return _cells(table, str)


def _cells(table: pa.Table, form: Callable[[str], str]) -> Iterator[list[str]]:
    for batch in table.to_batches(max_chunksize=_CHUNK):
        for record in batch.to_pylist():
            yield [form(_for_eyes(name, value)) for name, value in record.items()]


def _worth_showing(sheet: Sheet, first: Sheet) -> bool:
    """An empty answer is shown by its header; what would only go with it is left out."""
    return bool(sheet.shown.num_columns) and (sheet is first or bool(sheet.shown.num_rows))


def _right(field: pa.Field) -> bool:
    kind = field.type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _write_tables(sheets: Sequence[Sheet], stream: TextIO) -> None:
    """Draw tables as wide as the terminal; where the output is none, as wide as they are, so that nothing is cut."""
    for number, sheet in enumerate(sheets):
        if not _worth_showing(sheet, sheets[0]):
            continue
        stream.write("\n" if number else "")
        (_draw if stream.isatty() else _write_plainly)(sheet.shown, stream)


def _write_plainly(table: pa.Table, stream: TextIO) -> None:
    """Write a table part by part, so that a long one begins at once; a column is as wide as its widest cell so far."""
    from rich.cells import cell_len  # noqa: PLC0415 - programs that want json need not wait for it

    right = [_right(field) for field in table.schema]
    rows = [[printable(name).upper() for name in table.column_names]]
    widths = [0] * table.num_columns
    for start in range(0, max(table.num_rows, 1), _PART):
        rows += _cells(table.slice(start, _PART), str)
        lengths = [[cell_len(cell) for cell in cells] for cells in rows]
        widths = [max(known) for known in zip(widths, *lengths, strict=True)]
        for cells, lengths_of in zip(rows, lengths, strict=True):
            spaces = (" " * (width - length) for width, length in zip(widths, lengths_of, strict=True))
            padded = (space + cell if to_right else cell + space for cell, space, to_right in zip(cells, spaces, right, strict=True))
            stream.write("  ".join(padded).rstrip() + "\n")
        rows = []


def _draw(shown: pa.Table, stream: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - programs that want json need not wait for it
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    colour = not os.environ.get("NO_COLOR")
    console = Console(file=stream, no_color=not colour, highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, header_style="bold" if colour else "")
    for field in shown.schema:
        table.add_column(Text(printable(field.name).upper()), justify="right" if _right(field) else "left", overflow="fold")
    for cells in _cells(shown, str):
        styles = (_SEVERITY_STYLES.get(cell, "") if colour else "" for cell in cells)
        table.add_row(*(Text(cell, style=style) for cell, style in zip(cells, styles, strict=True)))
    console.print(table)
