"""Reading a whole store while its engine goes on writing.

Everything is read through one descriptor of the root: the metadata files, then the directories, then the metadata files
again. What changed between the two readings is read anew, and only that, so that each round takes milliseconds where the first
took longer: an engine that writes without pause cannot keep ahead of it. A reading is accepted when

* no metadata file changed since before the directories were read, or
* files changed, but every object that changed in them is whole or gone on disk (``agreement``). All other objects had the
  same record before and after they were read, so a contradiction among those is damage, not a race.

So a survey never mixes two instants of one object, and a recorder under a steady writer makes progress. There is no
reading accepted "as far as it got": after ``ROUNDS`` rounds of fresh contradictions it raises ``StoreUnstableError``, the
caller still has its earlier survey, and asks again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from collector.links import NOBODY, Attribution, Link, LinkKind, LinkState, Problem, StoreKind, Survey
from collector.safe import Directory, Root, open_root, words
from collector.stores.containers_storage import layout
from collector.stores.containers_storage.agreement import contradictions, paths_of
from collector.stores.containers_storage.attribution import Engine, Owners, owners
from collector.stores.containers_storage.data_files import read_data
from collector.stores.containers_storage.metadata import Metadata, Remembered, read_metadata, read_version
from collector.stores.containers_storage.overlay import read_overlay
from collector.stores.containers_storage.record_links import record_links
from collector.stores.overlay.parts import EVERYTHING, Part, Wanted
from collector.stores.overlay.standing import Layers, Owned
from collector.stores.protocol import Progress
from linktrail.clock import Clock
from linktrail.errors import NoStoreError, StoreUnreadableError, StoreUnstableError

ROUNDS: Final = 10
_Read = Callable[[Metadata, Wanted], dict[str, Part]]


def is_store(root: Directory) -> bool:
    """Tell whether an open directory is a store of this kind, by its structure: metadata of its own, overlay as the driver.

    A store of which this user may read only the outline is one all the same: what is wrong then is said by the survey.
    """
    for place, marks in layout.MARKS:
        try:
            with root.directory(place) as opened:
                if any(_exists(opened, mark) for mark in marks):
                    return True
        except PermissionError:
            if _exists(root, layout.OVERLAY):
                return True
        except OSError:
            continue
    return False


def read_store(
    root: Path,
    *,
    clock: Clock,
    progress: Progress,
    additional: Iterable[Path] = (),
    read_only: bool = False,
    remembered: Remembered | None = None,
) -> Survey:
    """Read the store at ``root``.

    ``additional`` are the roots of the read-only image stores that this one is configured with (named, not read);
    ``read_only`` marks the survey as one of such a store; ``remembered`` spares parsing what did not change since the last one.
    Raises ``NoStoreError``, ``StoreUnreadableError`` or
    ``StoreUnstableError``; damage inside is data.
    """
    started = clock.now().wall
    remembered = remembered or Remembered()
    with open_root(root) as opened:
        _require_store(opened, root, "no overlay-layers, overlay-images or overlay-containers with metadata in it")
        layers = remembered.layers(opened)
        layers.begin()
        metadata, parts = _settled(
            opened, root, clock, lambda found, wanted: _read_parts(opened, found, wanted, progress, layers), remembered
        )
        layers.forget_others(parts)
        remembered.keep(opened, metadata)
        if opened.gone():
            raise NoStoreError(root=root, what="it was removed while it was read")
        _require_store(opened, root, "its metadata was removed while it was read")
        _require_readable(root, metadata)
        links = [*_store_links(opened, root, additional), *_all_links(metadata, parts, layers)]
    problems = [file.problem for file in metadata.files.values() if file.problem]
    problems += [problem for part in parts.values() for problem in part.problems]
    return Survey.of(
        StoreKind.CONTAINERS_STORAGE,
        os.fspath(root),
        links,
        started=started,
        finished=clock.now().wall,
        problems=dict.fromkeys(problems),
        read_only=read_only,
    )


def version_links(path: str, data: bytes, survey: Survey, remembered: Remembered) -> tuple[Link, ...]:
    """Return the links that the metadata file ``path`` states with the content ``data``.

    Which containers are buildah's, only ``survey`` knows; who owns what is said as far as this file alone tells. Entries that
    ``remembered`` has are not parsed again.
    """
    metadata = read_version(path, data, remembered.entries)
    owned = owners(metadata.layers.values(), metadata.images.values(), metadata.containers.values())
    buildah = frozenset(
        link.subject for link in survey.of_kind(LinkKind.CONTAINER_RECORD) if link.detail.get("engine") == Engine.BUILDAH.value
    )
    files = (file.link for file in metadata.files.values() if file.link)
    return (*files, *record_links(metadata, owned, buildah))


def _settled(opened: Root, root: Path, clock: Clock, read: _Read, remembered: Remembered) -> tuple[Metadata, dict[str, Part]]:
    metadata = read_metadata(opened, clock, remembered.entries, remembered.of(opened))
    parts = read(metadata, EVERYTHING)
    for _ in range(ROUNDS):
        now = read_metadata(opened, clock, remembered.entries, metadata)
        if now is metadata:
            return metadata, parts
        changed = now.changed_since(metadata)
        doubtful = contradictions(metadata, parts) | contradictions(now, parts)
        parts = read(now, Wanted(parts, paths_of(changed | doubtful, parts)))
        metadata = now
        if not changed & contradictions(metadata, parts):
            return metadata, parts
    raise StoreUnstableError(root=root, attempts=ROUNDS + 1)


def _read_parts(opened: Root, metadata: Metadata, wanted: Wanted, progress: Progress, layers: Layers) -> dict[str, Part]:
    overlay = read_overlay(opened, metadata.layers.keys(), wanted, progress, layers)
    return {**wanted.kept(), **overlay, **read_data(opened, metadata.containers, wanted)}


def _all_links(metadata: Metadata, parts: Mapping[str, Part], layers: Layers) -> Iterator[Link]:
    owned = owners(metadata.layers.values(), metadata.images.values(), metadata.containers.values())
    buildah = frozenset(link.subject for part in parts.values() for link in part.links if link.detail.get("buildah") is True)
    yield from (file.link for file in metadata.files.values() if file.link)
    yield from record_links(metadata, owned, buildah)
    for path, part in parts.items():
        yield from _owned_links(path, part, owned, layers)


def _owned_links(path: str, part: Part, owned: Owners, layers: Layers) -> tuple[Link, ...]:
    """Return the links of a part with their owners: those of the last time where neither changed."""
    found = tuple(_owner(link, owned) for link in part.links)
    known = layers.owned.get(path)
    if known is not None and known.part is part and known.owners == found:
        return known.links
    links = tuple(link if owner is NOBODY else _owned(link, owner) for link, owner in zip(part.links, found, strict=True))
    if path in layers.known:
        layers.owned[path] = Owned(part, found, links)
    return links


def _owned(link: Link, owner: Attribution) -> Link:
    """Return ``link`` with its owner; ``dataclasses.replace`` takes three times as long, and this is done for every link."""
    return Link(
        link.kind,
        link.subject,
        link.path,
        link.target,
        link.state,
        link.layer_id,
        link.inode,
        link.nlink,
        link.detail,
        link.facts,
        owner,
    )


def _owner(link: Link, owned: Owners) -> Attribution:
    if link.layer_id is not None:
        return owned.layers.get(link.layer_id, NOBODY)
    if link.path.startswith(layout.IMAGES):
        return owned.images.get(link.subject, NOBODY)
    return owned.containers.get(link.subject, NOBODY)


def _store_links(opened: Root, root: Path, additional: Iterable[Path]) -> Iterator[Link]:
    detail: dict[str, Any] = {"device": opened.facts.st_dev}
    try:
        detail["overlay_device"] = opened.stat(layout.OVERLAY).st_dev
    except OSError as error:  # absent, or it cannot be asked: a device is no news then
        detail["overlay_error"] = words(error)
    yield Link(LinkKind.STORE_ROOT, os.fspath(root), "", os.fspath(opened.path), inode=opened.facts.st_ino, detail=detail)
    for number, store in enumerate(additional):
        yield Link(LinkKind.ADDITIONAL_STORE, os.fspath(root), str(number), os.fspath(store))


def _require_store(opened: Root, root: Path, what: str) -> None:
    if not is_store(opened):
        raise NoStoreError(root=root, what=what)


def _require_readable(root: Path, metadata: Metadata) -> None:
    """Refuse a store of which nothing can be read: a survey of nothing but problems would say nothing."""
    read = [file for file in metadata.files.values() if file.link]
    if read and all(file.link and file.link.state is LinkState.UNREADABLE for file in read):
        problem: Problem | None = read[0].problem
        raise StoreUnreadableError(root=root, what=f"none of its metadata can be read ({problem.what if problem else 'unknown'})")


def _exists(directory: Directory, name: str) -> bool:
    try:
        directory.stat(name)
    except OSError:
        return False
    return True
