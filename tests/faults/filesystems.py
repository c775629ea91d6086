"""Filesystems that misbehave: one fails the n-th call, one is full when told, one forgets what was not fsynced when the power goes."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

from linktrail.durable import LocalFileSystem


class QuickFileSystem(LocalFileSystem):
    """The local filesystem without fsync: for tests of logic, which outnumber the disk."""

    def write_new(self, path: Path, data: bytes) -> None:
        """Create and write, without fsync."""
        with path.open("xb") as file:
            file.write(data)

    @staticmethod
    def _sync(path: Path, flags: int) -> None:
        os.close(os.open(path, flags | os.O_CLOEXEC))


class FailingFileSystem(QuickFileSystem):
    """Fails the ``fail_at``-th call (from 1) that changes or syncs something, with ``code``; earlier and later ones work."""

    def __init__(self, fail_at: int = 0, code: int = errno.EIO) -> None:
        self.calls = 0
        self.fail_at = fail_at
        self.code = code

    @property
    def failed(self) -> bool:
        """Whether the call that was to fail has come."""
        return 0 < self.fail_at <= self.calls

    def _count(self, path: Path) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(self.code, os.strerror(self.code), str(path))

    def write_new(self, path: Path, data: bytes) -> None:
        """Count, then write."""
        self._count(path)
        super().write_new(path, data)

    def make_directory(self, path: Path) -> None:
        """Count (once for all parents), then make."""
        if not path.is_dir():
            self._count(path)
            super().make_directory(path)

    def replace(self, source: Path, target: Path) -> None:
        """Count, then rename."""
        self._count(target)
        super().replace(source, target)

    def sync_file(self, path: Path) -> None:
        """Count, then sync."""
        self._count(path)
        super().sync_file(path)

    def sync_directory(self, path: Path) -> None:
        """Count, then sync."""
        self._count(path)
        super().sync_directory(path)

    def unlink(self, path: Path) -> None:
        """Count, then remove."""
        self._count(path)
        super().unlink(path)

    def free_bytes(self, path: Path) -> int:
        """Count, then look."""
        self._count(path)
        return super().free_bytes(path)


class PowerLostError(BaseException):
    """The machine went down in the middle of a call: nothing in the program handles it."""


class PowerLossFileSystem(QuickFileSystem):
    """Knows what of the tree below ``root`` would survive a power loss, and brings one about.

    A name survives once its directory was fsynced after the change, content once the file was; everything else survives, vanishes,
    goes back or is torn as chance has it. Files that other code writes past this object count as never fsynced until ``sync_file``.
    ``room`` is the number of writes until the disk is full (``None``: never); ``broken`` makes the fsync of "content" or "names" fail;
    the ``dies_at``-th call from now on raises ``PowerLostError`` half-way (0: none does).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.room: int | None = None
        self.broken = ""
        self.dies_at = 0
        self._names: dict[Path, bytes | None] = {}  # durable names, with their durable content (None: content never fsynced)
        self._directories: set[Path] = set()
        self._content: dict[Path, bytes] = {}  # fsynced content by current name
        self._adopt()

    def write_new(self, path: Path, data: bytes) -> None:
        """Write; the content is durable, the name is not yet."""
        self._live()
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if self.room is not None:
            self.room -= 1
        super().write_new(path, data)
        if self.broken == "content":
            path.unlink()
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        self._content[path] = data

    def replace(self, source: Path, target: Path) -> None:
        """Rename; not durable yet."""
        self._live()
        super().replace(source, target)
        content = self._content.pop(source, None)
        self._content.pop(target, None)
        if content is not None:
            self._content[target] = content

    def sync_file(self, path: Path) -> None:
        """Make the content durable as it is now."""
        self._live()
        super().sync_file(path)
        self._content[path] = path.read_bytes()

    def sync_directory(self, path: Path) -> None:
        """Make the names durable as they are now."""
        self._live()
        if self.broken == "names":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        super().sync_directory(path)
        present = set(path.iterdir())
        for name in [name for name in self._names if name.parent == path and name not in present]:
            del self._names[name]
        for name in present:
            if name.is_dir():
                self._directories.add(name)
            else:
                content = self._content.get(name)
                # A file written to since its fsync (by other code) is as durable as it was then.
                self._names[name] = content

    def unlink(self, path: Path) -> None:
        """Remove; not durable yet."""
        super().unlink(path)
        self._content.pop(path, None)

    def _live(self) -> None:
        if self.dies_at:
            self.dies_at -= 1
            if not self.dies_at:
                raise PowerLostError

    def lose_power(self, chance: random.Random) -> None:
        """Let the machine go down and come up again: only what was durable is certain."""
        present = {path for path in self.root.rglob("*") if path.is_file()}
        for path in sorted(self._names.keys() | present):
            self._decide(path, path in present, chance)
        for directory in sorted((path for path in self.root.rglob("*") if path.is_dir()), reverse=True):
            if directory not in self._directories and chance.random() < 0.5:
                shutil.rmtree(directory)
        self._adopt()

    def _decide(self, path: Path, present: bool, chance: random.Random) -> None:
        now = path.read_bytes() if present else None
        certain = path in self._names and present and self._names[path] is not None and self._names[path] == now
        if certain or (present and chance.random() < 0.5 and self._content.get(path) == now):
            return
        if path in self._names and self._names[path] is not None and (not present or chance.random() < 0.5):
            path.write_bytes(self._names[path] or b"")  # the change since the last fsync of the directory is forgotten
        elif now is None:
            return
        elif path not in self._names and chance.random() < 0.5:
            path.unlink()
        elif self._content.get(path) != now:
            path.write_bytes(now[: chance.choice((0, len(now) // 2, len(now)))])

    def _adopt(self) -> None:
        """Take what is on disk now as durable, as it is after a start of the machine."""
        self.room, self.broken, self.dies_at = None, "", 0
        files = [path for path in self.root.rglob("*") if path.is_file()]
        self._content = {path: path.read_bytes() for path in files}
        self._names = dict(self._content)
        self._directories = {path for path in self.root.rglob("*") if path.is_dir()}
