"""``usage_daily``: the samples of every closed day, a line for each thing that was measured.

A file of it is one day whole, and its name says how many rows of ``usage`` it sums up (``sum-of-86400-...``). It is made again when
the day has another number of rows now (late batches, or rows that were stored twice); the log has all these numbers, so nothing is read
for days that did not change. Days that retention took away keep the lines they have.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import date
from typing import Final

import pyarrow as pa

from linktrail.schema import ATTRIBUTION
from processor.derived import USAGE_DAILY
from processor.files import CARRIED_DAY
from processor.lake_table import LakeTable
from processor.table_files import LiveFile
from processor.upkeep.compact import is_closed, once

_NAME: Final = re.compile(r"/sum-of-(\d+)-")
_KEYS: Final = ["cluster", "node", "store_kind", "store_root", "scope", "subject"]
_LAST: Final = ("role", "recorded_bytes", "capacity_bytes", *(column.name for column in ATTRIBUTION))
_AGGREGATES: Final = [
    ("seq", "count", "samples"),
    ("bytes", "first", "first_bytes"),
    ("bytes", "last", "last_bytes"),
    ("bytes", "min", "least_bytes"),
    ("bytes", "max", "most_bytes"),
    ("inodes", "last", "last_inodes"),
    ("available_bytes", "min", "least_available_bytes"),
    *((name, "last", name) for name in _LAST),
]


def roll_up(usage: LakeTable, daily: LakeTable, now: int) -> int:
    """Bring ``daily`` up to date with the closed days of ``usage`` at ``now`` (ns UTC); return how many days were summed up.

    Raises ``FencedError``, ``LakeFullError``, ``LakeError``.
    """
    samples = _by_day(usage)
    summed = _by_day(daily)
    count = 0
    for day in sorted(samples):
        if day == CARRIED_DAY or not is_closed(day, now):
            continue
        before = summed.get(day, [])
        rows = sum(file.rows for file in samples[day])
        if rows != _summed(before):
            found = lines(once(usage.read_files(samples[day])), day)
            daily.rewrite(before, [found], data_change=True, stem=f"sum-of-{rows}")
            count += 1
    return count


def lines(samples: pa.Table, day: date) -> pa.Table:
    """Return the lines of ``usage_daily`` that sum up ``samples`` (rows of ``usage``, each once) of ``day``."""
    ordered = samples.sort_by([("run", "ascending"), ("seq", "ascending")])
    grouped = ordered.group_by(_KEYS, use_threads=False).aggregate([(column, how) for column, how, _ in _AGGREGATES])
    found = {name: grouped.column(name) for name in _KEYS}
    found.update({name: grouped.column(f"{column}_{how}") for column, how, name in _AGGREGATES})
    schema = USAGE_DAILY.arrow()
    found["day"] = pa.repeat(pa.scalar(day, schema.field("day").type), grouped.num_rows)
    return pa.table([found[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def _by_day(table: LakeTable) -> dict[date, list[LiveFile]]:
    days: dict[date, list[LiveFile]] = defaultdict(list)
    for file in table.live_files():
        days[file.day].append(file)
    return days


def _summed(files: list[LiveFile]) -> int:
    """Return how many rows ``files`` sum up, as their names say."""
    return sum(int(match[1]) for file in files if (match := _NAME.search(file.path)))
