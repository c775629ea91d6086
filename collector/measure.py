"""How much space a tree takes, without trusting anything in it.

One pass with ``lstat``-like calls relative to open directories: no link is followed, no mount point is crossed, nothing is
opened but directories. An inode with several names counts once; what it shares with names outside the tree is told apart.
Directory depth costs heap, not stack (a tree 10,000 levels deep is an ordinary tree), and at most ``OPEN_LIMIT`` descriptors
are open. A part that cannot be read, or lies deeper than ``DEPTH_LIMIT``, becomes a ``Problem``; the rest is still counted.

A pass can be cut: ``Walk`` stops at a number of entries and says which directories are left, and tallies of parts of one tree add up to
the tally of the whole, hard links across the parts included. So a large tree is shared among processes (``collector.measuring``).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.links import Problem

BLOCK: Final = 512
DEPTH_LIMIT: Final = 100_000
OPEN_LIMIT: Final = 64
PROBLEM_LIMIT: Final = 1000
CUT_DEPTH: Final = 256
"""Directories are left to others only where the way to them is no longer than this."""
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOREVER: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Size:
    """What one tree takes.

    ``bytes`` are allocated (blocks of 512), ``apparent_bytes`` the sum of the sizes of everything but directories, ``inodes``
    counts every inode once, the top directory included. ``shared_bytes`` is the part of ``bytes`` in files that have further
    names outside the tree. ``newest_ns`` is the latest modification time in it (ns UTC; 0: none that counts). Whiteouts
    (character device 0:0) count as inodes without bytes. ``problems`` are parts that are not in the numbers.
    """

    bytes: int
    apparent_bytes: int
    inodes: int
    shared_bytes: int
    newest_ns: int
    problems: tuple[Problem, ...] = ()


def measure(path: Path | str, *, directory: int | None = None, not_after: int = _FOREVER) -> Size:
    """Measure the tree at ``path`` (one name in the open ``directory``, when that is given).

    Modification times later than ``not_after`` (ns UTC) are no evidence of anything and do not become ``newest_ns``.
    Raises ``OSError`` when the top itself cannot be opened or is no directory.
    """
    top = open_top(path, directory=directory)
    try:
        walk = Walk(top, not_after=not_after)
        walk.run(((),))
    finally:
        os.close(top)
    return walk.tally.size()


def open_top(path: Path | str, *, directory: int | None = None) -> int:
    """Open the top of a tree for a ``Walk``. Raises ``OSError``."""
    return os.open(path, _FLAGS, dir_fd=directory)


@dataclass(slots=True)
class Tally:
    """What was counted of a tree. ``linked``: inode -> [names met, number of names, bytes, apparent bytes] of files with several names.

    One device only, so the inode says enough.
    """

    bytes: int = 0
    apparent_bytes: int = 0
    inodes: int = 0
    newest_ns: int = 0
    linked: dict[int, list[int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in the tally of another part of the same tree; a file that has names in both counts once."""
        self.bytes += other.bytes
        self.apparent_bytes += other.apparent_bytes
        self.inodes += other.inodes
        self.newest_ns = max(self.newest_ns, other.newest_ns)
        self.problems += other.problems[: PROBLEM_LIMIT - len(self.problems)]
        for inode, (met, names, size, apparent) in other.linked.items():
            known = self.linked.setdefault(inode, [0, names, size, apparent])
            if known[0]:
                self.inodes -= 1
                self.bytes -= size
                self.apparent_bytes -= apparent
            known[0] += met

    def size(self) -> Size:
        """Return what the tree takes."""
        shared = sum(size for met, names, size, _ in self.linked.values() if met < names)
        return Size(self.bytes, self.apparent_bytes, self.inodes, shared, self.newest_ns, tuple(self.problems))


class _Frame:
    """One directory on the way down; ``descriptor`` is -1 while it is spared."""

    __slots__ = ("below", "descriptor", "identity", "name")

    def __init__(self, descriptor: int, name: str, identity: tuple[int, int]) -> None:
        self.descriptor = descriptor
        self.name = name
        self.identity = identity
        self.below: list[str] = []


class Walk:
    """A pass over a tree, or over parts of it, depth first."""

    def __init__(self, top: int, *, not_after: int, limit: int = _FOREVER, seen: Callable[[int], None] | None = None) -> None:
        """Walk below the open directory ``top``, for about ``limit`` entries; after each directory, ``seen`` is told how many it had."""
        self.tally = Tally()
        self.entries = 0
        self._top = top
        self._device = os.fstat(top).st_dev
        self._not_after = not_after
        self._limit = limit
        self._seen = seen
        self._way: tuple[str, ...] = ()  # from the top to the first frame
        self._frames: list[_Frame] = []

    def run(self, ways: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Count the directories that ``ways`` lead to from the top, with all below them; return the ways to those that are left.

        The top itself, ``()``, is counted with what is in it; other directories were counted where they are listed.
        """
        left: list[tuple[str, ...]] = []
        for number, way in enumerate(ways):
            if self.entries >= self._limit:
                return [*left, *ways[number:]]
            left += self._run(way)
        return left

    def _run(self, way: tuple[str, ...]) -> list[tuple[str, ...]]:
        self._way = way
        try:
            if self._begin(way):
                while self._frames:
                    if self.entries >= self._limit and len(way) + len(self._frames) < CUT_DEPTH:
                        return [(*way, *names, name) for names, frame in self._ways() for name in frame.below]
                    frame = self._frames[-1]
                    if frame.below:
                        self._enter(frame, frame.below.pop())
                    else:
                        self._leave()
        finally:
            for frame in self._frames:
                if frame.descriptor >= 0:
                    os.close(frame.descriptor)
            self._frames.clear()
        return []

    def _ways(self) -> list[tuple[tuple[str, ...], _Frame]]:
        names = tuple(frame.name for frame in self._frames[1:])
        return [(names[:depth], frame) for depth, frame in enumerate(self._frames)]

    def _begin(self, way: tuple[str, ...]) -> bool:
        """Open the directory that ``way`` leads to and list it; false when it is not there any more."""
        at = os.open(".", _FLAGS, dir_fd=self._top)
        try:
            for name in way:
                step = os.open(name, _FLAGS, dir_fd=at)
                os.close(at)
                at = step
            facts = os.fstat(at)
        except OSError as error:
            os.close(at)
            self._failed("", error)
            return False
        if facts.st_dev != self._device:  # something was mounted since the listing
            os.close(at)
            return False
        if not way:
            self._count(facts)
        self._frames.append(_Frame(at, "", (facts.st_dev, facts.st_ino)))
        self._list()
        return True

    def _enter(self, parent: _Frame, name: str) -> None:
        if len(self._way) + len(self._frames) >= DEPTH_LIMIT:
            self._problem(name, f"deeper than {DEPTH_LIMIT} levels")
            return
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=parent.descriptor)
        except OSError as error:
            self._failed(name, error)
            return
        facts = os.fstat(descriptor)
        if facts.st_dev != self._device:  # something was mounted since the listing
            os.close(descriptor)
            return
        self._frames.append(_Frame(descriptor, name, (facts.st_dev, facts.st_ino)))
        self._list()
        if len(self._frames) > OPEN_LIMIT:
            spared = self._frames[-1 - OPEN_LIMIT]
            if spared.descriptor >= 0:
                os.close(spared.descriptor)
                spared.descriptor = -1

    def _leave(self) -> None:
        """Close the innermost directory; bring the one above back through ``..`` if it was spared and is still the same."""
        frame = self._frames.pop()
        above = self._frames[-1] if self._frames else None
        if above is not None and above.descriptor < 0:
            try:
                above.descriptor = _reopen(frame.descriptor, above.identity)
            except OSError as error:
                self._problem("", f"moved while it was measured ({error.strerror or error})")
                os.close(frame.descriptor)
                self._give_up()
                return
        os.close(frame.descriptor)

    def _give_up(self) -> None:
        """The way back is lost: leave everything up to the innermost directory that is still open."""
        while self._frames and self._frames[-1].descriptor < 0:
            self._frames.pop()

    def _list(self) -> None:
        """Count everything in the innermost directory, and note the directories in it."""
        frame, tally = self._frames[-1], self.tally
        device, newest, limit = self._device, tally.newest_ns, self._not_after
        inodes = allocated = apparent = others = 0
        try:
            with os.scandir(frame.descriptor) as entries:
                for entry in entries:
                    try:
                        facts = entry.stat(follow_symlinks=False)
                    except OSError as error:
                        self._failed(entry.name, error)
                        continue
                    if facts.st_dev != device:  # a mount point
                        continue
                    kind = facts.st_mode & 0o170000
                    if kind == stat.S_IFREG and facts.st_nlink == 1:  # nearly everything is this
                        inodes += 1
                        allocated += facts.st_blocks
                        apparent += facts.st_size
                        if newest < facts.st_mtime_ns <= limit:
                            newest = facts.st_mtime_ns
                        continue
                    others += 1
                    self._count(facts)
                    if kind == stat.S_IFDIR:
                        frame.below.append(entry.name)
        except OSError as error:
            self._failed("", error)
        tally.inodes += inodes
        tally.bytes += allocated * BLOCK
        tally.apparent_bytes += apparent
        tally.newest_ns = max(tally.newest_ns, newest)
        self.entries += inodes + others
        if self._seen is not None:
            self._seen(inodes + others)

    def _count(self, facts: os.stat_result) -> None:
        tally = self.tally
        if tally.newest_ns < facts.st_mtime_ns <= self._not_after:
            tally.newest_ns = facts.st_mtime_ns
        is_directory = stat.S_ISDIR(facts.st_mode)
        is_whiteout = stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
        size = 0 if is_whiteout else facts.st_blocks * BLOCK
        if facts.st_nlink > 1 and not is_directory:
            met = tally.linked.get(facts.st_ino)
            if met is not None:
                met[0] += 1
                return
            tally.linked[facts.st_ino] = [1, facts.st_nlink, size, facts.st_size]
        tally.inodes += 1
        tally.bytes += size
        if not is_directory:
            tally.apparent_bytes += facts.st_size

    def _failed(self, name: str, error: OSError) -> None:
        if error.errno != errno.ENOENT:  # removed meanwhile: nothing is there to count
            self._problem(name, error.strerror or str(error))

    def _problem(self, name: str, what: str) -> None:
        if len(self.tally.problems) < PROBLEM_LIMIT:
            where = "/".join([*self._way, *(frame.name for frame in self._frames[1:]), *([name] if name else [])])
            self.tally.problems.append(Problem(where or ".", what))


def _reopen(below: int, identity: tuple[int, int]) -> int:
    descriptor = os.open("..", _FLAGS, dir_fd=below)
    facts = os.fstat(descriptor)
    if (facts.st_dev, facts.st_ino) != identity:
        os.close(descriptor)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return descriptor
