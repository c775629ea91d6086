"""From records to links, in the encoding that all readers of a survey rely on (subject, path and target of each kind)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collector.links import NOBODY, Link, LinkKind, LinkState
from collector.stores.containers_storage.attribution import Owners, engine_of, pod_of
from collector.stores.containers_storage.layout import IMAGES_JSON
from collector.stores.containers_storage.metadata import Metadata
from collector.stores.containers_storage.records import ContainerRecord, ImageRecord, LayerRecord, Record


def record_links(metadata: Metadata, owners: Owners, buildah: frozenset[str]) -> Iterator[Link]:
    """Yield the links that all records state; ``buildah`` are the containers in whose directory buildah left its file.

    Of two records with one name the later one holds it, as for the engine, and links of the first kind come first: so the
    records are walked from the end for names.
    """
    for file in metadata.files.values():
        for record in file.table.records:
            if isinstance(record, LayerRecord):
                yield from _layer(record, owners)
            elif isinstance(record, ImageRecord):
                yield from _image(record, owners)
            elif isinstance(record, ContainerRecord):
                yield from _container(record, owners, buildah_file=record.id in buildah)
        for record in reversed(file.table.records):
            yield from _names(record, owners)


def _layer(record: LayerRecord, owners: Owners) -> Iterator[Link]:
    owner = owners.layers.get(record.id, NOBODY)
    state = LinkState.INCOMPLETE if record.incomplete else LinkState.PRESENT
    yield Link(
        LinkKind.LAYER_RECORD,
        record.id,
        record.path,
        state=state,
        layer_id=record.id,
        detail=record.detail,
        facts=_facts(record),
        owner=owner,
    )
    if record.parent:
        yield Link(LinkKind.PARENT_POINTER, record.id, record.path, record.parent, layer_id=record.id, owner=owner)


def _image(record: ImageRecord, owners: Owners) -> Iterator[Link]:
    owner = owners.images.get(record.id, NOBODY)
    yield Link(LinkKind.IMAGE_RECORD, record.id, record.path, detail=record.detail, facts=_facts(record), owner=owner)
    if record.layer:
        yield Link(LinkKind.IMAGE_LAYER, record.id, record.path, record.layer, layer_id=record.layer, owner=owner)
    for layer in record.mapped_layers:
        yield Link(LinkKind.IMAGE_LAYER, record.id, f"{IMAGES_JSON}#mapped/{layer}", layer, layer_id=layer, owner=owner)


def _container(record: ContainerRecord, owners: Owners, *, buildah_file: bool) -> Iterator[Link]:
    owner = owners.containers.get(record.id, NOBODY)
    detail: dict[str, Any] = {**record.detail, **pod_of(record), "engine": engine_of(record, buildah_file=buildah_file).value}
    layer = record.layer or None
    yield Link(LinkKind.CONTAINER_RECORD, record.id, record.path, layer_id=layer, detail=detail, facts=_facts(record), owner=owner)
    if layer:
        yield Link(LinkKind.CONTAINER_LAYER, record.id, record.path, layer, layer_id=layer, owner=owner)
    if record.image:
        yield Link(LinkKind.CONTAINER_IMAGE, record.id, record.path, record.image, owner=owner)


def _names(record: Record, owners: Owners) -> Iterator[Link]:
    if isinstance(record, LayerRecord):
        owner = owners.layers.get(record.id, NOBODY)
        for name in record.names:
            yield Link(LinkKind.LAYER_NAME, name, record.path, record.id, layer_id=record.id, owner=owner)
    elif isinstance(record, ImageRecord):
        for name in record.names:
            yield Link(LinkKind.IMAGE_NAME, name, record.path, record.id, owner=owners.images.get(record.id, NOBODY))


def _facts(record: Record) -> dict[str, Any]:
    return {} if record.created_ns is None else {"created_ns": record.created_ns}
