"""Rows for people and programs: table, json, jsonl, csv, parquet, md.

Data goes to standard output and messages to standard error. Values are faithful in json, jsonl, csv and parquet (bytes as base64 in the
text forms); table and md are for eyes (``linktrail.drawing``). Times are ISO 8601 UTC everywhere. JSON is ASCII, so that a hostile name
cannot reach a terminal through it. A csv cell begins with whatever the name begins with: import it as text into a spreadsheet.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from linktrail.drawing import Drawing, drawing
from linktrail.errors import UsageError
from linktrail.values import records


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


def write_output(sheets: Iterable[Sheet], form: Format, document: Mapping[str, object], *, stream: TextIO | None = None) -> None:
    """Write ``sheets`` to ``stream`` (standard output), each as it comes; of one name, they are parts of the same rows.

    ``document`` is what json says besides the rows (each sheet is a key of its own) and parquet keeps as metadata. csv, jsonl and
    parquet hold the first sheet alone. Raises ``UsageError`` for parquet on a terminal.
    """
    stream = stream or sys.stdout
    if form is Format.JSON:
        keys: dict[str, list[dict[str, Any]]] = {}
        for sheet in sheets:
            if sheet.rows is not None:
                keys.setdefault(sheet.name, []).extend(records(sheet.rows, sheet.nested))
        stream.write(json.dumps({"schema": 1, **document, **keys}, indent=1) + "\n")
    elif form in {Format.TABLE, Format.MD}:
        _write_for_eyes(sheets, stream, markdown=form is Format.MD)
    else:
        _write_first(sheets, form, document, stream)


def _write_for_eyes(sheets: Iterable[Sheet], stream: TextIO, *, markdown: bool) -> None:
    """Write those that say something: an empty answer is its first header, and what would only go with it is left out.

    Parts of the same rows with the same columns are one table.
    """
    first: Sheet | None = None
    before: Sheet | None = None
    table: Drawing | None = None
    for sheet in sheets:
        first = first or sheet
        if not sheet.shown.num_rows:
            continue
        if table is None or before is None or (before.name, before.shown.schema) != (sheet.name, sheet.shown.schema):
            if table is not None:
                table.end()
                stream.write("\n")
            table = drawing(stream, markdown=markdown)
        table.write(sheet.shown)
        stream.flush()
        before = sheet
    if table is None and first is not None and first.shown.num_columns:
        table = drawing(stream, markdown=markdown)
        table.write(first.shown)
    if table is not None:
        table.end()


def _write_first(sheets: Iterable[Sheet], form: Format, document: Mapping[str, object], stream: TextIO) -> None:
    _, parts = next(groupby(sheets, lambda sheet: sheet.name))
    if form is Format.PARQUET:
        _write_parquet(pa.concat_tables(sheet.rows for sheet in parts), document, stream)
        return
    for number, sheet in enumerate(parts):
        if form is Format.JSONL:
            stream.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in records(sheet.rows, sheet.nested))
        else:
            _write_csv(sheet.rows, stream, header=not number)
        stream.flush()


# --- csv, parquet -----------------------------------------------------------------------------------------------


def _write_csv(rows: pa.Table, stream: TextIO, *, header: bool) -> None:
    if header:
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
