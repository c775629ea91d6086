"""From records to links, in the encoding that all readers of a survey rely on (subject, path and target of each kind).

A layer of an image is called by its chain id (``sha256:...``), its record's target is its directory (the cache id); a writable layer is
called by its mount id, the init layer below it by its init id; build cache by the key of BuildKit's snapshot. What is being made or
removed is called by the name that its record has meanwhile, and is marked incomplete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.links import NOBODY, Link, LinkKind, LinkState
from collector.stores.docker import layout
from collector.stores.docker.attribution import Owners, owners
from collector.stores.docker.buildkit import BuildCache, read_build_cache
from collector.stores.docker.metadata import Records
from collector.stores.docker.records import ContainerRecord, ImageRecord, LayerRecord, MountRecord, Stage, created_ns


@dataclass(frozen=True, slots=True)
class Known:
    """The records with what follows from them: the build cache, layers by directory, parents by layer, owners."""

    records: Records
    cache: BuildCache
    places: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    owners: Owners = field(default_factory=lambda: Owners({}, {}, {}, {}))


def known(records: Records) -> Known:
    """Put the records together."""
    cache = read_build_cache(records.databases.images(), everything_held=layout.LEASES_NAME not in records.databases.files)
    places: dict[str, str] = {}
    parents: dict[str, str] = {}
    for snapshot in cache.snapshots:
        places[snapshot.directory] = snapshot.key
        if snapshot.parent:
            parents[snapshot.key] = snapshot.parent
    for mount in records.all_mounts():
        if mount.mount_id:
            places[mount.mount_id] = mount.mount_id
            if below := mount.init_id or mount.parent:
                parents[mount.mount_id] = below
        if mount.init_id:
            places[mount.init_id] = mount.init_id
            if mount.parent:
                parents[mount.init_id] = mount.parent
    for layer in records.all_layers():
        if layer.cache_id:
            places.setdefault(layer.cache_id, layer.id)
        if layer.parent:
            parents[layer.id] = layer.parent
    return Known(records, cache, places, parents, owners(records, parents, places))


def record_links(facts: Known) -> Iterator[Link]:
    """Yield the links that all records state."""
    records = facts.records
    yield from records.tables.values()
    for layer in records.all_layers():
        yield from _layer(layer, facts)
    containers = {record.id: record for record in records.all_containers()}
    for mount in records.all_mounts():
        yield from _mount(mount, containers.get(mount.container), facts)
    for snapshot in facts.cache.snapshots:
        detail: dict[str, Any] = {"build_cache": True, "committed": snapshot.committed}
        path = f"{layout.SNAPSHOTS}#{snapshot.key}"
        yield Link(LinkKind.LAYER_RECORD, snapshot.key, path, snapshot.directory, layer_id=snapshot.key, detail=detail)
        if snapshot.parent:
            yield Link(LinkKind.PARENT_POINTER, snapshot.key, path, snapshot.parent, layer_id=snapshot.key)
    for holder in facts.cache.holders:
        for target in holder.targets:
            yield Link(LinkKind.LEASE, holder.name, f"{holder.path}/{target}", target, layer_id=target, detail=holder.detail)
    for image in records.all_images():
        yield from _image(image, facts)
    for name, image_id in records.names.images.items():
        owner = facts.owners.images.get(image_id, NOBODY)
        yield Link(LinkKind.IMAGE_NAME, name, layout.REPOSITORIES, image_id, owner=owner)
    for container in containers.values():
        yield from _container(container, facts)


def _layer(record: LayerRecord, facts: Known) -> Iterator[Link]:
    yield from _faults(record)
    if record.stage is Stage.WRITING and record.cache_id is None:
        name = record.path.rpartition("/")[2]
        yield Link(LinkKind.TEMPORARY_DIRECTORY, name, record.path, facts={"mtime_ns": record.mtime_ns})
        return
    if record.stage is Stage.WHOLE and not record.files:  # an empty directory says nothing but that it stands in the way
        yield Link(LinkKind.OWNER_DIRECTORY, record.id, record.path, layer_id=record.id, facts={"mtime_ns": record.mtime_ns})
        return
    whole = record.stage is Stage.WHOLE
    detail = _present(
        diff_digest=record.diff,
        diff_size=record.size,
        chain=None if whole else record.chain,
        removing=record.stage is Stage.REMOVING,
    )
    unplaced = record.cache_id is None and record.stage is not Stage.REMOVING
    state = LinkState.MALFORMED if unplaced else LinkState.PRESENT if whole else LinkState.INCOMPLETE
    owner = facts.owners.layers.get(record.id, NOBODY)
    seen = {"created_ns": record.mtime_ns}
    yield Link(
        LinkKind.LAYER_RECORD, record.id, record.path, record.cache_id, state, layer_id=record.id, detail=detail, facts=seen, owner=owner
    )
    if record.parent:
        path = f"{record.path}/{layout.PARENT}"
        yield Link(LinkKind.PARENT_POINTER, record.id, path, record.parent, layer_id=record.id, owner=owner)
    if layout.TAR_SPLIT in record.files and whole:
        path = f"{record.path}/{layout.TAR_SPLIT}"
        yield Link(LinkKind.DATA_FILE, record.id, path, layout.TAR_SPLIT_ITEM, layer_id=record.id, owner=owner)


def _mount(record: MountRecord, container: ContainerRecord | None, facts: Known) -> Iterator[Link]:
    yield from _faults(record)
    if not record.files:
        yield Link(LinkKind.OWNER_DIRECTORY, record.container, record.path, facts={"mtime_ns": record.mtime_ns})
    owner = facts.owners.containers.get(record.container, NOBODY)
    going = container is not None and container.going
    detail = _present(container=record.container, removing=going)
    state = LinkState.INCOMPLETE if going else LinkState.PRESENT
    seen = {"created_ns": record.mtime_ns}
    for layer in (record.mount_id, record.init_id):
        if layer is None:
            continue
        yield Link(LinkKind.LAYER_RECORD, layer, record.path, layer, state, layer_id=layer, detail=detail, facts=seen, owner=owner)
        if parent := facts.parents.get(layer):
            yield Link(LinkKind.PARENT_POINTER, layer, record.path, parent, layer_id=layer, owner=owner)
    held = record.mount_id or record.init_id or record.parent  # as much of it as the record still tells
    if held is not None:
        path = f"{record.path}/{layout.MOUNT_ID}"
        state = LinkState.PRESENT if held == record.mount_id else LinkState.MALFORMED
        yield Link(LinkKind.CONTAINER_LAYER, record.container, path, held, state, layer_id=held, facts=seen, owner=owner)


def _image(record: ImageRecord, facts: Known) -> Iterator[Link]:
    owner = facts.owners.images.get(record.id, NOBODY)
    state = LinkState.MALFORMED if record.fault else LinkState.PRESENT
    detail = _present(created=record.created, built_on=record.built_on, error=record.fault)
    seen = _present(created_ns=created_ns(record.created))
    yield Link(LinkKind.IMAGE_RECORD, record.id, record.path, state=state, detail=detail, facts=seen, owner=owner)
    if record.layers:
        top = record.layers[-1]
        detail = {"below": record.layers[-2]} if len(record.layers) > 1 else {}
        yield Link(LinkKind.IMAGE_LAYER, record.id, record.path, top, layer_id=top, detail=detail, owner=owner)


def _container(record: ContainerRecord, facts: Known) -> Iterator[Link]:
    owner = facts.owners.containers.get(record.id, NOBODY)
    state = record.state if record.fault else LinkState.PRESENT
    detail = _present(
        names=[record.name] if record.name else [],
        created=record.created,
        engine="docker",
        driver=record.driver,
        image_name=record.image_name,
        dead=record.dead,
        removing=record.removing,
        error=record.fault,
        namespace=owner.k8s_namespace_name,
        pod_name=owner.k8s_pod_name,
        uid=owner.k8s_pod_uid,
    )
    seen = _present(created_ns=created_ns(record.created), running=record.running)
    yield Link(LinkKind.CONTAINER_RECORD, record.id, record.path, state=state, detail=detail, facts=seen, owner=owner)
    if record.fault:
        yield Link(LinkKind.METADATA_FILE, record.path, record.path, state=state, detail={"error": record.fault})
    if record.image and record.ours:
        yield Link(LinkKind.CONTAINER_IMAGE, record.id, record.path, record.image, owner=owner)


def _faults(record: LayerRecord | MountRecord) -> Iterator[Link]:
    """Yield the files of an entry of layerdb that are bad, as metadata files of their own."""
    for name, (state, what) in record.faults.items():
        path = f"{record.path}/{name}"
        yield Link(LinkKind.METADATA_FILE, path, path, state=state, layer_id=None, detail={"error": what})


def _present(**fields: object) -> dict[str, Any]:
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value is not None and value is not False and value not in ("", [], {})}
