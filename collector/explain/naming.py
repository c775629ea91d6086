"""What the ids in an error message stand for in a store: a layer, an image, a container, and whose it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from collector.graph import Graph
from collector.links import NOBODY, Attribution, LinkKind

NAMED_LIMIT: Final = 50
_HEX: Final = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True, slots=True)
class Named:
    """One thing that an id of the text stands for."""

    id: str
    kind: str  # layer, image, container
    subject: str
    owner: Attribution = NOBODY

    def document(self) -> dict[str, object]:
        """Return it JSON-able."""
        owner = {name: value for name in Attribution.__dataclass_fields__ if (value := getattr(self.owner, name)) is not None}
        return {"id": self.id, "kind": self.kind, "subject": self.subject, "owner": owner}


def name_ids(graph: Graph, ids: tuple[str, ...]) -> list[Named]:
    """Return what ``ids`` stand for in the store of ``graph``, each once."""
    found = dict.fromkeys(named for identifier in ids for named in _named(graph, identifier))
    return list(found)[:NAMED_LIMIT]


def _named(graph: Graph, identifier: str) -> Iterator[Named]:
    place = graph.places.get(identifier)
    if identifier.isdigit():
        if place is not None and place.layer is not None:
            yield _layer(graph, identifier, place.layer)
    elif identifier.isupper():
        owner = graph.owner_of_name(identifier)
        if owner is not None:
            yield _layer(graph, identifier, owner)
    elif _HEX.fullmatch(identifier):
        yield from _by_hex(graph, identifier)
    else:
        for link in graph.survey.of_kind(LinkKind.IMAGE_NAME):
            if link.subject == identifier and link.target:
                yield Named(identifier, "image", link.target, link.owner)


def _by_hex(graph: Graph, identifier: str) -> Iterator[Named]:
    for place in graph.places.values():
        if _starts(place.name, identifier) and (place.exists or place.layer is not None):
            yield _layer(graph, identifier, place.layer or place.name)
    for layer in graph.layers:
        if _starts(layer, identifier):
            yield _layer(graph, identifier, layer)
    for image in graph.images.values():
        if _starts(image.id, identifier):
            yield Named(identifier, "image", image.id, image.record.owner)
    for container in graph.containers.values():
        if _starts(container.id, identifier):
            yield Named(identifier, "container", container.id, container.record.owner)


def _starts(name: str, identifier: str) -> bool:
    """Tell whether an id, a digest, or the last part of a key begins with ``identifier``."""
    return any(part.startswith(identifier) for part in _HEX.findall(name))


def _layer(graph: Graph, identifier: str, layer_id: str) -> Named:
    layer = graph.layers.get(layer_id)
    return Named(identifier, "layer", layer_id, layer.record.owner if layer is not None else NOBODY)
