"""The tree of names after any changes is what a fresh look finds, and what stands is not listed again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.watch import nametree
from collector.watch.nametree import FRESH_NS, NameTree
from tests.needs import need

ACTIONS = st.tuples(
    st.sampled_from(["file", "link", "hard", "directory", "remove", "rename", "swap", "read", "settle"]),
    st.integers(0, 5),
    st.integers(0, 5),
)


def look(top: Path) -> list[int]:
    """Return the inodes of all names below ``top`` that are no directory's."""
    return sorted(
        (Path(where) / name).lstat().st_ino
        for where, directories, files in os.walk(top)
        for name in [*files, *(name for name in directories if (Path(where) / name).is_symlink())]
    )


class Changing:
    """A tree that is changed step by step, in up to four levels."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.tree = NameTree(top)

    def place(self, number: int) -> Path:
        """Return one of the directories that are there."""
        places = sorted(path for path in [self.top, *self.top.rglob("*")] if path.is_dir() and not path.is_symlink())
        return places[number % len(places)]

    def act(self, action: str, one: int, other: int) -> None:
        """Do one thing; what cannot be done now is left out."""
        here, there = self.place(one), self.place(other)
        try:
            if action == "file":
                (here / f"f{other}").touch()
            elif action == "link":
                (here / f"l{other}").symlink_to(self.top)
            elif action == "hard":
                (here / f"h{other}").hardlink_to(there / f"f{one}")
            elif action == "directory":
                (here / f"d{other}").mkdir()
            elif action == "remove" and here != self.top:
                shutil.rmtree(here)
            elif action == "rename" and here != self.top:
                here.rename(there / f"d{one}")
            elif action == "swap" and self.top not in (here, there):
                here.rename(self.top / "aside")
                there.rename(here)
                (self.top / "aside").rename(there)
            elif action == "read":
                self.check()
            elif action == "settle":
                time.sleep(FRESH_NS / 1e9 + 0.005)
        except OSError:
            return

    def check(self) -> None:
        """Read again, and compare."""
        self.tree.read()
        assert sorted(self.tree.inodes()) == look(self.top)


@pytest.mark.parametrize("depth", [nametree.DEPTH, 2])
def test_it_is_what_a_fresh_look_finds(depth: int) -> None:
    """Whatever was made, renamed, exchanged and removed between the readings, near the limit of what is remembered too."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(ACTIONS, max_size=25))
    def changed_at_will(actions: list[tuple[str, int, int]]) -> None:
        with tempfile.TemporaryDirectory() as where, pytest.MonkeyPatch.context() as patch:
            patch.setattr(nametree, "DEPTH", depth)
            changing = Changing(Path(where))
            for action in actions:
                changing.act(*action)
            changing.check()
            changing.act("file", 3, 3)
            changing.check()

    changed_at_will()


def settled(top: Path) -> NameTree:
    """Return a tree that has read ``top`` long after the last change."""
    time.sleep(FRESH_NS / 1e9 + 0.02)
    tree = NameTree(top)
    tree.read()
    return tree


def test_only_what_changed_is_listed(tmp_path: Path) -> None:
    """One directory of a hundred; then nothing at all."""
    for number in range(10):
        for inner in range(10):
            (tmp_path / f"{number}/{inner}").mkdir(parents=True)
            (tmp_path / f"{number}/{inner}/file").touch()
    tree = settled(tmp_path)
    assert tree.listed == 111
    (tmp_path / "3/4/new").touch()
    time.sleep(FRESH_NS / 1e9 + 0.02)
    tree.read()
    assert tree.listed == 1
    assert sorted(tree.inodes()) == look(tmp_path)
    (tmp_path / "3/4/file").write_bytes(b"content is no name")
    tree.read()
    assert tree.listed == 0


def test_a_directory_listed_in_the_tick_of_its_change_is_listed_again(tmp_path: Path) -> None:
    """Its ctime may stand although it changed once more; a clock behind the filesystem's is no proof either."""
    (tmp_path / "file").touch()
    changed = tmp_path.stat().st_ctime_ns
    for listed_at, again in ((changed + FRESH_NS // 2, 1), (changed - 10**9, 1), (changed + 2 * FRESH_NS, 0)):
        tree = NameTree(tmp_path, now=lambda at=listed_at: at)  # type: ignore[misc]  # bound now
        tree.read()
        tree.read()
        assert tree.listed == again


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A directory replaced by a link to another place takes its names away."""
    (tmp_path / "top/a").mkdir(parents=True)
    (tmp_path / "top/a/file").touch()
    tree = settled(tmp_path / "top")
    (tmp_path / "top/a").rename(tmp_path / "elsewhere")
    (tmp_path / "top/a").symlink_to(tmp_path / "elsewhere")
    tree.read()
    assert list(tree.inodes()) == [(tmp_path / "top/a").lstat().st_ino]
    shutil.rmtree(tmp_path / "top")
    tree.read()
    assert list(tree.inodes()) == []


def test_another_filesystem_is_left_out(tmp_path: Path) -> None:
    """Also when it is mounted over a directory that was read before."""
    need("root")
    (tmp_path / "top/a").mkdir(parents=True)
    (tmp_path / "top/a/file").touch()
    tree = settled(tmp_path / "top")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path / "top/a")], check=True)
    try:
        (tmp_path / "top/a/foreign").touch()
        tree.read()
        assert list(tree.inodes()) == []
    finally:
        subprocess.run(["umount", str(tmp_path / "top/a")], check=True)
    tree.read()
    assert list(tree.inodes()) == [(tmp_path / "top/a/file").stat().st_ino]


def test_cut_short_it_goes_on_the_next_time(tmp_path: Path) -> None:
    """Being stopped leaves nothing out for good."""
    for number in range(20):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/file").touch()
    time.sleep(FRESH_NS / 1e9 + 0.02)
    tree, left = NameTree(tmp_path), iter([False] * 7)
    tree.read(lambda: next(left, True))
    assert len(list(tree.inodes())) < 20
    tree.read()
    assert sorted(tree.inodes()) == look(tmp_path)
