"""The links of one survey as a graph: layers, their places on disk, images, containers, and what reaches what.

Generic over the store kinds (``collector.graph_nodes`` says what a layer and its place are). Layers and images of additional
(read-only) stores are found through ``layer``, ``image``, ``place_of`` and ``owner_of_name``, as engines do.

Everything is built in one pass and walked with loops: damaged stores have cycles, and stores have 100,000 layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from collector.graph_nodes import Container, Image, Layer, Place
from collector.links import Link, LinkKind, LinkState, StoreKind, Survey, covered

LAYER_HOME: Final = {
    StoreKind.CONTAINERS_STORAGE: "overlay",
    StoreKind.DOCKER_OVERLAY2: "overlay2",
    StoreKind.CONTAINERD_OVERLAYFS: "io.containerd.snapshotter.v1.overlayfs/snapshots",
}


class Graph:
    """Typed indexes over one survey. Build it with ``Graph.of``."""

    def __init__(self, survey: Survey, additional: Sequence[Graph]) -> None:
        """Index ``survey``; ``additional`` are the graphs of the read-only stores it uses."""
        self.survey = survey
        self.additional = tuple(additional)
        self.home = LAYER_HOME[survey.kind]
        self.layers: dict[str, Layer] = {}
        self.places: dict[str, Place] = {}
        self.images: dict[str, Image] = {}
        self.containers: dict[str, Container] = {}
        self.short_links: dict[str, Link] = {}
        self.children: dict[str, list[str]] = {}
        self.owner_directories: list[Link] = []
        self.stray_data: list[Link] = []
        self.temporary: list[Link] = []
        self.metadata: dict[str, Link] = {}
        self.holders: list[Link] = []  # leases, gc labels and containers without a record that hold a layer
        self.mounts: list[Link] = []
        self.open_files: list[Link] = []
        self._unread = frozenset(survey.unread)
        self.named_places: dict[str, str] = {}  # short name -> place, as link files say
        self._tops: tuple[dict[str, list[str]], dict[str, list[str]]] | None = None
        _Indexer(self).run()

    @classmethod
    def of(cls, survey: Survey, additional: Iterable[Survey] = ()) -> Graph:
        """Build the graph of ``survey`` over the read-only stores ``additional``."""
        return cls(survey, [cls(other, ()) for other in additional])

    def layer(self, layer_id: str) -> Layer | None:
        """Find a recorded layer here or in an additional store."""
        found = self.layers.get(layer_id)
        return found or next((graph.layers[layer_id] for graph in self.additional if layer_id in graph.layers), None)

    def image(self, image_id: str) -> Image | None:
        """Find a recorded image here or in an additional store."""
        found = self.images.get(image_id)
        return found or next((graph.images[image_id] for graph in self.additional if image_id in graph.images), None)

    def place_of(self, layer_id: str) -> Place | None:
        """Find the place of a layer, recorded or not, here or in an additional store."""
        for graph in (self, *self.additional):
            layer = graph.layers.get(layer_id)
            place = graph.places.get(layer.place if layer else layer_id)
            if layer or (place and place.exists):
                return place
        return None

    def path_of(self, place: str) -> str:
        """Return the path of a place, relative to the store root."""
        return f"{self.home}/{place}"

    def owner_of_name(self, name: str) -> str | None:
        """Return the layer (or the bare place) whose short name is ``name``: where ``l/`` leads, else as a link file says."""
        for graph in (self, *self.additional):
            short = graph.short_links.get(name)
            target = short.layer_id if short is not None and short.layer_id else graph.named_places.get(name)
            if target is not None:
                place = graph.places.get(target)
                return place.layer if place is not None and place.layer is not None else target
        return None

    def unknown(self, path: str) -> bool:
        """Tell whether ``path`` could not be read, or lies below something that could not: absence there means nothing."""
        return covered(path, self._unread)

    def ancestors(self, layer_id: str) -> Iterator[str]:
        """Yield the recorded parents, nearest first; the last may have no record. A cycle ends before the first repetition."""
        seen = {layer_id}
        layer = self.layer(layer_id)
        while layer is not None and layer.parent is not None and layer.parent not in seen:
            yield layer.parent
            seen.add(layer.parent)
            layer = self.layer(layer.parent)

    def roots(self, without: Collection[str] = ()) -> Iterator[str]:
        """Yield the layers that images (but those in ``without``), containers, leases, labels and lost containers name."""
        for image in self.images.values():
            if image.id not in without:
                yield from image.layers
        yield from (container.layer for container in self.containers.values() if container.layer is not None)
        yield from (link.target for link in self.holders if link.target)

    def reach(self, roots: Iterable[str]) -> set[str]:
        """Return every layer that ``roots`` need: by recorded parents, and by what ``lower`` files on the way name.

        The second kind keeps layers alive that only a damaged record hides: removing one of them would lose data.
        """
        found: set[str] = set()
        todo = list(roots)
        while todo:
            layer_id = todo.pop()
            if layer_id in found:
                continue
            found.add(layer_id)
            layer = self.layer(layer_id)
            if layer is not None and layer.parent is not None:
                todo.append(layer.parent)
            todo.extend(self._named_below(layer_id))
        return found

    def users(self, layer_id: str, limit: int) -> tuple[list[str], list[str], int]:
        """Return the images and the containers whose chain holds ``layer_id``, and how many layers were looked at (to ``limit``)."""
        images, containers = self.tops()
        found_images: list[str] = []
        found_containers: list[str] = []
        todo, seen = [layer_id], {layer_id}
        while todo and len(seen) <= limit:
            current = todo.pop()
            found_images += images.get(current, [])
            found_containers += containers.get(current, [])
            for child in self.children.get(current, []):
                if child not in seen:
                    seen.add(child)
                    todo.append(child)
        return sorted(set(found_images)), sorted(set(found_containers)), len(seen)

    def tops(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return {top layer: images} and {writable layer: containers}."""
        if self._tops is None:
            images: dict[str, list[str]] = {}
            containers: dict[str, list[str]] = {}
            for image in self.images.values():
                for top in image.layers:
                    images.setdefault(top, []).append(image.id)
            for container in self.containers.values():
                if container.layer is not None:
                    containers.setdefault(container.layer, []).append(container.id)
            self._tops = (images, containers)
        return self._tops

    def _named_below(self, layer_id: str) -> Iterator[str]:
        place = self.place_of(layer_id)
        for file, link in place.lowers.items() if place else ():
            for part in (link.target or "").split(":"):
                owner = part if file == "lower-layers" else self.owner_of_name(part.removeprefix("l/"))
                if owner:
                    yield owner


class _Indexer:
    """Sorts the links of a survey into a graph: nodes first, then what belongs to them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self) -> None:
        graph = self.graph
        nodes: dict[LinkKind, Callable[[Link], None]] = {
            LinkKind.LAYER_RECORD: self._layer,
            LinkKind.IMAGE_RECORD: lambda link: graph.images.setdefault(link.subject, Image(link.subject, [])).records.append(link),
            LinkKind.CONTAINER_RECORD: lambda link: graph.containers.setdefault(link.subject, Container(link.subject, [])).records.append(
                link
            ),
            LinkKind.LAYER_DIRECTORY: self._directory,
            LinkKind.LINK_FILE: self._link_file,
            LinkKind.LOWER_REFERENCE: self._lower,
            LinkKind.SHORT_LINK: self._short_link,
            LinkKind.OWNER_DIRECTORY: graph.owner_directories.append,
            LinkKind.TEMPORARY_DIRECTORY: graph.temporary.append,
            LinkKind.METADATA_FILE: lambda link: graph.metadata.update({link.path: link}),
            LinkKind.MOUNT: graph.mounts.append,
            LinkKind.OPEN_FILE: graph.open_files.append,
            LinkKind.LEASE: graph.holders.append,
            LinkKind.LABEL_REFERENCE: graph.holders.append,
        }
        belongings: dict[LinkKind, Callable[[Link], None]] = {
            LinkKind.PARENT_POINTER: self._parent,
            LinkKind.LAYER_NAME: self._name(graph.layers),
            LinkKind.IMAGE_NAME: self._name(graph.images),
            LinkKind.IMAGE_LAYER: self._image_layer,
            LinkKind.CONTAINER_LAYER: self._container_layer,
            LinkKind.CONTAINER_IMAGE: self._container_image,
            LinkKind.DATA_FILE: self._data,
        }
        for table in (nodes, belongings):
            for link in graph.survey.links.values():
                if handler := table.get(link.kind):
                    handler(link)
        for layer in graph.layers.values():
            self._place(layer.place).layer = layer.id

    def _place(self, name: str) -> Place:
        place = self.graph.places.get(name)
        if place is None:
            place = self.graph.places[name] = Place(name)
        return place

    def _layer(self, link: Link) -> None:
        layer = self.graph.layers.get(link.subject)
        if layer is None:
            self.graph.layers[link.subject] = Layer(link.subject, [link], link.target or link.subject)
        else:
            layer.records.append(link)

    def _directory(self, link: Link) -> None:
        self._place(link.subject).directory = link

    def _link_file(self, link: Link) -> None:
        self._place(link.subject).link_file = link
        if link.target and link.state is LinkState.PRESENT:
            self.graph.named_places.setdefault(link.target, link.subject)

    def _lower(self, link: Link) -> None:
        self._place(link.subject).lowers[link.path.rpartition("/")[2]] = link

    def _short_link(self, link: Link) -> None:
        self.graph.short_links[link.subject] = link
        if link.layer_id and link.state is LinkState.PRESENT:
            self._place(link.layer_id).short_links.append(link)

    def _parent(self, link: Link) -> None:
        layer = self.graph.layers.get(link.subject)
        if layer is not None and link.target and layer.parent is None:
            layer.parent = link.target
            self.graph.children.setdefault(link.target, []).append(link.subject)

    @staticmethod
    def _name(nodes: Mapping[str, Layer] | Mapping[str, Image]) -> Callable[[Link], None]:
        def add(link: Link) -> None:
            node = nodes.get(link.target) if link.target else None
            if node is not None:
                node.names.append(link.subject)

        return add

    def _image_layer(self, link: Link) -> None:
        if link.target and link.subject in self.graph.images:
            self.graph.images[link.subject].layers.append(link.target)

    def _container_layer(self, link: Link) -> None:
        container = self.graph.containers.get(link.subject)
        if container is None:
            self.graph.holders.append(link)  # its record is gone, and the engine keeps the layer for it all the same
        elif link.target and container.layer is None:
            container.layer = link.target

    def _container_image(self, link: Link) -> None:
        container = self.graph.containers.get(link.subject)
        if link.target and container is not None and container.image is None:
            container.image = link.target

    def _data(self, link: Link) -> None:
        owner = _data_owner(self.graph, link)
        if owner is None:
            self.graph.stray_data.append(link)
        else:
            owner.data[link.target or link.path] = link


def _data_owner(graph: Graph, link: Link) -> Layer | Image | Container | None:
    """Return whose data file it is: ids of layers, images and containers may be equal, so the file's home decides first."""
    home = link.path.partition("/")[0]
    if home.endswith("-images"):
        return graph.images.get(link.subject)
    if home.endswith("-containers"):
        return graph.containers.get(link.subject)
    return graph.layers.get(link.subject) or graph.images.get(link.subject) or graph.containers.get(link.subject)
