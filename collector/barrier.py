"""A mark in the stream of events: everything that happened before it has been told once it comes back.

When a reading ends, events of changes that it has seen may still be on their way. To know them all, a file in a directory of our own (never
in a store) is renamed, and that directory is watched through the same kernel queue: the queue is in order, so when the rename is told,
nothing older is missing. A rename needs no space, so this also works on a full disk.

Where it cannot work (the directory is not writable, the watch is another kernel queue, nothing comes back several times), ``raise_flag``
says so and the recorder only waits a little.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from collector.stores.protocol import Change, Purpose, WatchItem, WatchPlan

_PATIENCE: Final = 3


class Barrier:
    """Flags raised in one directory, and which of them were seen."""

    def __init__(self, directory: Path) -> None:
        """Use ``directory``, which is made if it is not there and belongs to this collector alone. Raises ``OSError``."""
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.directory = directory.resolve()
        for old in self.directory.iterdir():
            old.unlink()
        self._number = 0
        self._seen = 0
        self._misses = 0
        self._flag(0).touch()

    @property
    def plan(self) -> WatchPlan:
        """What the watcher must cover for flags to be seen."""
        return WatchPlan(self.directory, (WatchItem(self.directory, Purpose.PLUMBING),))

    @property
    def seen(self) -> bool:
        """Whether the last flag came back."""
        return self._seen == self._number

    def raise_flag(self) -> bool:
        """Send a mark after everything that has happened; false when there is no use in waiting for it."""
        if self._misses >= _PATIENCE:
            return False
        try:
            self._flag(self._number).rename(self._flag(self._number + 1))
        except OSError:
            self._misses = _PATIENCE
            return False
        self._number += 1
        return True

    def saw(self, change: Change) -> None:
        """Take in a change in the directory."""
        if change.action == "moved_in" and change.name == self._flag(self._number).name:
            self._seen = self._number
            self._misses = 0

    def missed(self) -> None:
        """Note that the last flag did not come back in time."""
        self._misses += 1

    def _flag(self, number: int) -> Path:
        return self.directory / f"flag-{number}"
