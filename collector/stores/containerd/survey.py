"""Reading a whole containerd root while containerd goes on writing.

Each database is read as one whole transaction (``collector.stores.bolt``); then the directories; then it is asked whether a
transaction was committed meanwhile, in any of them. If so, all is read again, which now costs only what changed. So a survey is a cut
through all files at one instant, as long as the engine pauses once in ``ROUNDS`` rounds. Where it does not, the last round stands: each
link is still true of its own file at a time within the survey, and what the files say of each other is then as far apart as the
engine's own steps are.

``State`` carries the images and all that was made of them to the next survey. It is a shortcut and never a source: a survey with it equals
one without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from collector.links import NOBODY, Link, LinkKind, LinkState, Problem, StoreKind, Survey
from collector.safe import Directory, Root, may_hold, open_root, words
from collector.stores.containerd.directories import Disk, read_disk, standing_link
from collector.stores.containerd.files import NO_FILES, Files, read_files, snapshotters_in
from collector.stores.containerd.layout import DATABASE, META, META_DIRECTORY, META_NAME, SNAPSHOTTER, database_of, layout_of
from collector.stores.containerd.leaves import Links, Memory
from collector.stores.containerd.meta_links import namespace_links
from collector.stores.containerd.metadata import read_namespaces
from collector.stores.containerd.ownership import Interned, Owners, owners
from collector.stores.containerd.snapshotter import Snapshots, read_snapshots
from collector.stores.containerd.snapshotter_links import snapshotter_links
from collector.stores.protocol import Progress
from linktrail.clock import Clock
from linktrail.errors import NoStoreError, StoreUnreadableError

ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class State:
    """What one survey leaves for the next of the same root."""

    files: Files = NO_FILES
    memory: Memory = field(default_factory=Memory)
    interned: Interned = field(default_factory=Interned)


def is_store(root: Directory) -> bool:
    """Tell whether an open directory is a containerd root: it holds meta.db, or the database of a snapshotter. Raises ``OSError``."""
    if may_hold(root, META_DIRECTORY, META_NAME):
        return True
    homes = [(f"{SNAPSHOTTER}{name}", *layout_of(name).home) for name in snapshotters_in(root)]
    return any(may_hold(root, *home, DATABASE) for home in homes)


def read_store(root: Path, *, clock: Clock, progress: Progress, state: State) -> tuple[Survey, State]:
    """Read the store at ``root``, and return what to hand in next time.

    Raises ``NoStoreError``, ``StoreUnreadableError`` or ``StoreUnstableError``; damage inside is data.
    """
    started = clock.now().wall
    with open_root(root) as opened:
        files, disk = _settled(opened, root, clock, progress, state.files)
        if opened.gone():
            raise NoStoreError(root=root, what="it was removed while it was read")
        _require_readable(root, files)
        links: Links = {}
        for link in _store_links(opened, root, files, disk):
            links[link.key] = link
    memory, interned = Memory(state.memory), Interned(state.interned)
    _fill(links, files, disk, State(files, memory, interned), progress)
    memory.forget()
    interned.forget()
    survey = Survey(
        StoreKind.CONTAINERD_OVERLAYFS,
        os.fspath(root),
        started,
        clock.now().wall,
        MappingProxyType(links),
        tuple(dict.fromkeys(_problems(files, disk))),
    )
    return survey, State(files, memory, interned)


def _settled(opened: Root, root: Path, clock: Clock, progress: Progress, earlier: Files) -> tuple[Files, Disk]:
    try:
        progress("databases", 0, 0)
        files = read_files(opened, root, clock, earlier)
        for _ in range(ROUNDS):
            progress("directories", 0, 0)
            disk = read_disk(opened, files.snapshotters)
            now = read_files(opened, root, clock, files)
            if now.same(files):
                break
            files = now
    except OSError as error:
        if opened.gone():
            raise NoStoreError(root=root, what="it was removed while it was read") from error
        raise StoreUnreadableError(root=root, what=words(error)) from error
    if not _is_any(files):
        raise NoStoreError(root=root, what="neither meta.db nor a snapshotter's metadata.db in it")
    return files, disk


def _fill(links: Links, files: Files, disk: Disk, state: State, progress: Progress) -> None:
    """Add the links of all objects."""
    memory = state.memory
    namespaces = read_namespaces(files.meta.image.root if files.meta.image is not None else None, memory)
    stores = [read_snapshots(name, file.image.root, memory) for name, file in files.stores.items() if file.image is not None]
    parents: dict[str, str] = {}
    for store in stores:
        parents.update(store.parents)
    if files.meta.image is not None and any(file.image is None for file in files.stores.values()):
        for namespace in namespaces:
            parents = {**namespace.parents(), **parents}
    owned = owners(namespaces, parents, state.interned)
    for done, store in enumerate(stores):
        progress("snapshotters", done, len(stores))
        links.update(snapshotter_links(store, owned, memory, directories=store.snapshotter in disk.places))
    for done, namespace in enumerate(namespaces):
        progress("namespaces", done, len(namespaces))
        links.update(namespace_links(namespace, owned, memory))
    for link in _disk_links(disk, stores, owned):
        links[link.key] = link


def _disk_links(disk: Disk, stores: list[Snapshots], owned: Owners) -> Iterator[Link]:
    keys: dict[str, str] = {}
    for store in stores:
        keys.update(store.keys)
    for standing in disk.standing:
        key = keys.get(standing.name)
        yield standing_link(standing, key, owned.layers.get(key, NOBODY) if key else NOBODY)
    yield from disk.blobs
    yield from disk.ingests


def _store_links(opened: Root, root: Path, files: Files, disk: Disk) -> Iterator[Link]:
    detail = {"device": opened.facts.st_dev}
    yield Link(LinkKind.STORE_ROOT, os.fspath(root), "", os.fspath(opened.path), inode=opened.facts.st_ino, detail=detail)
    if files.meta.state is not LinkState.MISSING or any(file.image for file in files.stores.values()):
        yield files.meta.link(META)
    used = {standing.path.rpartition("/")[0] for standing in disk.standing}
    for name, file in files.stores.items():
        if file.state is not LinkState.MISSING or used.intersection(disk.places.get(name, ())):
            yield file.link(database_of(name))


def _problems(files: Files, disk: Disk) -> Iterator[Problem]:
    named = {META: files.meta} | {database_of(name): file for name, file in files.stores.items()}
    yield from (problem for path, file in named.items() if (problem := file.problem(path)))
    yield from disk.problems


def _require_readable(root: Path, files: Files) -> None:
    """Refuse a store of which no database can be read: a survey of nothing but problems would say nothing."""
    there = [file for file in (files.meta, *files.stores.values()) if file.state is not LinkState.MISSING]
    if there and all(file.state is LinkState.UNREADABLE for file in there):
        raise StoreUnreadableError(root=root, what=there[0].error)


def _is_any(files: Files) -> bool:
    return any(file.state is not LinkState.MISSING for file in (files.meta, *files.stores.values()))
