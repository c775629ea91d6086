"""Where a directory that an event names lies: kernel handles -> paths below the roots, or outside.

A filesystem mark tells of the whole filesystem, by handles. Directories are kept as a tree of handles (handle -> parent's handle and
name), which the events themselves keep true: the making, the renaming and the removal of a directory name its handle. A handle never
seen before is opened (open_by_handle_at) and asked for its path, its parents are added with it. A directory that is gone by then
is placed by the record of its removal: the kernel announces that before the handle goes stale, so it is in the queue already.

A filesystem may be seen through several mounts (two directories of a host, each given to a pod): an object has a path below a root only
through the mount of that root, so it is asked through each until one is found.

No descriptor stays open in a store. Memory is bounded: beyond ``LIMIT`` directories all are forgotten and asked for again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from collector.watch.fanotify import FSID_BYTES, NOWHERE, Handle, fsid_of, handle_of, open_handle
from collector.watch.guard import Identity
from collector.watch.steps import STEP

LIMIT: Final = 300_000
_DEPTH: Final = 4096
_MOUNT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK


class GoneError(Exception):
    """The directory went before it could be placed, and its removal has not been read yet."""


class Places:
    """The directories of all marked filesystems, as far as events have named them."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.roots: dict[Handle, Path] = {}
        self._mounts: dict[bytes, list[Path]] = {}  # where a filesystem is anchored, newest first
        self._parents: dict[Handle, tuple[Handle, str] | None] = {}  # None: somewhere outside
        self._paths: dict[Handle, Path | None] = {}  # what place() found, until a directory is renamed
        self._fallen: dict[Handle, tuple[Handle, str]] = {}
        self._open: dict[tuple[bytes, Path], int] = {}

    def anchor(self, path: Path, directory: int) -> Handle:
        """Make ``path``, open as ``directory``, a place of its own: a root, or where another filesystem begins. Raises ``OSError``."""
        fsid = fsid_of(directory)
        handle = handle_of(directory, fsid)
        if self.roots.get(handle) != path:
            self.lift(path)
            self.roots[handle] = path
        self._mounts[fsid] = [path, *(known for known in self._mounts.get(fsid, ()) if known != path)]
        return handle

    def lift(self, path: Path) -> None:
        """Forget the roots at ``path`` and below: what was below them is outside from now on."""
        for handle in [handle for handle, root in self.roots.items() if root == path or path in root.parents]:
            del self.roots[handle]
        anchored = set(self.roots.values())
        left = {fsid: [known for known in paths if known in anchored] for fsid, paths in self._mounts.items()}
        self._mounts = {fsid: paths for fsid, paths in left.items() if paths}
        self._forget_all()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Keep the filesystems that are asked open within this block, and only there: an unmount must not wait for us."""
        try:
            yield
        finally:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def place(self, handle: Handle) -> Path | None:
        """Return where the directory is, or ``None`` when it is outside. Raises ``GoneError``."""
        if handle in self._paths:
            return self._paths[handle]
        path = self._climb(handle)
        self._paths[handle] = path
        return path

    @property
    def known(self) -> Mapping[Handle, Path | None]:
        """What ``place`` has answered so far, as long as it is true."""
        return self._paths

    def made(self, handle: Handle, parent: Handle, name: str) -> None:
        """Note that the directory ``handle`` was made."""
        if len(self._parents) > LIMIT:
            self._forget_all()
        self._parents[handle] = (parent, name)

    def moved(self, handle: Handle, parent: Handle, name: str) -> None:
        """Note that the directory ``handle`` was renamed to ``name`` in ``parent``."""
        before, after = self._paths.get(handle), self.place(parent)
        if self._parents.get(handle) is None and after is not None:  # from some place outside: so was all that is below it
            self._parents = {known: place for known, place in self._parents.items() if place is not None}
        self._parents[handle] = (parent, name)
        if before is not None or after is not None or handle not in self._paths:
            self._paths.clear()

    def removed(self, handle: Handle) -> None:
        """Note that the directory ``handle`` was removed, and that nothing more can happen in it."""
        self._fallen.pop(handle, None)
        self._parents.pop(handle, None)
        self._paths.pop(handle, None)

    def will_fall(self, handle: Handle, parent: Handle, name: str) -> None:
        """Note ahead of its turn that the directory is gone: what happened in it before can still be placed."""
        if len(self._fallen) > LIMIT:
            self._fallen.clear()
        self._fallen[handle] = (parent, name)

    def status(self, handle: Handle) -> tuple[os.stat_result, Path | None] | None:
        """Return what an object is now, and one path of it if that lies below a root; ``None`` when it is gone. Raises ``OSError``."""
        found: tuple[os.stat_result, Path | None] | None = None
        with contextlib.closing(self._through(handle)) as descriptors:
            for descriptor in descriptors:
                facts = os.fstat(descriptor)
                found = facts, self._named(descriptor, facts)
                if found[1] is not None:
                    break
        return found

    def _climb(self, handle: Handle) -> Path | None:
        names: list[str] = []
        while len(names) < _DEPTH:
            if handle in self.roots:
                return self.roots[handle].joinpath(*reversed(names))
            if handle not in self._parents:
                self._ask(handle)
            step = self._parents[handle]
            if step is None:
                return None
            handle = step[0]
            names.append(step[1])
        return None

    def _ask(self, handle: Handle) -> None:
        """Learn the parents of a directory. Raises ``GoneError``."""
        there = False
        with contextlib.closing(self._through(handle)) as descriptors:
            for descriptor in descriptors:
                facts = os.fstat(descriptor)
                if facts.st_nlink == 0:
                    there = False
                    break
                path = self._named(descriptor, facts)
                if path is not None:
                    if self._learn(path, handle):
                        return
                    there = False
                    break
                there = True
        self._parents[handle] = None if there else self._from_its_removal(handle)

    def _from_its_removal(self, handle: Handle) -> tuple[Handle, str]:
        if handle not in self._fallen:
            raise GoneError
        return self._fallen[handle]

    def _learn(self, path: Path, wanted: Handle) -> bool:
        """Add the directories from the innermost root down to ``path``; tell whether ``wanted`` is the last of them."""
        top = max((root for root in self.roots.values() if root == path or root in path.parents), key=lambda root: len(root.parts))
        handles = {root: handle for handle, root in self.roots.items()}
        at, parent = os.open(top, STEP & ~os.O_NOFOLLOW), handles[top]
        try:
            for name in path.relative_to(top).parts:
                try:
                    step = os.open(name, STEP, dir_fd=at)
                except OSError:  # removed or renamed while we looked
                    return False
                os.close(at)
                at = step
                child = handle_of(at, fsid_of(at))
                if child not in self.roots:
                    self._parents[child] = (parent, name)
                parent = child
        finally:
            os.close(at)
        return parent == wanted

    def _named(self, descriptor: int, facts: os.stat_result) -> Path | None:
        """Return the path of an open object if it lies below a root, and if that path really leads to it."""
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - a magic link
        if not any(root == path or root in path.parents for root in self.roots.values()):
            return None
        if stat.S_ISDIR(facts.st_mode):
            return path  # _learn sees whether it leads there
        with contextlib.suppress(OSError):
            found = path.lstat()
            if Identity(found.st_dev, found.st_ino) == Identity(facts.st_dev, facts.st_ino):
                return path
        return None

    def _through(self, handle: Handle) -> Generator[int, None, None]:
        """Yield descriptors of an object, through each mount of its filesystem, as long as it exists. Raises ``OSError``."""
        fsid = handle[:FSID_BYTES]
        for path in self._mounts.get(fsid, ()) if handle != NOWHERE else ():
            mount = self._open.get((fsid, path))
            if mount is None:
                mount = self._mount(fsid, path)
                if mount is None:
                    continue
                self._open[fsid, path] = mount
            try:
                descriptor = open_handle(mount, handle)
            except OSError as error:
                if error.errno in (errno.ESTALE, errno.ENOENT):
                    return
                raise
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    def _mount(self, fsid: bytes, anchored: Path) -> int | None:
        """Open a directory that stands for a filesystem: the root on it or, when that is gone, one above it."""
        for path in (anchored, *anchored.parents):
            try:
                mount = os.open(path, _MOUNT)
            except OSError:  # renamed or removed; the guard says so
                continue
            if fsid_of(mount) == fsid:
                return mount
            os.close(mount)
        return None

    def _forget_all(self) -> None:
        self._parents.clear()
        self._paths.clear()
