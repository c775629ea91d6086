"""Who owns a layer, an image, a container: as far as Docker's own records tell.

A container's writable and init layers belong to it; the layers of an image to the nearest image above them; what only a container still
reaches (its image record is gone) to the image that the container says it came from. Pods are in the labels that cri-dockerd (and the
dockershim before it) writes on every container.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collector.links import NOBODY, Attribution
from collector.stores.claims import claim
from collector.stores.docker.metadata import Records
from collector.stores.docker.records import ContainerRecord

_POD: Final = "io.kubernetes.pod.name"
_NAMESPACE: Final = "io.kubernetes.pod.namespace"
_UID: Final = "io.kubernetes.pod.uid"
_NAME: Final = "io.kubernetes.container.name"


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns what, by id; ``places`` by the name of the directory in overlay2. Ask with ``get(id, NOBODY)``."""

    layers: Mapping[str, Attribution]
    places: Mapping[str, Attribution]
    images: Mapping[str, Attribution]
    containers: Mapping[str, Attribution]


def owners(records: Records, parents: Mapping[str, str], places: Mapping[str, str]) -> Owners:
    """Attribute everything that records reach; ``parents`` are by layer, ``places`` the layers by directory."""
    names: dict[str, str] = {}
    for name, image in records.names.images.items():
        if image not in names or ("@" in names[image] and "@" not in name):  # a tag says more than a digest
            names[image] = name
    images = {record.id: _image(record.id, names.get(record.id)) for record in records.all_images()}
    containers = {record.id: _container(record, names) for record in records.all_containers()}
    layers: dict[str, Attribution] = {}
    for mount in records.all_mounts():
        owner = containers.get(mount.container)
        for layer in (mount.mount_id, mount.init_id):
            if layer is not None and owner is not None:
                layers[layer] = owner
    claim(layers, [(record.layers[-1], images[record.id]) for record in records.all_images() if record.layers], parents)
    bases = [
        (mount.parent or "", _image(owner.container_image_id, owner.container_image_name))
        for mount in records.all_mounts()
        if (owner := containers.get(mount.container)) is not None
    ]
    claim(layers, bases, parents)
    owned = {place: owner for place, layer in places.items() if (owner := layers.get(layer, NOBODY)) is not NOBODY}
    return Owners(layers, owned, images, containers)


def _image(image: str | None, name: str | None) -> Attribution:
    return Attribution(container_image_name=name, container_image_id=image)


def _container(record: ContainerRecord, names: Mapping[str, str]) -> Attribution:
    labels = record.labels
    return Attribution(
        k8s_pod_name=labels.get(_POD),
        k8s_namespace_name=labels.get(_NAMESPACE),
        k8s_pod_uid=labels.get(_UID),
        container_id=record.id,
        container_name=labels.get(_NAME) or record.name or None,
        container_image_name=names.get(record.image) or record.image_name or None,
        container_image_id=record.image or None,
    )
