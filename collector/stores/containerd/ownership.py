"""Who owns a snapshot: image, container and pod, as far as the store's own records tell.

An image name stands for a manifest or an index; labels lead from there to configurations, and a configuration's label names the top
snapshot. So a committed snapshot belongs to the nearest image above it (of several, to the first by name), a container's snapshot to the
container and its pod, and any other snapshot (a view, an unpacking that never ended, one left behind) to the image below it.

A container records the *name* of its image, which may stand for another image by now. So the image of a container is the one whose
top snapshot it stands on; only where there is none, the one that has the name.

The labels are those that the CRI plugin (``io.kubernetes.*``) and nerdctl write on containers; source: containerd, internal/cri/labels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

from collector.links import NOBODY, Attribution
from collector.stores.containerd.layout import inside
from collector.stores.containerd.leaves import records_of
from collector.stores.containerd.metadata import Namespace
from collector.stores.containerd.records import Blob, Container

POD: Final = "io.kubernetes.pod.name"
_POD_NAMESPACE: Final = "io.kubernetes.pod.namespace"
_POD_UID: Final = "io.kubernetes.pod.uid"
_CONTAINER: Final = "io.kubernetes.container.name"
_NERDCTL: Final = "nerdctl/name"
_DIFF_ID: Final = "containerd.io/uncompressed"
_BLOB_LIMIT: Final = 1000  # blobs looked at for one image

ContainerKey = tuple[str, str]
"""Namespace and id."""


class Top(NamedTuple):
    """A top snapshot of an image: ``path`` is where that is written, ``name`` as written, ``key`` as it stands in links (if recorded)."""

    digest: str
    path: str
    snapshotter: str
    name: str
    key: str | None


@dataclass(slots=True)
class Owners:
    """Who owns what: ``layers`` by key as in links, ``images`` by (namespace, digest); ``sources`` are the image digests of containers."""

    layers: dict[str, Attribution] = field(default_factory=dict)
    images: dict[tuple[str, str], Attribution] = field(default_factory=dict)
    containers: dict[ContainerKey, Attribution] = field(default_factory=dict)
    sources: dict[ContainerKey, str] = field(default_factory=dict)
    tops: dict[str, list[Top]] = field(default_factory=dict)


class Interned:
    """One object for equal owners, from survey to survey, so that comparing them is comparing objects."""

    def __init__(self, earlier: Interned | None = None) -> None:
        """Know those of the ``earlier`` survey that are asked for again."""
        self._known: dict[Attribution, Attribution] = {}
        self._earlier = dict(earlier._known) if earlier else {}  # noqa: SLF001 - another of the same class

    def one(self, owner: Attribution) -> Attribution:
        """Return the object that stands for ``owner``."""
        return self._known.setdefault(owner, self._earlier.get(owner, owner))

    def forget(self) -> None:
        """Let go of the earlier survey."""
        self._earlier = {}


def owners(namespaces: Iterable[Namespace], parents: Mapping[str, str], interned: Interned) -> Owners:
    """Attribute everything that the records reach; ``parents`` is {key: key of its parent} over all snapshotters."""
    found = Owners()
    namespaces = list(namespaces)
    queue: deque[str] = deque()
    unfinished: list[tuple[Namespace, str, Attribution]] = []
    by_top: dict[str, list[str]] = {}
    for namespace in namespaces:
        for digest, name in sorted(_names(namespace).items(), key=lambda item: _rank(item[1])):
            owner = interned.one(Attribution(container_image_name=name, container_image_id=digest))
            found.images[namespace.name, digest] = owner
            tops = list(_tops(namespace, digest))
            found.tops.setdefault(namespace.name, []).extend(tops)
            for top in tops:
                if top.key is not None:
                    by_top.setdefault(top.key, []).append(digest)
                    if top.key not in found.layers:
                        found.layers[top.key] = owner
                        queue.append(top.key)
            if not tops:
                unfinished.append((namespace, digest, owner))
    _spread_down(found.layers, queue, parents)
    for namespace, digest, owner in unfinished:
        for key in _unpacked(namespace, digest):
            found.layers.setdefault(key, owner)
    for namespace in namespaces:
        _containers(namespace, found, by_top, parents, interned)
    for namespace in namespaces:
        for keys in namespace.keys.values():
            _spread_up(found.layers, keys.values(), parents, interned)
    _spread_up(found.layers, parents, parents, interned)
    return found


def _names(namespace: Namespace) -> dict[str, str]:
    """Return {digest: the best name for it}."""
    found: dict[str, str] = {}
    for image in records_of(namespace.images):
        if image.digest and (image.digest not in found or _rank(image.name) < _rank(found[image.digest])):
            found[image.digest] = image.name
    return found


def _rank(name: str) -> tuple[bool, bool, str]:
    """Sort names as people would choose them: tags, then digests, then bare ids (CRI keeps all three)."""
    return name.startswith("sha256:"), "@" in name, name


def _tops(namespace: Namespace, digest: str) -> Iterator[Top]:
    for blob in _blobs(namespace, digest):
        for label, snapshotter, name in blob.tops:
            path = inside(namespace.name, "content", "blob", blob.name, "labels", label)
            yield Top(digest, path, snapshotter, name, namespace.snapshot(snapshotter, name))


def _unpacked(namespace: Namespace, digest: str) -> Iterator[str]:
    """Yield the snapshots of an image whose unpacking never ended: those with the chain ids of its first layers.

    An unpacked blob has its diff id as a label; a chain id is the digest of the chain id below, a space and the diff id.
    """
    for blob in _blobs(namespace, digest):
        chain = ""
        for layer in blob.layers:
            unpacked = namespace.blobs_by_digest.get(layer)
            diff = unpacked.labels.get(_DIFF_ID) if unpacked else None
            if diff is None:
                break
            chain = f"sha256:{sha256(f'{chain} {diff}'.encode(errors='surrogateescape')).hexdigest()}" if chain else diff
            yield from filter(None, (namespace.snapshot(snapshotter, chain) for snapshotter in namespace.keys))


def _blobs(namespace: Namespace, digest: str) -> Iterator[Blob]:
    """Yield the blobs that an image's digest leads to, but those of layers."""
    waiting, seen = [digest], {digest}
    while waiting and len(seen) <= _BLOB_LIMIT:
        blob = namespace.blobs_by_digest.get(waiting.pop())
        if blob is None:
            continue
        yield blob
        for content in blob.contents:
            if content not in seen:
                seen.add(content)
                waiting.append(content)


def _spread_down(layers: dict[str, Attribution], queue: deque[str], parents: Mapping[str, str]) -> None:
    """Give each layer below a top the owner of the nearest top above it."""
    while queue:
        key = queue.popleft()
        parent = parents.get(key)
        if parent is not None and parent not in layers:
            layers[parent] = layers[key]
            queue.append(parent)


def _spread_up(layers: dict[str, Attribution], keys: Iterable[str], parents: Mapping[str, str], interned: Interned) -> None:
    """Give what has no owner the image of the nearest ancestor that has one."""
    for key in keys:
        if key in layers:
            continue
        passed: list[str] = []
        current: str | None = key
        while current is not None and current not in layers:
            passed.append(current)
            layers[current] = NOBODY  # also ends a circle
            current = parents.get(current)
        below = layers[current] if current is not None else NOBODY
        if below.container_image_id is not None:
            owner = interned.one(Attribution(container_image_name=below.container_image_name, container_image_id=below.container_image_id))
            layers.update(dict.fromkeys(passed, owner))


def _containers(
    namespace: Namespace, found: Owners, by_top: Mapping[str, list[str]], parents: Mapping[str, str], interned: Interned
) -> None:
    digests = {image.name: image.digest for image in records_of(namespace.images) if image.digest}
    for container in records_of(namespace.containers):
        key = namespace.snapshot(container.snapshotter, container.snapshot)
        named = digests.get(container.image or "")
        under = by_top.get(parents.get(key or "") or "", [])
        below = named if named in under else next(iter(under), None)
        owner = interned.one(_owner(namespace.name, container, below, found))
        found.containers[namespace.name, container.name] = owner
        if below or named:
            found.sources[namespace.name, container.name] = below or named or ""
        if key is not None:
            found.layers[key] = owner


def _owner(namespace: str, container: Container, image: str | None, found: Owners) -> Attribution:
    labels = {**container.extra, **container.labels}
    written = container.image if container.image and not container.image.startswith("sha256:") else container.extra.get("image")
    known = found.images.get((namespace, image or ""), NOBODY)
    return Attribution(
        k8s_pod_name=labels.get(POD) or None,
        k8s_namespace_name=labels.get(_POD_NAMESPACE) or None,
        k8s_pod_uid=labels.get(_POD_UID) or None,
        container_id=container.name,
        container_name=labels.get(_CONTAINER) or labels.get(_NERDCTL) or None,
        container_image_name=written or known.container_image_name,
        container_image_id=image,
    )
