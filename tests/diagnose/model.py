"""A containers-storage store as a mutable model, and the survey a driver would make of it.

Tests change the model the way an accident would (or an engine in the middle of its work) and diagnose ``model.survey()``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from collector.links import Link, LinkKind, LinkState, Problem, StoreKind, Survey
from linktrail.clock import NANOSECONDS, iso

NOW = 1_795_500_000 * NANOSECONDS
HOUR = 3600 * NANOSECONDS
LONG_AGO = NOW - 1000 * HOUR
LAYERS_JSON = "overlay-layers/layers.json"
IMAGES_JSON = "overlay-images/images.json"
CONTAINERS_JSON = "overlay-containers/containers.json"


def identity(seed: object) -> str:
    """Return a 64-digit id made of ``seed``."""
    return hashlib.sha256(repr(seed).encode()).hexdigest()


def short_name(seed: object) -> str:
    """Return a short name made of ``seed``."""
    return base64.b32encode(hashlib.sha256(repr(seed).encode()).digest()).decode()[:26]


@dataclass
class LayerModel:
    """One layer: its record (``recorded``), its directory (``present``) and its links."""

    id: str
    parent: str | None = None
    recorded: bool = True
    incomplete: bool = False
    created: int | None = LONG_AGO
    names: list[str] = field(default_factory=list)
    digest: bool = True
    file: str = LAYERS_JSON
    present: bool = True
    diff: bool = True
    work: bool = True
    modified: int | None = LONG_AGO
    link: str | None = ""  # "": its own name; None: absent
    link_state: LinkState = LinkState.PRESENT
    lower: str | None = ""  # "": computed; None: absent
    lower_state: LinkState = LinkState.PRESENT
    lower_layers: str | None = None
    tar_split: bool = True


@dataclass
class ImageModel:
    """One image and its data directory."""

    id: str
    layer: str | None
    names: list[str] = field(default_factory=list)
    recorded: bool = True
    data: dict[str, int] = field(default_factory=lambda: {"manifest": 1042})
    files: dict[str, int] = field(default_factory=lambda: {"manifest": 1042})
    directory: bool = True
    modified: int | None = LONG_AGO
    mapped: list[str] = field(default_factory=list)


@dataclass
class ContainerModel:
    """One container and its data directory."""

    id: str
    layer: str | None
    image: str | None
    recorded: bool = True
    engine: str = "podman"
    names: list[str] = field(default_factory=list)
    created: int | None = LONG_AGO
    directory: bool = True
    modified: int | None = LONG_AGO
    data: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    file: str = CONTAINERS_JSON


class StoreModel:
    """A store: fill it, break it, survey it."""

    def __init__(self, root: str = "/store") -> None:
        """Start empty."""
        self.root = root
        self.layers: dict[str, LayerModel] = {}
        self.images: dict[str, ImageModel] = {}
        self.containers: dict[str, ContainerModel] = {}
        self.short_links: dict[str, str | None] = {}  # name -> target text
        self.temporary: dict[str, tuple[str | None, int]] = {}
        self.written: dict[str, int] = dict.fromkeys((LAYERS_JSON, IMAGES_JSON, CONTAINERS_JSON), LONG_AGO)
        self.malformed: dict[str, str] = {}
        self.absent_files: set[str] = set()
        self.problems: list[Problem] = []
        self.read_only = False
        self.extra: list[Link] = []

    # --- filling ----------------------------------------------------------------------------------------------

    def add_layer(self, seed: object, parent: str | None = None, **more: Any) -> LayerModel:
        """Add a complete layer with its short link."""
        layer = LayerModel(identity(seed), parent, **more)
        self.layers[layer.id] = layer
        self.short_links[short_name(layer.id)] = f"../{layer.id}/diff"
        return layer

    def add_image(self, seed: object, layer: str | None, names: tuple[str, ...] = ("localhost/it:1",), **more: Any) -> ImageModel:
        """Add a named image."""
        image = ImageModel(identity(("image", seed)), layer, list(names), **more)
        self.images[image.id] = image
        return image

    def add_container(self, seed: object, image: str | None, layer: str, **more: Any) -> ContainerModel:
        """Add a container."""
        container = ContainerModel(identity(("container", seed)), layer, image, **more)
        self.containers[container.id] = container
        return container

    def chain(self, layer_id: str) -> list[str]:
        """Return the recorded parents, nearest first (a circle ends it)."""
        found: list[str] = []
        parent = self.layers[layer_id].parent
        while parent is not None and parent in self.layers and parent not in found:
            found.append(parent)
            parent = self.layers[parent].parent
        return found

    def lower_of(self, layer_id: str) -> str:
        """Return the right content of ``lower``."""
        return ":".join(f"l/{short_name(parent)}" for parent in self.chain(layer_id))

    def settle(self) -> StoreModel:
        """Write down the computed contents, so that a later change of one record does not change the files of others."""
        for layer in self.layers.values():
            layer.link = short_name(layer.id) if layer.link == "" else layer.link
            layer.lower = (self.lower_of(layer.id) or None) if layer.lower == "" else layer.lower
        return self

    # --- reading ----------------------------------------------------------------------------------------------

    def survey(self, now: int = NOW) -> Survey:
        """Return what a driver would read."""
        return Survey.of(
            StoreKind.CONTAINERS_STORAGE,
            self.root,
            self._links(),
            started=now,
            finished=now,
            problems=self.problems,
            read_only=self.read_only,
        )

    def _links(self) -> Iterator[Link]:
        for path, written in self.written.items():
            if path not in self.absent_files:
                state = LinkState.MALFORMED if path in self.malformed else LinkState.PRESENT
                detail = {"error": self.malformed[path]} if path in self.malformed else {}
                yield Link(LinkKind.METADATA_FILE, path, path, state=state, detail=detail, facts={"mtime_ns": written})
        for layer in self.layers.values():
            yield from self._record(layer)
            yield from self._directory(layer)
        for name, target in self.short_links.items():
            yield self._short_link(name, target)
        for image in self.images.values():
            yield from self._image(image)
        for container in self.containers.values():
            yield from self._container(container)
        for name, (holds, modified) in self.temporary.items():
            path = f"overlay/tempdirs/{name}"
            yield Link(LinkKind.TEMPORARY_DIRECTORY, name, path, holds, facts={"mtime_ns": modified})
        yield from self.extra

    def _record(self, layer: LayerModel) -> Iterator[Link]:
        if not layer.recorded or layer.file in self.malformed or layer.file in self.absent_files:
            return
        detail: dict[str, Any] = {"created": iso(layer.created)} if layer.created else {}
        if layer.digest:
            detail["diff_digest"] = f"sha256:{layer.id}"
        if layer.incomplete:
            detail["flags"] = {"incomplete": True}
        state = LinkState.INCOMPLETE if layer.incomplete else LinkState.PRESENT
        facts = {"created_ns": layer.created} if layer.created else {}
        yield Link(LinkKind.LAYER_RECORD, layer.id, layer.file, state=state, layer_id=layer.id, detail=detail, facts=facts)
        if layer.parent:
            yield Link(LinkKind.PARENT_POINTER, layer.id, layer.file, layer.parent, layer_id=layer.id)
        for name in layer.names:
            yield Link(LinkKind.LAYER_NAME, name, layer.file, layer.id, layer_id=layer.id)

    def _directory(self, layer: LayerModel) -> Iterator[Link]:
        if layer.digest and layer.tar_split:
            tar = f"overlay-layers/{layer.id}.tar-split.gz"
            yield Link(LinkKind.DATA_FILE, layer.id, tar, "tar-split", layer_id=layer.id, detail={"size": 100})
        if not layer.present:
            return
        path = f"overlay/{layer.id}"
        detail = {"diff": layer.diff, "work": layer.work, "empty": layer.parent is None}
        facts: dict[str, Any] = {} if layer.modified is None else {"mtime_ns": layer.modified, "diff_mtime_ns": layer.modified}
        yield Link(LinkKind.LAYER_DIRECTORY, layer.id, path, layer_id=layer.id, detail=detail, facts=facts)
        link = short_name(layer.id) if layer.link == "" else layer.link
        if link is not None:
            target = None if layer.link_state is LinkState.EMPTY else link
            yield Link(LinkKind.LINK_FILE, layer.id, f"{path}/link", target, layer.link_state, layer.id)
        lower = (self.lower_of(layer.id) or None) if layer.lower == "" else layer.lower
        if lower is not None or layer.lower_state is LinkState.EMPTY:
            target = None if layer.lower_state is LinkState.EMPTY else lower
            yield Link(LinkKind.LOWER_REFERENCE, layer.id, f"{path}/lower", target, layer.lower_state, layer.id)
        if layer.lower_layers is not None:
            state = LinkState.PRESENT if layer.lower_layers else LinkState.EMPTY
            yield Link(LinkKind.LOWER_REFERENCE, layer.id, f"{path}/lower-layers", layer.lower_layers or None, state, layer.id)

    def _short_link(self, name: str, target: str | None) -> Link:
        path = f"overlay/l/{name}"
        parts = (target or "").split("/")
        well_formed = len(parts) == 3 and parts[0] == ".." and parts[2] == "diff" and len(name) == 26
        state = LinkState.PRESENT if well_formed else LinkState.MALFORMED
        return Link(LinkKind.SHORT_LINK, name, path, target, state, parts[1] if well_formed else None)

    def _image(self, image: ImageModel) -> Iterator[Link]:
        if image.recorded and IMAGES_JSON not in self.malformed and IMAGES_JSON not in self.absent_files:
            detail = {"names": image.names, "big_data": {name: [size, None] for name, size in image.data.items()}}
            yield Link(LinkKind.IMAGE_RECORD, image.id, IMAGES_JSON, detail=detail)
            for name in image.names:
                yield Link(LinkKind.IMAGE_NAME, f"{name}@{image.id[:6]}", IMAGES_JSON, image.id)
            if image.layer:
                yield Link(LinkKind.IMAGE_LAYER, image.id, IMAGES_JSON, image.layer, layer_id=image.layer)
            for layer in image.mapped:
                yield Link(LinkKind.IMAGE_LAYER, image.id, f"{IMAGES_JSON}#mapped/{layer}", layer, layer_id=layer)
        if image.directory:
            yield from _owner(LinkKind.OWNER_DIRECTORY, image.id, f"overlay-images/{image.id}", image.modified)
            for name, size in image.files.items():
                path = f"overlay-images/{image.id}/{name}"
                yield Link(LinkKind.DATA_FILE, image.id, path, name, detail={"size": size})

    def _container(self, container: ContainerModel) -> Iterator[Link]:
        if container.recorded and container.file not in self.malformed and container.file not in self.absent_files:
            data = {name: [size, None] for name, size in container.data.items()}
            detail = {"engine": container.engine, "names": container.names, "big_data": data}
            facts = {"created_ns": container.created} if container.created else {}
            yield Link(LinkKind.CONTAINER_RECORD, container.id, container.file, detail=detail, facts=facts)
            if container.layer:
                yield Link(LinkKind.CONTAINER_LAYER, container.id, container.file, container.layer, layer_id=container.layer)
            if container.image:
                yield Link(LinkKind.CONTAINER_IMAGE, container.id, container.file, container.image)
        if container.directory:
            yield from _owner(LinkKind.OWNER_DIRECTORY, container.id, f"overlay-containers/{container.id}", container.modified)
            for name, size in container.files.items():
                path = f"overlay-containers/{container.id}/userdata/{name}"
                yield Link(LinkKind.DATA_FILE, container.id, path, name, detail={"size": size})


def _owner(kind: LinkKind, subject: str, path: str, modified: int | None) -> Iterator[Link]:
    yield Link(kind, subject, path, facts={} if modified is None else {"mtime_ns": modified})


def small_store() -> StoreModel:
    """Return a healthy store: three image layers, one image, one container, as in fixture e00."""
    store = StoreModel()
    base = store.add_layer("base")
    middle = store.add_layer("middle", base.id)
    top = store.add_layer("top", middle.id)
    image = store.add_image("image", top.id)
    writable = store.add_layer("writable", top.id, digest=False, names=["it-layer"])
    store.add_container("container", image.id, writable.id, names=["it"])
    return store.settle()
