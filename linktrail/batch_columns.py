"""From row dictionaries to the Arrow columns of a batch: every row of a collector passes here once, so it is made for speed.

Each column is read out of the rows in one go by C code, where every row has it; where one has not, each is asked. Times come in
nanoseconds and are stored in microseconds: lower bounds are rounded down and upper bounds up.

A collector needs nothing of ``pyarrow.compute`` for this (11 MB of memory).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa

from linktrail.clock import NANOSECONDS
from linktrail.errors import BatchError
from linktrail.events import Row
from linktrail.schema import BYTES, INTEGER, TABLES, TEXT, TIME, Column, Table
from linktrail.text import column_text

MAX_VALUE_BYTES: Final = 1 << 20

_DAY: Final = 86_400 * NANOSECONDS
_SEALED_COLUMNS: Final = frozenset({"cluster", "node", "run", "seq"})
_UPPER_BOUNDS: Final = frozenset({"occurred_before", "since_before"})


def columns(table: str, rows: Sequence[Row]) -> pa.Table:
    """Return ``rows`` (times in ns) as Arrow columns of ``table``, without those that only sealing can know.

    Fills ``day`` from ``observed_at``. Raises ``BatchError`` when a row has a column the table has not, lacks one that it must
    have, or holds a value of the wrong type: found where the row is made, not where the batch is sealed.
    """
    definition = definition_of(table)
    values = _by_column(rows)
    if unknown := values.keys() - set(definition.names):
        raise BatchError(where=f"row of {table}", what=f"unknown columns {', '.join(sorted(unknown))}")
    arrays: dict[str, pa.Array] = {}
    for column in definition.columns:
        if column.name in _SEALED_COLUMNS or column.name == "day":
            continue
        array = _array(table, column, values[column.name]) if column.name in values else pa.nulls(len(rows), column.type)
        if array.null_count and not column.nullable:
            raise BatchError(where=f"row of {table}", what=f"{column.name} is missing")
        arrays[column.name] = array
    arrays["day"] = _days(values.get("observed_at", []))
    schema = pa.schema([field for field in definition.arrow() if field.name in arrays])
    return pa.table([arrays[field.name] for field in schema], schema=schema)


def definition_of(table: str) -> Table:
    """Return what ``table`` is; raises ``BatchError`` where there is none of that name."""
    if table not in TABLES:
        raise BatchError(where=f"row of {table}", what="there is no such table")
    return TABLES[table]


def _by_column(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the values of every name that any row has, ``None`` where a row has it not."""
    if not rows:
        return {}
    try:
        found = {name: list(map(itemgetter(name), rows)) for name in rows[0]}
        if sum(map(len, rows)) == len(found) * len(rows):  # no row has others
            return found
    except KeyError:
        found = {}
    names: set[str] = set().union(*rows)
    return {name: found.get(name) or _values(rows, name) for name in names}


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


def _array(table: str, column: Column, values: list[Any]) -> pa.Array:
    try:
        if _is_one(values):
            return pa.repeat(_converted(column, values[:1])[0], len(values))
        return _converted(column, values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise BatchError(where=f"row of {table}", what=f"{column.name} holds a value of the wrong type ({error})") from error


def _is_one(values: list[Any]) -> bool:
    """Tell whether all are the same, as the store, the origin, the owner and the times of most readings are."""
    first = values[0]
    return (first is None or isinstance(first, str | int)) and first == values[-1] and values.count(first) == len(values)


def _converted(column: Column, values: list[Any]) -> pa.Array:
    if column.type == TIME:
        return pa.array(_microseconds(column.name, values), INTEGER).view(TIME)
    return _fitted(column.type, values)


def _microseconds(name: str, values: list[Any]) -> list[int | None]:
    """Round times in ns so that the stored interval still holds the true one."""
    if name in _UPPER_BOUNDS:
        return [None if value is None else (value + 999) // 1000 for value in values]
    return [None if value is None else value // 1000 for value in values]


def _days(moments: list[int]) -> pa.Array:
    """Return the UTC day of each time (ns), as ``linktrail.batch.day_of`` does; rows of one batch are mostly of one day."""
    if moments and (day := min(moments) // _DAY) == max(moments) // _DAY:
        return pa.repeat(pa.scalar(day, pa.int32()), len(moments)).view(pa.date32())
    return pa.array([moment // _DAY for moment in moments], pa.int32()).view(pa.date32())


def _fitted(kind: pa.DataType, values: list[Any]) -> pa.Array:
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
