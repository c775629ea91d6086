"""Which inodes have a name inside the layers: read once, when the first change of a link count asks.

A change of a link count names only the inode, and the other name may lie anywhere on the filesystem. The names that were there before the
mark are read by a thread (inode numbers from the directories alone, no file is asked); those that came later the events tell. When the
index has to be built anew, only directories that changed are listed (``nametree``). Sixteen bytes an inode.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

from collector.watch.nametree import NameTree


class InodeIndex:
    """The inodes below some directories, as they were when the index was built."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._inodes: dict[Path, array[int]] | None = None
        self._trees: dict[Path, NameTree] = {}
        self._sorted: dict[Path, array[int]] = {}
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
        self._trees = {directory: self._trees.get(directory) or NameTree(directory) for directory in directories}
        found: dict[Path, array[int]] = {}
        for directory, tree in self._trees.items():
            tree.read(self._stop.is_set)
            if self._stop.is_set():
                return
            if tree.listed or directory not in self._sorted:
                self._sorted[directory] = array("Q", sorted(tree.inodes()))
            if self._sorted[directory]:
                found[directory] = self._sorted[directory]
        self._sorted = dict(found)
        self._inodes = found
