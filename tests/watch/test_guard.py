"""A watch that is silent because its path leads elsewhere is stated, and a healthy store's own mounts are no news."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from collector.watch.deep import FanotifyWatcher
from collector.watch.guard import Mounts
from collector.watch.interface import Cause
from collector.watch.plain import InotifyWatcher
from linktrail.clock import SystemClock
from tests.needs import need
from tests.watch.conftest import Start
from tests.watch.tools import loss_told, losses_of, mounted, opened, plan, quiet, run, told, words


def test_a_renamed_root_is_stated_and_what_happens_in_it_is_not_told(watching: Start, tmp_path: Path) -> None:
    """Events of the old directory would carry a false path."""
    root = tmp_path / "store"
    root.mkdir()
    watcher = watching(root, root=root)
    root.rename(tmp_path / "old")
    loss = loss_told(watcher, Cause.ROOT_REPLACED)
    assert loss.paths == (root,)
    assert loss.after.monotonic < loss.before.monotonic
    (tmp_path / "old" / "x").mkdir()
    assert quiet(watcher) == []
    assert watcher.watches == 0
    assert watcher.uncovered == (root,)


def test_a_recreated_root_is_covered_again_and_the_gap_ends(watching: Start, tmp_path: Path) -> None:
    """Removed and made anew: covering the plan again states the end of the gap, without a hole."""
    root = tmp_path / "store"
    root.mkdir()
    watcher = watching(root, root=root)
    root.rmdir()
    first = loss_told(watcher, Cause.ROOT_REPLACED)
    watcher.cover(plan(root, root))
    assert quiet(watcher) == [], "still gone: stated already"
    root.mkdir()
    watcher.cover(plan(root, root))
    last = loss_told(watcher, Cause.ROOT_REPLACED)
    assert last.after.monotonic <= first.before.monotonic <= last.before.monotonic
    assert words(told(watcher, root)) == []
    assert watcher.uncovered == ()


def test_a_root_whose_parent_is_renamed_is_stated(watching: Start, tmp_path: Path) -> None:
    """Nothing happens to the root itself then, and no event tells; the guard looks."""
    root = tmp_path / "lib" / "store"
    root.mkdir(parents=True)
    watcher = watching(root, root=root)
    (tmp_path / "lib").rename(tmp_path / "moved")
    assert loss_told(watcher, Cause.ROOT_REPLACED).paths == (root,)


def test_an_unwatched_directory_between_the_root_and_a_watched_one_is_guarded(watching: Start, tmp_path: Path) -> None:
    """root/a/b with only b watched: when a is replaced, b is another directory."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    watcher = watching(inner)
    (tmp_path / "a").rename(tmp_path / "aside")
    inner.mkdir(parents=True)
    assert loss_told(watcher, Cause.ROOT_REPLACED).paths == (tmp_path / "a",)
    watcher.cover(plan(tmp_path, inner))
    loss_told(watcher, Cause.ROOT_REPLACED)
    (inner / "x").mkdir()
    assert ("x", "created") in words(told(watcher, inner))


def test_an_unmounted_root(watching: Start, tmp_path: Path) -> None:
    """The watch does not keep the filesystem from being unmounted, and its end is stated."""
    need("root")
    with mounted(tmp_path) as root:
        (root / "d").mkdir()
        watcher = watching(root, root / "d")
        run("umount", str(root))
        loss = loss_told(watcher, Cause.UNMOUNT)
        assert loss.paths == (root,)
        assert watcher.watches == 0
        watcher.cover(plan(root, root))
        assert losses_of(watcher.take(1))[0].cause is Cause.UNMOUNT
        assert words(told(watcher, root)) == []


@pytest.mark.parametrize("kind", [InotifyWatcher, FanotifyWatcher])
def test_a_filesystem_that_is_unmounted_and_mounted_again_at_once(tmp_path: Path, kind: type[InotifyWatcher | FanotifyWatcher]) -> None:
    """Same path, same device, same inode, even the same mount id: only the kernel's watch is gone, and that is stated."""
    need("root")
    if kind is FanotifyWatcher:
        opened().stop()
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4 here")
    image, root = tmp_path / "image", tmp_path / "root"
    root.mkdir()
    with image.open("wb") as file:
        file.truncate(4 << 20)
    run("mkfs.ext4", "-q", str(image))
    device = subprocess.run(("losetup", "--find", "--show", str(image)), capture_output=True, text=True, check=False).stdout.strip()
    if not device:
        pytest.skip("no loop devices here")
    watcher = kind(clock=SystemClock())
    try:
        run("mount", device, str(root))
        watcher.cover(plan(root, root))
        watcher.start()
        quiet(watcher, 0.1)
        run("umount", str(root))
        run("mount", device, str(root))
        loss_told(watcher, Cause.UNMOUNT)
        watcher.cover(plan(root, root))
        loss_told(watcher, Cause.UNMOUNT)
        (root / "x").mkdir()
        assert words(told(watcher, root)) == [("x", "created")]
    finally:
        watcher.stop()
        subprocess.run(("umount", "-l", str(root)), capture_output=True, check=False)
        run("losetup", "--detach", device)


def test_a_mount_over_the_root_hides_it(watching: Start, tmp_path: Path) -> None:
    """The kernel's watch stays on the hidden directory and says nothing; the mount table tells."""
    need("root")
    watcher = watching()
    with mounted(tmp_path):
        assert loss_told(watcher, Cause.MOUNT_OVER).paths == (tmp_path,)
        watcher.cover(plan(tmp_path, tmp_path))
        loss_told(watcher, Cause.MOUNT_OVER)
        (tmp_path / "inside").mkdir()
        assert words(told(watcher, tmp_path)) == [("inside", "created")]


def test_a_mount_over_a_watched_directory_below_the_root(watching: Start, tmp_path: Path) -> None:
    """Only what it hides is concerned."""
    need("root")
    layer = tmp_path / "layer"
    layer.mkdir()
    watcher = watching(tmp_path, layer)
    with mounted(layer):
        assert loss_told(watcher, Cause.MOUNT_OVER).paths == (layer,)
        assert watcher.covered == {tmp_path}
        run("umount", str(layer))
        watcher.cover(plan(tmp_path, tmp_path, layer))
        loss_told(watcher, Cause.MOUNT_OVER)
        assert watcher.covered == {tmp_path, layer}


def test_an_engines_own_mounts_are_no_news(watching: Start, tmp_path: Path) -> None:
    """containers-storage binds overlay/ on itself and mounts on merged/: nothing that is watched is hidden, so nothing is stated."""
    need("root")
    overlay = tmp_path / "overlay"
    merged = overlay / "layer" / "merged"
    merged.mkdir(parents=True)
    watcher = watching(tmp_path, overlay, overlay / "layer")
    run("mount", "--bind", str(overlay), str(overlay))
    try:
        with mounted(merged):
            assert quiet(watcher, 1.3) == []
            (overlay / "layer" / "link").write_text("x", encoding="ascii")
            assert ("link", "created") in words(told(watcher, tmp_path))
    finally:
        subprocess.run(("umount", "-l", str(overlay)), check=False)
    assert quiet(watcher, 1.3) == []


def test_the_mount_table_knows_octal_escapes(tmp_path: Path) -> None:
    """A mount point with spaces and line feeds (proc_pid_mountinfo(5) escapes them)."""
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"21 1 0:20 / /plain rw - tmpfs tmpfs rw\n22 1 0:21 / /a\\040b\\012c\\134d rw,relatime shared:1 - tmpfs tmpfs rw\nbad line\n"
    )
    mounts = Mounts.__new__(Mounts)
    with table.open("rb") as file:
        mounts._fd = file.fileno()
        assert sorted(mounts._read()) == [(b"21", b"0:20", "/plain"), (b"22", b"0:21", "/a b\nc\\d")]


def test_without_a_mount_table_nothing_changes(tmp_path: Path) -> None:
    """Where /proc is missing the guard still compares the roots."""
    mounts = Mounts(tmp_path / "none")
    assert mounts.changed() == (frozenset(), frozenset())
    mounts.close()
