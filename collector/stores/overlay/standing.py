"""What was read of layers before, taken over where nothing says that it changed.

A layer's directory, the files in it that hold links and ``diff`` are asked for their status again; as long as those are what they were
(inode, size and both times), what the layer says is what it said. Names come and go with the ctime of the directory, content with that of
the file. What had changed less than ``RACY_NS`` before it was read is not kept: a change in the same tick of the kernel's clock would
leave no trace. Everything is reached from the open directory of the layer, as when it is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from collector.links import Attribution, Link
from collector.safe import Directory
from collector.stores.overlay.parts import Part

RACY_NS: Final = 20_000_000  # two ticks of the slowest kernel clock
_DIFF: Final = "diff"


class Status(NamedTuple):
    """What tells one state of a file or directory from the next."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Standing(NamedTuple):
    """One layer as it was read: its own status, those of what is in it (``None``: not there), and what it said."""

    directory: Status
    inside: tuple[tuple[str, Status | None], ...]
    part: Part


class Owned(NamedTuple):
    """The links of ``part`` with their owners."""

    part: Part
    owners: tuple[Attribution, ...]
    links: tuple[Link, ...]


@dataclass(slots=True)
class Layers:
    """The layers of one store as they were read last, by path; ``now`` is the clock (ns UTC) that times of files are taken from.

    ``owned`` holds the links of a part with their owners, as they were made last.
    """

    known: dict[str, Standing] = field(default_factory=dict)
    owned: dict[str, Owned] = field(default_factory=dict)
    now: Callable[[], int] = time.time_ns
    _begun: int = 0

    def begin(self) -> None:
        """Begin to read the store."""
        self._begun = self.now()

    def standing(self, path: str, layer: Directory) -> Part | None:
        """Return what the open directory ``layer`` at ``path`` said, if it still does. Raises ``OSError``."""
        known = self.known.get(path)
        if known is None or known.directory != _status_of(layer):
            return None
        return known.part if all(_status(layer, name) == status for name, status in known.inside) else None

    def watch(self, layer: Directory, files: Iterable[str]) -> tuple[Status, tuple[tuple[str, Status | None], ...]]:
        """Return the status of a layer that is about to be read, to be kept with what is read. Raises ``OSError``."""
        return _status_of(layer), tuple((name, _status(layer, name)) for name in (*files, _DIFF))

    def keep(self, path: str, before: tuple[Status, tuple[tuple[str, Status | None], ...]], part: Part) -> None:
        """Keep what was read after ``before`` was taken."""
        directory, inside = before
        changed = [directory.ctime_ns, *(status.ctime_ns for _, status in inside if status is not None)]
        if not part.problems and max(changed) <= self._begun - RACY_NS:
            self.known[path] = Standing(directory, inside, part)
        else:
            self.known.pop(path, None)

    def forget_others(self, paths: Iterable[str]) -> None:
        """Forget layers that are none of ``paths``."""
        kept = set(paths)
        for path in self.known.keys() - kept:
            del self.known[path]
        for path in self.owned.keys() - kept:
            del self.owned[path]


def _status_of(directory: Directory) -> Status:
    facts = directory.facts
    return Status(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _status(directory: Directory, name: str) -> Status | None:
    try:
        facts = directory.stat(name)
    except FileNotFoundError:
        return None
    return Status(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
