"""Deep mode and what is mounted: overlays, several filesystems, unmounts, binds, and roots that are renamed or given up."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from collector.stores.protocol import Change
from collector.watch.deep import FanotifyWatcher
from collector.watch.interface import Cause
from tests.watch.tools import (
    changes_of,
    loss_told,
    mounted,
    opened,
    places,
    plan,
    quiet,
    reports_until,
    run,
    told,
    words,
)


def test_through_a_real_overlay_mount_also_from_another_namespace(deep: FanotifyWatcher, store: Path) -> None:
    """What a container does in its merged view is told in the upper directory: links, whiteouts, copies up, with its process id."""
    lower, upper, work, merged = (store / name for name in ("lower", "upper", "work", "merged"))
    for directory in (lower / "etc", upper, work, merged):
        directory.mkdir(parents=True)
    (lower / "etc" / "removed").write_text("x", encoding="ascii")
    (lower / "etc" / "changed").write_text("x", encoding="ascii")
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", str(merged))
    try:
        told(deep, store)
        script = "ln -s target L; ln -s other .t; mv -fT .t L; rm etc/removed; echo y >> etc/changed; echo $$ > pid"
        run("unshare", "--mount", "sh", "-c", f"cd {merged} && {script}")
        changes = [change for change in told(deep, store) if change.directory in (upper, upper / "etc") and change.action != "attributes"]
        assert ("L", "created") in words(changes)
        assert words(changes).index((".t", "moved_out")) < words(changes).index(("L", "moved_in"))
        assert (upper / "etc", "removed", "moved_in") in [(change.directory, change.name, change.action) for change in changes]
        assert (upper / "etc", "changed") in [(change.directory, change.name) for change in changes]
        assert all(change.pid not in (None, os.getpid()) for change in changes)
        assert not any(change.directory.is_relative_to(merged) for change in changes)
    finally:
        subprocess.run(("umount", "-l", str(merged)), check=False)


def test_an_overlay_mount_itself_is_refused_with_the_reason(store: Path) -> None:
    """Its handles are no use; named as a root it is a loss that says why, and nothing is claimed."""
    for name in ("lower", "upper", "work", "merged"):
        (store / name).mkdir()
    merged = store / "merged"
    run(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        f"lowerdir={store / 'lower'},upperdir={store / 'upper'},workdir={store / 'work'}",
        str(merged),
    )
    watcher = opened()
    try:
        watcher.cover(plan(merged, merged))
        loss = loss_told(watcher, Cause.UNREADABLE)
        assert loss.paths == (merged,)
        assert watcher.covered == frozenset()
    finally:
        watcher.stop()
        subprocess.run(("umount", "-l", str(merged)), check=False)


def test_a_store_on_two_filesystems(deep: FanotifyWatcher, store: Path) -> None:
    """overlay/ on a disk of its own: its filesystem is marked too, and paths go through the mount point."""
    overlay = store / "overlay"
    overlay.mkdir()
    with mounted(overlay):
        (overlay / "l").mkdir()
        deep.cover(plan(store, store, overlay))
        told(deep, store)
        (overlay / "l" / "L").symlink_to("x")
        assert places(told(deep, store), store) == [("overlay/l/L", "created")]


def test_the_mark_does_not_keep_a_filesystem_mounted(store: Path) -> None:
    """No descriptor stays open in the store: an ordinary unmount succeeds while we watch, and its end is stated."""
    watcher = opened()
    watcher.cover(plan(store, store))
    watcher.start()
    try:
        (store / "d").mkdir()
        told(watcher, store)
        run("umount", str(store))
        assert loss_told(watcher, Cause.UNMOUNT).paths == (store,)
        assert watcher.watches == 0
        watcher.cover(plan(store, store))
        (store / "below").mkdir()
        assert ("below", "created") in words(told_with_losses(watcher))
        (store / "below").rmdir()
    finally:
        watcher.stop()


def told_with_losses(watcher: FanotifyWatcher) -> list[Change]:
    """Return changes up to the first, whatever losses are stated meanwhile."""
    return changes_of(reports_until(watcher, lambda found: bool(changes_of(found))))


def test_a_renamed_and_recreated_root(store: Path) -> None:
    """The rename is noticed at once, the old tree is outside then, and the new root is covered again."""
    root = store / "root"
    (root / "a").mkdir(parents=True)
    watcher = opened()
    watcher.cover(plan(root, root))
    watcher.start()
    try:
        told(watcher, root)
        began = time.monotonic()
        root.rename(store / "old")
        assert loss_told(watcher, Cause.ROOT_REPLACED).paths == (root,)
        assert time.monotonic() - began < 0.9, "by the event, not by the next look"
        (store / "old" / "a" / "x").symlink_to("y")
        assert quiet(watcher, 0.2) == []
        (root / "b").mkdir(parents=True)
        watcher.cover(plan(root, root))
        (root / "b" / "z").symlink_to("y")
        reports_until(watcher, lambda found: ("z", "created") in words(changes_of(found)))
    finally:
        watcher.stop()


def test_planned_directories_that_go_are_no_longer_claimed(deep: FanotifyWatcher, store: Path) -> None:
    """Removed, or moved away with what is above them; covering the plan again takes up what is there."""
    (store / "x" / "layer-2").mkdir(parents=True)
    deep.cover(plan(store, store, store / "layer", store / "x" / "layer-2"))
    assert deep.covered == {store, store / "layer", store / "x" / "layer-2"}
    (store / "x").rename(store / "y")
    shutil.rmtree(store / "layer")
    reports_until(deep, lambda _: deep.covered == {store})
    (store / "layer").mkdir()
    deep.cover(plan(store, store, store / "layer"))
    assert deep.covered == {store, store / "layer"}


def test_giving_up_a_root_silences_it(deep: FanotifyWatcher, store: Path) -> None:
    """After ``uncover`` nothing of it is told, and no mark is held."""
    deep.uncover(store)
    (store / "x").mkdir()
    assert quiet(deep) == []
    assert deep.watches == 0


def test_two_roots_that_are_bind_mounts_of_one_filesystem(store: Path, tmp_path: Path) -> None:
    """As in a pod that was given two host directories: each root is seen through its own mount, and both are heard, deep inside too."""
    roots = [tmp_path / "one", tmp_path / "two"]
    watcher = opened()
    try:
        for root in roots:
            root.mkdir()
            (store / root.name / "layer/diff/usr").mkdir(parents=True)
            run("mount", "--bind", str(store / root.name), str(root))
            watcher.cover(plan(root, root, root / "layer"))
        watcher.start()
        for root in roots:
            (root / "layer/diff/usr/L").symlink_to("target")
        expected = {(root / "layer/diff/usr", "L", "created") for root in roots}
        found = {(change.directory, change.name, change.action) for root in roots for change in told(watcher, root)}
        assert expected <= found
    finally:
        watcher.stop()
        for root in roots:
            subprocess.run(("umount", "-l", str(root)), capture_output=True, check=False)
