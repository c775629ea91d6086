"""What a name inside a layer is, read safely, and as the one sort of link under which its life is followed.

A name can be a symbolic link now, a whiteout then, and a hard link later. So that one life is told whatever it is, names are followed as
*slots*: links of one kind (``SLOT``) whose detail ``is`` says what stands there; ``plain`` is anything that is not recorded (a
directory, a file with one name), and no ``is`` at all: nobody could read what it was. ``told`` turns steps of slots into steps of links.

* ``symlink``: target as written
* ``hardlink``: a name of a file that has several, wherever the others are; target ``inode:<number>``, ``nlink`` as read
* ``whiteout``: character device 0:0, which hides the name in lower layers. All may be one inode; its link count is no news
* ``unread_name``: came and went before it could be read

Subjects are paths inside the layer, as the container sees them (``/etc/localtime``); ``path`` is relative to the store root. Every step is
one name in an open directory; no link is followed, nothing but directories is opened, no other filesystem is entered.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from collector.differ import Action, LinkChange
from collector.links import NOBODY, Attribution, Link, LinkKind, removed
from collector.lives import Timed
from collector.safe import Directory, open_root

SLOT: Final = LinkKind.SYMLINK
_PLAIN: Final = "plain"
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENAMETOOLONG})
_TRIES: Final = 3


class AbsentError(Exception):
    """The contents of a layer are not there: the layer was removed, or the whole store is away; the survey will say which."""


@dataclass(frozen=True, slots=True)
class Place:
    """The contents of one layer: where they lie, relative to the store root, whose they are."""

    contents: str
    layer: str
    owner: Attribution = NOBODY

    def path(self, name: str) -> str:
        """Return the path of a name inside the layer, relative to the store root."""
        return f"{self.contents}/{name}"


def unknown(place: Place, name: str) -> Link:
    """Return the slot of a name of which nothing is known but that it was there."""
    return Link(SLOT, f"/{name}", place.path(name), layer_id=place.layer, owner=place.owner)


def plain(place: Place, name: str) -> Link:
    """Return the slot of a name that is no link."""
    return replace(unknown(place, name), detail={"is": _PLAIN})


def slot(link: Link) -> Link:
    """Return the slot in which a recorded ``link`` stands."""
    return replace(link, kind=SLOT, detail={} if link.kind is LinkKind.UNREAD_NAME else {"is": link.kind.value})


def link_in(standing: Link) -> Link | None:
    """Return the link that stands in a slot, ``None`` where it is none."""
    what = standing.detail.get("is")
    if what == _PLAIN:
        return None
    return replace(standing, kind=LinkKind.UNREAD_NAME if what is None else LinkKind(what), detail={})


def told(timed: Timed) -> list[Timed]:
    """Return the steps of links that a step of a slot means; none where nothing that is recorded came or went."""
    change = timed.change
    now = None if change.action is Action.REMOVED else link_in(change.link)
    before = None if change.previous is None else link_in(change.previous)
    found: list[LinkChange] = []
    if before is not None and now is not None and before.kind is now.kind:
        found = [LinkChange(change.action, now, before)]
    else:
        if before is not None:
            found.append(LinkChange(Action.REMOVED, removed(before), before))
        if now is not None:
            found.append(LinkChange(change.action if change.previous is None else Action.CREATED, now))
    return [replace(timed, change=change) for change in found]


def read(root: Path, place: Place, names: Iterable[str]) -> dict[str, Link]:
    """Return the slots of those ``names`` (paths inside the layer) that are there now.

    Raises ``AbsentError``, ``OSError`` where a directory cannot be read, and ``StoreError`` where the root cannot be opened.
    """
    found: dict[str, Link] = {}
    by_directory: dict[str, list[str]] = {}
    for name in names:
        by_directory.setdefault(name.rpartition("/")[0], []).append(name)
    with open_root(root) as top:
        contents = _opened(top, place.contents)
        if contents is None:
            raise AbsentError(place.contents)
        with contents:
            for directory, inside in by_directory.items():
                opened = _opened(contents, directory)
                if opened is None or opened.facts.st_dev != contents.facts.st_dev:
                    continue
                with opened:
                    for name in inside:
                        standing = _slot(opened, place, name)
                        if standing is not None:
                            found[name] = standing
    return found


def walk(root: Path, place: Place, below: str) -> Iterator[tuple[int, list[str]]]:
    """Go through a layer from the directory ``below`` on; after each directory yield its number of entries, and the names that are links.

    No descriptor stays open between two steps: an unmount need not wait. Raises as ``read`` does.
    """
    pending = [below]
    while pending:
        here = pending.pop()
        links: list[str] = []
        with open_root(root) as top:
            contents = _opened(top, place.contents)
            if contents is None:
                raise AbsentError(place.contents)
            with contents:
                opened = _opened(contents, here)
                if opened is None or opened.facts.st_dev != contents.facts.st_dev:
                    continue
                with opened:
                    entries = _scan(opened, here, pending, links)
        yield entries, links


def _scan(opened: Directory, here: str, pending: list[str], links: list[str]) -> int:
    """Take the names of links in a directory into ``links``, its directories into ``pending``; return the number of entries."""
    count = 0
    with os.scandir(opened.fd) as entries:
        for entry in entries:
            count += 1
            name = f"{here}/{entry.name}" if here else entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(name)
            elif entry.is_symlink():
                links.append(name)
            else:
                try:
                    facts = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # its removal is an event of its own
                    continue
                if facts.st_nlink > 1 or _is_whiteout(facts):
                    links.append(name)
    return count


def _opened(top: Directory, path: str) -> Directory | None:
    """Open the directory at ``path`` below ``top``, ``None`` where there is none. Raises ``OSError``."""
    try:
        return top.directory(*(path.split("/") if path else ()))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def _slot(directory: Directory, place: Place, path: str) -> Link | None:
    name = path.rpartition("/")[2]
    for _ in range(_TRIES):
        try:
            facts = directory.stat(name)
            if not stat.S_ISLNK(facts.st_mode):
                return _of(facts, place, path)
            target = directory.readlink(name)
            again = directory.stat(name)
        except OSError as error:
            if error.errno == errno.EINVAL:  # it was a link when it was asked, and no longer when it was read
                continue
            if error.errno in _ABSENT:
                return None
            raise
        if (facts.st_ino, facts.st_ctime_ns) == (again.st_ino, again.st_ctime_ns):
            found = Link(SLOT, f"/{path}", place.path(path), target, layer_id=place.layer, inode=facts.st_ino, owner=place.owner)
            return replace(found, nlink=facts.st_nlink, detail={"is": LinkKind.SYMLINK.value})
    return unknown(place, path)  # it changes faster than it can be read: the next look will say


def _of(facts: os.stat_result, place: Place, path: str) -> Link:
    if _is_whiteout(facts):
        return replace(unknown(place, path), detail={"is": LinkKind.WHITEOUT.value})
    if stat.S_ISDIR(facts.st_mode) or facts.st_nlink < 2:  # noqa: PLR2004 - a second name
        return plain(place, path)
    found = replace(unknown(place, path), target=f"inode:{facts.st_ino}", inode=facts.st_ino, nlink=facts.st_nlink)
    return replace(found, detail={"is": LinkKind.HARDLINK.value})


def _is_whiteout(facts: os.stat_result) -> bool:
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
