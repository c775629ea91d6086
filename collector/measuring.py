"""Measuring without standing in the recorder's way: in processes of its own, large trees shared among them.

``Workers`` starts a process when there is something to measure and ends it after ``IDLE_SECONDS`` without; they are spawned (a fork would
copy locks that other threads hold) and given nothing but the descriptor of a directory, so they open what they were asked for and
nothing else. A tree begins as one part of ``FIRST_ENTRIES``; what that leaves is dealt out in parts of about ``PART_ENTRIES`` to all, until
nothing is left. Tallies of parts add up exactly, hard links included (``collector.measure.Tally``).

Nobody waits: ``outcome`` says ``None`` until the size is known. A process that dies fails the trees it was reading, no others.
``InProcess`` measures at once where it stands, for programs that do nothing else.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from typing import Final, Protocol

from collector.measure import Size, Tally, measure, open_top
from collector.measure_worker import COMMAND, Begin, Done, End, Part

FIRST_ENTRIES: Final = 2_000
PART_ENTRIES: Final = 25_000
IDLE_SECONDS: Final = 30.0
MOST_WORKERS: Final = 2

Way = tuple[str, ...]


class Measurement(Protocol):
    """A tree being measured."""

    def outcome(self) -> Size | OSError | None:
        """Return its size, or why there is none; ``None`` while it is not known yet."""


class Measurer(Protocol):
    """Whoever measures."""

    def begin(self, directory: int, name: str, *, not_after: int) -> Measurement:
        """Begin to measure the tree ``name`` in the open ``directory``; see ``collector.measure.measure``. Raises ``OSError``."""

    def attend(self) -> None:
        """Look after what is under way, and let go of what is not needed: to be called now and then."""

    def close(self) -> None:
        """End what is under way."""


@dataclass(frozen=True, slots=True)
class _Known:
    size: Size

    def outcome(self) -> Size:
        return self.size


class InProcess:
    """Measures at once."""

    def begin(self, directory: int, name: str, *, not_after: int) -> Measurement:
        """Measure. Raises ``OSError``."""
        return _Known(measure(name, directory=directory, not_after=not_after))

    def attend(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is under way."""


@dataclass(slots=True)
class _Tree:
    """One tree: what was counted of it, and how many of its parts are waiting or under way."""

    number: int
    top: int
    not_after: int
    workers: Workers
    tally: Tally = field(default_factory=Tally)
    parts: int = 0
    error: OSError | None = None

    def outcome(self) -> Size | OSError | None:
        """Return what is known."""
        if self.parts:
            self.workers.attend()
        if self.parts:
            return None
        return self.error or self.tally.size()


class _Worker:
    """One process: at most one part at a time, and the trees whose directory it has."""

    def __init__(self, rate: float) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = (sys.executable, "-c", COMMAND, str(theirs.fileno()), str(rate))
            try:
                self.process = subprocess.Popen(
                    command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, process_group=0
                )  # a group of its own: what is typed at our terminal is not for it
            except OSError:
                ours.close()
                raise
        self.connection = Connection(ours.detach())
        self.trees: set[int] = set()
        self.part: Part | None = None

    def give(self, tree: _Tree, part: Part) -> None:
        """Send a part. Raises ``OSError``."""
        if tree.number not in self.trees:
            self.connection.send(Begin(tree.number, tree.not_after))
            send_handle(self.connection, tree.top, None)
            self.trees.add(tree.number)
        self.connection.send(part)
        self.part = part

    def end(self) -> None:
        """Let it go; it ends itself, and is not waited for longer than a moment."""
        self.connection.close()
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:  # in the middle of a part
            self.process.kill()
            self.process.wait()


class Workers:
    """Measures in processes of its own. Not safe for several threads."""

    def __init__(self, *, entries_per_second: float, most: int | None = None) -> None:
        """Read at most ``entries_per_second`` on average, in up to ``most`` processes (two, or one where there is one processor)."""
        self._most = most or min(MOST_WORKERS, os.cpu_count() or 1)
        self._rate = entries_per_second / self._most
        self._workers: list[_Worker] = []
        self._trees: dict[int, _Tree] = {}
        self._waiting: deque[Part] = deque()
        self._number = 0
        self._used = time.monotonic()

    def begin(self, directory: int, name: str, *, not_after: int) -> Measurement:
        """Begin to measure. Raises ``OSError``."""
        self._number += 1
        tree = _Tree(self._number, open_top(name, directory=directory), not_after, self, parts=1)
        self._trees[tree.number] = tree
        self._waiting.append(Part(tree.number, ((),), FIRST_ENTRIES))
        self.attend()
        return tree

    def attend(self, timeout_seconds: float = 0.0) -> None:
        """Take in what the processes have done, and give them more; wait up to ``timeout_seconds`` for the first to have done something."""
        busy = [worker for worker in self._workers if worker.part is not None]
        ready = wait([worker.connection for worker in busy], timeout_seconds) if busy else []
        for worker in [worker for worker in busy if worker.connection in ready]:
            try:
                done: Done = worker.connection.recv()
            except (EOFError, OSError):
                self._lose(worker)
                continue
            self._take(worker, done)
        self._deal()
        self._retire()

    def close(self) -> None:
        """End the processes; what is under way fails."""
        for worker in list(self._workers):
            self._lose(worker)
        for part in self._waiting:
            self._fail(self._trees.get(part.tree), OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))
        self._waiting.clear()

    def _deal(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.part is None), None)
            if idle is None and len(self._workers) < self._most:
                try:
                    idle = _Worker(self._rate)
                except OSError as error:  # no process to be had: tried again when it is measured next
                    if not self._workers:
                        self._fail(self._trees.get(self._waiting.popleft().tree), error)
                    return
                self._workers.append(idle)
            if idle is None:
                return
            part = self._waiting.popleft()
            try:
                idle.give(self._trees[part.tree], part)
            except OSError:
                idle.part = part
                self._lose(idle)

    def _take(self, worker: _Worker, done: Done) -> None:
        worker.part = None
        self._used = time.monotonic()
        tree = self._trees.get(done.tree)
        if tree is None:  # failed meanwhile
            return
        if done.error:
            self._fail(tree, OSError(done.error, os.strerror(done.error)))
            return
        tree.tally.add(done.tally)
        tree.parts -= 1
        for ways in _dealt(done.left, self._most):
            tree.parts += 1
            self._waiting.append(Part(tree.number, ways, PART_ENTRIES))
        if not tree.parts:
            self._close_tree(tree)

    def _fail(self, tree: _Tree | None, error: OSError) -> None:
        if tree is None:
            return
        self._waiting = deque(part for part in self._waiting if part.tree != tree.number)
        tree.parts, tree.error = 0, error
        self._close_tree(tree)

    def _close_tree(self, tree: _Tree) -> None:
        del self._trees[tree.number]
        os.close(tree.top)
        for worker in [worker for worker in self._workers if tree.number in worker.trees]:
            worker.trees.discard(tree.number)
            try:
                worker.connection.send(End(tree.number))
            except OSError:
                self._lose(worker)

    def _lose(self, worker: _Worker) -> None:
        """A process is gone, or is to go: what it was reading has no result."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        worker.end()
        if worker.part is not None:
            self._fail(self._trees.get(worker.part.tree), OSError(errno.ECHILD, "the measuring process ended"))

    def _retire(self) -> None:
        if self._workers and not self._trees and time.monotonic() - self._used > IDLE_SECONDS:
            for worker in list(self._workers):
                self._lose(worker)


def _dealt(ways: tuple[Way, ...], hands: int) -> list[tuple[Way, ...]]:
    """Deal ways out in up to ``hands`` heaps."""
    return [heap for number in range(hands) if (heap := ways[number::hands])]
