"""What one small place of a store says: the piece in which a store is read, and read again when it changed meanwhile."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from collector.links import Link, LinkKind, LinkState, Problem
from collector.safe import Directory, Entry, kind_of, words

_REPLACED: Final = (errno.ELOOP, errno.ENOTDIR)


class Part(NamedTuple):
    """The links that one place holds, and what could not be read of it."""

    links: tuple[Link, ...] = ()
    problems: tuple[Problem, ...] = ()


Parts = Mapping[str, Part]
"""Parts by their path, relative to the root of the store."""


class Wanted(NamedTuple):
    """Which places to read: all of them, or (``paths``) those that changed since the ``earlier`` reading.

    Reading again reads nothing else: a name that came or went outside ``paths`` stays as it was read, because its record was
    not read at the same time.
    """

    earlier: Parts
    paths: frozenset[str] | None = None

    def has(self, path: str) -> bool:
        """Tell whether the place at ``path`` is to be read."""
        return self.paths is None or path in self.paths

    def kept(self) -> dict[str, Part]:
        """Return the earlier parts that stand."""
        return {path: part for path, part in self.earlier.items() if not self.has(path)}


EVERYTHING: Final = Wanted({})


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


ReadEntry = Callable[[Directory, Entry, str], Part | None]
"""Reads one entry of an open directory, given its path; ``None``: it is no part of the store, or gone."""


def read_entries(parent: Directory, place: str, path: str, read: ReadEntry) -> dict[str, Part]:
    """Read every entry of the directory ``place`` below ``parent``, which is ``path`` in the store and may be absent."""
    try:
        opened = parent.directory(*place.split("/"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {path: problem(path, error)}
    with opened:
        try:
            listing = opened.entries()
        except OSError as error:
            return {path: problem(path, error)}
        found = {f"{path}/{entry.name}": read(opened, entry, f"{path}/{entry.name}") for entry in listing.entries}
    parts = {where: part for where, part in found.items() if part is not None}
    return parts if listing.complete else {**parts, path: problem(path, f"more than {len(listing.entries)} entries")}
