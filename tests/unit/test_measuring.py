"""Measuring in processes: the same sizes as in one pass, however the tree is dealt out, and an end that is told."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector import measuring
from collector.measure import Size, Tally, Walk, measure, open_top
from collector.measure_worker import Pace
from collector.measuring import InProcess, Measurement, Workers

FOREVER = (1 << 63) - 1


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def forest(top: Path, *, directories: int, files: int) -> None:
    """Make directories in directories with files, symbolic links and hard links across them."""
    for number in range(directories):
        directory = top / f"{number % 7}" / f"{number % 3}" / str(number)
        directory.mkdir(parents=True)
        for file in range(files):
            (directory / f"file{file}").write_bytes(b"x" * (file * 1000))
        (directory / "link").symlink_to("/etc")
        (directory / "hard").hardlink_to(top / "0/0/0/file1")
    (top.parent / "outside").hardlink_to(top / "0/0/0/file2")


def result(workers: Workers, measurement: Measurement) -> Size | OSError:
    """Wait for the outcome."""
    end = time.monotonic() + 60
    while (found := measurement.outcome()) is None:
        assert time.monotonic() < end
        workers.attend(1.0)
    return found


@contextmanager
def workers(**given_: float) -> Iterator[Workers]:
    """Yield workers, ended afterwards."""
    made = Workers(entries_per_second=given_.get("rate", 0), most=2)
    try:
        yield made
    finally:
        made.close()


def children() -> list[psutil.Process]:
    """Return the measuring processes of this one."""
    return [child for child in psutil.Process().children() if "measure_worker" in " ".join(child.cmdline())]


def descriptors(process: psutil.Process) -> list[str]:
    """Return what the descriptors of a process stand for."""
    found = []
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.fspath(entry.readlink()))
    return found


def test_two_processes_count_what_one_pass_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hard links within, across and outside the parts included."""
    forest(tmp_path / "tree", directories=300, files=3)
    monkeypatch.setattr(measuring, "FIRST_ENTRIES", 50)
    monkeypatch.setattr(measuring, "PART_ENTRIES", 40)
    expected = measure(tmp_path / "tree")
    assert expected.shared_bytes > 0
    with workers() as made, opened(tmp_path) as directory:
        found = [made.begin(directory, "tree", not_after=FOREVER) for _ in range(2)]
        assert [result(made, one) for one in found] == [expected, expected]
        assert len(children()) == 2
        assert all(child.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE for child in children())
        assert all(child.nice() == 19 for child in children())
        end = time.monotonic() + 10
        while any(os.fspath(tmp_path) in held for child in children() for held in descriptors(child)):
            assert time.monotonic() < end, "a process keeps a directory open that it no longer measures"
            time.sleep(0.01)
    assert children() == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limits=st.lists(st.integers(1, 30), min_size=1), order=st.integers())
def test_parts_add_up_whatever_the_cuts_and_their_order(tmp_path_factory: pytest.TempPathFactory, limits: list[int], order: int) -> None:
    """Every cut leaves the rest to others, and no order of adding changes the sum."""
    top = tmp_path_factory.getbasetemp() / "forest"
    if not top.exists():
        forest(top, directories=40, files=3)
    descriptor = open_top(top)
    try:
        waiting: list[tuple[str, ...]] = [()]
        tallies: list[Tally] = []
        while waiting:
            walk = Walk(descriptor, not_after=FOREVER, limit=limits[len(tallies) % len(limits)])
            waiting = walk.run([waiting.pop()]) + waiting
            tallies.append(walk.tally)
    finally:
        os.close(descriptor)
    random.Random(order).shuffle(tallies)
    whole = Tally()
    for tally in tallies:
        whole.add(tally)
    assert whole.size() == measure(top)


def test_a_process_that_dies_fails_its_tree_and_the_next_is_measured(tmp_path: Path) -> None:
    """Killed in the middle: the outcome is an error that says so, never a part of the size."""
    forest(tmp_path / "tree", directories=200, files=5)
    with workers(rate=400.0) as made, opened(tmp_path) as directory:
        measurement = made.begin(directory, "tree", not_after=FOREVER)
        for child in children():
            child.send_signal(signal.SIGKILL)
        found = result(made, measurement)
        assert isinstance(found, OSError)
        assert found.errno == errno.ECHILD
    with workers() as made, opened(tmp_path) as directory:
        assert result(made, made.begin(directory, "tree", not_after=FOREVER)) == measure(tmp_path / "tree")


def test_what_is_under_way_at_the_end_fails(tmp_path: Path) -> None:
    """Closing does not wait for a large tree."""
    forest(tmp_path / "tree", directories=200, files=5)
    made = Workers(entries_per_second=50.0, most=1)
    with opened(tmp_path) as directory:
        measurements = [made.begin(directory, "tree", not_after=FOREVER) for _ in range(2)]
    made.close()
    assert all(isinstance(measurement.outcome(), OSError) for measurement in measurements)
    assert children() == []


def test_idle_processes_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their memory is not kept between two rounds of samples; a later measurement starts new ones."""
    (tmp_path / "tree").mkdir()
    with workers() as made, opened(tmp_path) as directory:
        assert result(made, made.begin(directory, "tree", not_after=FOREVER)) == measure(tmp_path / "tree")
        assert children()
        monkeypatch.setattr(measuring, "IDLE_SECONDS", 0.0)
        made.attend()
        assert children() == []
        assert result(made, made.begin(directory, "tree", not_after=FOREVER)) == measure(tmp_path / "tree")


def test_a_tree_that_is_not_there_or_no_directory(tmp_path: Path) -> None:
    """It is said at once, in both ways of measuring."""
    (tmp_path / "link").symlink_to(tmp_path)
    with workers() as made, opened(tmp_path) as directory:
        for measurer in (made, InProcess()):
            with pytest.raises(FileNotFoundError):
                measurer.begin(directory, "gone", not_after=FOREVER)
            with pytest.raises(NotADirectoryError):
                measurer.begin(directory, "link", not_after=FOREVER)


def test_a_directory_replaced_by_a_link_is_not_entered_by_another_part(tmp_path: Path) -> None:
    """Whoever counts a part opens the way to it step by step, following nothing."""
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree/a/b/file").touch()
    subprocess.run(["mv", str(tmp_path / "tree/a"), str(tmp_path / "moved")], check=True)
    (tmp_path / "tree/a").symlink_to(tmp_path / "moved")
    top = open_top(tmp_path / "tree")
    try:
        walk = Walk(top, not_after=FOREVER)
        assert walk.run([("a", "b")]) == []
    finally:
        os.close(top)
    assert walk.tally.inodes == 0
    assert [problem.path for problem in walk.tally.problems] == ["a/b"]


def test_the_pace_is_kept_on_average() -> None:
    """Half a second's entries take about that long; a little burst is not delayed."""
    pace = Pace(10_000.0)
    began = time.monotonic()
    for _ in range(50):
        pace.seen(100)
    assert time.monotonic() - began >= 0.4
    free = Pace(0)
    free.seen(10**9)
    assert time.monotonic() - began < 30
