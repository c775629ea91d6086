"""Whose is it: every layer of a store with its directory, the images and containers whose chain holds it, and their pods.

The question that people ask most of a directory that they found with ``du``, answered from the store's own records for all layers at once.
Only recorded parents count. Generic over the store kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from collector.graph import Graph
from collector.graph_nodes import Container
from collector.links import NOBODY, Attribution, StoreKind, Survey
from linktrail.text import column_text


@dataclass(slots=True)
class Whose:
    """One layer, or a directory that no record names (``layer`` is ``None`` then).

    ``directory`` is its name on disk (``None``: the store keeps none for it), ``path`` relative to the root (``None``: it is gone),
    ``names`` what else it is called (a chain id), ``images`` {digest or id: names} and ``containers`` those whose chain holds it. ``owner``
    is whom the records give it to, also where no chain does (an unpacking that was cut off).
    """

    directory: str | None
    path: str | None
    layer: str | None
    names: list[str]
    owner: Attribution = NOBODY
    images: dict[str, list[str]] = field(default_factory=dict)
    containers: list[Container] = field(default_factory=list)

    @property
    def pods(self) -> list[str]:
        """The pods of its containers, as ``namespace/name``."""
        owners = [container.record.owner for container in self.containers]
        return sorted({f"{owner.k8s_namespace_name}/{owner.k8s_pod_name}" for owner in owners if owner.k8s_pod_name})

    def document(self) -> dict[str, Any]:
        """Return the entry of ``whose`` that ``linktrail check --whose --json`` prints."""
        return {
            "directory": _text(self.directory),
            "path": _text(self.path),
            "layer": _text(self.layer),
            "names": _texts(self.names),
            "owner": {name: column_text(value) for name, value in self.owner.known().items()},
            "images": [{"id": column_text(image), "names": _texts(names)} for image, names in sorted(self.images.items())],
            "containers": [
                {
                    "id": column_text(container.id),
                    "name": _text(container.record.owner.container_name),
                    "pod": _text(container.record.owner.k8s_pod_name),
                    "namespace": _text(container.record.owner.k8s_namespace_name),
                }
                for container in self.containers
            ],
        }


def whose(survey: Survey, additional: Iterable[Survey] = ()) -> list[Whose]:
    """Return every layer and every directory of a store, those with a directory first, in the order of their numbers or names."""
    graph = Graph.of(survey, additional)
    found: dict[str, Whose] = {}
    for layer in graph.layers.values():
        place = graph.places.get(layer.place)
        directory = place.directory if place is not None else None
        kept = any(record.target for record in layer.records) or survey.kind is not StoreKind.CONTAINERD_OVERLAYFS
        name = layer.place.rpartition(":")[2] if kept else None
        found[layer.id] = Whose(name, directory.path if directory else None, layer.id, sorted(layer.names), layer.record.owner)
    for image in graph.images.values():
        for layer_id in _chains(graph, image.layers):
            if layer_id in found:
                found[layer_id].images[image.id] = sorted(image.names)
    for container in sorted(graph.containers.values(), key=lambda container: container.id):
        for layer_id in _chains(graph, [container.layer] if container.layer else []):
            if layer_id in found:
                found[layer_id].containers.append(container)
    strays = [
        Whose(place.directory.path.rpartition("/")[2], place.directory.path, None, [])
        for place in graph.places.values()
        if place.directory is not None and place.layer is None
    ]
    return sorted([*found.values(), *strays], key=_order)


def _chains(graph: Graph, tops: Iterable[str]) -> Iterator[str]:
    """Yield some layers and all that they stand on, each once."""
    met: set[str] = set()
    for top in tops:
        for layer_id in (top, *graph.ancestors(top)):
            if layer_id in met:
                break
            met.add(layer_id)
            yield layer_id


def _order(row: Whose) -> tuple[bool, int, str, str]:
    name = row.directory or ""
    return not name, int(name) if name.isascii() and name.isdecimal() and len(name) < 20 else 0, name, row.layer or ""  # noqa: PLR2004 - digits of 64 bits


def _text(name: str | None) -> str | None:
    return None if name is None else column_text(name)


def _texts(names: Iterable[str]) -> list[str]:
    return [column_text(name) for name in names]
