"""Deep mode: every link change below the root, wherever it is made from, with who did it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from collector.stores.protocol import Change, Purpose
from collector.watch.deep import FanotifyWatcher
from collector.watch.interface import WatchBatch
from collector.watch.limits import read_limits
from tests.watch.test_brackets import TIMED_WRITER
from tests.watch.tools import (
    changes_of,
    exchange,
    losses_of,
    opened,
    places,
    plan,
    quiet,
    reports_until,
    run,
    told,
    words,
    writer,
)


def test_short_lives_and_retargets_deep_inside_a_layer(deep: FanotifyWatcher, store: Path) -> None:
    """What no plan names: made and removed, retargeted both ways, each told as what it is, in order, with one process id."""
    usr = store / "layer" / "diff" / "usr"
    (usr / "L").symlink_to("one")
    (usr / "L").unlink()
    (usr / "L").symlink_to("two")
    (usr / ".t").symlink_to("three")
    (usr / ".t").rename(usr / "L")
    changes = told(deep, store)
    assert [(change.name, change.action) for change in changes] == [
        ("L", "created"),
        ("L", "removed"),
        ("L", "created"),
        (".t", "created"),
        (".t", "moved_out"),
        ("L", "moved_in"),
    ]
    assert {change.directory for change in changes} == {usr}
    assert {change.pid for change in changes} == {os.getpid()}
    assert changes[4].cookie == changes[5].cookie != 0


def test_an_exchange_and_moves_across_the_root(deep: FanotifyWatcher, store: Path) -> None:
    """Each name moves out and in; what crosses the border of the root shows the half that is inside."""
    usr, layer = store / "layer" / "diff" / "usr", store / "layer"
    (usr / "a").symlink_to("1")
    (layer / "b").symlink_to("2")
    told(deep, store)
    exchange(usr / "a", layer / "b")
    changes = told(deep, store)
    assert sorted(places(changes, store)) == [
        ("layer/b", "moved_in"),
        ("layer/b", "moved_out"),
        ("layer/diff/usr/a", "moved_in"),
        ("layer/diff/usr/a", "moved_out"),
    ]
    assert len({change.cookie for change in changes}) == 2


def test_only_what_is_below_the_root_is_told(store: Path) -> None:
    """The mark hears the whole filesystem; outside stays outside, also a neighbour whose name begins like the root's."""
    root, neighbour, other = store / "root", store / "root-not", store / "other"
    for directory in (root, neighbour / "deep", other):
        directory.mkdir(parents=True)
    watcher = opened()
    watcher.cover(plan(root, root))
    watcher.start()
    try:
        (neighbour / "deep" / "x").symlink_to("y")
        (other / "d").mkdir()
        (other / "d" / "tree").mkdir()
        (other / "d" / "tree" / "f").symlink_to("y")
        (other / "d").rename(root / "d")
        (root / "d" / "tree" / "inside").symlink_to("y")
        (root / "d").rename(other / "back")
        (other / "back" / "tree" / "outside").symlink_to("y")
        (other / "f").symlink_to("y")
        (other / "f").rename(root / "f")
        (root / "f").rename(other / "g")
        assert places(told(watcher, root), root) == [
            ("d", "moved_in"),
            ("d/tree/inside", "created"),
            ("d", "moved_out"),
            ("f", "moved_in"),
            ("f", "moved_out"),
        ]
    finally:
        watcher.stop()


def test_renamed_directories_keep_every_later_path_true(deep: FanotifyWatcher, store: Path) -> None:
    """Engines make layers aside and move them into place; what happens in them later is told under the new path."""
    staging = store / "staging"
    (staging / "new" / "diff" / "etc").mkdir(parents=True)
    told(deep, store)
    (staging / "new").rename(store / "layer-2")
    (store / "layer-2" / "diff" / "etc" / "L").symlink_to("x")
    assert places(told(deep, store), store) == [("staging/new", "moved_out"), ("layer-2", "moved_in"), ("layer-2/diff/etc/L", "created")]
    (store / "layer-2" / "diff").rename(store / "layer-2" / "gone")
    (store / "layer-2" / "gone" / "etc" / "M").symlink_to("x")
    assert places(told(deep, store), store)[-1] == ("layer-2/gone/etc/M", "created")


def test_a_tree_that_is_removed_before_anything_is_read_is_still_placed(store: Path) -> None:
    """Removal (rm -rf) of directories nobody asked about before: every removal is told under its path, none is lost."""
    expected = []
    for number in range(30):
        deep_inside = store / "layer" / f"d{number}" / "a" / "b"
        deep_inside.mkdir(parents=True)
        (deep_inside / "L").symlink_to("x")
        top = f"layer/d{number}"
        expected += [f"{top}/a/b/L", f"{top}/a/b", f"{top}/a", top]
    watcher = opened()
    watcher.cover(plan(store, store))
    try:
        shutil.rmtree(store / "layer")
        watcher.start()
        changes = told(watcher, store)
        assert sorted(places(changes, store)) == sorted((path, "removed") for path in [*expected, "layer"])
    finally:
        watcher.stop()


def test_directories_made_and_removed_unread_are_told_with_what_was_in_them(store: Path) -> None:
    """A whole short life of a tree, all of it unread: everything in it is placed although nothing of it is left."""
    watcher = opened()
    watcher.cover(plan(store, store))
    try:
        for _ in range(5):
            (store / "t" / "u").mkdir(parents=True)
            (store / "t" / "u" / "L").symlink_to("x")
            shutil.rmtree(store / "t")
        watcher.start()
        changes = told(watcher, store)
        for path in ("t", "t/u", "t/u/L"):
            actions = [action for place, action in places(changes, store) if place == path]
            assert actions == ["created", "removed"] * 5, path
    finally:
        watcher.stop()


@pytest.mark.parametrize(("steps", "look_every"), [(60, 1), (400, 50)])
def test_random_changes_replay_to_what_is_on_the_disk(deep: FanotifyWatcher, store: Path, steps: int, look_every: int) -> None:
    """Random operations with renames of directories: replaying the told changes leads to the tree that is there.

    Looked at after each operation, exactly; looked at now and then, a path may be told under the later name of a directory above it,
    but nothing that is there was not told.
    """
    dice = random.Random(steps)
    top = store / "layer" / "diff"
    names = _tree(store)
    for step in range(steps):
        _one_change(top, step, dice)
        if (step + 1) % look_every == 0:
            changes = told(deep, store)
            assert changes or look_every == 1
            for change in changes:
                names = _replayed(names, change, store)
    there = _tree(store)
    assert names == there if look_every == 1 else names >= there


def _tree(store: Path) -> set[Path]:
    return {path.relative_to(store) for path in store.rglob("*")}


def _one_change(top: Path, step: int, dice: random.Random) -> None:
    everything = list(top.rglob("*"))
    at = dice.choice([top, *[path for path in everything if path.is_dir() and not path.is_symlink()]])
    choice = dice.random()
    if choice < 0.25:
        (at / f"d{step}").mkdir()
    elif choice < 0.6 or not everything:
        (at / f"l{step}").symlink_to("x")
    elif choice < 0.75:
        victim = dice.choice(everything)
        shutil.rmtree(victim) if victim.is_dir() and not victim.is_symlink() else victim.unlink()
    else:
        source = dice.choice(everything)
        if at != source and source not in at.parents:
            source.rename(at / f"m{step}")


def _replayed(names: set[Path], change: Change, store: Path) -> set[Path]:
    path = (change.directory / change.name).relative_to(store)
    if change.action in ("removed", "moved_out"):
        return {name for name in names if name != path and path not in name.parents}
    below = store / path
    moved_tree = change.action == "moved_in" and change.is_directory and below.is_dir()
    return names | {path} | ({inner.relative_to(store) for inner in below.rglob("*")} if moved_tree else set())


def test_link_counts_change_wherever_the_other_name_lies(store: Path) -> None:
    """A file that was there before, one made since: both are told when a link outside the root comes and goes."""
    root, outside = store / "root", store / "outside"
    (root / "layer" / "diff").mkdir(parents=True)
    outside.mkdir()
    old, new = root / "layer" / "diff" / "old", root / "layer" / "diff" / "new"
    old.write_text("x", encoding="ascii")
    (outside / "foreign").write_text("x", encoding="ascii")
    watcher = opened()
    watcher.cover(plan(root, root / "layer"))
    watcher.start()
    try:
        new.write_text("x", encoding="ascii")
        told(watcher, root)
        os.link(outside / "foreign", outside / "foreign-2")
        for file in (old, new):
            os.link(file, outside / "other")
            changes = counts(watcher)
            assert {(change.inode, change.nlink, change.pid) for change in changes} == {(file.stat().st_ino, 2, os.getpid())}
            assert {change.directory for change in changes} <= {file.parent, root / "layer"}
            (outside / "other").unlink()
            assert {(change.inode, change.nlink) for change in counts(watcher)} == {(file.stat().st_ino, 1)}
        os.link(outside / "foreign", outside / "foreign-3")
        assert quiet(watcher) == [], "a file without a name inside is no news"
    finally:
        watcher.stop()


def counts(watcher: FanotifyWatcher) -> list[Change]:
    """Return the changes of link counts that come, once there are some."""
    reports = reports_until(watcher, lambda found: any(change.nlink for change in changes_of(found))) + quiet(watcher, 0.15)
    assert not losses_of(reports)
    return [change for change in changes_of(reports) if change.action == "attributes"]


def test_a_name_outside_the_cache_is_found_by_the_index(store: Path) -> None:
    """Seen only under its outside name: that it has a name in a layer too, the index of the layers knows."""
    root, outside = store / "root", store / "outside"
    (root / "layer").mkdir(parents=True)
    outside.mkdir()
    file = root / "layer" / "f"
    file.write_text("x", encoding="ascii")
    os.link(file, outside / "a")
    run("sh", "-c", "echo 2 > /proc/sys/vm/drop_caches")
    watcher = opened()
    watcher.cover(plan(root, root / "layer"))
    watcher.start()
    try:
        os.link(outside / "a", outside / "b")
        inode = (outside / "a").stat().st_ino
        assert {(change.inode, change.nlink) for change in counts(watcher)} == {(inode, 3)}
    finally:
        watcher.stop()


def test_whiteouts_are_no_news_of_hard_links(deep: FanotifyWatcher, store: Path) -> None:
    """Overlay removes names with links of one character device 0:0: the names are told, its link count is not."""
    diff = store / "layer" / "diff"
    os.mknod(diff / "w", 0o020000, 0)
    told(deep, store)
    os.link(diff / "w", diff / "w2")
    os.link(diff / "w", store / "layer" / "w3")
    assert places(told(deep, store), store) == [("layer/diff/w2", "created"), ("layer/w3", "created")]
    assert quiet(deep) == []


def test_modes_and_times_inside_layers_are_no_news(deep: FanotifyWatcher, store: Path) -> None:
    """Only links count there; in a planned directory attributes are told."""
    file = store / "layer" / "diff" / "usr" / "f"
    file.write_text("x", encoding="ascii")
    (store / "layer" / "link").write_text("x", encoding="ascii")
    told(deep, store)
    file.chmod(0o600)
    os.utime(file)
    (store / "layer" / "link").chmod(0o600)
    assert places(told(deep, store), store) == [("layer/link", "attributes")]


def test_writes_in_planned_directories_are_told(deep: FanotifyWatcher, store: Path) -> None:
    """A metadata file that stays open, and link files written in place; writes inside the layers are not."""
    (store / "meta").mkdir()
    deep.cover(plan(store, store, store / "layer", store / "meta", purpose=Purpose.METADATA))
    with (store / "meta" / "meta.db").open("wb", buffering=0) as file:
        told(deep, store)
        file.write(b"x")
        assert places(told(deep, store), store) == [("meta/meta.db", "modified")]
    with (store / "layer" / "diff" / "big").open("wb", buffering=0) as file:
        told(deep, store)
        file.write(b"x")
        assert told(deep, store) == []


def test_a_burst_beyond_every_default_queue_is_kept(store: Path) -> None:
    """Nobody reads while more happens than an inotify queue holds: with the unlimited queue nothing is lost."""
    for number in range(4):
        (store / f"d{number}").mkdir()
    watcher = opened()
    watcher.cover(plan(store, store))
    operations = read_limits().queued * 2 + 2000
    try:
        with writer(operations, *(store / f"d{number}" for number in range(4))) as go:
            go()
        watcher.start()
        changes = told(watcher, store, 60)
        assert len(changes) == operations
        assert words(changes[:4]) == [("n0", "created"), ("n0", "removed"), ("n1", "created"), ("n1", "removed")]
    finally:
        watcher.stop()


def test_every_change_lies_in_its_bracket(deep: FanotifyWatcher, store: Path, tmp_path: Path) -> None:
    """The watermark counts events here; changes at known times are inside."""
    operations, out = 5_000, tmp_path / "times"
    directory = store / "layer" / "diff"
    command = (sys.executable, "-c", TIMED_WRITER, str(operations), str(directory), str(out), "5")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        reports = reports_until(deep, lambda found: len(changes_of(found)) >= operations, 60)
        assert process.wait(60) == 0
    times = array("q")
    times.frombytes(out.read_bytes())
    checked = 0
    for report in reports:
        assert isinstance(report, WatchBatch)
        for change in report.changes:
            position = 2 * int(change.name[1:]) + (change.action == "removed")
            assert report.after.monotonic <= times[2 * position + 1]
            assert times[2 * position] <= report.before.monotonic
            checked += 1
    assert checked == operations
