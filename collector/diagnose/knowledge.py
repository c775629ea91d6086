"""What can be said of a survey as a whole before any rule looks: what is known, what is needed, what is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from collector.diagnose.cases import fact, is_trap
from collector.graph import Graph
from collector.graph_nodes import Layer, Place, created
from collector.links import LinkKind, LinkState, StoreKind

USER_LIMIT: Final = 2000  # layers looked at for who needs one
_USER_MINIMUM: Final = 20
_USER_BUDGET: Final = 200_000  # layers looked at far and wide, for all findings together

RECORDED_IN: Final[Mapping[StoreKind, Mapping[str, tuple[str, ...]]]] = {
    StoreKind.DOCKER_OVERLAY2: {
        "layers": ("image/overlay2/layerdb/sha256", "image/overlay2/layerdb/mounts", "buildkit/snapshots.db", "buildkit"),
        "images": (
            "image/overlay2/imagedb/content/sha256",
            "image/overlay2/repositories.json",
            "buildkit/containerdmeta.db",  # what holds build cache
            "buildkit/metadata_v2.db",
        ),
        "containers": ("containers",),
    }
}
"""Where a store kind records what, as far as file names do not tell: files, and directories of them."""

Times = dict[str, int | None]
"""Evidence of the last work on something: what shows it -> ns UTC."""


class Knowledge:
    """Questions about one graph, answered once."""

    def __init__(self, graph: Graph) -> None:
        """Answer about ``graph``."""
        self.graph = graph
        self._user_budget = _USER_BUDGET

    def layer_times(self, layer: Layer | None, place: Place | None) -> Times:
        """Return what shows when somebody last worked on a layer."""
        directory = place.directory if place is not None else None
        return {
            "record created": created(layer.record) if layer is not None else None,
            "directory modified": fact(directory, "mtime_ns"),
            "diff modified": fact(directory, "diff_mtime_ns"),
        }

    def files_of(self, word: str) -> tuple[str, ...]:
        """Return the metadata files whose name holds ``word`` (``layers``, ``images``, ``containers``)."""
        places = RECORDED_IN.get(self.graph.survey.kind)
        if places is not None:
            return tuple(path for path in places[word] if path in self.graph.metadata)
        return tuple(path for path in self.graph.metadata if word in path.rpartition("/")[2])

    @cached_property
    def layers_known(self) -> bool:
        """Tell whether every file that records layers was read whole, so that a missing record means something."""
        return self._known("layers")

    @cached_property
    def images_known(self) -> bool:
        """Tell whether every file that records images was read whole."""
        return self._known("images")

    @cached_property
    def containers_known(self) -> bool:
        """Tell whether every file that records containers was read whole."""
        return self._known("containers")

    def tables_read(self, word: str) -> bool:
        """Tell whether all that stands in ``RECORDED_IN`` under ``word`` was read, each table with everything in it."""
        graph = self.graph
        places = RECORDED_IN[graph.survey.kind][word]
        if any(path == place or path.startswith(f"{place}/") for place in places if place != "buildkit" for path in graph.survey.unread):
            return False
        return all(graph.metadata[path].state is LinkState.PRESENT for path in places if path in graph.metadata)

    def _known(self, word: str) -> bool:
        if self.graph.survey.kind in RECORDED_IN:
            kind = {"images": LinkKind.IMAGE_RECORD, "containers": LinkKind.CONTAINER_RECORD}.get(word)
            sound = kind is None or all(link.state is LinkState.PRESENT for link in self.graph.survey.of_kind(kind))
            return self.tables_read(word) and sound
        if any(word in path.rpartition("/")[2] for path in self.missing_files):
            return False
        graph = self.graph
        files = [link for path, link in graph.metadata.items() if word in path.rpartition("/")[2]]
        homes = {path.rpartition("/")[0] for path in graph.metadata} | {f"{graph.home}-{word}"}
        hidden = any(graph.unknown(home) for home in homes if word in home)
        return not hidden and all(link.state is LinkState.PRESENT for link in files)

    @cached_property
    def cycles(self) -> list[list[str]]:
        """The circles of recorded parents, each from child to parent. Linear in the number of layers."""
        layers = self.graph.layers
        found: list[list[str]] = []
        done: set[str] = set()
        for start in layers:
            path: dict[str, None] = {}
            current: str | None = start
            while current is not None and current in layers and current not in done and current not in path:
                path[current] = None
                current = layers[current].parent
            if current is not None and current in path:
                members = list(path)
                found.append(members[members.index(current) :])
            done.update(path)
        return found

    @cached_property
    def circular(self) -> frozenset[str]:
        """Every layer that is its own ancestor: its recorded parent says nothing."""
        return frozenset(member for cycle in self.cycles for member in cycle)

    @cached_property
    def depths(self) -> dict[str, int | None]:
        """How many recorded parents each layer has; ``None`` where the chain breaks off or goes in a circle."""
        depths: dict[str, int | None] = dict.fromkeys(self.circular)
        for start in self.graph.layers:
            path: list[str] = []
            current: str | None = start
            while current is not None and current not in depths:
                path.append(current)
                layer = self.graph.layer(current)
                if layer is None:
                    depths[current] = None
                    break
                current = layer.parent
            below: int | None = -1 if current is None else depths[current]
            for layer_id in reversed(path):
                below = None if below is None else below + 1
                depths.setdefault(layer_id, below)
        return depths

    @cached_property
    def needed(self) -> set[str]:
        """Every layer that an image, a container, a lease or a label reaches."""
        return self.graph.reach(self.graph.roots())

    @cached_property
    def missing_files(self) -> dict[str, int]:
        """Metadata files that are absent although what they should name is there: path -> how much of it."""
        graph = self.graph
        if graph.survey.kind is not StoreKind.CONTAINERS_STORAGE or not graph.metadata:
            return {}
        owners = Counter(link.path.partition("/")[0] for link in graph.owner_directories)
        present = {
            "overlay-layers/layers.json": sum(place.exists for place in graph.places.values()),
            "overlay-images/images.json": owners["overlay-images"],
            "overlay-containers/containers.json": owners["overlay-containers"],
        }
        homes = {path.partition("/")[0] for path in graph.metadata if path not in present}  # a volatile file stands there
        return {
            path: count
            for path, count in present.items()
            if count > 0
            and path not in graph.metadata
            and not graph.unknown(path)
            and (path.partition("/")[0] not in homes or path.endswith("layers.json"))
        }

    @cached_property
    def owner_times(self) -> dict[str, int]:
        """When the own directory of an image or a container changed last (ns UTC), by its id."""
        times = {link.subject: fact(link, "mtime_ns") for link in self.graph.owner_directories}
        return {subject: when for subject, when in times.items() if when is not None}

    @cached_property
    def traps(self) -> frozenset[str]:
        """Every layer whose link file is such that an engine which deletes the layer removes ``l/`` itself."""
        return frozenset(place.layer or place.name for place in self.graph.places.values() if is_trap(place))

    @cached_property
    def named(self) -> set[str]:
        """Every layer that another record names: as parent, as an image's layer, as a container's layer."""
        graph = self.graph
        found = {layer.parent for layer in graph.layers.values() if layer.parent is not None}
        found.update(top for image in graph.images.values() for top in image.layers)
        found.update(container.layer for container in graph.containers.values() if container.layer is not None)
        return found

    @cached_property
    def lower_users(self) -> dict[str, list[str]]:
        """Which layers name a short name in their lower file."""
        named: dict[str, list[str]] = {}
        for place in self.graph.places.values():
            lower = place.lowers.get("lower")
            for part in (lower.target or "").split(":") if lower is not None else ():
                named.setdefault(part.removeprefix("l/"), []).append(place.layer or place.name)
        return named

    @cached_property
    def stores_known(self) -> bool:
        """Tell whether every additional store that this one is said to use was read, so that absence there means something."""
        named = {link.target for link in self.graph.survey.of_kind(LinkKind.ADDITIONAL_STORE)}
        return named <= {graph.survey.root for graph in self.graph.additional}

    def used_by(self, layer_id: str) -> tuple[list[str], list[str]]:
        """Return images and containers that need a layer; not all of them where thousands of findings ask."""
        if layer_id not in self.needed:
            return [], []
        limit = USER_LIMIT if self._user_budget > 0 else _USER_MINIMUM
        images, containers, looked_at = self.graph.users(layer_id, limit)
        self._user_budget -= looked_at
        return images, containers
