"""Whether the paths of a plan still are what is watched.

A kernel watch holds a directory, not a path. When the root is renamed, removed and made again, hidden by a mount or unmounted, the watch
stays silent on the old one (or ends), while every reader of the path sees the new one. The guard remembers which directory (device,
inode) stood at each watched path and looks again: at the roots once a second, and at every path that the mount table says was
touched. It keeps no descriptor open in a store, so it never stands in the way of an unmount. A bind mount of a directory on itself,
which engines make of their own storage, changes nothing and is no news.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from collector.watch.interface import Cause
from linktrail.clock import NANOSECONDS, Instant

LOOK_SECONDS: Final = 1.0
_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_MOUNTINFO_BYTES: Final = 16 << 20
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_DEVICE: Final = 2
_MOUNT_POINT: Final = 4
_FIELDS: Final = 5


class Identity(NamedTuple):
    """Which directory it is, whatever its name."""

    device: int
    inode: int


class _Mount(NamedTuple):
    """One line of the mount table."""

    number: bytes
    device: bytes
    point: str


@dataclass(frozen=True, slots=True)
class Displaced:
    """The directory at ``path`` is no longer the watched one. ``since``: when it last was."""

    cause: Cause
    path: Path
    message: str
    since: Instant


def parents(paths: Iterable[Path]) -> set[Path]:
    """Return all directories above ``paths``."""
    found: set[Path] = set()
    level = {path.parent for path in paths}
    while level := level - found:
        found |= level
        level = {path.parent for path in level}
    return found


def identity(path: Path, *, follow: bool = False) -> Identity | None:
    """Return which directory stands at ``path``; ``None`` when there is none. Only a root, the administrator's word, is followed."""
    try:
        facts = path.stat(follow_symlinks=follow)
    except OSError:
        return None
    return Identity(facts.st_dev, facts.st_ino)


class Mounts:
    """The mount table of this process: what changed in it since the last look."""

    def __init__(self, table: Path = _MOUNTINFO) -> None:
        """Open the table; where there is none, every look says that nothing changed."""
        self._fd = -1
        self.stirred = False
        with contextlib.suppress(OSError):
            self._fd = os.open(table, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLPRI)
        self._known = self._read()

    def changed(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the mount points that appeared and those that went since the last look."""
        self.stirred = self._fd >= 0 and bool(self._poll.poll(0))
        if not self.stirred:
            return frozenset(), frozenset()
        before, self._known = self._known, self._read()
        return frozenset(mount.point for mount in self._known - before), frozenset(mount.point for mount in before - self._known)

    def _read(self) -> frozenset[_Mount]:
        """Return the table (proc_pid_mountinfo(5)). The kernel uses ids of mounts again, so an id alone says nothing."""
        if self._fd < 0:
            return frozenset()
        table = set()
        for line in _whole(self._fd).splitlines():
            fields = line.split(b" ", _FIELDS)
            if len(fields) > _MOUNT_POINT:
                point = _OCTAL.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), fields[_MOUNT_POINT])
                table.add(_Mount(fields[0], fields[_DEVICE], os.fsdecode(point)))
        return frozenset(table)

    def close(self) -> None:
        """Close the table."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Guard:
    """Looks after the roots and the watched directories of all plans."""

    def __init__(self, opened: Instant, mounts: Mounts | None = None) -> None:
        """Begin with no root."""
        self._mounts = mounts or Mounts()
        self._roots: dict[Path, Identity] = {}
        self._between: dict[Path, dict[Path, Identity | None]] = {}
        self.seen = opened
        self._hurried = False

    def hurry(self) -> None:
        """Look again at the next opportunity: there are signs that a root is not what it was."""
        self._hurried = True

    def keep(self, root: Path, found: Identity, watched: Iterable[Path] = ()) -> None:
        """Look after ``root``, which is ``found`` now, and after the unwatched directories between it and the ``watched`` ones."""
        self._roots[root] = found
        known = self._between.get(root, {})
        self._between[root] = {path: known[path] if path in known else identity(path) for path in _between(root, frozenset(watched))}

    def forget(self, root: Path) -> None:
        """Look after ``root`` no longer."""
        self._roots.pop(root, None)
        self._between.pop(root, None)

    @property
    def stirred(self) -> bool:
        """Whether anything was mounted or unmounted between the last two looks, even if the table is as before."""
        return self._mounts.stirred

    def due(self, now: Instant) -> bool:
        """Tell whether it is time to look again."""
        return self._hurried or now.monotonic - self.seen.monotonic >= LOOK_SECONDS * NANOSECONDS

    def look(self, now: Instant, watched: Callable[[], Mapping[Path, Identity]]) -> list[Displaced]:
        """Compare what stands at the roots, and at those ``watched`` paths that mounts have touched, with what is watched."""
        since, self.seen, self._hurried = self.seen, now, False
        appeared, gone = self._mounts.changed()
        found = []
        for root, known in list(self._roots.items()):
            current = identity(root, follow=True)
            if current != known:
                self.forget(root)
                found.append(self._root_displaced(root, current, since, appeared, gone))
        for between in self._between.values():
            for path in [path for path, known in between.items() if identity(path) != known]:
                del between[path]
                found.append(Displaced(Cause.ROOT_REPLACED, path, "a directory above watched ones was renamed or replaced", since))
        held = watched() if appeared or gone else {}
        for path in self._touched(held, appeared | gone):
            covered = any(displaced.path == path or displaced.path in path.parents for displaced in found)
            if not covered and identity(path) != held[path]:
                cause = Cause.MOUNT_OVER if str(path) in appeared else Cause.UNMOUNT
                words = "another filesystem was mounted over" if cause is Cause.MOUNT_OVER else "what was mounted is gone from"
                found.append(Displaced(cause, path, f"{words} a watched directory", since))
        return found

    def close(self) -> None:
        """Close the mount table."""
        self._mounts.close()

    @staticmethod
    def _root_displaced(root: Path, current: Identity | None, since: Instant, appeared: frozenset[str], gone: frozenset[str]) -> Displaced:
        above = {str(root), *(str(parent) for parent in root.parents)}
        if above & appeared:
            return Displaced(Cause.MOUNT_OVER, root, "another filesystem was mounted over the root", since)
        if above & gone:
            return Displaced(Cause.UNMOUNT, root, "the filesystem of the root was unmounted", since)
        words = "the root was renamed or removed" if current is None else "another directory stands at the root's path"
        return Displaced(Cause.ROOT_REPLACED, root, words, since)

    @staticmethod
    def _touched(held: Mapping[Path, Identity], points: Iterable[str]) -> list[Path]:
        """Return the held paths at or below mount points that changed, shallow ones first."""
        exact = frozenset(points)
        if not exact:
            return []
        below = tuple(f"{point.rstrip('/')}/" for point in exact)
        found = [path for path in held if str(path) in exact or str(path).startswith(below)]
        return sorted(found, key=lambda path: len(path.parts))


def _between(root: Path, watched: frozenset[Path]) -> set[Path]:
    """Return the directories strictly between ``root`` and ``watched`` that are not watched themselves."""
    return {path for path in parents(watched) if path not in watched and root in path.parents}


def _whole(descriptor: int) -> bytes:
    parts, position = [], 0
    while position < _MOUNTINFO_BYTES and (part := os.pread(descriptor, 1 << 20, position)):
        parts.append(part)
        position += len(part)
    return b"".join(parts)
