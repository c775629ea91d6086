"""Which inodes have a name inside the layers: read once, when the first change of a link count asks.

A change of a link count names only the inode, and the other name may lie anywhere on the filesystem. The names that were there before the
mark are read by a thread (inode numbers from the directories alone, no file is asked); those that came later the events tell. Eight
bytes an inode. The walk follows no link and leaves no filesystem.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from collector.watch.steps import ROOT, STEP

_READ: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_AT_ONCE: Final = 64


class InodeIndex:
    """The inodes below some directories, as they were when the index was built."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._inodes: dict[Path, array[int]] | None = None
        self._building: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        return self._inodes is not None

    def build(self, directories: Iterable[Path]) -> None:
        """Begin to read the names below ``directories``, unless that is done or under way."""
        if self._inodes is None and (self._building is None or not self._building.is_alive()):
            wanted = tuple(directories)
            self._building = threading.Thread(target=self._build, args=(wanted,), name="inode-index", daemon=True)
            self._building.start()

    def home(self, inode: int) -> Path | None:
        """Return the directory below which ``inode`` has a name, or ``None``."""
        for directory, known in (self._inodes or {}).items():
            place = bisect_left(known, inode)
            if place < len(known) and known[place] == inode:
                return directory
        return None

    def expire(self) -> None:
        """Forget what is known: names came inside that no event told one by one."""
        self.stop()
        self._inodes = None

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._building is not None:
            self._building.join()
            self._building = None
        self._stop.clear()

    def _build(self, directories: tuple[Path, ...]) -> None:
        found: dict[Path, array[int]] = {}
        for directory in directories:
            if self._stop.is_set():
                return
            inodes = sorted(self._below(directory))
            if inodes:
                found[directory] = array("Q", inodes)
        if not self._stop.is_set():
            self._inodes = found

    def _below(self, top: Path) -> list[int]:
        """Return the inodes of everything below ``top`` that is no directory."""
        inodes: list[int] = []
        try:
            at = os.open(top, ROOT | os.O_NOFOLLOW)
        except OSError:  # removed meanwhile: nothing has a name there
            return inodes
        try:
            self._walk(at, os.fstat(at).st_dev, inodes)
        finally:
            os.close(at)
        return inodes

    def _walk(self, top: int, device: int, inodes: list[int]) -> None:
        pending: list[tuple[str, ...]] = [()]
        while pending and not self._stop.is_set():
            names = pending.pop()
            try:
                at = _descend(top, names, device)
            except OSError:  # removed, replaced or another filesystem
                continue
            try:
                with os.scandir(at) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append((*names, entry.name))
                        else:
                            inodes.append(entry.inode())
            except OSError:  # it went while it was read
                continue
            finally:
                os.close(at)


def _descend(top: int, names: tuple[str, ...], device: int) -> int:
    at = os.open(".", STEP, dir_fd=top)
    for name in names:
        step = os.open(name, STEP, dir_fd=at)
        os.close(at)
        at = step
    try:
        if os.fstat(at).st_dev != device:
            raise OSError("another filesystem")
        return os.open(".", _READ, dir_fd=at)
    finally:
        os.close(at)
