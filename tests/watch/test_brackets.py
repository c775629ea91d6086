"""A time claimed is a time known: every change lies in its bracket."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.watch.interface import WatchBatch
from collector.watch.watermark import Watermark, bracket
from linktrail.clock import Instant
from tests.watch.conftest import Start
from tests.watch.tools import changes_of, losses_of, reports_until

TIMED_WRITER = """
import array, os, random, sys, time
count, directory, times = int(sys.argv[1]), os.open(sys.argv[2], os.O_PATH), array.array("q")
boot = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
dice = random.Random(int(sys.argv[4]))
sys.stdin.readline()
for number in range(count // 2):
    for act in (lambda: os.symlink("target", f"n{number}", dir_fd=directory), lambda: os.unlink(f"n{number}", dir_fd=directory)):
        if dice.random() < 0.002:
            time.sleep(dice.choice((0.0001, 0.001, 0.01)))
        began = boot()
        act()
        times.extend((began, boot()))
with open(sys.argv[3], "wb") as out:
    times.tofile(out)
"""


@pytest.mark.parametrize("operations", [5_000, 50_000])
def test_every_change_lies_in_its_bracket(watching: Start, memory: Path, operations: int) -> None:
    """Changes at known times, at full speed and with pauses: the announcement of each, made before its call returns, is inside."""
    directory, out = memory / "d", memory / "times"
    directory.mkdir()
    watcher = watching(directory, root=directory)
    command = (sys.executable, "-c", TIMED_WRITER, str(operations), str(directory), str(out), "7")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        reports = reports_until(watcher, lambda found: len(changes_of(found)) >= operations, 180)
        assert process.wait(180) == 0
    assert not losses_of(reports)
    times = array("q")
    times.frombytes(out.read_bytes())
    position, widths = 0, []
    for report in reports:
        assert isinstance(report, WatchBatch)
        assert report.after.wall <= report.before.wall
        for change in report.changes:
            assert change.name == f"n{position // 2}"
            began, ended = times[2 * position], times[2 * position + 1]
            assert report.after.monotonic <= ended, f"operation {position} ended {report.after.monotonic - ended} ns before its bracket"
            assert began <= report.before.monotonic, f"operation {position} began {began - report.before.monotonic} ns after its bracket"
            widths.append(report.before.monotonic - report.after.monotonic)
            position += 1
    assert position == operations
    assert statistics.median(widths) < 250_000_000, "true but useless"


def test_an_isolated_change_is_bracketed_by_the_idle_looks(watching: Start, tmp_path: Path) -> None:
    """After a long quiet the lower bound is recent: idle looks move it on."""
    watcher = watching()
    time.sleep(0.5)
    (tmp_path / "L").symlink_to("x")
    batch = next(report for report in reports_until(watcher, bool) if isinstance(report, WatchBatch))
    assert [change.name for change in batch.changes] == ["L"]
    assert batch.before.monotonic - batch.after.monotonic < 400_000_000


def test_what_was_queued_before_the_threads_started_is_bracketed_from_the_opening(watching: Start, tmp_path: Path) -> None:
    """The lower bound of the first read is when the queue was opened, not when it was first looked at."""
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    watcher = watching(drain=False)
    (tmp_path / "L").symlink_to("x")
    ended = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    time.sleep(0.05)
    watcher.start()
    batch = next(report for report in reports_until(watcher, lambda found: len(changes_of(found)) > 0) if isinstance(report, WatchBatch))
    assert began <= batch.after.monotonic <= ended <= batch.before.monotonic


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 5),  # events before the queue is measured
            st.integers(0, 5),  # events between measuring and reading
            st.integers(0, 12),  # room of the read
        ),
        max_size=60,
    )
)
@settings(max_examples=300, deadline=None)
def test_the_rule_holds_for_every_schedule(steps: list[tuple[int, int, int]]) -> None:
    """A model queue with a clock that ticks at every act: whatever the order of writing, measuring and reading, no event is outside."""
    tick = 0
    queue: list[int] = []
    mark = Watermark(Instant(0, 0))
    for early, late, room in steps:
        for _ in range(early):
            tick += 1
            queue.append(tick)
        tick += 1
        now = Instant(tick, tick)
        tick += 1
        mark.measured(now, len(queue))
        for _ in range(late):
            tick += 1
            queue.append(tick)
        taken, queue = queue[:room], queue[room:]
        lower = mark.consume(len(taken))
        tick += 1
        for happened in taken:
            assert lower.monotonic < happened < tick
        if not queue:
            assert mark.after.monotonic == now.monotonic or late, "an emptied queue moves the bound on"


@given(
    after=st.integers(0, 10**18),
    passed=st.integers(0, 10**15),
    jump=st.integers(-(10**16), 10**16),
)
def test_a_bracket_across_a_set_clock_holds_both_settings(after: int, passed: int, jump: int) -> None:
    """Whatever the wall clock did: the wall bracket is never inverted, and holds the true time by the old and by the new setting."""
    first, last = bracket(Instant(after, 0), Instant(after + passed + jump, passed))
    assert first.wall <= last.wall
    assert first.wall <= after
    assert last.wall >= after + passed  # by the old setting
    assert first.wall <= after + jump  # by the new one
    assert last.wall >= after + passed + jump
    assert (first.monotonic, last.monotonic) == (0, passed)
