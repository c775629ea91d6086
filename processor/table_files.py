"""Data files of a table as its log names them: the actions that add and remove one, and reading one.

A file has not all columns of its table: its day stands in its path, and columns that were added to the schema later are null.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from linktrail.batch import day_of
from linktrail.durable import FileSystem
from processor.delta_errors import lake_errors
from processor.files import CARRIED_DAY, DataFile
from processor.object_store import parquet_source


@dataclass(frozen=True, slots=True)
class LiveFile:
    """One data file of the table: its path relative to the table, partition, rows, size in bytes, and when it was written (ms UTC)."""

    path: str
    day: date
    rows: int
    size: int
    written: int


def addition(file: DataFile, *, data_change: bool) -> AddAction:
    """Return the action that puts ``file`` into the table."""
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={"day": file.day.isoformat()},
        modification_time=time.time_ns() // 1_000_000,
        data_change=data_change,
        stats=file.statistics,
    )


def removal(file: LiveFile, *, data_change: bool) -> RemoveAction:
    """Return the action that takes ``file`` out of the table."""
    return RemoveAction(
        path=file.path,
        data_change=data_change,
        deletion_timestamp=time.time_ns() // 1_000_000,
        size=file.size,
        partition_values={"day": file.day.isoformat()},
    )


def read_file(filesystem: FileSystem, table: Path, path: str, day: date, wanted: pa.Schema) -> pa.Table:
    """Return the columns ``wanted`` of the file ``path`` of ``table``, with those that it has not itself; raises ``LakeError``."""
    with lake_errors(table, f"reading {path}"), pq.ParquetFile(parquet_source(filesystem, table / path)) as file:
        carried = day == CARRIED_DAY and "day" in wanted.names
        names = {*wanted.names, *(("observed_at",) if carried else ())}
        found = file.read([name for name in file.schema_arrow.names if name in names])
    if carried:
        found = found.append_column("day", day_of(found.column("observed_at")))
    has = set(found.column_names)
    arrays = [found.column(field.name) if field.name in has else _constant(field, day, found.num_rows) for field in wanted]
    return pa.table(arrays, schema=wanted)


def _constant(field: pa.Field, day: date, count: int) -> pa.Array:
    """Return a column that the file itself has not: the day of its path, or one that was added to the schema later."""
    return pa.repeat(pa.scalar(day if field.name == "day" else None, field.type), count)
