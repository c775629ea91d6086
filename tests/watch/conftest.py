"""Real watchers on real directories."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.watch.deep import FanotifyWatcher
from collector.watch.plain import InotifyWatcher
from linktrail.clock import Clock, SystemClock
from tests.needs import need
from tests.watch.tools import mounted, opened, plan

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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """Return an empty root on a filesystem of its own, so that nobody else's changes pass by."""
    need("root")
    root = tmp_path / "store"
    root.mkdir()
    with mounted(root):
        yield root


@pytest.fixture
def deep(store: Path) -> Iterator[FanotifyWatcher]:
    """Return a watcher of the whole store, draining, with the layer ``store/layer`` planned."""
    (store / "layer" / "diff" / "usr").mkdir(parents=True)
    watcher = opened()
    watcher.cover(plan(store, store, store / "layer"))
    watcher.start()
    yield watcher
    watcher.stop()
