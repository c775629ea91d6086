"""Nothing is missed in silence: every operation is told or lies in a stated loss."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from watchdog.events import FileSystemEvent, FileSystemEventHandler

from collector.watch.emitter import Backlog, DrainEmitter, Mishap, RawRead
from collector.watch.interface import Cause, Loss, WatchBatch
from collector.watch.limits import read_limits
from collector.watch.pulse import Pulse
from linktrail.clock import NANOSECONDS, Instant
from tests.watch.conftest import Start
from tests.watch.tools import ShiftedClock, changes_of, loss_told, losses_of, plan, quiet, reports_until, told, words, writer

MARK = "end-of-test-step"


@pytest.mark.parametrize("operations", [40_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_operations_at_full_speed_are_all_told_or_accounted_for(watching: Start, memory: Path, operations: int) -> None:
    """Full speed from another process into 16 directories: what is not told lies in an overflow; usually all are told."""
    directories = [memory / f"d{number}" for number in range(16)]
    for directory in directories:
        directory.mkdir()
    watcher = watching(*directories, root=memory)
    with writer(operations, *directories) as go:
        go()
        reports = reports_until(watcher, lambda found: bool(losses_of(found)) or len(changes_of(found)) >= operations, 90)
    missing = operations - len(changes_of(reports))
    assert missing == 0 or {loss.cause for loss in losses_of(reports)} == {Cause.OVERFLOW}
    assert missing >= 0, "something was told twice"


def test_the_kernels_overflow_is_a_loss_between_the_bounds_of_its_read(watching: Start, memory: Path) -> None:
    """A queue nobody reads: what fitted is told, then the loss, and what comes later is told again."""
    queued = read_limits().queued
    watcher = watching(root=memory, drain=False)
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for _ in range(queued // 2 + 200):
        (memory / "L").symlink_to("x")
        (memory / "L").unlink()
    ended = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    watcher.start()
    reports = reports_until(watcher, lambda found: bool(losses_of(found)))
    assert len(changes_of(reports)) == queued
    loss = losses_of(reports)[0]
    assert loss.cause is Cause.OVERFLOW
    assert loss.after.monotonic <= began
    assert loss.before.monotonic >= ended
    assert loss.paths == ()
    (memory / "after").mkdir()
    assert words(changes_of(reports_until(watcher, bool))) == [("after", "created")]


def test_after_an_overflow_the_watches_are_checked_anew(watching: Start, memory: Path) -> None:
    """The word that a directory was replaced may be among what was lost; covering the same plan again finds out."""
    layer = memory / "layer"
    layer.mkdir()
    watcher = watching(memory, layer, root=memory, drain=False)
    for _ in range(read_limits().queued // 2 + 50):
        (memory / "L").symlink_to("x")
        (memory / "L").unlink()
    layer.rename(memory / "aside")
    layer.mkdir()
    watcher.start()
    loss_told(watcher, Cause.OVERFLOW)
    watcher.cover(plan(memory, memory, layer))
    (layer / "new").mkdir()
    (memory / "aside" / "old").mkdir()
    changes = [(change.directory, change.name) for change in told(watcher, memory) if change.name in ("new", "old")]
    assert changes == [(layer, "new")]


def test_our_own_queue_is_bounded_and_its_overflow_is_stated(watching: Start, memory: Path) -> None:
    """Nobody takes: memory stays bounded, what was dropped is one loss that spans it, and everything else is told."""
    watcher = watching(root=memory, backlog_bytes=100_000)
    with writer(50_000, memory) as go:
        go()
    (memory / MARK).mkdir()
    time.sleep(0.2)
    assert watcher._backlog._held <= 100_000
    reports = reports_until(watcher, lambda found: bool(losses_of(found)))
    changes = changes_of(reports)
    assert [loss.cause for loss in losses_of(reports)] == [Cause.OVERFLOW]
    assert 0 < len(changes) < 50_000
    assert [change.name for change in changes] == [f"n{number // 2}" for number in range(len(changes))], "a beginning without holes"
    assert watcher._backlog._held == 0
    (memory / "later").mkdir()
    assert words(changes_of(reports_until(watcher, bool))) == [("later", "created")]


def test_the_drained_thread_that_dies_is_stated_and_replaced(watching: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception while draining: quiet in the terminal, loud in the record, and the kernel's queue goes on."""
    watcher = watching()
    (tmp_path / "before").mkdir()
    assert words(told(watcher, tmp_path))[0] == ("before", "created")
    with monkeypatch.context() as patch:
        patch.setattr(DrainEmitter, "queue_events", _explode)
        loss = loss_told(watcher, Cause.THREAD_DEATH)
        (tmp_path / "meanwhile").mkdir()
    assert "draining thread ended" in loss.message
    assert "disk on fire" in loss.message
    assert loss.after.monotonic <= loss.before.monotonic
    reports = reports_until(watcher, lambda found: ("meanwhile", "created") in words(changes_of(found)))
    batch = next(report for report in reports if isinstance(report, WatchBatch))
    assert batch.after.monotonic <= loss.before.monotonic, "it happened before the new thread began, and the bracket says so"


def test_a_queue_that_can_no_longer_be_read_is_replaced(watching: Start, tmp_path: Path) -> None:
    """When the thread dies again at once, the kernel queue itself is opened anew and covered with the same plans."""
    watcher = watching()
    told(watcher, tmp_path)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, watcher._inotify.fd)
    os.close(nothing)
    (tmp_path / "lost").mkdir()
    reports = reports_until(watcher, lambda found: len(losses_of(found)) >= 2)
    assert {loss.cause for loss in losses_of(reports)} == {Cause.THREAD_DEATH}
    assert losses_of(reports)[1].after.monotonic <= losses_of(reports)[0].before.monotonic, "no hole between the two"
    watcher.cover(plan(tmp_path, tmp_path))
    assert watcher.watches == 1
    assert quiet(watcher) == []
    (tmp_path / "found").mkdir()
    assert words(told(watcher, tmp_path)) == [("found", "created")]


def test_a_dispatcher_that_dies_loses_nothing_that_was_read(watching: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that raises kills watchdog's dispatcher; what waits in its queue is handed over, and the death is stated."""
    watcher = watching()
    dispatch = Backlog.dispatch
    deaths = iter([True])

    def fail_once(self: Backlog, event: FileSystemEvent) -> None:
        if isinstance(event, RawRead) and next(deaths, False):
            dispatch(self, event)
            raise RuntimeError("handler broke")
        dispatch(self, event)

    monkeypatch.setattr(Backlog, "dispatch", fail_once)
    for number in range(20):
        (tmp_path / f"d{number}").mkdir()
        time.sleep(0.002)
    reports = reports_until(watcher, lambda found: len(changes_of(found)) == 20 and bool(losses_of(found)))
    assert [change.name for change in changes_of(reports)] == [f"d{number}" for number in range(20)]
    assert [loss.cause for loss in losses_of(reports)] == [Cause.THREAD_DEATH]
    assert "dispatching thread ended" in losses_of(reports)[0].message


def _explode(*_: object) -> None:
    raise OSError(5, "disk on fire")


def test_a_clock_that_is_set_is_stated_and_brackets_hold(watching: Start, tmp_path: Path) -> None:
    """An hour back: the loss spans the wall times that occur twice, and no bracket is inverted."""
    clock = ShiftedClock()
    watcher = watching(clock=clock)
    quiet(watcher, 0.1)
    clock.wall_shift = -3600 * NANOSECONDS
    (tmp_path / "L").symlink_to("x")
    reports = reports_until(watcher, lambda found: bool(losses_of(found)) and bool(changes_of(found)))
    loss = losses_of(reports)[0]
    assert loss.cause is Cause.CLOCK_JUMP
    assert "back by 3600.000 s" in loss.message
    assert loss.before.wall - loss.after.wall >= 3600 * NANOSECONDS
    batch = next(report for report in reports if isinstance(report, WatchBatch))
    assert batch.after.wall <= batch.before.wall


def test_a_stopped_process_says_how_long_it_heard_nothing(watching: Start, tmp_path: Path) -> None:
    """A silence longer than any look: stated, with the changes made meanwhile still told from the kernel's queue."""
    clock = ShiftedClock()
    watcher = watching(clock=clock)
    quiet(watcher, 0.1)
    clock.both_shift = 90 * NANOSECONDS
    loss = loss_told(watcher, Cause.SUSPENDED)
    assert "stood still for 90" in loss.message
    assert loss.before.monotonic - loss.after.monotonic >= 90 * NANOSECONDS
    assert watcher._doubted == {tmp_path}


STOPPED = """
import sys, time
from pathlib import Path
from collector.watch.plain import InotifyWatcher
from linktrail.clock import SystemClock
from tests.watch.tools import changes_of, losses_of, plan
root = Path(sys.argv[1])
watcher = InotifyWatcher(clock=SystemClock())
watcher.cover(plan(root, root))
watcher.start()
print("ready", flush=True)
reports = []
while not changes_of(reports):
    reports += watcher.take(0.1)
print([loss.cause.value for loss in losses_of(reports)], [change.name for change in changes_of(reports)])
"""


@pytest.mark.soak
def test_a_process_that_was_really_stopped(tmp_path: Path) -> None:
    """SIGSTOP for longer than the limit: the silence is stated, and what happened in it is told from the kernel's queue."""
    with subprocess.Popen((sys.executable, "-c", STOPPED, str(tmp_path)), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGSTOP)
        (tmp_path / "L").symlink_to("x")
        time.sleep(6)
        child.send_signal(signal.SIGCONT)
        assert child.stdout.readline() == "['suspended'] ['L']\n"
        assert child.wait(10) == 0


def test_a_healthy_pulse_says_nothing() -> None:
    """Small steps of the clock (slewing) and ordinary delays are no news."""
    pulse = Pulse(Instant(0, 0))
    assert [pulse.beat(Instant(step * 60_000_000 + step * 100, step * 60_000_000)) for step in range(1, 1000)] == [[]] * 999
    assert pulse.beat(Instant(66 * NANOSECONDS, 66 * NANOSECONDS))[0].cause is Cause.SUSPENDED


def test_equal_events_are_different_events() -> None:
    """The queue of watchdog drops an event that equals the last unread one; two reads of the same bytes must not be equal."""
    now = Instant(1, 1)
    one, other = RawRead("p", b"x", now, now), RawRead("p", b"x", now, now)
    assert one != other
    assert len({one, other}) == 2
    loss = Loss(Cause.OVERFLOW, "m", now, now)
    assert Mishap("p", loss) != Mishap("p", loss)


def test_a_stock_handler_is_told_that_the_root_was_modified() -> None:
    """The events fit watchdog's own handlers: they count as a modified directory."""
    heard: list[FileSystemEvent] = []

    class Stock(FileSystemEventHandler):
        def on_modified(self, event: FileSystemEvent) -> None:
            heard.append(event)

    event = RawRead("inotify", b"", Instant(1, 1), Instant(2, 2))
    Stock().dispatch(event)
    assert heard == [event]
    assert event.is_directory


def test_stopping_ends_the_threads_and_closes_every_descriptor(watching: Start, tmp_path: Path) -> None:
    """Twice is no harm; nothing is left behind, and nothing is inherited by children."""
    before, threads = _descriptors(), threading.active_count()
    watcher = watching(tmp_path)
    own = {fd for fd, what in _descriptors().items() if before.get(fd) != what}
    assert len(own) == 3, "the queue, the wake-up and the mount table"
    assert not any(os.get_inheritable(fd) for fd in own)
    watcher.stop()
    watcher.stop()
    assert threading.active_count() == threads
    assert _descriptors() == before


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - a magic link
    return found
