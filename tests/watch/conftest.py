"""Real watchers on real directories."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.watch.plain import InotifyWatcher
from linktrail.clock import Clock, SystemClock
from tests.watch.tools import plan

Start = Callable[..., InotifyWatcher]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory, where there is such a thing: bursts need no disk."""
    shared = Path("/dev/shm")
    if not shared.is_dir():
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(prefix="linktrail-", dir=shared))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a watcher on directories (default: tmp_path alone); all are stopped at the end."""
    started: list[InotifyWatcher] = []

    def start(
        *directories: Path, root: Path = tmp_path, clock: Clock | None = None, drain: bool = True, **options: object
    ) -> InotifyWatcher:
        watcher = InotifyWatcher(clock=clock or SystemClock(), **options)  # type: ignore[arg-type]  # whatever the test wants to set
        started.append(watcher)
        watcher.cover(plan(root, *(directories or (root,))))
        if drain:
            watcher.start()
        return watcher

    yield start
    for watcher in started:
        watcher.stop()
