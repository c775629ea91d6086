"""What the tests of the watch layer share."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.stores.protocol import Change, Purpose, WatchItem, WatchPlan
from collector.watch.deep import FanotifyWatcher
from collector.watch.interface import Loss, Report, WatchBatch, Watcher
from linktrail.clock import Instant, SystemClock
from linktrail.errors import WatchError

_libc = ctypes.CDLL(None, use_errno=True)
_EXCHANGE = 2
_AT_FDCWD = -100


def plan(root: Path, *directories: Path, purpose: Purpose = Purpose.LAYER) -> WatchPlan:
    """Plan to watch ``directories`` below ``root``."""
    return WatchPlan(root, tuple(WatchItem(directory, purpose) for directory in directories))


def reports_until(watcher: Watcher, enough: Callable[[list[Report]], bool], seconds: float = 10.0) -> list[Report]:
    """Take until ``enough`` holds of all that was taken; fail after ``seconds``."""
    found: list[Report] = []
    deadline = time.monotonic() + seconds
    while not enough(found):
        assert time.monotonic() < deadline, f"not told within {seconds} s; told: {found[-5:]}"
        found += watcher.take(0.1)
    return found


def changes_of(reports: list[Report]) -> list[Change]:
    """Return all changes, in order."""
    return [change for report in reports if isinstance(report, WatchBatch) for change in report.changes]


def losses_of(reports: list[Report]) -> list[Loss]:
    """Return all losses, in order."""
    return [report for report in reports if isinstance(report, Loss)]


def told(watcher: Watcher, directory: Path, seconds: float = 10.0) -> list[Change]:
    """Return every change up to now, without loss: a name made in the watched ``directory`` says when all before it is there."""
    mark = directory / "end-of-test-step"
    mark.mkdir()
    found = reports_until(watcher, lambda reports: any(change.name == mark.name for change in changes_of(reports)), seconds)
    mark.rmdir()
    reports_until(watcher, lambda reports: any(change[1:3] == (mark.name, "removed") for change in changes_of(reports)), seconds)
    assert not losses_of(found), losses_of(found)
    return [change for change in changes_of(found) if change.name != mark.name]


def loss_told(watcher: Watcher, cause: str, seconds: float = 10.0) -> Loss:
    """Return the first loss with this cause."""
    found = reports_until(watcher, lambda reports: any(loss.cause == cause for loss in losses_of(reports)), seconds)
    return next(loss for loss in losses_of(found) if loss.cause == cause)


def quiet(watcher: Watcher, seconds: float = 0.3) -> list[Report]:
    """Return what is told during ``seconds``."""
    found: list[Report] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found += watcher.take(0.05)
    return found


def words(changes: list[Change]) -> list[tuple[str, str]]:
    """Return (name, action) of each change."""
    return [(change.name, change.action) for change in changes]


def exchange(one: Path, other: Path) -> None:
    """Swap two names at once (renameat2, RENAME_EXCHANGE)."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def run(*command: str) -> None:
    """Run a command of the system; its errors are in the failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@contextmanager
def mounted(directory: Path, *options: str) -> Iterator[Path]:
    """Mount a small tmpfs at ``directory`` (root only); gone at the end in any case."""
    run("mount", "-t", "tmpfs", "-o", "size=16m", *options, "tmpfs", str(directory))
    try:
        yield directory
    finally:
        subprocess.run(("umount", "-l", str(directory)), capture_output=True, check=False)


WRITER = """
import os, sys
count, directories = int(sys.argv[1]), [os.open(name, os.O_PATH) for name in sys.argv[2:]]
sys.stdin.readline()
for number in range(count // 2):
    at = directories[number % len(directories)]
    os.symlink("target", f"n{number}", dir_fd=at)
    os.unlink(f"n{number}", dir_fd=at)
"""


@contextmanager
def writer(operations: int, *directories: Path) -> Iterator[Callable[[], None]]:
    """Start another process that makes and removes links at full speed, ``operations`` in all, once the yielded function is called."""
    command = (sys.executable, "-c", WRITER, str(operations), *map(str, directories))
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None

    def go() -> None:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()

    try:
        yield go
        assert process.wait(60) == 0
    finally:
        process.stdin.close()
        process.kill()
        process.wait()


class ShiftedClock(SystemClock):
    """The machine's clocks, which a test can set on."""

    def __init__(self) -> None:
        """Begin with the true time."""
        super().__init__()
        self.wall_shift = 0
        self.both_shift = 0

    def now(self) -> Instant:
        """Return the shifted clocks."""
        true = super().now()
        return Instant(true.wall + self.wall_shift + self.both_shift, true.monotonic + self.both_shift)


def opened() -> FanotifyWatcher:
    """Open a watcher, where the kernel and the sandbox allow it."""
    try:
        return FanotifyWatcher(clock=SystemClock())
    except WatchError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def places(changes: list[Change], root: Path) -> list[tuple[str, str]]:
    """Return (path below the root, action) of each change."""
    return [(str((change.directory / change.name).relative_to(root)), change.action) for change in changes]
