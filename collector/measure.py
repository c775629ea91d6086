"""How much space a tree takes, without trusting anything in it.

One pass with ``lstat``-like calls relative to open directories: no link is followed, no mount point is crossed, nothing is
opened but directories. An inode with several names counts once; what it shares with names outside the tree is told apart.
Directory depth costs heap, not stack (a tree 10,000 levels deep is an ordinary tree), and at most ``OPEN_LIMIT`` descriptors
are open. A part that cannot be read, or lies deeper than ``DEPTH_LIMIT``, becomes a ``Problem``; the rest is still counted.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.links import Problem

BLOCK: Final = 512
DEPTH_LIMIT: Final = 100_000
OPEN_LIMIT: Final = 64
PROBLEM_LIMIT: Final = 1000
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
    top = os.open(path, _FLAGS, dir_fd=directory)
    return _Walk(not_after).run(top)


class _Frame:
    """One directory on the way down; ``descriptor`` is -1 while it is spared."""

    __slots__ = ("below", "descriptor", "identity", "name")

    def __init__(self, descriptor: int, name: str, identity: tuple[int, int]) -> None:
        self.descriptor = descriptor
        self.name = name
        self.identity = identity
        self.below: list[str] = []


class _Walk:
    """One pass over one tree, depth first."""

    def __init__(self, not_after: int) -> None:
        self.not_after = not_after
        self.bytes = self.apparent = self.inodes = self.newest = 0
        self.problems: list[Problem] = []
        self.frames: list[_Frame] = []
        self._linked: dict[int, list[int]] = {}  # inode -> [names not met yet, bytes]; one device only, so the inode says enough

    def run(self, top: int) -> Size:
        try:
            facts = os.fstat(top)
            self._count(facts)
            self.frames.append(_Frame(top, "", (facts.st_dev, facts.st_ino)))
            self._list()
            while self.frames:
                frame = self.frames[-1]
                if frame.below:
                    self._enter(frame, frame.below.pop())
                else:
                    self._leave()
        finally:
            for frame in self.frames:
                if frame.descriptor >= 0:
                    os.close(frame.descriptor)
        shared = sum(size for unmet, size in self._linked.values() if unmet > 0)
        return Size(self.bytes, self.apparent, self.inodes, shared, self.newest, tuple(self.problems))

    def _enter(self, parent: _Frame, name: str) -> None:
        if len(self.frames) >= DEPTH_LIMIT:
            self._problem(name, f"deeper than {DEPTH_LIMIT} levels")
            return
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=parent.descriptor)
        except OSError as error:
            self._failed(name, error)
            return
        facts = os.fstat(descriptor)
        if facts.st_dev != self.frames[0].identity[0]:  # something was mounted since the listing
            os.close(descriptor)
            return
        self.frames.append(_Frame(descriptor, name, (facts.st_dev, facts.st_ino)))
        self._list()
        if len(self.frames) > OPEN_LIMIT:
            spared = self.frames[-1 - OPEN_LIMIT]
            if spared.descriptor >= 0:
                os.close(spared.descriptor)
                spared.descriptor = -1

    def _leave(self) -> None:
        """Close the innermost directory; bring the one above back through ``..`` if it was spared and is still the same."""
        frame = self.frames.pop()
        above = self.frames[-1] if self.frames else None
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
        while self.frames and self.frames[-1].descriptor < 0:
            self.frames.pop()

    def _list(self) -> None:
        """Count everything in the innermost directory, and note the directories in it."""
        frame = self.frames[-1]
        device = frame.identity[0]
        newest, limit = self.newest, self.not_after
        inodes = allocated = apparent = 0
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
                    self._count(facts)
                    if kind == stat.S_IFDIR:
                        frame.below.append(entry.name)
        except OSError as error:
            self._failed("", error)
        self.inodes += inodes
        self.bytes += allocated * BLOCK
        self.apparent += apparent
        self.newest = max(self.newest, newest)

    def _count(self, facts: os.stat_result) -> None:
        if self.newest < facts.st_mtime_ns <= self.not_after:
            self.newest = facts.st_mtime_ns
        is_directory = stat.S_ISDIR(facts.st_mode)
        is_whiteout = stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
        size = 0 if is_whiteout else facts.st_blocks * BLOCK
        if facts.st_nlink > 1 and not is_directory:
            met = self._linked.get(facts.st_ino)
            if met is not None:
                met[0] -= 1
                return
            self._linked[facts.st_ino] = [facts.st_nlink - 1, size]
        self.inodes += 1
        self.bytes += size
        if not is_directory:
            self.apparent += facts.st_size

    def _failed(self, name: str, error: OSError) -> None:
        if error.errno != errno.ENOENT:  # removed meanwhile: nothing is there to count
            self._problem(name, error.strerror or str(error))

    def _problem(self, name: str, what: str) -> None:
        if len(self.problems) < PROBLEM_LIMIT:
            where = "/".join([*(frame.name for frame in self.frames[1:]), *([name] if name else [])])
            self.problems.append(Problem(where or ".", what))


def _reopen(below: int, identity: tuple[int, int]) -> int:
    descriptor = os.open("..", _FLAGS, dir_fd=below)
    facts = os.fstat(descriptor)
    if (facts.st_dev, facts.st_ino) != identity:
        os.close(descriptor)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return descriptor
