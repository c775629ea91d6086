"""The plans of real stores, held by the real watchers."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.stores import driver_for
from collector.watch.probe import FANOTIFY, INOTIFY, choose, probe
from linktrail.clock import SystemClock
from tests.needs import need
from tests.stores import archived, unpack
from tests.watch.tools import told


@pytest.mark.parametrize("mode", [INOTIFY, FANOTIFY])
@pytest.mark.parametrize("name", ["e00_healthy", "cs-podman43-leaky"])
def test_the_plan_of_a_store_is_held_whole_and_its_changes_mean_something(tmp_path: Path, name: str, mode: str) -> None:
    """Every planned directory is watched; a metadata file that is replaced is told to be read again."""
    if not archived(name):
        need("fixtures")
    if mode == FANOTIFY:
        need("root")
        if next(found.refused for found in probe([tmp_path]) if found.name == FANOTIFY):
            pytest.skip("fanotify is refused here")
    root = unpack(name, tmp_path)
    driver = driver_for(root)
    assert driver is not None
    plan = driver.watch_plan(root)
    choice = choose(mode, [root], clock=SystemClock())
    watcher = choice.watcher
    try:
        watcher.cover(plan)
        watcher.start()
        assert watcher.covered == {item.path for item in plan.items}
        assert watcher.uncovered == ()
        metadata = [item.path for item in plan.items if item.purpose == "metadata"]
        for directory in metadata:
            for file in [entry for entry in directory.iterdir() if entry.is_file()]:
                _copy(file).replace(file)
        changes = told(watcher, metadata[0])
        assert {change.directory for change in changes} == set(metadata)
        assert any(driver.interpret(root, change).relevant for change in changes)
    finally:
        watcher.stop()


def _copy(file: Path) -> Path:
    copy = file.with_name(f".tmp-{file.name}")
    copy.write_bytes(file.read_bytes())
    return copy
