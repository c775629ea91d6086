"""Rows on their way from the collector to the lake.

A row is a dictionary keyed by the column names of its table (``linktrail.schema``). Times in it are integers, nanoseconds UTC;
``linktrail.batch`` turns them into microseconds, lower bounds down and upper bounds up. ``day``, ``cluster``, ``node``,
``run`` and ``seq`` are filled in where the batch is sealed, so that a row cannot contradict its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from linktrail.clock import Instant

Row = dict[str, object]


class Origin(StrEnum):
    """How a row is known."""

    WATCH = "watch"
    SURVEY = "survey"
    BASELINE = "baseline"
    IMPORT = "import"
    PROCESSOR = "processor"


@dataclass(frozen=True, slots=True)
class Interval:
    """Something happened after ``after`` (``None``: unknown, before recording began) and before ``before`` (ns UTC)."""

    after: int | None
    before: int


def last_of(intervals: Sequence[Interval]) -> Interval:
    """Return when the last of several things had happened, each of which happened in its interval."""
    known = [interval.after for interval in intervals if interval.after is not None]
    return Interval(max(known, default=None), max(interval.before for interval in intervals))


@dataclass(frozen=True, slots=True)
class Stamp:
    """The time, origin and store columns that all rows of one observation share."""

    interval: Interval
    observed: Instant
    boot_id: str
    origin: Origin
    store_kind: str | None = None
    store_root: str | None = None

    def columns(self) -> Row:
        """Return the common columns this stamp knows."""
        return {
            "occurred_after": self.interval.after,
            "occurred_before": self.interval.before,
            "observed_at": self.observed.wall,
            "monotonic_ns": self.observed.monotonic,
            "boot_id": self.boot_id,
            "origin": self.origin.value,
            "store_kind": self.store_kind,
            "store_root": self.store_root,
        }
