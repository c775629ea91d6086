"""Reading all records of a store: many small files, so that no single one is a snapshot of it.

Docker makes what a record needs before the record, and removes it after: layers before images, a writable layer before its container. So
containers are read first, then names, images, mounts and layers: what one of them names was there when it was read. An entry of layerdb
is made by one rename and removed by one, and never changed; a configuration is replaced by rename. ``read_records`` with an earlier reading
takes over every entry whose signature still stands, and returns the earlier reading itself when nothing changed at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collector.links import Link, LinkKind, LinkState, Problem
from collector.safe import Content, Directory, words
from collector.stores.docker import layout
from collector.stores.docker.databases import Databases, read_databases
from collector.stores.docker.entries import Kept, ReadEntry, image_reader, read_container, read_layer, read_mount, read_write_set
from collector.stores.docker.records import ContainerRecord, ImageRecord, LayerRecord, MountRecord, Names, names_of
from linktrail.clock import Clock


@dataclass(frozen=True, slots=True)
class Records:
    """Everything that Docker records, by path. ``tables`` are the directories and files of records as such."""

    containers: Mapping[str, Kept] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    images: Mapping[str, Kept] = field(default_factory=dict)
    mounts: Mapping[str, Kept] = field(default_factory=dict)
    layers: Mapping[str, Kept] = field(default_factory=dict)
    databases: Databases = field(default_factory=Databases)
    tables: Mapping[str, Link] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def same(self, other: Records) -> bool:
        """Tell whether both say the same."""
        pairs = (
            (self.containers, other.containers),
            (self.images, other.images),
            (self.mounts, other.mounts),
            (self.layers, other.layers),
        )
        equal = all(one.keys() == two.keys() and all(one[path].record == two[path].record for path in one) for one, two in pairs)
        return equal and self.names == other.names and self.databases.same(other.databases)

    def all_layers(self) -> list[LayerRecord]:
        """Return the records of layerdb."""
        return [kept.record for kept in self.layers.values()]

    def all_mounts(self) -> list[MountRecord]:
        """Return the records of writable layers."""
        return [kept.record for kept in self.mounts.values()]

    def all_images(self) -> list[ImageRecord]:
        """Return the records of images."""
        return [kept.record for kept in self.images.values()]

    def all_containers(self) -> list[ContainerRecord]:
        """Return the records of containers."""
        return [kept.record for kept in self.containers.values()]


class _Reading:
    """One reading of all records."""

    def __init__(self, root: Directory, earlier: Records) -> None:
        self.root = root
        self.earlier = earlier
        self.tables: dict[str, Link] = {}
        self.problems: list[Problem] = []

    def table(self, place: str, earlier: Mapping[str, Kept], read: ReadEntry) -> dict[str, Kept]:
        """Read a directory of records, entry by entry, and say how the directory itself is."""
        try:
            opened = self.root.directory(*place.split("/"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._unreadable(place, words(error))
            return {}
        with opened:
            try:
                listing = opened.entries()
            except OSError as error:
                self._unreadable(place, words(error))
                return {}
            found: dict[str, Kept] = {}
            for entry in sorted(listing.entries):
                path = f"{place}/{entry.name}"
                try:
                    kept = read(opened, entry, path, earlier.get(path))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._unreadable(path, words(error))
                    continue
                if kept is not None:
                    found[path] = kept
            if not listing.complete:
                self.problems.append(Problem(place, f"more than {len(listing.entries)} entries"))
            newest = max((kept.signature[2] for kept in found.values()), default=0)
            facts = {"mtime_ns": max(os.fstat(opened.fd).st_mtime_ns, newest)}
            self.tables[place] = Link(LinkKind.METADATA_FILE, place, place, facts=facts)
            return found

    def _unreadable(self, place: str, what: str) -> None:
        self.tables[place] = Link(LinkKind.METADATA_FILE, place, place, state=LinkState.UNREADABLE, detail={"error": what})
        self.problems.append(Problem(place, what))

    def names(self) -> Names:
        """Read repositories.json."""
        try:
            with self.root.directory(*layout.IMAGE.split("/")) as directory:
                content = directory.read(layout.REPOSITORIES_NAME, layout.REPOSITORIES_BYTES)
        except OSError as error:
            content = Content(LinkState.MISSING if isinstance(error, FileNotFoundError) else LinkState.UNREADABLE, error=words(error))
        if content.state is LinkState.MISSING:
            return Names()
        faulty = content.state in (LinkState.UNREADABLE, LinkState.MALFORMED)
        names = Names({}, content.error) if faulty else names_of(content.data)
        state = content.state if faulty else LinkState.MALFORMED if names.fault else LinkState.PRESENT
        facts = {"size": content.facts.st_size, "mtime_ns": content.facts.st_mtime_ns} if content.facts else {}
        detail = {"error": names.fault} if names.fault else {}
        self.tables[layout.REPOSITORIES] = Link(
            LinkKind.METADATA_FILE, layout.REPOSITORIES, layout.REPOSITORIES, state=state, detail=detail, facts=facts
        )
        if names.fault:
            self.problems.append(Problem(layout.REPOSITORIES, names.fault))
        return names

    def databases(self, databases: Databases) -> None:
        """Say how BuildKit's databases are."""
        if databases.error:
            self._unreadable(layout.BUILDKIT, databases.error)
        for name, file in databases.files.items():
            path = f"{layout.BUILDKIT}/{name}"
            facts = {"size": file.image.facts.st_size, "mtime_ns": file.image.facts.st_mtime_ns} if file.image else {}
            detail = {"error": file.error} if file.error else {}
            self.tables[path] = Link(LinkKind.METADATA_FILE, path, path, state=file.state, detail=detail, facts=facts)
            if file.error:
                self.problems.append(Problem(path, file.error))


def read_records(root: Directory, named: Path, clock: Clock, earlier: Records | None = None) -> Records:
    """Read all records of an open ``root`` (``named`` so). Raises ``StoreUnstableError``; whatever else is wrong is data."""
    before = earlier or Records()
    reading = _Reading(root, before)
    containers = reading.table(layout.CONTAINERS, before.containers, read_container)
    databases = read_databases(root, named, clock, before.databases)
    names = reading.names()
    images = reading.table(layout.IMAGES, before.images, image_reader(root))
    mounts = reading.table(layout.MOUNTS, before.mounts, read_mount)
    layers = reading.table(layout.WRITE_SETS, before.layers, read_write_set)
    layers |= reading.table(layout.LAYERS, before.layers, read_layer)
    reading.tables.pop(layout.WRITE_SETS, None)
    reading.databases(databases)
    now = Records(containers, names, images, mounts, layers, databases, reading.tables, tuple(reading.problems))
    return earlier if earlier is not None and now.same(earlier) else now
