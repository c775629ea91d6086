"""Until when everything was told: what the watch says of that holds whatever the load, and while a thread of it stands still."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from pathlib import Path

import pytest

from collector.watch.engine import Engine
from collector.watch.interface import WatchBatch
from tests.watch.conftest import Start
from tests.watch.tools import changes_of, quiet, reports_until, told

WRITING_SECONDS = 4.0


def test_all_that_happened_before_it_was_told(watching: Start, tmp_path: Path) -> None:
    """A writer that makes names without pause: at no time is one untold that was made before the watch calls itself settled."""
    watcher = watching(tmp_path)
    made: list[int] = []  # when each was there
    end = time.monotonic() + WRITING_SECONDS

    def write() -> None:
        while time.monotonic() < end:
            (tmp_path / f"n{len(made)}").mkdir()
            made.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

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


def test_it_goes_on_while_nothing_happens(watching: Start, tmp_path: Path) -> None:
    """An idle watch is settled until a moment ago, which is seen without an event."""
    watcher = watching(tmp_path)
    quiet(watcher, 1.5)
    before = watcher.settled
    quiet(watcher, 1.5)
    assert watcher.settled.monotonic > before.monotonic
    assert time.clock_gettime_ns(time.CLOCK_BOOTTIME) - watcher.settled.monotonic < 5_000_000_000


def test_what_a_thread_that_stands_still_has_not_read_is_not_settled(
    watching: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long ago it happened, and however often one asks; once it is told, the watch is settled again."""
    watcher = watching(tmp_path)
    assert isinstance(watcher, Engine)
    told(watcher, tmp_path)
    going, read = threading.Event(), watcher._source.read

    def stopped(pending: int) -> bytes:
        going.wait(20)
        return read(pending)

    monkeypatch.setattr(watcher._source, "read", stopped)
    happened = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    (tmp_path / "name").mkdir()
    assert not [report for report in quiet(watcher, 2.5) if isinstance(report, WatchBatch)]
    assert watcher.settled.monotonic < happened + 50_000_000  # the look that found it in the queue may have begun just before
    assert watcher.settled.monotonic <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 2_000_000_000
    going.set()
    reports_until(watcher, lambda found: any(change.name == "name" for change in changes_of(found)))
    quiet(watcher, 1.5)
    assert watcher.settled.monotonic > happened + 50_000_000
