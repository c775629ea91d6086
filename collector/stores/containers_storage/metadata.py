"""Reading the metadata files: whole, each at one instant, and again only where they changed.

The engine replaces each file by rename, so an open file is complete and never changes; its inode, size and times are its
signature. ``read_metadata`` with an earlier reading takes over every file whose signature still stands, and returns the
earlier reading itself when nothing changed at all. (A file that cannot be read has no signature and is tried again.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from collector.links import Link, LinkKind, LinkState, Problem
from collector.safe import Content, Directory, words
from collector.stores.containers_storage import layout
from collector.stores.containers_storage.records import ContainerRecord, ImageRecord, LayerRecord, Record, Table, read_table

Found = TypeVar("Found", bound=Record)
Key = tuple[type[Record], str]
"""One object of the store: what it is, and its id."""


class Signature(NamedTuple):
    """What tells one version of a file from the next."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Signature:
        """Return the signature in a status."""
        return cls(facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class File:
    """One metadata file as read; ``link`` is ``None`` when it is absent."""

    signature: Signature | None = None
    link: Link | None = None
    problem: Problem | None = None
    table: Table = field(default_factory=Table)


ABSENT: Final = File()


@dataclass(frozen=True, slots=True)
class Metadata:
    """All metadata files as read. Records of ordinary files come before those of volatile ones; the first of one id wins."""

    files: Mapping[str, File]
    layers: Mapping[str, LayerRecord]
    images: Mapping[str, ImageRecord]
    containers: Mapping[str, ContainerRecord]

    @classmethod
    def of(cls, files: Mapping[str, File]) -> Metadata:
        """Index the records of ``files``."""
        records = [record for file in files.values() for record in file.table.records]
        return cls(
            files,
            _by_id(record for record in records if isinstance(record, LayerRecord)),
            _by_id(record for record in records if isinstance(record, ImageRecord)),
            _by_id(record for record in records if isinstance(record, ContainerRecord)),
        )

    def changed_since(self, earlier: Metadata) -> set[Key]:
        """Return the objects whose records differ between two readings."""
        pairs = ((self.layers, earlier.layers), (self.images, earlier.images), (self.containers, earlier.containers))
        return {
            (type(record), record.id)
            for now, before in pairs
            for record in (*now.values(), *before.values())
            if now.get(record.id) != before.get(record.id)
        }


def read_metadata(root: Directory, earlier: Metadata | None = None) -> Metadata:
    """Read the metadata files, or those that changed since ``earlier``. Never raises for what is in the store."""
    files: dict[str, File] = {}
    for path in layout.METADATA_FILES:
        before = earlier.files[path] if earlier else None
        files[path] = _read_file(root, path, before)
    if earlier and all(files[path] is earlier.files[path] for path in files):
        return earlier
    return Metadata.of(files)


def _read_file(root: Directory, path: str, before: File | None) -> File:
    place, _, name = path.partition("/")
    try:
        with root.directory(place) as directory:
            if before and _stands(before, directory, name):
                return before
            return _understood(path, directory.read(name, layout.METADATA_BYTES))
    except FileNotFoundError:
        return ABSENT
    except OSError as error:
        return ABSENT if path in layout.VOLATILE_FILES else _unreadable(path, f"{place}: {words(error)}", place)


def _stands(before: File, directory: Directory, name: str) -> bool:
    try:
        return before.signature == Signature.of(directory.stat(name))
    except OSError:
        return False


def _understood(path: str, content: Content) -> File:
    if content.state is LinkState.MISSING:
        return ABSENT
    signature = Signature.of(content.facts) if content.facts else None
    if content.state in (LinkState.UNREADABLE, LinkState.MALFORMED):
        return _unreadable(path, content.error, path, content.state, signature)
    table = read_table(path, content.data)
    what = "; ".join(table.faults)
    state = LinkState.MALFORMED if what else LinkState.PRESENT
    facts = {"size": content.facts.st_size, "mtime_ns": content.facts.st_mtime_ns} if content.facts else {}
    link = Link(LinkKind.METADATA_FILE, path, path, state=state, detail={"error": what} if what else {}, facts=facts)
    return File(signature, link, Problem(path, what) if what else None, table)


def _unreadable(path: str, what: str, where: str, state: LinkState = LinkState.UNREADABLE, signature: Signature | None = None) -> File:
    link = Link(LinkKind.METADATA_FILE, path, path, state=state, detail={"error": what})
    return File(signature, link, Problem(where, what))


def _by_id(records: Iterator[Found]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for record in records:
        found.setdefault(record.id, record)
    return found
