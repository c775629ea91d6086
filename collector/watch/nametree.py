"""The names below a directory as inode numbers, read again at the cost of what changed: directories whose ctime stands are not listed.

What it promises: after ``read``, every name that was there before it began and stayed is in it, and none that was gone before it began.
A directory's ctime changes with every name made, removed or renamed in it, so an unchanged one need not be listed again; it says
nothing about the *content* of files, so sizes cannot be had this way. A kernel takes ctimes from a coarse clock (before Linux 6.13): a
directory changed less than ``FRESH_NS`` before it was listed is listed again next time, whatever its ctime says then.

Every directory is reached from its parent's descriptor, no link is followed, no filesystem left. Below ``DEPTH`` levels nothing is
remembered, and what is there is listed each time. Memory: 8 bytes a name and about 200 a directory.
"""

from __future__ import annotations

import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from collector.watch.steps import ROOT, STEP

DEPTH: Final = 200
FRESH_NS: Final = 20_000_000
_READ: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_UNKNOWN: Final = -1


class _Node:
    """One directory: which it is, its ctime when it was listed (-1: list it again), what is in it."""

    __slots__ = ("below", "ctime", "inode", "inodes")

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.ctime = _UNKNOWN
        self.inodes = array("Q")
        self.below: dict[str, _Node] | None = None


class NameTree:
    """The names below one directory. Not safe for several threads."""

    def __init__(self, top: Path, *, now: Callable[[], int] = time.time_ns) -> None:
        """Know nothing yet; ``now`` is the wall clock (ns UTC) that the ctimes are of."""
        self.listed = 0  # directories that the last ``read`` listed
        self._top = top
        self._now = now
        self._device = 0
        self._root: _Node | None = None
        self._stop: Callable[[], bool] = lambda: False

    def read(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Bring the tree up to date; cut short when ``stop`` says so, and then as unfinished as before."""
        self.listed, self._stop = 0, stop
        try:
            at = os.open(self._top, ROOT | os.O_NOFOLLOW)
        except OSError:  # removed meanwhile: nothing has a name there
            self._root = None
            return
        try:
            facts = os.fstat(at)
            self._device = facts.st_dev
            known = self._root if self._root is not None and self._root.inode == facts.st_ino else None
            self._root = self._visit(known, facts, ".", at, 0)
        finally:
            os.close(at)

    def inodes(self) -> Iterator[int]:
        """Yield the inode of every name that is no directory's."""
        pending = [self._root] if self._root is not None else []
        while pending:
            node = pending.pop()
            yield from node.inodes
            pending += (node.below or {}).values()

    def _visit(self, known: _Node | None, facts: os.stat_result, name: str, parent: int, depth: int) -> _Node | None:
        """Return the directory ``name`` of ``parent`` as it is now; ``None`` when it is gone or not ours."""
        stands = known is not None and known.ctime == facts.st_ctime_ns
        try:
            at = os.open(name, STEP if stands else _READ, dir_fd=parent)
        except OSError:  # removed or replaced since it was seen
            return None
        try:
            if stands and known is not None:
                self._again(known, at, depth)
                return known
            return self._list(known, at, depth)
        finally:
            os.close(at)

    def _again(self, node: _Node, at: int, depth: int) -> None:
        """Look at the directories in one whose names are what they were."""
        below, ask, device = node.below or {}, os.stat, self._device
        gone: list[str] = []
        for name, child in below.items():
            try:
                facts = ask(name, dir_fd=at, follow_symlinks=False)
            except OSError:
                gone.append(name)
                continue
            same = facts.st_ino == child.inode and facts.st_dev == device
            if same and child.below is None and facts.st_ctime_ns == child.ctime:
                continue  # nearly every directory is this: nothing in it changed, and none is below it
            if self._stop():
                node.ctime = _UNKNOWN
                return
            found = self._visit(child if same else None, facts, name, at, depth + 1) if stat.S_ISDIR(facts.st_mode) else None
            if found is None:
                gone.append(name)
            else:
                below[name] = found
        for name in gone:  # it went since the names were listed, and its parent's ctime will say so
            del below[name]
            node.ctime = _UNKNOWN

    def _list(self, known: _Node | None, at: int, depth: int) -> _Node | None:
        facts = os.fstat(at)
        if facts.st_dev != self._device:
            return None
        node, earlier = _Node(facts.st_ino), (known.below or {}) if known is not None and known.inode == facts.st_ino else {}
        names: list[tuple[str, int]] = []
        begun = self._now()
        self.listed += 1
        try:
            with os.scandir(at) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        names.append((entry.name, entry.inode()))
                    else:
                        node.inodes.append(entry.inode())
        except OSError:  # it went while it was read
            return node
        if depth >= DEPTH:
            self._deep(node, at, [name for name, _ in names])
            return node
        for name, inode in names:
            if self._stop():
                return node
            before = earlier.get(name)
            child = self._child(before if before is not None and before.inode == inode else None, name, at, depth)
            if child is not None:
                node.below = node.below or {}
                node.below[name] = child
        if facts.st_ctime_ns < begun - FRESH_NS:
            node.ctime = facts.st_ctime_ns
        return node

    def _child(self, known: _Node | None, name: str, at: int, depth: int) -> _Node | None:
        try:
            facts = os.stat(name, dir_fd=at, follow_symlinks=False)
        except OSError:
            return None
        if not stat.S_ISDIR(facts.st_mode) or facts.st_dev != self._device:
            return None
        return self._visit(known if known is not None and known.inode == facts.st_ino else None, facts, name, at, depth + 1)

    def _deep(self, node: _Node, at: int, names: list[str]) -> None:
        """Add what lies too deep to be remembered; each directory is reached anew from ``at``, so that few descriptors are open."""
        pending: list[tuple[str, ...]] = [(name,) for name in names]
        while pending and not self._stop():
            way = pending.pop()
            try:
                inside = _descend(at, way, self._device)
            except OSError:  # removed, replaced or another filesystem
                continue
            try:
                with os.scandir(inside) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append((*way, entry.name))
                        else:
                            node.inodes.append(entry.inode())
            except OSError:
                continue
            finally:
                os.close(inside)


def _descend(top: int, names: tuple[str, ...], device: int) -> int:
    at = os.open(".", STEP, dir_fd=top)
    for name in names:
        try:
            step = os.open(name, STEP, dir_fd=at)
        finally:
            os.close(at)
        at = step
    try:
        if os.fstat(at).st_dev != device:
            raise OSError("another filesystem")
        return os.open(".", _READ, dir_fd=at)
    finally:
        os.close(at)
