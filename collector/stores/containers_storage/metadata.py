"""Reading the metadata files: whole, each at one instant, and again only where they changed.

The engine replaces each file by rename, so an open file is complete and never changes; its inode, size and times are its
signature. ``read_metadata`` with an earlier reading takes over every file whose signature still stands, and returns the
earlier reading itself when nothing changed at all. (A file that cannot be read has no signature and is tried again.)

``Remembered`` keeps the last reading of each store, so that the next survey parses only what was written since, entry by entry
(``entries``): a recorder reads a store after every burst of changes, and each version of a file with 10,000 layers in it. A file that was
written within ``RACY_NS`` of its reading is not remembered: a file put in its place at once could bear the same signature.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from collector.links import Link, LinkKind, LinkState, Problem
from collector.safe import Content, Directory, Signature, words
from collector.stores.containers_storage import layout
from collector.stores.containers_storage.entries import Entries
from collector.stores.containers_storage.records import ContainerRecord, ImageRecord, LayerRecord, Record, Table
from collector.stores.overlay.standing import Layers
from linktrail.clock import Clock

RACY_NS: Final = 20_000_000  # two ticks of the slowest kernel clock
_REMEMBERED: Final = 16  # stores

Found = TypeVar("Found", bound=Record)
Key = tuple[type[Record], str]
"""One object of the store: what it is, and its id."""


@dataclass(frozen=True, slots=True)
class File:
    """One metadata file as read, at ``read_at`` (ns UTC); ``link`` is ``None`` when it is absent."""

    signature: Signature | None = None
    link: Link | None = None
    problem: Problem | None = None
    table: Table = field(default_factory=Table)
    read_at: int = 0

    @property
    def racy(self) -> bool:
        """Whether it was written so shortly before it was read that its signature proves nothing later."""
        return self.signature is not None and max(self.signature.mtime_ns, self.signature.ctime_ns) > self.read_at - RACY_NS


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


class Remembered:
    """The last reading of the metadata and of the layers of each store, by the identity of its root."""

    def __init__(self) -> None:
        """Know of none."""
        self.entries = Entries()
        self._readings: OrderedDict[tuple[int, int], Metadata] = OrderedDict()
        self._layers: OrderedDict[tuple[int, int], Layers] = OrderedDict()

    def of(self, root: Directory) -> Metadata | None:
        """Return what was read last of the store whose open root is ``root``."""
        return self._readings.get((root.facts.st_dev, root.facts.st_ino))

    def layers(self, root: Directory) -> Layers:
        """Return what is kept of the layers of the store whose open root is ``root``."""
        key = (root.facts.st_dev, root.facts.st_ino)
        found = self._layers.setdefault(key, Layers())
        self._layers.move_to_end(key)
        while len(self._layers) > _REMEMBERED:
            self._layers.popitem(last=False)
        return found

    def keep(self, root: Directory, metadata: Metadata) -> None:
        """Remember a reading."""
        files = {path: ABSENT if file.racy else file for path, file in metadata.files.items()}
        key = (root.facts.st_dev, root.facts.st_ino)
        self._readings[key] = replace(metadata, files=files)
        self._readings.move_to_end(key)
        while len(self._readings) > _REMEMBERED:
            self._readings.popitem(last=False)


def read_metadata(root: Directory, clock: Clock, entries: Entries, earlier: Metadata | None = None) -> Metadata:
    """Read the metadata files, or those that changed since ``earlier``. Never raises for what is in the store."""
    files: dict[str, File] = {}
    for path in layout.METADATA_FILES:
        before = earlier.files[path] if earlier else None
        files[path] = _read_file(root, path, before, clock, entries)
    if earlier and all(files[path] is earlier.files[path] for path in files):
        return earlier
    return Metadata.of(files)


def read_version(path: str, data: bytes, entries: Entries) -> Metadata:
    """Return what the metadata file ``path`` says when its content is ``data``. Never raises."""
    return Metadata.of({path: _understood(path, Content(LinkState.PRESENT if data else LinkState.EMPTY, data), entries)})


def _read_file(root: Directory, path: str, before: File | None, clock: Clock, entries: Entries) -> File:
    place, _, name = path.partition("/")
    try:
        with root.directory(place) as directory:
            if before and _stands(before, directory, name):
                return before
            read_at = clock.now().wall
            found = _understood(path, directory.read(name, layout.METADATA_BYTES), entries)
            return found if found is ABSENT else replace(found, read_at=read_at)
    except FileNotFoundError:
        return ABSENT
    except OSError as error:
        return ABSENT if path in layout.VOLATILE_FILES else _unreadable(path, f"{place}: {words(error)}", place)


def _stands(before: File, directory: Directory, name: str) -> bool:
    try:
        return before.signature == Signature.of(directory.stat(name))
    except OSError:
        return False


def _understood(path: str, content: Content, entries: Entries) -> File:
    if content.state is LinkState.MISSING:
        return ABSENT
    signature = Signature.of(content.facts) if content.facts else None
    if content.state in (LinkState.UNREADABLE, LinkState.MALFORMED):
        return _unreadable(path, content.error, path, content.state, signature)
    table = entries.table(path, content.data)
    what = "; ".join(table.faults)
    state = LinkState.MALFORMED if what else LinkState.PRESENT
    facts = {"size": content.facts.st_size, "mtime_ns": content.facts.st_mtime_ns, "version": signature} if content.facts else {}
    link = Link(LinkKind.METADATA_FILE, path, path, state=state, detail={"error": what} if what else {}, facts=facts)
    return File(signature, link, Problem(path, what) if what else None, table)


def _unreadable(path: str, what: str, where: str, state: LinkState = LinkState.UNREADABLE, signature: Signature | None = None) -> File:
    facts = {} if signature is None else {"version": signature}
    link = Link(LinkKind.METADATA_FILE, path, path, state=state, detail={"error": what}, facts=facts)
    return File(signature, link, Problem(where, what))


def _by_id(records: Iterator[Found]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for record in records:
        found.setdefault(record.id, record)
    return found
