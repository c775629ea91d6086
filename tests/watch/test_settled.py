"""Until when everything was told: what a watch says of that holds whatever the load, and while a thread of it stands still."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.watch.deep import FanotifyWatcher
from collector.watch.engine import Engine
from collector.watch.interface import WatchBatch
from collector.watch.plain import InotifyWatcher
from collector.watch.probe import FANOTIFY, INOTIFY
from linktrail.clock import SystemClock
from linktrail.errors import WatchError
from tests.needs import need
from tests.watch.tools import changes_of, mounted, plan, quiet, reports_until, told

WRITING_SECONDS = 4.0


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory on a filesystem of its own, so that nobody else's changes pass by."""
    need("root")
    (tmp_path / "root").mkdir()
    with mounted(tmp_path / "root"):
        yield tmp_path / "root"


@pytest.fixture(params=[INOTIFY, FANOTIFY])
def watcher(root: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A watcher of the directory in each mode."""
    kind = InotifyWatcher if request.param == INOTIFY else FanotifyWatcher
    try:
        watcher = kind(clock=SystemClock())
    except WatchError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    watcher.cover(plan(root, root))
    watcher.start()
    yield watcher
    watcher.stop()


def test_all_that_happened_before_it_was_told(watcher: Engine, root: Path) -> None:
    """A writer that makes names without pause: at no time is one untold that was made before the watch calls itself settled."""
    made: list[int] = []  # when each was there
    end = time.monotonic() + WRITING_SECONDS

    def write() -> None:
        while time.monotonic() < end:
            (root / f"n{len(made)}").symlink_to("x")
            made.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            (root / f"n{len(made) - 1}").unlink()

    writer = threading.Thread(target=write)
    writer.start()
    heard, settled, advanced = 0, watcher.settled, 0
    while writer.is_alive() or heard < len(made):
        heard += sum(change.action == "created" for change in changes_of(watcher.take(0.05)))
        advanced += watcher.settled.monotonic > settled.monotonic
        assert watcher.settled.monotonic >= settled.monotonic
        settled = watcher.settled
        assert bisect_left(made, settled.monotonic) <= heard
    writer.join()
    assert advanced > 1


def test_it_goes_on_while_nothing_happens(watcher: Engine) -> None:
    """An idle watch is settled until a moment ago, which is seen without an event."""
    quiet(watcher, 1.5)
    before = watcher.settled
    quiet(watcher, 1.5)
    assert watcher.settled.monotonic > before.monotonic
    assert time.clock_gettime_ns(time.CLOCK_BOOTTIME) - watcher.settled.monotonic < 5_000_000_000


def test_what_a_thread_that_stands_still_has_not_read_is_not_settled(watcher: Engine, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long ago it happened, and however often one asks; once it is told, the watch is settled again."""
    told(watcher, root)
    going, read = threading.Event(), watcher._source.read

    def stopped(pending: int) -> bytes:
        going.wait(20)
        return read(pending)

    monkeypatch.setattr(watcher._source, "read", stopped)
    happened = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    (root / "name").mkdir()
    assert not [report for report in quiet(watcher, 2.5) if isinstance(report, WatchBatch)]
    assert watcher.settled.monotonic < happened + 50_000_000  # the look that found it in the queue may have begun just before
    assert watcher.settled.monotonic <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 2_000_000_000
    going.set()
    reports_until(watcher, lambda found: any(change.name == "name" for change in changes_of(found)))
    quiet(watcher, 1.5)
    assert watcher.settled.monotonic > happened + 50_000_000


def test_what_was_read_and_not_taken_is_not_settled(watcher: Engine, root: Path) -> None:
    """What lies between the threads counts as untold, and so does what is left for later: settled is what was taken whole."""
    told(watcher, root)
    quiet(watcher, 1.2)
    (root / "name").mkdir()
    happened = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    time.sleep(1.5)
    assert watcher.settled.monotonic < happened
    watcher._unfinished = lambda: True  # type: ignore[method-assign]  # as in deep mode, where a place is not found yet
    quiet(watcher, 1.5)
    assert watcher.settled.monotonic < happened
    del watcher._unfinished
    quiet(watcher, 1.5)
    assert watcher.settled.monotonic > happened
