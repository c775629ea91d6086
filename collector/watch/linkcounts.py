"""Changes of a file's number of hard links: which of them concern a store, and what the number is now.

The kernel names only the inode (FAN_ATTRIB without a name). It is opened by its handle and asked; it concerns a store when

* the path that the kernel gives for it lies below a root, or
* an event since the start gave it a name there, or
* it had a name in a layer before (``InodeIndex``, built by a thread at the first such question; until then the answer waits, with its
  bracket of time).

Gone altogether: the removal of its last name was told. Whiteouts are no news, nor are directories.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.stores.protocol import Change
from collector.watch.emitter import RawRead
from collector.watch.fanotify import Handle, Record
from collector.watch.inodes import InodeIndex
from collector.watch.interface import Cause, Loss, Report, WatchBatch
from collector.watch.places import GoneError, Places

NAMES_LIMIT: Final = 100_000
WAITING_LIMIT: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Question:
    inode: int
    nlink: int
    pid: int
    raw: RawRead


class LinkCounts:
    """Turns events that name only an inode into changes. Not safe for several threads."""

    def __init__(self, places: Places, layers: Callable[[], Iterable[Path]]) -> None:
        """Ask ``places`` for objects, and index the ``layers`` of the moment when it is needed."""
        self._places = places
        self._layers = layers
        self._index = InodeIndex()
        self._names: dict[Handle, tuple[Handle, str]] = {}
        self._waiting: list[_Question] = []
        self._refused: list[RawRead] = []

    @property
    def waiting(self) -> bool:
        """Whether changes wait for ``answered``."""
        return bool(self._waiting or self._refused)

    def named(self, target: Handle, directory: Handle, name: str) -> None:
        """Note that an object has got a name below a root."""
        if len(self._names) >= NAMES_LIMIT:
            self._names.clear()
            self.expire()  # the index must know them from now on
        self._names[target] = (directory, name)

    def expire(self) -> None:
        """Build the index anew at the next question: names came inside that no event told one by one."""
        self._index.expire()

    def changed(self, record: Record, raw: RawRead) -> Change | None:
        """Return the change, or ``None`` when it concerns no store or must wait for ``answered``. Raises ``OSError``."""
        found = self._places.status(record.target)
        if found is None:
            return None
        facts, path = found
        if stat.S_ISDIR(facts.st_mode) or _whiteout(facts):
            return None
        if path is not None:
            return _change(path.parent, path.name, record.pid, facts.st_ino, facts.st_nlink)
        if record.target in self._names:
            directory, name = self._names[record.target]
            place = self._place(directory)
            if place is not None:
                return _change(place, name, record.pid, facts.st_ino, facts.st_nlink)
        if not self._index.ready:
            self._ask_later(_Question(facts.st_ino, facts.st_nlink, record.pid, raw))
            return None
        home = self._index.home(facts.st_ino)
        return None if home is None else _change(home, "", record.pid, facts.st_ino, facts.st_nlink)

    def answered(self) -> list[Report]:
        """Return the changes whose answer has come, each with its bracket."""
        if not self._waiting:
            return []
        if not self._index.ready:
            self._index.build(self._layers())
            return []
        reports: list[Report] = []
        for question in self._waiting:
            home = self._index.home(question.inode)
            if home is not None:
                change = _change(home, "", question.pid, question.inode, question.nlink)
                reports.append(WatchBatch((change,), question.raw.after, question.raw.before))
        if self._refused:
            message = f"{len(self._refused)} changes of link counts came while the layers were being indexed"
            reports.append(Loss(Cause.OVERFLOW, message, self._refused[0].after, self._refused[-1].before))
        self._waiting.clear()
        self._refused.clear()
        return reports

    def stop(self) -> None:
        """End the thread of the index."""
        self._index.stop()

    def _place(self, directory: Handle) -> Path | None:
        try:
            return self._places.place(directory)
        except GoneError:  # with it went the name, and that is told
            return None

    def _ask_later(self, question: _Question) -> None:
        if len(self._waiting) < WAITING_LIMIT:
            self._waiting.append(question)
        else:
            self._refused.append(question.raw)


def _change(directory: Path, name: str, pid: int, inode: int, nlink: int) -> Change:
    return Change(directory, name, "attributes", is_directory=False, pid=pid, inode=inode, nlink=nlink)


def _whiteout(facts: os.stat_result) -> bool:
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
