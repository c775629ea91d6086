"""What the record says of itself, for one store: start, heartbeat, stop and gaps, as ``coverage`` rows.

A start, heartbeat or stop vouches: before its ``occurred_before`` nothing is missing since the one before it. (It is written later, at
``observed_at``. How far a heartbeat goes is the watch's own account, ``Watcher.settled``, whatever the load.) A gap says that between its
bounds something may be missing, and why. So every minute of a store lies in what a heartbeat vouches for, or in a gap.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from collector.outbox import Outbox
from collector.rows import Statement, coverage_row
from collector.source import Source
from collector.watch.interface import Watcher
from linktrail import __version__
from linktrail.clock import Clock, Instant
from linktrail.events import Interval, Origin, Stamp

DROPPED: Final = {
    "spool-full": "more changed than could be kept while the spool took no rows; links made and removed meanwhile may be missing",
    "event-limit": "more names changed between two readings than can be kept in mind; links made and removed meanwhile may be missing",
}
"""Causes of gaps that the recorder itself makes, because its memory is bounded."""

UNREAD_VERSION: Final = "unread-version"
"""Cause of gaps in which a metadata file was replaced before it was read."""


class Statements:
    """The statements about one store. All raise ``SpoolError``."""

    def __init__(self, source: Source, *, clock: Clock, outbox: Outbox, watcher: Watcher, how: str) -> None:
        """State about ``source``; ``how`` says how it is watched and what that leaves uncovered."""
        self.gaps = 0
        self.by_cause: Counter[str] = Counter()
        self._source = source
        self._clock = clock
        self._outbox = outbox
        self._watcher = watcher
        self._how = how

    def start(self, since: int, now: Instant) -> None:
        """Say that the record is complete from ``since`` (ns UTC) on."""
        message = "; ".join(part for part in (f"linktrail {__version__}", self._how) if part)
        self._watched("start", Interval(since, since), now, message)

    def heartbeat(self, since: int | None, until: int, now: Instant) -> None:
        """Say that nothing is missing between ``since`` and ``until`` (ns UTC; turned round where the clock was set back)."""
        since = until if since is None else since
        self._watched("heartbeat", Interval(min(since, until), max(since, until)), now)

    def stop(self, until: int, now: Instant) -> None:
        """Say that recording ends, complete until ``until`` (ns UTC)."""
        self._watched("stop", Interval(until, until), now, "stopped")

    def gap(self, cause: str, message: str, interval: Interval, now: Instant) -> None:
        """Say that in ``interval`` something may be missing, and why."""
        self.gaps += 1
        self.by_cause[str(cause)] += 1
        name = f"{self._source.name}#{now.monotonic}-{self.gaps}"
        self._say(Statement("gap", cause=str(cause), message=message, gap_id=name), interval, now)

    def _watched(self, kind: str, interval: Interval, now: Instant, message: str | None = None) -> None:
        self._say(Statement(kind, message=message, watches=self._watcher.watches, mode=self._watcher.mode), interval, now)

    def _say(self, statement: Statement, interval: Interval, now: Instant) -> None:
        stamp = Stamp(interval, now, self._clock.boot_id, Origin.SURVEY, self._source.kind, self._source.name)
        self._outbox.state("coverage", [coverage_row(statement, stamp)])
