"""What one small place of a store says: the piece in which a store is read, and read again when it changed meanwhile."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from collector.links import Link, LinkKind, LinkState, Problem
from collector.safe import Directory, kind_of, words

_REPLACED: Final = (errno.ELOOP, errno.ENOTDIR)


class Part(NamedTuple):
    """The links that one place holds, and what could not be read of it."""

    links: tuple[Link, ...] = ()
    problems: tuple[Problem, ...] = ()


Parts = Mapping[str, Part]
"""Parts by their path, relative to the root of the store."""


class Earlier(NamedTuple):
    """What an earlier reading found, and the paths of it that are to be read again."""

    parts: Parts
    again: Collection[str]

    def part(self, path: str) -> Part | None:
        """Return the earlier part at ``path`` that still stands, if any."""
        return None if path in self.again else self.parts.get(path)


NOTHING_EARLIER: Final = Earlier({}, ())


def problem(path: str, error: OSError | str) -> Part:
    """Return the part of a place that could not be read."""
    return Part(problems=(Problem(path, error if isinstance(error, str) else words(error)),))


def read_owned_directory(parent: Directory, name: str, where: Place, inside: Callable[[Directory], Part | None]) -> Part | None:
    """Enter directory ``name`` and return what ``inside`` reads there; ``None`` when it vanished.

    Something else under that name, as a symbolic link planted in its place, is a malformed link of the kind of ``where`` and is
    never entered.
    """
    try:
        opened = parent.directory(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _REPLACED:
            return impostor(parent, name, where)
        link = Link(where.kind, name, where.path, layer_id=where.layer_id)
        return Part((link,), (Problem(where.path, words(error)),))
    with opened:
        try:
            return inside(opened)
        except OSError as error:
            link = Link(where.kind, name, where.path, layer_id=where.layer_id, inode=opened.facts.st_ino)
            return Part((link,), (Problem(where.path, words(error)),))


class Place(NamedTuple):
    """Which link a directory is: its kind, path and layer."""

    kind: LinkKind
    path: str
    layer_id: str | None = None


def impostor(parent: Directory, name: str, where: Place) -> Part | None:
    """Describe what stands where a directory should; ``None`` when it vanished."""
    try:
        facts = parent.stat(name)
        detail: dict[str, Any] = {"type": kind_of(facts.st_mode)}
        if detail["type"] == "symlink":
            detail["to"] = parent.readlink(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return problem(where.path, error)
    link = Link(
        where.kind,
        name,
        where.path,
        state=LinkState.MALFORMED,
        layer_id=where.layer_id,
        inode=facts.st_ino,
        nlink=facts.st_nlink,
        detail=detail,
    )
    return Part((link,))
