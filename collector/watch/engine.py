"""What every watcher does, whatever kernel queue it reads: plans, losses, threads.

``take`` is the only place where anything is decoded, so the draining thread never waits for it. Beside the events it looks, once a
second, after the roots (``Guard``), after conditions that last (``Standing``) and after the two threads: a dead one is replaced
on the same kernel queue, which goes on holding what happens meanwhile, and the time of its death is a ``Loss``.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from collector.stores.protocol import Change, WatchPlan
from collector.watch.emitter import Backlog, DrainObserver, Mark, RawRead, Source
from collector.watch.guard import Displaced, Guard, Identity
from collector.watch.interface import Cause, Loss, Report, WatchBatch
from collector.watch.limits import Budget
from collector.watch.standing import RESTATE_SECONDS, Standing
from collector.watch.watches import Outcome
from collector.watch.watermark import Watermark, bracket
from linktrail.clock import NANOSECONDS, Clock, Instant
from linktrail.errors import WatchError

BACKLOG_BYTES: Final = 64 << 20
PORTION_BYTES: Final = 4 << 20
_SLICE_SECONDS: Final = 1.0
_REVIVE_PAUSE: Final = NANOSECONDS // 2
_SOON: Final = 10 * NANOSECONDS
_GONE: Final = (Cause.UNMOUNT, Cause.MOUNT_OVER, Cause.ROOT_REPLACED)
_DOUBTFUL: Final = frozenset({Cause.OVERFLOW, Cause.THREAD_DEATH, Cause.SUSPENDED})


class Engine(ABC):
    """A watcher without its kernel queue. See ``interface.Watcher`` for what is promised."""

    mode: str

    def __init__(
        self,
        *,
        clock: Clock,
        budget: Budget | None = None,
        backlog_bytes: int = BACKLOG_BYTES,
        restate_seconds: float = RESTATE_SECONDS,
    ) -> None:
        """Open the kernel queue. Raises ``WatchError``."""
        self._clock = clock
        self._budget = budget or Budget()
        self._backlog = Backlog(backlog_bytes)
        self._standing = Standing(restate_seconds)
        self._plans: dict[Path, WatchPlan] = {}
        self._doubted: set[Path] = set()
        self._ready: list[Report] = []
        self._observer: DrainObserver | None = None
        self._opened = clock.now()
        self._watermark = Watermark(self._opened)
        self._source = self._opened_source()
        self._guard = Guard(self._opened)
        self._revive_at = 0
        self._heard_until = self._opened
        self._next_mark: Mark | None = None  # what must be taken for more to be told

    @property
    @abstractmethod
    def watches(self) -> int:
        """Number of kernel watches held."""

    @property
    @abstractmethod
    def covered(self) -> frozenset[Path]:
        """The planned directories that are watched now."""

    @property
    def uncovered(self) -> tuple[Path, ...]:
        """The planned directories that are not watched although they should be."""
        return self._standing.paths()

    @property
    def beat(self) -> Instant | None:
        """The last sign of life of the thread that drains the queue; ``None`` while there is none."""
        return None if self._observer is None else self._observer.beat

    @property
    def settled(self) -> Instant:
        """Until when everything that this watch covers has been taken."""
        return min(self._heard_until, self._guard.seen, key=lambda instant: instant.monotonic)

    def start(self) -> None:
        """Begin to drain. Raises ``WatchError`` where no thread can be started."""
        if self._observer is None:
            self._observer = self._launch()

    def cover(self, plan: WatchPlan) -> None:
        """Make the watches below ``plan.root`` equal ``plan``."""
        now = self._clock.now()
        root, verify = plan.root, plan.root in self._doubted
        since = now if root not in self._plans else self._guard.seen
        self._plans[root] = plan
        outcome = self._claim(plan, now, verify=verify)
        if outcome.root is None and not outcome.refused:
            self._release(root)
            self._guard.forget(root)
            if not any(root == path or path in root.parents for path in self._standing.paths(*_GONE)):
                self._ready += self._standing.begin(Cause.ROOT_REPLACED, root, "the root is gone", (root,), since=since, now=now)
            return
        self._doubted.discard(root)
        if outcome.root is not None:
            self._guard.keep(root, outcome.root, (item.path for item in plan.items))
            self._ready += self._standing.end(root, now, *_GONE)
        self._settle(Cause.WATCH_BUDGET, root, outcome.beyond, self._budget_words(plan, outcome), now)
        self._settle(Cause.UNREADABLE, root, [path for path, _ in outcome.refused], _refused_words(outcome), now)

    def uncover(self, root: Path) -> None:
        """Give up all watches of the plan with this root."""
        self._release(root)
        self._guard.forget(root)
        self._plans.pop(root, None)
        self._doubted.discard(root)
        self._ready += self._standing.end(root, self._clock.now())

    def take(self, timeout_seconds: float) -> list[Report]:
        """Return what happened, in order; wait up to ``timeout_seconds`` for the first."""
        reports, self._ready = self._ready, []
        remaining = 0.0 if reports else timeout_seconds
        while True:
            began = self._clock.now().monotonic
            for event in self._backlog.collect(min(remaining, _SLICE_SECONDS), PORTION_BYTES):
                self._add(reports, self._decode(event) if isinstance(event, RawRead) else [event.loss])
            self._add(reports, self._look_around())
            passed = (self._clock.now().monotonic - began) / NANOSECONDS
            remaining -= passed if passed > 0 else _SLICE_SECONDS  # a clock that stands still must not make us wait for ever
            if reports or remaining <= 0:
                self._settle_events()
                return reports

    def stop(self) -> None:
        """End the threads and close the descriptors."""
        if self._observer is not None:
            self._observer.finish()
            self._observer = None
        self._close()
        self._guard.close()

    @abstractmethod
    def _open(self) -> Source:
        """Open the kernel queue. Raises ``OSError``."""

    @abstractmethod
    def _close(self) -> None:
        """Close the kernel queue; twice is no harm."""

    @abstractmethod
    def _claim(self, plan: WatchPlan, now: Instant, *, verify: bool) -> Outcome:
        """Set the watches of ``plan``."""

    @abstractmethod
    def _release(self, path: Path) -> None:
        """Give up the watches at ``path`` and below, and deliver nothing more of them: the path is not true any more."""

    @abstractmethod
    def _identities(self) -> Mapping[Path, Identity]:
        """Return which directory is watched at each path."""

    @abstractmethod
    def _decode(self, raw: RawRead) -> list[Report]:
        """Turn what was read into changes and losses, in order."""

    def _unheard(self) -> Sequence[Path]:
        """Return directories whose filesystem was unmounted although the same may be mounted there again."""
        return ()

    def _overdue(self) -> list[Report]:
        """Return what an earlier read left for later."""
        return []

    def _unfinished(self) -> bool:
        """Tell whether something that was read is left for later."""
        return False

    def _batch(self, changes: list[Change], raw: RawRead) -> list[Report]:
        return [WatchBatch(tuple(changes), raw.after, raw.before)] if changes else []

    def _add(self, reports: list[Report], found: Sequence[Report]) -> None:
        reports += found
        if any(isinstance(report, Loss) and report.cause in _DOUBTFUL for report in found):
            self._doubted |= self._plans.keys()

    def _settle_events(self) -> None:
        """Note until when all events have been taken; where they come faster than they are taken, until when those at hand a while ago."""
        if self._observer is None:
            return
        mark = self._next_mark or self._observer.mark
        if self._backlog.collected < mark.passed or self._unfinished():
            self._next_mark = mark
        else:
            self._heard_until, self._next_mark = mark.until, None

    def _look_around(self) -> list[Report]:
        now = self._clock.now()
        found: list[Report] = [*self._revive(now), *self._overdue()]
        if self._guard.due(now):
            since = self._guard.seen
            for displaced in self._guard.look(now, self._identities):
                found += self._displaced(displaced, now)
            for path in self._unheard() if self._guard.stirred else ():
                found += self._displaced(Displaced(Cause.UNMOUNT, path, "its filesystem was unmounted", since), now)
            found += self._standing.due(now)
        return found

    def _displaced(self, displaced: Displaced, now: Instant) -> list[Loss]:
        path = displaced.path
        self._release(path)
        found = []
        for root in [root for root in self._plans if root == path or root in path.parents]:
            self._doubted.add(root)
            found += self._standing.widen(displaced.cause, root, f"{path}: {displaced.message}", (path,), since=displaced.since, now=now)
        return found

    def _settle(self, cause: Cause, root: Path, paths: Sequence[Path], message: str, now: Instant) -> None:
        if paths:
            self._ready += self._standing.begin(cause, root, message, paths, since=now, now=now)
        else:
            self._ready += self._standing.end(root, now, cause)

    def _budget_words(self, plan: WatchPlan, outcome: Outcome) -> str:
        return f"{len(outcome.beyond)} of {len(plan.items)} directories are beyond the watch budget: {self._budget.words()}"

    def _launch(self) -> DrainObserver:
        observer = DrainObserver(self.mode, source=self._source, watermark=self._watermark, backlog=self._backlog, clock=self._clock)
        try:
            observer.start()
        except (RuntimeError, OSError) as error:
            observer.finish()
            raise WatchError(path=self.mode, what=f"no thread to drain the queue: {error}") from error
        return observer

    def _revive(self, now: Instant) -> list[Report]:
        """Replace dead threads on the same kernel queue, and state since when they may have missed something."""
        observer = self._observer
        ailing = observer.ailing() if observer is not None else None
        if observer is None or ailing is None or now.monotonic < self._revive_at:
            return []
        observer.finish()
        told: list[Report] = []
        again = now.monotonic - self._revive_at < _SOON
        self._revive_at = now.monotonic + _REVIVE_PAUSE
        try:
            if again:  # not the thread is at fault then, but what it reads
                told += self._last_words()
                self._reopen(now)
            self._observer = self._launch()
        except WatchError as error:
            return [*told, Loss(Cause.THREAD_DEATH, f"{ailing}; {error.message}", *bracket(observer.sure, now))]
        return [*told, Loss(Cause.THREAD_DEATH, f"{ailing}; it was started again", *bracket(observer.sure, now))]

    def _last_words(self) -> list[Report]:
        """Return what is left of a kernel queue that is about to be closed: its watch descriptors mean nothing in another one."""
        told: list[Report] = []
        while events := self._backlog.collect(0, PORTION_BYTES):
            for event in events:
                told += self._decode(event) if isinstance(event, RawRead) else [event.loss]
        with contextlib.suppress(OSError):  # it may be what is broken
            while pending := self._source.pending():
                now = self._clock.now()
                self._watermark.measured(now, pending)
                if not (data := self._source.read(pending)):
                    break
                after = self._watermark.consume(self._source.units(data))
                told += self._decode(RawRead(self.mode, data, *bracket(after, self._clock.now())))
        return told

    def _reopen(self, now: Instant) -> None:
        """Begin anew with another kernel queue. Raises ``WatchError``."""
        self._close()
        self._watermark = Watermark(now)
        self._source = self._opened_source()
        for plan in list(self._plans.values()):
            self._guard.forget(plan.root)
            self.cover(plan)

    def _opened_source(self) -> Source:
        try:
            return self._open()
        except OSError as error:
            raise WatchError(path=self.mode, what=f"the kernel refuses a queue: {error.strerror} ({self._budget.words()})") from error


def _refused_words(outcome: Outcome) -> str:
    reasons = sorted({reason for _, reason in outcome.refused})
    return f"{len(outcome.refused)} directories may not be watched: {', '.join(reasons)}"
