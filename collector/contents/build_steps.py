"""Which step of a build made a layer, as the configuration of an image that has it says.

The steps (``history``) that are no ``empty_layer`` made one layer each, in order. Where the configuration does not have as many of them
as layers, nothing is said of its layers. What a step says of itself is hostile text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from collector.contents.image_config import (
    BLOBS,
    DOCKER_IMAGES,
    SHA256,
    chain_ids,
    commands,
    containerd_configurations,
    diff_ids,
    read_configuration,
)
from collector.graph import Graph
from collector.links import StoreKind
from collector.safe import Directory
from linktrail.text import printable

_SHOWN: Final = 200

Configuration = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BuildStep:
    """The command that made layer number ``layer`` (from 1, the lowest) of the ``layers`` of ``image``."""

    image: str
    layer: int
    layers: int
    created_by: str

    def sentence(self) -> str:
        """Say it to a person."""
        image, made_by = printable(self.image.removeprefix(SHA256)[:12]), printable(self.created_by, _SHOWN) or "a step that says nothing"
        return f"It is layer {self.layer} of {self.layers} of image {image}, made by: {made_by}"


class BuildSteps:
    """The steps of all images of a store; read when the first is asked for."""

    def __init__(self, graph: Graph, root: Directory) -> None:
        """Look at the store of ``graph``, open at ``root``."""
        self._graph = graph
        self._root = root

    def of(self, layer: str) -> BuildStep | None:
        """Return the step that made ``layer``, where a configuration says so."""
        return self._known.get(layer)

    @cached_property
    def _known(self) -> dict[str, BuildStep]:
        known: dict[str, BuildStep] = {}
        for image, layers, configuration in _KINDS[self._graph.survey.kind](self._graph, self._root):
            steps = commands(configuration)
            if len(steps) == len(layers):
                for number, (layer, command) in enumerate(zip(layers, steps, strict=True), 1):
                    known.setdefault(layer, BuildStep(image, number, len(layers), command))
        return known


def _containers_storage(graph: Graph, root: Directory) -> Iterator[tuple[str, Sequence[str], Configuration]]:
    """Yield (image, its layers, the lowest first, its configuration), as the others do."""
    for image in graph.images.values():
        layers = [image.layers[0], *graph.ancestors(image.layers[0])][::-1] if image.layers else []
        for item, file in image.data.items():
            if item.startswith(SHA256):
                *steps, name = file.path.split("/")
                yield image.id, layers, read_configuration(root, steps, name)


def _docker(graph: Graph, root: Directory) -> Iterator[tuple[str, Sequence[str], Configuration]]:
    for image in graph.images.values():
        configuration = read_configuration(root, DOCKER_IMAGES, image.id)
        yield image.id, chain_ids(diff_ids(configuration)), configuration


def _containerd(graph: Graph, root: Directory) -> Iterator[tuple[str, Sequence[str], Configuration]]:
    snapshots = {str(layer.record.detail.get("name")): layer.id for layer in graph.layers.values()}
    for digest in containerd_configurations(graph.survey):
        configuration = read_configuration(root, BLOBS, digest)
        yield digest, [snapshots.get(chain, "") for chain in chain_ids(diff_ids(configuration))], configuration


_KINDS: Final = {
    StoreKind.CONTAINERS_STORAGE: _containers_storage,
    StoreKind.DOCKER_OVERLAY2: _docker,
    StoreKind.CONTAINERD_OVERLAYFS: _containerd,
}
