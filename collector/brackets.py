"""When a change happened, as narrow as was observed and never narrower.

The kernel stamps no event, so all that is known of an event is that it happened between two looks at the queue (``WatchBatch``), and of
a difference between two readings that it arose after the first began and before the second ended. ``Evidence`` holds what the
watch told about one store since its last reading, and says the interval of each difference:

* events on the file that holds the link, watched since before the previous reading: from the first of them to the last of them
* watched only since later: from the previous reading (or the making of the directory it lies in) to the last of them
* no event, but the directory it lies in was made or removed meanwhile: bounded by that on one side
* nothing, or a loss meanwhile: from the beginning of the previous reading to the end of this one

Events that may have come after the reading looked (``before`` later than its start) stay for the next reading too: an interval
then starts earlier than it had to, and is still true. Intervals are in wall time. Where the wall clock was set meanwhile, they hold the
time both as the old and as the new setting has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from collector.differ import OWN_INODE, Action, LinkChange
from collector.links import LinkKind
from linktrail.clock import Instant
from linktrail.events import Interval

SPAN_LIMIT: Final = 200_000
APPEARED: Final = frozenset({"created", "moved_in"})
VANISHED: Final = frozenset({"removed", "moved_out"})
_DIRECTORIES: Final = OWN_INODE - {LinkKind.SHORT_LINK, LinkKind.SYMLINK}


@dataclass(frozen=True, slots=True)
class Reading:
    """One survey, by both clocks: it may have looked at any link at any instant in between."""

    started: Instant
    finished: Instant


def between(after: Instant | None, before: Instant) -> Interval:
    """Return the wall time between two instants of one boot, true for both settings of the clock if it was set in between."""
    if after is None:
        return Interval(None, before.wall)
    passed = before.monotonic - after.monotonic
    return Interval(min(after.wall, before.wall - passed), max(before.wall, after.wall + passed))


def since_wall(after: int | None, before: Instant) -> Interval:
    """Return the wall time between ``after`` (ns UTC, of another run or boot) and now; a clock that went back widens it."""
    if after is None:
        return Interval(None, before.wall)
    return Interval(min(after, before.wall), max(after, before.wall))


@dataclass(slots=True)
class Span:
    """All events on one path since the last reading: the bracket around them, and the first and last action."""

    first: Instant
    last: Instant
    opened: str
    closed: str

    def add(self, action: str, after: Instant, before: Instant) -> None:
        """Take one more event into the bracket."""
        if after.monotonic < self.first.monotonic:
            self.first = after
        if before.monotonic >= self.last.monotonic:
            self.last = before
        self.closed = action


class Evidence:
    """What the watch told about one store since its last reading. Paths are relative to the store root."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._spans: dict[str, Span] = {}
        self._below: dict[str, Span] = {}
        self._held: dict[str, Instant] = {}
        self._lost: Instant | None = None
        self._lost_since: Instant | None = None  # the first of it, where that is known

    @property
    def broken(self) -> bool:
        """Whether events were lost since the last reading: then no event proves the absence of others."""
        return self._lost is not None

    def saw(self, directory: str, name: str, action: str, after: Instant, before: Instant) -> None:
        """Note an event on ``name`` in ``directory`` (``""``: the root; an empty name: the directory itself)."""
        path = f"{directory}/{name}" if directory and name else directory or name
        if len(self._spans) >= SPAN_LIMIT and path not in self._spans:
            self.lost(before)  # bounded memory: without this event the others prove nothing any more
            return
        if action in APPEARED or action in VANISHED:
            self._held.pop(path, None)  # a watch stood on what had this name before
        _note(self._spans, path, action, after, before)
        if name:
            _note(self._below, directory, action, after, before)

    def watching(self, directories: Iterable[str], now: Instant) -> None:
        """State that exactly ``directories`` are watched from ``now`` on; those that already were keep their beginning."""
        self._held = {directory: self._held.get(directory, now) for directory in directories}

    def lost(self, before: Instant, directories: Iterable[str] = (), *, after: Instant | None = None) -> None:
        """State that events may have been lost until ``before`` (and none before ``after``); ``directories`` are not watched any more."""
        if self._lost is None or before.monotonic > self._lost.monotonic:
            self._lost = before
        if after is not None and (self._lost_since is None or after.monotonic < self._lost_since.monotonic):
            self._lost_since = after
        for directory in directories:
            self._held.pop(directory, None)

    def lost_only_after(self, instant: Instant) -> bool:
        """Tell whether events were lost, and for certain only after ``instant``."""
        return self._lost_since is not None and self._lost_since.monotonic >= instant.monotonic

    def interval(self, change: LinkChange, reading: Reading, previous: Instant | None, known: int | None = None) -> tuple[Interval, bool]:
        """Return when ``change``, found by ``reading``, happened, and whether the watch had a part in knowing it.

        ``previous`` is when the reading before it began; before the first reading of a run it is ``None``, and ``known`` the time
        (ns UTC) until which earlier runs vouch, if any did.
        """
        bounds = Bounds(reading, previous, known)
        if self._lost is not None:
            return bounds.interval(None, None), False
        base = change.link.path.partition("#")[0]
        span, watched = self._relevant(change, base)
        if span is None or watched is None:
            upper = self._unmade(base) if change.action is Action.REMOVED else None
            return bounds.interval(self._made(base), upper), False
        if previous is not None and watched.monotonic <= previous.monotonic:
            return bounds.interval(span.first, span.last), True
        last = span.last if span.last.monotonic > watched.monotonic else watched
        return bounds.interval(self._made(base), last), True

    def first_event(self, path: str) -> Instant | None:
        """Return the lower bound of the first event on ``path``, ``None`` when there was none."""
        span = self._spans.get(path.partition("#")[0])
        return None if span is None else span.first

    def last_event(self, path: str) -> Instant | None:
        """Return the upper bound of the last event on ``path``, ``None`` when there was none."""
        span = self._spans.get(path.partition("#")[0])
        return None if span is None else span.last

    def close(self, reading: Reading) -> bool:
        """Forget what ``reading`` has certainly seen; tell whether something is left that it may have missed."""
        begun = reading.started.monotonic
        if self._lost is not None and self._lost.monotonic <= begun:
            self._lost = self._lost_since = None
        for spans in (self._spans, self._below):
            for path in [path for path, span in spans.items() if span.last.monotonic <= begun]:
                del spans[path]
        return bool(self._spans) or self._lost is not None

    def _relevant(self, change: LinkChange, base: str) -> tuple[Span | None, Instant | None]:
        """Return the events that bracket ``change`` and since when they are complete.

        What is said of a directory that stays depends on what is in it, so only a watch on it counts then.
        """
        watched = self._held.get(base.rpartition("/")[0])
        if change.link.kind not in _DIRECTORIES or change.action not in (Action.CHANGED, Action.RETARGETED):
            return self._spans.get(base), watched
        inside = self._held.get(base)
        if inside is None or watched is None:
            return None, None
        return _union(self._spans.get(base), self._below.get(base)), max(watched, inside, key=lambda instant: instant.monotonic)

    def _made(self, path: str) -> Instant | None:
        """Return a time before which no directory stood above ``path``: nothing in it can be older."""
        spans = (self._spans[parent] for parent in _parents(path) if parent in self._spans)
        return next((span.first for span in spans if span.opened in APPEARED), None)

    def _unmade(self, path: str) -> Instant | None:
        """Return a time after which no directory stood above ``path`` any more."""
        spans = (self._spans[parent] for parent in _parents(path) if parent in self._spans)
        return next((span.last for span in spans if span.closed in VANISHED), None)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the readings alone tell, to be narrowed by what is known better."""

    reading: Reading
    previous: Instant | None
    known: int | None

    def interval(self, first: Instant | None, last: Instant | None) -> Interval:
        """Return the time from ``first`` (or the previous reading) to ``last`` (or the end of this one)."""
        after, before = first or self.previous, last or self.reading.finished
        if after is None or after.monotonic > before.monotonic:  # late news of something older than the previous reading
            return since_wall(self.known, before)
        return between(after, before)


def _note(spans: dict[str, Span], path: str, action: str, after: Instant, before: Instant) -> None:
    span = spans.get(path)
    if span is None:
        spans[path] = Span(after, before, action, action)
    else:
        span.add(action, after, before)


def _union(one: Span | None, other: Span | None) -> Span | None:
    if one is None or other is None:
        return one or other
    joined = Span(one.first, one.last, one.opened, other.closed)
    joined.add(other.closed, other.first, other.last)
    return joined


def _parents(path: str) -> Iterator[str]:
    """Yield the directories above ``path``, nearest first."""
    while path := path.rpartition("/")[0]:
        yield path
