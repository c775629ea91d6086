"""A world whose every change is known: a store, a model of the kernel's event queue, and the recorder in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from collector.links import Survey
from collector.settings import Settings
from collector.source import Source
from collector.stores.protocol import Change, Progress
from collector.watch.interface import Cause, Loss, Report, WatchBatch
from linktrail.clock import Clock, Instant
from tests.recorder.playground import short_name
from tests.recorder.support import Rig, ScriptedWatcher, TickingClock

NAMES = [short_name(1000 + number) for number in range(3)]
Truth = tuple[str, int, int]  # action, not before, not after (ns UTC)


class KernelWatcher(ScriptedWatcher):
    """Holds events back until somebody reads the queue, and then knows of them only that they are newer than the last reading of it."""

    def __init__(self, clock: TickingClock) -> None:
        super().__init__(clock)
        self._queue: list[Change] = []
        self._mark = clock.now()

    @property
    def settled(self) -> Instant:
        """Until the queue was last read, while something waits in it."""
        return min(self._mark, super().settled, key=lambda instant: instant.monotonic) if self._queue else super().settled

    def happen(self, change: Change) -> None:
        """Queue an event."""
        self._queue.append(change)

    def read_queue(self) -> None:
        """Do what the draining thread does."""
        before = self.clock.now()
        if self._queue:
            self.reports.append(WatchBatch(tuple(self._queue), self._mark, before))
        self._queue = []
        self._mark = before

    def overflow(self) -> None:
        """Lose what is queued."""
        before = self.clock.now()
        self._queue = []
        self.reports.append(Loss(Cause.OVERFLOW, "overflow", self._mark, before))
        self._mark = before

    def take(self, timeout_seconds: float) -> list[Report]:
        """Tell everything that happened up to now."""
        self.read_queue()
        return super().take(timeout_seconds)


@dataclass
class Interrupted:
    """The real driver, disturbed: ``disturb`` runs while it reads."""

    source: Source
    disturb: Callable[[], None]
    kind: object = field(init=False)

    def __post_init__(self) -> None:
        self.kind = self.source.kind

    def __getattr__(self, name: str) -> object:
        return getattr(self.source.driver, name)

    def survey(self, root: Path, *, clock: Clock) -> Survey:
        """Read, and let things happen between any two parts."""

        def progress(what: str, done: int, total: int) -> None:
            del what, done, total
            self.disturb()

        self.disturb()
        progressing: Progress = progress
        found = self.source.driver.survey(root, clock=clock, progress=progressing)
        self.disturb()
        return found


class World(Rig):
    """A rig in which short links change at known times, with events for it."""

    def __init__(self, where: Path) -> None:
        super().__init__(where, layers=2, settings=Settings(quiet=0.01, max_delay=0.05, drain=0.0, duty=1.0))
        self.truth: dict[str, list[Truth]] = {name: [] for name in NAMES}
        self.during: list[tuple[str, int]] = []
        self._targets = itertools.count()

    def run(self) -> None:
        """Start recording under the model watcher."""
        kernel = KernelWatcher(self.clock)
        self.start(watcher=kernel)
        store = self.recorder.stores[0]
        store.source = Source(Interrupted(self.source, self._disturb), self.store.root)  # type: ignore[arg-type]  # a driver by duck typing

    @property
    def kernel(self) -> KernelWatcher:
        """The model watcher."""
        assert isinstance(self.watcher, KernelWatcher)
        return self.watcher

    def act(self, action: str, number: int) -> None:
        """Do one thing, if it can be done, and note when."""
        name = NAMES[number % len(NAMES)]
        there = (self.store.short_links / name).is_symlink()
        if action == "read queue":
            self.kernel.read_queue()
        elif action == "wait":
            self.clock.advance(0.001 * (1 + number))
        elif action == "step":
            self.recorder.step(0.005 * (1 + number))
        elif action == "make" and not there:
            self._change("created", "created", name, lambda: self.store.link(name, self._target()))
        elif action == "remove" and there:
            self._change("removed", "removed", name, lambda: self.store.unlink(name))
        elif action == "replace" and there:
            self._change("retargeted", "moved_in", name, lambda: self.store.retarget(name, self._target()))

    def _change(self, action: str, event: str, name: str, change: Callable[[], None]) -> None:
        after = self.clock.now()
        change()
        self.kernel.happen(Change(self.store.short_links, name, event, is_directory=False))
        self.truth[name].append((action, after.wall, self.clock.now().wall))

    def _disturb(self) -> None:
        if self.during and self.during[0][0] != "step":
            self.act(*self.during.pop(0))

    def _target(self) -> str:
        return f"../{next(self._targets):064d}/diff"
