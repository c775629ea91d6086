"""Whether records and directories agree: what tells a reading of one instant from one that mixes two.

The engine writes a record first, marked incomplete, then what it stands for, then the record without the mark; and removes in the
opposite order. So of an object whose record is whole everything is there, and of one without a record nothing is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from collector.links import Link, LinkKind
from collector.stores.containers_storage import layout
from collector.stores.containers_storage.metadata import Key, Metadata
from collector.stores.containers_storage.records import ContainerRecord, ImageRecord, LayerRecord
from collector.stores.overlay.parts import Parts


def contradictions(metadata: Metadata, parts: Parts) -> set[Key]:
    """Return the objects that are half there: damage if it stays so, else a change in progress."""
    short_linked = {link.layer_id for link in _links(parts) if link.kind is LinkKind.SHORT_LINK}
    layers = (layer.id for layer in metadata.layers.values() if not layer.incomplete and not _whole(layer, metadata, parts, short_linked))
    images = (image.id for image in metadata.images.values() if not _image_whole(image, metadata, parts))
    containers = (container.id for container in metadata.containers.values() if not _container_whole(container, metadata))
    return {
        *((LayerRecord, layer) for layer in layers),
        *((ImageRecord, image) for image in images),
        *((ContainerRecord, container) for container in containers),
        *_unrecorded(metadata, parts),
    }


def paths_of(keys: Iterable[Key], parts: Parts) -> frozenset[str]:
    """Return the paths of all places that belong to these objects, as far as ``parts`` know them."""
    found: set[str] = set()
    layers: set[str] = set()
    for kind, name in keys:
        if kind is LayerRecord:
            layers.add(name)
            found |= {f"{layout.OVERLAY}/{name}", f"{layout.LAYERS}/{name}", f"{layout.LAYERS}/{name}{layout.TAR_SPLIT}"}
        else:
            found.add(f"{layout.IMAGES if kind is ImageRecord else layout.CONTAINERS}/{name}")
    found |= {link.path for link in _links(parts) if link.kind is LinkKind.SHORT_LINK and link.layer_id in layers}
    return frozenset(found)


def _whole(layer: LayerRecord, metadata: Metadata, parts: Parts, short_linked: Collection[str | None]) -> bool:
    part = parts.get(f"{layout.OVERLAY}/{layer.id}")
    if part is None or layer.id not in short_linked or (layer.parent and layer.parent not in metadata.layers):
        return False
    if "diff_digest" in layer.detail and f"{layout.LAYERS}/{layer.id}{layout.TAR_SPLIT}" not in parts:
        return False
    files = {link.path.rpartition("/")[2] for link in part.links}
    directory = part.links[0] if part.links else None
    return directory is not None and directory.detail.get("diff") is True and "link" in files and ("lower" in files or not layer.parent)


def _image_whole(image: ImageRecord, metadata: Metadata, parts: Parts) -> bool:
    path = f"{layout.IMAGES}/{image.id}"
    there = {link.path for link in parts[path].links} if path in parts else set()
    files = {f"{path}/{layout.data_file_name(item)}" for item in image.big_data}
    return files <= there and (not image.layer or image.layer in metadata.layers)


def _container_whole(container: ContainerRecord, metadata: Metadata) -> bool:
    return (not container.layer or container.layer in metadata.layers) and (not container.image or container.image in metadata.images)


def _unrecorded(metadata: Metadata, parts: Parts) -> Iterator[Key]:
    for link in _links(parts):
        if link.kind is LinkKind.LAYER_DIRECTORY and link.subject not in metadata.layers:
            yield LayerRecord, link.subject
        elif link.kind is LinkKind.OWNER_DIRECTORY:
            kind, records = _owner_kind(link, metadata)
            if link.subject not in records:
                yield kind, link.subject


def _owner_kind(link: Link, metadata: Metadata) -> tuple[type[ImageRecord | ContainerRecord], Mapping[str, object]]:
    return (ImageRecord, metadata.images) if link.path.startswith(f"{layout.IMAGES}/") else (ContainerRecord, metadata.containers)


def _links(parts: Parts) -> Iterator[Link]:
    return (link for part in parts.values() for link in part.links)
