"""A made-up history of a fleet, as a real lake and as a native DuckDB file of the same rows, kept between runs.

The skeleton comes from made_history.sql: layers of 200 nodes that are born, hold links inside and die over 30 days, findings that open,
change and close, size samples, heartbeats, restarts and batches; all of it follows from the number of events. Rows are committed by
``processor.lake_table`` half a day at a time, and ``maintain`` merges the halves into the files that lie there after upkeep. At the
collector's own heartbeat of a minute, statements would be half of 20 million rows; here one stands for ten minutes, and a batch for an
hour of a table.

Kept in the user's cache directory under a key of what made it. ``fresh`` makes it anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from linktrail.clock import NANOSECONDS
from linktrail.durable import LocalFileSystem
from linktrail.schema import TABLES
from linktrail.testing.clock import FakeClock
from processor import files
from processor.lake import Lake
from processor.upkeep import compact
from processor.upkeep.keeper import maintain
from queries.engine import literal
from queries.snapshot import read_lake

EVENTS: Final = 20_000_000
NODES: Final = 200
DAYS: Final = 30
START: Final = 1_792_454_400  # 2026-10-20 00:00 UTC
_LAYERS: Final = 420_000
_BEAT: Final = 600
_SAMPLE: Final = 1_200
_SKELETON: Final = Path(__file__).with_suffix(".sql")


@dataclass(frozen=True, slots=True)
class History:
    """Where the history lies: the lake, and the native file; ``events`` are its rows."""

    lake: Path
    native: Path
    events: int


def made(events: int = EVENTS, *, fresh: bool = False) -> History:
    """Return the history of about ``events`` rows, made now where it is not there yet."""
    place = _cache() / f"queries-{_key(events)}"
    if fresh:
        shutil.rmtree(place, ignore_errors=True)
    if not place.exists():
        unfinished = place.with_name(f"{place.name}.{os.getpid()}")
        try:
            _make(unfinished, events)
            unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    count = sum(_count(place / "lake", name) for name in TABLES)
    return History(place / "lake", place / "native.duckdb", count)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linktrail-bench"


def _key(events: int) -> str:
    source = b"".join(Path(file).read_bytes() for file in (_SKELETON, files.__file__, compact.__file__))
    return hashlib.sha256(f"{events} {version('duckdb')} {version('pyarrow')} ".encode() + source).hexdigest()[:16]


def _make(place: Path, events: int) -> None:
    place.mkdir(parents=True)
    with duckdb.connect(place / "skeleton.duckdb", config={"memory_limit": "6GB", "preserve_insertion_order": "false"}) as connection:
        _say("making the skeleton")
        _skeleton(connection, events)
        _write(connection, place / "lake")
    (place / "skeleton.duckdb").unlink()
    _say("keeping the lake")
    maintain(place / "lake", filesystem=LocalFileSystem(), clock=FakeClock((START + (DAYS + 1) * 86_400) * NANOSECONDS))
    _say("writing the native file")
    _write_native(place)


def _skeleton(connection: Any, events: int) -> None:
    share = EVENTS / events
    sizes = {"layers": round(_LAYERS / share), "nodes": NODES, "beat": round(_BEAT * share), "sample": round(_SAMPLE * share)}
    text = _SKELETON.read_text(encoding="utf-8").replace("$start", f"'{time.strftime('%Y-%m-%d', time.gmtime(START))} 00:00:00+00'")
    for name, value in sizes.items():
        text = text.replace(f"${name}", str(value))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(text)


def _write(connection: Any, path: Path) -> None:
    lake = Lake.open_for_writing(path, filesystem=LocalFileSystem())
    for day in range(DAYS):
        _say(f"writing day {day + 1} of {DAYS}")
        for name, table in lake.tables.items():
            for half, hours in enumerate(("< 12", ">= 12")):
                chosen = f"FROM made_{name} WHERE day_number = {day} AND hour(observed_at) {hours} ORDER BY node, observed_at, seq"
                rows = connection.sql(chosen).to_arrow_table()
                number = 2 * day + half
                table.commit(_shaped(name, rows), {"made": number + 1}, {"made": number or None})


def _shaped(name: str, rows: pa.Table) -> pa.Table:
    schema = TABLES[name].arrow()
    has = set(rows.column_names)
    columns = [rows.column(field.name).cast(field.type) if field.name in has else pa.nulls(rows.num_rows, field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _write_native(place: Path) -> None:
    """Write the rows in the order in which they lie in the lake."""
    found = read_lake(place / "lake")
    with duckdb.connect(place / "native.duckdb", config={"memory_limit": "6GB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in TABLES.items():
            listed = ", ".join(literal(file) for file in sorted(found.tables[name].files))
            columns = ", ".join(table.names)
            rows = f"read_parquet([{listed}], hive_partitioning = true, hive_types = {{'day': DATE}})"
            connection.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM {rows}")  # noqa: S608 - own names, quoted paths
        connection.execute("CHECKPOINT")


def _count(lake: Path, name: str) -> int:
    return sum(file.rows for file in Lake.open_for_writing(lake, filesystem=LocalFileSystem()).tables[name].live_files())


def _say(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")
