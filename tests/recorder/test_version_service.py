"""The process that reads versions: it takes over without a version told twice or left out, and its end is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.version_service import VersionService, _Process
from collector.versions import Version
from linktrail.clock import SystemClock
from tests.recorder.test_versions import FILE, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with the file in it."""
    (tmp_path / FILE).parent.mkdir()
    put(tmp_path, b"first")
    return tmp_path


@pytest.fixture
def service(root: Path) -> Iterator[VersionService]:
    """A started service that follows the file."""
    made = VersionService(SystemClock())
    made.start()
    made.follow(root, [root / FILE], None)
    yield made
    made.stop()


def handed_over(service: VersionService) -> _Process:
    """Wait until the process reads."""
    end = time.monotonic() + 30
    while not service.in_process:
        assert time.monotonic() < end
        service.tend()
        time.sleep(0.01)
    assert service._far is not None
    return service._far


def test_what_is_replaced_while_the_process_takes_over_is_told_once(root: Path, service: VersionService) -> None:
    """A writer that never rests: the contents are told in order, none twice, and those that are missing are counted."""
    found: list[Version] = []
    number = after = 0
    while after < 50:
        number += 1
        put(root, b"%d" % number)
        if number % 7 == 0:
            service.tend()
            found += service.take(root)
        after += service.in_process
        time.sleep(0.002)
    found += service.take(root)
    told = [int(version.data) for version in found if version.data]
    assert told == sorted(set(told))
    assert told[-1] == number
    assert len(told) + sum(version.missed for version in found) == number
    assert len(told) > number // 2


def test_the_end_of_the_process_is_told(root: Path, service: VersionService) -> None:
    """What it had read and not handed over counts as unread, in the time since the last answer; then the thread reads on."""
    process = handed_over(service)
    put(root, b"told")
    assert [version.data for version in service.take(root)] == [b"told"]
    before = SystemClock().now().monotonic
    put(root, b"read by the process alone")
    os.kill(process._process.pid, signal.SIGKILL)
    [unknown] = service.take(root)
    assert (unknown.path, unknown.known, unknown.data) == (FILE, False, None)
    assert unknown.after.monotonic <= before <= unknown.before.monotonic
    assert not service.in_process
    put(root, b"read by the thread")
    assert [(version.data, version.missed) for version in service.take(root)] == [(b"read by the thread", 0)]
    assert process._process.returncode == -signal.SIGKILL


def test_a_process_that_cannot_start_is_done_without(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread goes on, and nothing waits for what does not come."""
    monkeypatch.setattr("collector.version_service.COMMAND", "raise SystemExit(3)")
    service = VersionService(SystemClock())
    service.start()
    try:
        service.follow(root, [root / FILE], None)
        put(root, b"next")
        assert [version.data for version in service.take(root)] == [b"next"]
        assert service._far is not None
        assert service._far._process.wait(20) == 3
        service.tend()
        put(root, b"last")
        assert [version.data for version in service.take(root)] == [b"last"]
        assert not service.in_process
    finally:
        service.stop()
