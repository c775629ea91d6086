"""Reachability as containerd's own garbage collector computes it (core/metadata/gc.go).

Roots: leases that have not expired and what they hold, image names, containers' snapshots and label references, downloads that have not
expired, and whatever bears ``gc.root`` or a ``gc.expire`` in the future. Edges: snapshot -> parent, image -> its descriptor, ``gc.ref.*``
from the bearer to what it names, ``gc.bref.*`` the other way. A lease with ``gc.flat`` holds what it names (and a snapshot's parents)
but not what labels on that lead to. Where the databases name different parents of one snapshot, both count: the collector follows one of
them, the mounts follow the other, and neither is to be called unused. Everything is inside one namespace, but what a snapshot's key
names, which is unique.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from typing import Final, NamedTuple

from collector.diagnose.containerd_store import ContainerdStore, Lease
from collector.graph_nodes import instant_of
from collector.links import Link

_ROOT: Final = "containerd.io/gc.root"
_EXPIRE: Final = "containerd.io/gc.expire"
_REFERENCE: Final = "containerd.io/gc.ref."
_BACK: Final = "containerd.io/gc.bref."
_KINDS: Final = ("content", "snapshot", "image", "container")
_MANAGED: Final = ("moby", "buildkit")  # namespaces of engines that hold their snapshots by leases and labels alone
_LABEL_LIMIT: Final = 100  # labels on other things than snapshots that are followed to say which of them holds one


class Node(NamedTuple):
    """A resource that is collected or kept: kind (snapshot, content, image, container, ingest), namespace ("" for a snapshot), name."""

    kind: str
    namespace: str
    name: str


class Reach:
    """What holds what in one store at one instant (``now``, ns UTC)."""

    def __init__(self, store: ContainerdStore, now: int) -> None:
        """Compute it."""
        self.store = store
        self.now = now
        self._edges: dict[Node, list[Node]] = {}
        self._structure: dict[Node, list[Node]] = {}
        self.label_roots: dict[Node, Link] = {}
        self._link_up()
        self.used = self.mark(self._living())
        self.live_leases = [lease for lease in store.leases.values() if not lease.over(now)]
        self.managed = self.mark(
            [
                *(node for lease in self.live_leases if lease.expires is None and _is_managed(lease.namespace) for node in held_by(lease)),
                *(node for node, label in self.label_roots.items() if _is_managed(str(label.detail.get("namespace")))),
            ]
        )
        self.by_label = self.mark(self.label_roots)
        full = [lease for lease in self.live_leases if not lease.flat]
        flat = [lease for lease in self.live_leases if lease.flat]
        self.by_lease = self.mark(node for lease in full for node in held_by(lease))
        self.by_lease |= self.mark((node for lease in flat for node in held_by(lease)), flat=True)

    def mark(self, roots: Iterable[Node], *, flat: bool = False) -> set[Node]:
        """Return everything that ``roots`` keep."""
        found: set[Node] = set()
        waiting = list(roots)
        while waiting:
            node = waiting.pop()
            if node in found:
                continue
            found.add(node)
            waiting += self._structure.get(node, ())
            if not flat:
                waiting += self._edges.get(node, ())
        return found

    def leases_on(self, keys: Iterable[str]) -> list[Lease]:
        """Return the leases, expired or not, that name one of these snapshots."""
        found = {(lease.namespace, lease.name): lease for key in keys for lease in self._leases_by_snapshot.get(key, ())}
        return list(found.values())

    def labels_on(self, keys: Iterable[str]) -> list[Link]:
        """Return the root labels that snapshots of ``keys`` bear, or else the root labels of what leads to them."""
        wanted = {Node("snapshot", "", key) for key in keys}
        own = [label for node, label in self.label_roots.items() if node in wanted]
        return own or [label for node, label in islice(self.label_roots.items(), _LABEL_LIMIT) if wanted & self.mark([node])]

    @cached_property
    def _leases_by_snapshot(self) -> dict[str, list[Lease]]:
        found: dict[str, list[Lease]] = {}
        for lease in self.store.leases.values():
            for link in lease.held:
                if link.layer_id is not None:
                    found.setdefault(link.layer_id, []).append(lease)
        return found

    def _living(self) -> list[Node]:
        store = self.store
        return [
            *(Node("image", namespace, name) for namespace, name in store.images),
            *(Node("container", namespace, name) for namespace, name in store.containers),
            *(
                Node("ingest", namespace, name)
                for (namespace, name), link in store.ingests.items()
                if (instant_of(link.detail.get("expires")) or 0) > self.now
            ),
        ]

    def _link_up(self) -> None:
        store = self.store
        for snapshot in store.snapshots.values():
            for link in (snapshot.below_named, snapshot.below):
                if link is not None and link.target:
                    self._structure.setdefault(Node("snapshot", "", snapshot.key), []).append(Node("snapshot", "", link.target))
        for (namespace, name), link in store.images.items():
            if link.target:
                self._edges.setdefault(Node("image", namespace, name), []).append(Node("content", namespace, link.target))
        for (namespace, name), container in store.containers.items():
            if container.layer is not None and container.layer.target:
                self._edges.setdefault(Node("container", namespace, name), []).append(Node("snapshot", "", container.layer.target))
        for (namespace, name), link in store.ingests.items():
            expected = link.detail.get("expected")
            if isinstance(expected, str):
                self._edges.setdefault(Node("ingest", namespace, name), []).append(Node("content", namespace, expected))
        for label in store.labels:
            self._label(label)

    def _label(self, link: Link) -> None:
        namespace, name = str(link.detail.get("namespace")), str(link.detail.get("label"))
        bearer = _node(str(link.detail.get("object")), namespace, link.subject)
        if name == _ROOT:
            if bearer.kind in ("snapshot", "content"):
                self.label_roots[bearer] = link
        elif name == _EXPIRE:
            if bearer.kind in ("snapshot", "content") and (instant_of(link.detail.get("value")) or 0) > self.now:
                self.label_roots.setdefault(bearer, link)
        elif link.target is not None:
            back = name.startswith(_BACK)
            word = name.removeprefix(_BACK if back else _REFERENCE).partition(".")[0].partition("/")[0]
            if word in _KINDS:
                other = _node(word, namespace, link.target)
                first, second = (other, bearer) if back else (bearer, other)
                self._edges.setdefault(first, []).append(second)


def held_by(lease: Lease) -> list[Node]:
    """Return what a lease names."""
    kinds = {"content": "content", "snapshot": "snapshot", "image": "image", "ingest": "ingest"}
    return [
        _node(kinds[kind], lease.namespace, link.target)
        for link in lease.held
        if link.target is not None and (kind := str(link.detail.get("kind"))) in kinds
    ]


def _node(kind: str, namespace: str, name: str) -> Node:
    return Node(kind, "" if kind == "snapshot" else namespace, name)


def _is_managed(namespace: str) -> bool:
    return namespace.startswith(_MANAGED)
