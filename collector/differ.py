"""What changed between what is recorded of a store and a new survey of it. Pure.

What each difference is called:

* only in the survey: ``created`` (``observed`` when the store is read for the first time ever)
* only in the record: ``removed``, unless the survey could not read there (``Survey.unread``): then nothing is claimed
* another target, both readable: ``retargeted``, with the previous target
* a short link or directory with the same target and another inode: ``removed`` and ``created``. The old one is gone for certain, and
  another stands under its name. (For metadata files an inode means nothing: engines replace them at every write.)
* anything else that is recorded (state, detail, link count): ``changed``. Facts and owners are not compared.

A removed link keeps the owner it was last known to have, because nothing on disk names that owner any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collector.links import Link, LinkKey, LinkKind, LinkState, Survey, removed
from collector.rows import recorded


class Action(StrEnum):
    """What happened to a link. Stable: these words stand in the lake."""

    OBSERVED = "observed"
    CREATED = "created"
    REMOVED = "removed"
    RETARGETED = "retargeted"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class LinkChange:
    """One step in the life of one link: ``link`` is how it stands after it, ``previous`` how it stood before (``None``: not at all)."""

    action: Action
    link: Link
    previous: Link | None = None


OWN_INODE: Final = frozenset(
    {
        LinkKind.SHORT_LINK,
        LinkKind.SYMLINK,
        LinkKind.LAYER_DIRECTORY,
        LinkKind.OWNER_DIRECTORY,
        LinkKind.TEMPORARY_DIRECTORY,
    }
)
"""Kinds whose inode number is their identity: another inode is another link under the same name."""


class Unread:
    """The parts of a store that a survey could not read; asks for one path cost its depth, not the number of parts."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Take ``Survey.unread``; a path covers itself and everything below it, an empty one the whole store."""
        self._paths = frozenset(path.strip("/") for path in paths)
        self._everything = bool(self._paths & {"", "."})

    def hides(self, path: str) -> bool:
        """Tell whether ``path`` lies in a part that could not be read (``file#part`` lies in ``file``)."""
        if not self._paths:
            return False
        if self._everything:
            return True
        while path:
            if path in self._paths:
                return True
            cut = max(path.rfind("/"), path.rfind("#"))
            path = path[:cut] if cut > 0 else ""
        return False


def diff(old: Mapping[LinkKey, Link], survey: Survey, *, first: bool = False) -> list[LinkChange]:
    """Return what leads from ``old`` (links as recorded) to ``survey``: removals first, then in the order of the survey.

    ``first`` says that this store was never read before; what is found is then ``observed``, for when it was created is unknown.
    """
    unread = Unread(survey.unread)
    gone = (link for key, link in old.items() if key not in survey.links and not unread.hides(link.path))
    changes = [LinkChange(Action.REMOVED, removed(link), link) for link in gone]
    found = Action.OBSERVED if first else Action.CREATED
    for key, link in survey.links.items():
        before = old.get(key)
        if before is None:
            changes.append(LinkChange(found, recorded(link)))
        elif not _alike(before, link):
            changes += steps(before, recorded(link))
    return changes


def _alike(before: Link, link: Link) -> bool:
    """Tell whether two links of one key are equal; a third of the time of ``==``, and this is asked of every link at every reading."""
    return (
        before.target == link.target
        and before.state is link.state
        and before.inode == link.inode
        and before.nlink == link.nlink
        and before.layer_id == link.layer_id
        and before.detail == link.detail
    )


def steps(before: Link, now: Link) -> list[LinkChange]:
    """Return what leads from one recorded state of a link to another, when nothing but the two states is known."""
    if before == now:
        return []
    if _retargeted(before, now):
        return [LinkChange(Action.RETARGETED, now, before)]
    if is_another(before, now):
        return [LinkChange(Action.REMOVED, removed(before), before), LinkChange(Action.CREATED, now)]
    return [LinkChange(Action.CHANGED, now, before)]


def is_another(before: Link, now: Link) -> bool:
    """Tell whether the inode proves that ``now`` is another link than ``before`` under the same name."""
    known = before.inode is not None and now.inode is not None
    return known and before.inode != now.inode and now.kind in OWN_INODE


def _retargeted(before: Link, now: Link) -> bool:
    unknown = LinkState.UNREADABLE in {before.state, now.state}
    return before.target != now.target and not unknown
