"""Who owns a layer, an image, a container: as far as the store's own records tell.

A container names its layer and its image; an image names its top layer; a layer names its parent. So an image layer belongs to
the nearest image above it (the first of several in the file), a writable layer to its container and pod, and a layer that only
a container still reaches (its image record is gone) to the image that the container says it came from. A writable layer whose
container record is gone keeps its name, ``<container>-layer``, and with CRI-O that name still holds pod, namespace and uid.

Sources: CRI-O internal/storage/runtime.go (the metadata object), server/naming.go and internal/factory (the names
``k8s_<container>_<pod>_<namespace>_<uid>_<attempt>``); podman libpod/storage.go; buildah's own containers have no metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from collector.links import NOBODY, Attribution
from collector.stores.claims import claim
from collector.stores.containers_storage.records import ContainerRecord, Detail, ImageRecord, LayerRecord

_LAYER_SUFFIX: Final = "-layer"
_CONTAINER_NAME: Final = re.compile(r"k8s_([^_]+)_([^_]+)_([^_]+)_([^_]+)_([0-9]+)\Z")
_POD_NAME: Final = re.compile(r"k8s_([^_]+)_([^_]+)_([^_]+)_([0-9]+)\Z")
_SANDBOX_NAME: Final = "POD"


class Engine(StrEnum):
    """Which engine made a container."""

    PODMAN = "podman"
    CRIO = "crio"
    BUILDAH = "buildah"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns what, by id; ask with ``get(id, NOBODY)``."""

    layers: Mapping[str, Attribution]
    images: Mapping[str, Attribution]
    containers: Mapping[str, Attribution]


def engine_of(container: ContainerRecord, *, buildah_file: bool) -> Engine:
    """Tell which engine made ``container``. ``podman commit`` leaves buildah's file in podman's containers, so metadata comes first."""
    metadata = container.metadata
    if _text(metadata, "pod-id") and _text(metadata, "pod-name"):
        return Engine.CRIO
    if "image-name" in metadata and "name" in metadata:
        return Engine.PODMAN
    return Engine.BUILDAH if buildah_file and not metadata else Engine.UNKNOWN


def pod_of(container: ContainerRecord) -> Detail:
    """Return what CRI-O recorded of the pod: pod_id, pod_name (CRI-O's), name (CRI's), namespace, uid, attempt, sandbox; else nothing."""
    metadata = container.metadata
    if not _text(metadata, "pod-id"):
        return {}
    attempt = metadata.get("attempt")
    found: Detail = {
        "pod_id": _text(metadata, "pod-id"),
        "pod_name": _text(metadata, "pod-name"),
        "metadata_name": _text(metadata, "metadata-name"),
        "namespace": _text(metadata, "namespace"),
        "uid": _text(metadata, "uid"),
        "attempt": attempt if type(attempt) is int else 0,
    }
    if container.id == found["pod_id"]:
        found["sandbox"] = True
    return {name: value for name, value in found.items() if value or value == 0}


def owners(layers: Iterable[LayerRecord], images: Iterable[ImageRecord], containers: Iterable[ContainerRecord]) -> Owners:
    """Attribute every layer, image and container that the records reach."""
    layers, images, containers = list(layers), list(images), list(containers)
    of_image = {image.id: Attribution(container_image_name=_first(image.names), container_image_id=image.id) for image in images}
    sandboxes = {container.id: container for container in containers}
    of_container = {container.id: _container(container, sandboxes, of_image) for container in containers}
    parents = {layer.id: layer.parent for layer in layers}

    of_layer: dict[str, Attribution] = {}
    tops = [(layer, of_image[image.id]) for image in images for layer in (image.layer, *image.mapped_layers)]
    claim(of_layer, tops, parents)
    for container in containers:  # a writable layer belongs to its container, also where an image claims it
        of_layer[container.layer] = of_container[container.id]
    bases = [(parents.get(container.layer, ""), _image_only(of_container[container.id])) for container in containers]
    claim(of_layer, bases, parents)
    for layer in layers:
        if layer.id not in of_layer and (named := _by_name(layer.names)) is not NOBODY:
            of_layer[layer.id] = named
    of_layer.pop("", None)
    return Owners(of_layer, of_image, of_container)


def _container(container: ContainerRecord, by_id: Mapping[str, ContainerRecord], images: Mapping[str, Attribution]) -> Attribution:
    metadata = container.metadata
    image = images.get(container.image)
    recorded = _text(metadata, "image-name") or None
    named = Attribution(
        container_id=container.id,
        container_name=_text(metadata, "name") or _first(container.names),
        container_image_name=(image.container_image_name if image else None) or recorded,
        container_image_id=container.image or None,
    )
    if not _text(metadata, "pod-id"):
        return named
    named = _with_pod(named, *container.names, _text(metadata, "name"), _text(metadata, "pod-name"))
    sandbox = by_id.get(_text(metadata, "pod-id"))
    if sandbox is None:
        return named
    about = sandbox.metadata
    return replace(
        named,
        k8s_pod_name=_text(about, "metadata-name") or named.k8s_pod_name,
        k8s_namespace_name=_text(about, "namespace") or named.k8s_namespace_name,
        k8s_pod_uid=_text(about, "uid") or named.k8s_pod_uid,
    )


def _with_pod(named: Attribution, *names: str) -> Attribution:
    """Add what the first name of CRI-O's form says."""
    for name in names:
        if found := _CONTAINER_NAME.match(name):
            container, pod, namespace, uid, _ = found.groups()
            return replace(named, container_name=container, k8s_pod_name=pod, k8s_namespace_name=namespace, k8s_pod_uid=uid)
        if found := _POD_NAME.match(name):
            pod, namespace, uid, _ = found.groups()
            return replace(named, container_name=_SANDBOX_NAME, k8s_pod_name=pod, k8s_namespace_name=namespace, k8s_pod_uid=uid)
    return named


def _by_name(names: Iterable[str]) -> Attribution:
    for name in names:
        if name.endswith(_LAYER_SUFFIX) and len(name) > len(_LAYER_SUFFIX):
            container = name.removesuffix(_LAYER_SUFFIX)
            return _with_pod(Attribution(container_name=container), container)
    return NOBODY


def _image_only(owner: Attribution) -> Attribution:
    return Attribution(container_image_name=owner.container_image_name, container_image_id=owner.container_image_id)


def _first(names: tuple[str, ...]) -> str | None:
    return names[0] if names else None


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name)
    return value if isinstance(value, str) else ""
