"""The four verbs of a store driver.

A driver is pure functions of a directory tree: the same on a live node, below ``/host``, on a dead disk's mount and on a
test tree. It only reads files, and never follows a link that a container could have planted. A fifth store kind is a new
module with these four functions and one line in ``collector.stores``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from collector.links import Link, StoreKind, Survey
from linktrail.clock import Clock

Progress = Callable[[str, int, int], None]
"""Called with (what is being read, done, total); total 0 means unknown."""


def no_progress(what: str, done: int, total: int) -> None:
    """Tell nobody."""


class Purpose(StrEnum):
    """Why a directory is watched; the watch mask follows from it."""

    METADATA = "metadata"  # files replaced by rename or rewritten in place
    PLUMBING = "plumbing"  # symbolic links and directories made and removed
    LAYER = "layer"  # one layer's own directory: link, lower, diff


@dataclass(frozen=True, slots=True)
class WatchItem:
    """One directory to watch, shallowly. ``path`` is absolute."""

    path: Path
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """The directories that cover a store's plumbing, in the order in which they should be claimed.

    ``replaced`` are metadata files (absolute) of which each version is read, see ``ReadsVersions``: files that the engine replaces by
    rename, and databases in bolt's format (``*.db``), of which each transaction is a version.
    """

    root: Path
    items: tuple[WatchItem, ...]
    replaced: tuple[Path, ...] = ()


class Change(NamedTuple):
    """What a watch saw: a name in a directory was touched. An event means "look again", never more.

    ``action`` is one of created, removed, moved_in, moved_out, modified, attributes; ``directory`` is absolute; ``name`` is empty
    when it is the directory itself. The two sides of one rename carry the same ``cookie`` (0: none). Deep mode also tells who
    did it (``pid``, 0: not visible from here) and the ``inode`` concerned; where the number of hard links changed, ``nlink`` is the
    new one, as read after the change. (A tuple: half a million are made in a second.)
    """

    directory: Path
    name: str
    action: str
    is_directory: bool
    cookie: int = 0
    pid: int | None = None
    inode: int | None = None
    nlink: int | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a change means for the store.

    ``relevant`` is false for noise (lock files, temporary names): nothing need be read again. ``link`` is the link that the
    event alone proves to have existed (``target`` unknown), so that one made and removed between two reads is not lost.
    ``watch`` is set when the change made a directory that the plan now wants watched.
    """

    relevant: bool
    link: Link | None = None
    watch: WatchItem | None = None


NOISE = Meaning(relevant=False)
LOOK_AGAIN = Meaning(relevant=True)


class Driver(Protocol):
    """One store kind."""

    kind: StoreKind

    def detect(self, root: Path) -> bool:
        """Tell whether ``root`` is a store of this kind, by structure. Cheap, and never raises for a foreign tree."""

    def usual_roots(self) -> tuple[Path, ...]:
        """Return where engines keep this kind of store, most usual first (may not exist)."""

    def watch_plan(self, root: Path) -> WatchPlan:
        """Return what to watch now. Raises ``NoStoreError`` when the store is gone."""

    def survey(self, root: Path, *, clock: Clock, progress: Progress = no_progress) -> Survey:
        """Read the whole graph. Raises ``NoStoreError`` or ``StoreUnreadableError``; damage inside is data, not an error."""

    def interpret(self, root: Path, change: Change) -> Meaning:
        """Say what ``change`` means."""


@runtime_checkable
class ReadsVersions(Protocol):
    """A driver whose metadata files change as a whole (``WatchPlan.replaced``), so that what one version said can be told by itself.

    Its surveys give the link of such a file the fact ``version``, the ``Signature`` of the file as it was read.
    """

    def version(self, path: str, data: bytes, survey: Survey) -> tuple[Link, ...] | None:
        """Return the links that ``path`` (relative to the root) states with the content ``data``; ``survey`` is a later reading.

        ``None`` where nothing of it can be understood, so that nothing may be concluded from it.

        All links of a survey with this path, or with ``path#...``, come from that file alone, so versions can be compared. Never raises.
        """


@runtime_checkable
class ReadsNames(Protocol):
    """A driver that can read one link by its name, while all else may be changing."""

    def read_name(self, root: Path, link: Link) -> Link | None:
        """Return what stands at the path of ``link`` in the store at ``root`` now; ``None`` if nothing does. Never raises."""
