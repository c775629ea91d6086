"""When the events of one read happened: the watermark rule.

The kernel gives events no time. But what is not yet in the queue at an instant happens after it: before each read the clock is taken,
then the queue is measured (FIONREAD). Once as much has been consumed as was queued then, everything later happened after that instant.
So of data read at position p of the stream: ``after`` is the clock of the latest measurement whose watermark is at or below
p, ``before`` the clock after the read. Under load this stays narrow, where "since the queue was last empty" widens without bound, and
it is true, where "since the previous read" is not: events may wait in the queue across a read.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from linktrail.clock import Instant

LOOK_SECONDS: Final = 0.05
"""How often an idle queue is looked at: an isolated event is bracketed no wider."""
REST_LOOK_SECONDS: Final = 0.2
"""The same once nothing came for ``REST_AFTER`` looks: waking is most of what an idle collector costs."""
REST_AFTER: Final = 200


class Looks:
    """How long to wait for a queue until it is looked at although nothing woke us."""

    __slots__ = ("_seconds", "_silent")

    def __init__(self, seconds: float = LOOK_SECONDS) -> None:
        """Look every so many ``seconds``, at first."""
        self._seconds = seconds
        self._silent = 0

    @property
    def seconds(self) -> float:
        """How long to wait for the next look."""
        return self._seconds if self._silent < REST_AFTER else REST_LOOK_SECONDS

    def looked(self, *, found: bool) -> None:
        """Note that one was made, and whether anything was there."""
        self._silent = 0 if found else self._silent + 1


class Watermark:
    """The lower bound for what is read next. Units are whatever the queue is measured in: bytes, or events."""

    __slots__ = ("_consumed", "_marks", "after")

    def __init__(self, opened: Instant) -> None:
        """Begin with an empty queue, opened at ``opened``."""
        self.after = opened
        self._consumed = 0
        self._marks: deque[tuple[int, Instant]] = deque()

    def measured(self, now: Instant, pending: int) -> None:
        """Note that ``pending`` units were queued just after ``now``."""
        self._marks.append((self._consumed + pending, now))

    def consume(self, units: int) -> Instant:
        """Take ``units`` from the queue; return the instant after which all of them happened."""
        after = self.after
        self._consumed += units
        marks = self._marks
        while marks and marks[0][0] <= self._consumed:
            self.after = marks.popleft()[1]
        return after


def bracket(after: Instant, before: Instant) -> tuple[Instant, Instant]:
    """Return the bounds with walls that hold the time by both settings of the wall clock, if it was set in between."""
    passed = before.monotonic - after.monotonic
    first = min(after.wall, before.wall - passed)
    last = max(before.wall, after.wall + passed)
    return Instant(first, after.monotonic), Instant(last, before.monotonic)
