"""Reading a whole data root while dockerd goes on writing.

Everything is read through one descriptor of the root: the records, then the directories, then the records again. What changed between
the two readings is read anew, and only that. A reading is accepted when no record changed since before the directories were read, or when
what changed is whole (``contradictions``): every other object had the same record before and after its directory was read, so a
contradiction among those is damage, not a race. After ``ROUNDS`` rounds of fresh contradictions it raises ``StoreUnstableError``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from collector.links import NOBODY, Link, LinkKind, LinkState, StoreKind, Survey
from collector.safe import Directory, Root, may_hold, open_root
from collector.stores.docker import layout
from collector.stores.docker.metadata import Records, read_records
from collector.stores.docker.overlay import read_overlay, read_owners, read_temporaries
from collector.stores.docker.record_links import Known, known, record_links
from collector.stores.docker.records import Stage
from collector.stores.overlay import names
from collector.stores.overlay.parts import EVERYTHING, Part, Wanted
from collector.stores.protocol import Progress
from linktrail.clock import Clock
from linktrail.errors import NoStoreError, StoreUnreadableError, StoreUnstableError

ROUNDS: Final = 10
NO_STORE: Final = "neither image/overlay2 nor overlay2/l beside containers in it"


def is_store(root: Directory) -> bool:
    """Tell whether an open directory is a data root of Docker that uses overlay2, by its structure.

    Either its metadata is there, or the directories are, with their short links, beside those of containers. A root of which this user
    may read only the outline is one all the same: what is wrong then is said by the survey.
    """
    if any(may_hold(root, *layout.IMAGE.split("/"), mark) for mark in ("layerdb", "imagedb", layout.REPOSITORIES_NAME)):
        return True
    return may_hold(root, layout.OVERLAY, names.SHORT_LINKS) and may_hold(root, layout.CONTAINERS)


def read_store(root: Path, *, clock: Clock, progress: Progress) -> Survey:
    """Read the store at ``root``.

    Raises ``NoStoreError``, ``StoreUnreadableError`` or ``StoreUnstableError``; damage inside is data.
    """
    started = clock.now().wall
    with open_root(root) as opened:
        if not is_store(opened):
            raise NoStoreError(root=root, what=NO_STORE)
        facts, parts = _settled(opened, root, clock, progress)
        parts |= {**read_temporaries(opened), **read_owners(opened)}
        if opened.gone() or not is_store(opened):
            raise NoStoreError(root=root, what="it was removed while it was read")
        _require_readable(root, facts.records, parts)
        links = [_store_link(opened, root), *record_links(facts), *_missing(facts, parts), *_part_links(facts, parts)]
    problems = [*facts.records.problems, *(problem for part in parts.values() for problem in part.problems)]
    return Survey.of(
        StoreKind.DOCKER_OVERLAY2,
        os.fspath(root),
        links,
        started=started,
        finished=clock.now().wall,
        problems=dict.fromkeys(problems),
    )


def _settled(opened: Root, root: Path, clock: Clock, progress: Progress) -> tuple[Known, dict[str, Part]]:
    facts = known(read_records(opened, root, clock))
    parts = read_overlay(opened, facts.places.keys(), EVERYTHING, progress)
    for _ in range(ROUNDS):
        now = read_records(opened, root, clock, facts.records)
        if now is facts.records:
            return facts, parts
        later = known(now)
        changed = _changed(facts, later)
        doubtful = contradictions(facts, parts) | contradictions(later, parts)
        wanted = Wanted(parts, _paths_of(changed | doubtful, parts))
        parts = {**wanted.kept(), **read_overlay(opened, later.places.keys(), wanted, progress)}
        facts = later
        if not changed & contradictions(facts, parts):
            return facts, parts
    raise StoreUnstableError(root=root, attempts=ROUNDS + 1)


def contradictions(facts: Known, parts: Mapping[str, Part]) -> set[str]:
    """Return the directories and containers that are half there: damage if it stays so, else a change in progress."""
    going = {record.id for record in facts.records.all_containers() if record.going}
    mounted = {mount.container for mount in facts.records.all_mounts()}
    exempt = {place for mount in facts.records.all_mounts() if mount.container in going for place in (mount.mount_id, mount.init_id)}
    exempt |= {layer.cache_id for layer in facts.records.all_layers() if layer.stage is not Stage.WHOLE}
    short_linked = {link.layer_id for part in parts.values() for link in part.links if link.kind is LinkKind.SHORT_LINK}
    found = {
        place
        for place, layer in facts.places.items()
        if place not in exempt
        and not _whole(parts.get(f"{layout.OVERLAY}/{place}"), based=layer in facts.parents, linked=place in short_linked)
    }
    found |= {path.rpartition("/")[2] for path in parts if _is_layer_path(path) and path.rpartition("/")[2] not in facts.places}
    containers = (record for record in facts.records.all_containers() if record.ours and not record.going)
    found |= {f"{layout.CONTAINERS}/{record.id}" for record in containers if record.id not in mounted}
    return found


def _whole(part: Part | None, *, based: bool, linked: bool) -> bool:
    if part is None or not part.links or not linked:
        return False
    files = {link.path.rpartition("/")[2] for link in part.links}
    return part.links[0].detail.get("diff") is True and names.LINK in files and (names.LOWER in files or not based)


def _is_layer_path(path: str) -> bool:
    home, _, name = path.rpartition("/")
    return home == layout.OVERLAY and name != names.SHORT_LINKS


def _changed(before: Known, after: Known) -> set[str]:
    """Return the directories and containers that are recorded otherwise than before."""
    found = set(before.places.keys() ^ after.places.keys())
    found |= {place for place in before.places.keys() & after.places.keys() if before.places[place] != after.places[place]}
    for one, other in ((before.records, after.records), (after.records, before.records)):
        for path, kept in one.containers.items():
            now = other.containers.get(path)
            if now is None or now.record != kept.record:
                found.add(path)
                mount = one.mounts.get(f"{layout.MOUNTS}/{kept.record.id}")
                found |= {place for place in (mount.record.mount_id, mount.record.init_id) if place} if mount else set()
        found |= {f"{layout.CONTAINERS}/{kept.record.container}" for path, kept in one.mounts.items() if path not in other.mounts}
    return found


def _paths_of(changed: set[str], parts: Mapping[str, Part]) -> frozenset[str]:
    links = (link for part in parts.values() for link in part.links if link.kind is LinkKind.SHORT_LINK)
    short = {link.path for link in links if link.layer_id in changed}
    return frozenset({f"{layout.OVERLAY}/{place}" for place in changed} | short)


def _part_links(facts: Known, parts: Mapping[str, Part]) -> Iterator[Link]:
    for part in parts.values():
        for link in part.links:
            if link.kind is LinkKind.OWNER_DIRECTORY:
                images, containers = facts.owners.images, facts.owners.containers
                owner = images.get(link.subject) or containers.get(link.subject, NOBODY)
            else:
                owner = facts.owners.places.get(link.layer_id or "", NOBODY)
            layer = facts.places.get(link.subject, link.layer_id) if link.kind is LinkKind.LAYER_DIRECTORY else link.layer_id
            yield link if owner is NOBODY and layer == link.layer_id else replace(link, owner=owner, layer_id=layer)


def _missing(facts: Known, parts: Mapping[str, Part]) -> Iterator[Link]:
    """Yield the tables that are not there although what they should name is; a fresh root has none of them."""
    unrecorded = sum(_is_layer_path(path) and path.rpartition("/")[2] not in facts.places for path in parts)
    stacked = sum(bool(record.layers) for record in facts.records.all_images())
    expected = {
        layout.LAYERS: unrecorded or stacked,
        layout.MOUNTS: len([record for record in facts.records.all_containers() if record.ours and not record.going]),
        layout.IMAGES: len(facts.records.names.images),
        layout.REPOSITORIES: len(facts.records.images),
    }
    for path, count in expected.items():
        if count and path not in facts.records.tables:
            what = f"it is gone, but there are {count} objects that it should name"
            yield Link(LinkKind.METADATA_FILE, path, path, state=LinkState.MISSING, detail={"error": what})


def _store_link(opened: Root, root: Path) -> Link:
    detail = {"device": opened.facts.st_dev}
    return Link(LinkKind.STORE_ROOT, os.fspath(root), "", os.fspath(opened.path), inode=opened.facts.st_ino, detail=detail)


def _require_readable(root: Path, records: Records, parts: Mapping[str, Part]) -> None:
    """Refuse a store of which nothing can be read: a survey of nothing but problems would say nothing."""
    tables = list(records.tables.values())
    refused = [link for link in tables if link.state is LinkState.UNREADABLE]
    if refused and len(refused) == len(tables) and not any(part.links for part in parts.values()):
        raise StoreUnreadableError(root=root, what=f"none of its metadata can be read ({refused[0].detail.get('error')})")
