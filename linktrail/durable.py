"""Durable file operations, behind one seam.

Everything that the spool and the lake write goes through a ``FileSystem``, so that tests can fail the n-th call,
fill the disk, or drop whatever was not fsynced. The rules, in one place:

* a file becomes visible only by rename of a finished, fsynced temporary file beside it;
* the directory is fsynced after the replace and after an unlink that something relies on;
* after a failed fsync nothing is retried on the same file: the kernel may have dropped the pages (the caller stops).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

TEMPORARY_SUFFIX = ".tmp"


class FileSystem(Protocol):
    """The file operations linktrail relies on to keep data. All raise ``OSError``."""

    def write_new(self, path: Path, data: bytes) -> None:
        """Create ``path`` (which must not exist), write ``data`` and fsync it."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename ``source`` over ``target`` atomically."""

    def sync_file(self, path: Path) -> None:
        """Fsync a file that another library wrote."""

    def sync_directory(self, path: Path) -> None:
        """Make the names in ``path`` durable."""

    def unlink(self, path: Path) -> None:
        """Remove the name ``path``; not an error when it is gone already."""

    def make_directory(self, path: Path) -> None:
        """Create ``path`` and its missing parents, private to the owner, and make their names durable."""

    def read(self, path: Path) -> bytes:
        """Return the whole content of ``path``."""

    def names(self, path: Path) -> list[str]:
        """Return the names in directory ``path``, sorted."""

    def free_bytes(self, path: Path) -> int:
        """Return the bytes an unprivileged writer may still use on the filesystem of ``path``."""


class LocalFileSystem:
    """The machine's own filesystem."""

    def write_new(self, path: Path, data: bytes) -> None:
        """Create ``path`` (which must not exist), write ``data`` and fsync it; a failed write leaves no file."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # the first error is the one to report
                path.unlink()
            raise

    def replace(self, source: Path, target: Path) -> None:
        """Rename ``source`` over ``target`` atomically."""
        source.replace(target)

    def sync_file(self, path: Path) -> None:
        """Fsync a file that another library wrote."""
        self._sync(path, os.O_RDONLY)

    def sync_directory(self, path: Path) -> None:
        """Make the names in ``path`` durable."""
        self._sync(path, os.O_RDONLY | os.O_DIRECTORY)

    @staticmethod
    def _sync(path: Path, flags: int) -> None:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """Remove the name ``path``; not an error when it is gone already."""
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        """Create ``path`` and its missing parents, private to the owner, and make their names durable."""
        if path.is_dir():
            return
        self.make_directory(path.parent)
        path.mkdir(mode=0o750, exist_ok=True)
        self.sync_directory(path.parent)

    def read(self, path: Path) -> bytes:
        """Return the whole content of ``path``."""
        return path.read_bytes()

    def names(self, path: Path) -> list[str]:
        """Return the names in directory ``path``, sorted."""
        return sorted(os.listdir(path))  # noqa: PTH208 - names, not paths

    def free_bytes(self, path: Path) -> int:
        """Return the bytes an unprivileged writer may still use on the filesystem of ``path``."""
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize


def write_durably(filesystem: FileSystem, path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that after a crash either the old or the whole new content is there."""
    temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    filesystem.unlink(temporary)  # left by a crash between write and rename
    filesystem.write_new(temporary, data)
    filesystem.replace(temporary, path)
    filesystem.sync_directory(path.parent)
