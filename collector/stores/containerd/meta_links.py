"""The links that meta.db holds. See the package's docstring for what each is.

Names in meta.db are looked up in meta.db itself (both come from one transaction): where a name leads to a snapshot, the link points to
that snapshot's key; where it leads nowhere, it points to the name as written, which is no key, and so shows that it dangles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from collector.links import NOBODY, Attribution, Link, LinkKind, LinkState
from collector.stores.containerd import records
from collector.stores.containerd.layout import META, inside, qualified
from collector.stores.containerd.leaves import Leaf, Links, Memory
from collector.stores.containerd.metadata import Namespace
from collector.stores.containerd.ownership import POD, Owners
from collector.stores.containerd.values import written

Need = tuple[str | None, str | None]
"""A snapshotter and the name of a snapshot in it."""

_BACK: Final = "containerd.io/gc.bref."
_BACK_SNAPSHOT: Final = "containerd.io/gc.bref.snapshot."
_REFERENCE: Final = "containerd.io/gc.ref."
_ENGINES: Final = {"moby": "docker", "buildkit": "buildkit"}


def namespace_links(namespace: Namespace, owners: Owners, memory: Memory) -> Links:
    """Return the links of one namespace."""
    found: Links = {}
    make = _Maker(namespace, owners)
    for snapshotter, leaves in namespace.snapshots.items():
        _add(
            found,
            namespace,
            memory,
            ("snapshots", snapshotter),
            leaves,
            needs=partial(_snapshot_needs, by=snapshotter),
            depends=partial(make.snapshot_owner, by=snapshotter),
            make=partial(make.snapshot, by=snapshotter),
        )
    _add(found, namespace, memory, "blobs", namespace.blobs, needs=_label_needs, make=make.blob)
    _add(found, namespace, memory, "images", namespace.images, needs=_label_needs, depends=make.image_owner, make=make.image)
    _add(found, namespace, memory, "containers", namespace.containers, needs=_container_needs, depends=make.source, make=make.container)
    _add(found, namespace, memory, "leases", namespace.leases, needs=_lease_needs, depends=make.lease_owners, make=make.lease)
    _add(found, namespace, memory, "ingests", namespace.ingests, needs=lambda _: (), make=make.ingest)
    for top in owners.tops.get(namespace.name, ()):
        owner = owners.images.get((namespace.name, top.digest), NOBODY)
        detail = {"snapshotter": top.snapshotter, "name": top.name}
        link = Link(LinkKind.IMAGE_LAYER, top.digest, top.path, top.key or top.name, layer_id=top.key, detail=detail, owner=owner)
        found[link.key] = link
    return found


def _add(
    found: Links,
    namespace: Namespace,
    memory: Memory,
    purpose: object,
    leaves: Iterable[Leaf],
    *,
    needs: Callable[[Any], Iterable[Need]],
    make: Callable[[Any], Iterator[Link]],
    depends: Callable[[Any], object] = lambda _: None,
) -> None:
    """Add the links of each leaf: those made before, if what its names lead to and what else they depend on is the same."""
    place = (purpose, namespace.name)

    def needed(leaf: Leaf) -> tuple[Need, ...]:
        return tuple([need for record in leaf.records for need in needs(record)])

    for leaf in leaves:
        wanted = memory.of_leaf(leaf, ("needs", place), needed)
        known = ([namespace.snapshot(by, name) for by, name in wanted], list(map(depends, leaf.records)))
        found.update(memory.links(leaf, ("links", place), known, make))


def _label_needs(record: records.Record) -> Iterator[Need]:
    for label, value in record.labels.items():
        if label.startswith(records.GC_LABEL):
            yield _referred(label), value


def _snapshot_needs(record: records.NamedSnapshot, by: str) -> Iterator[Need]:
    if record.parent:
        yield by, record.parent
    for child in record.children:
        yield by, child
    yield from _label_needs(record)


def _container_needs(record: records.Container) -> Iterator[Need]:
    yield record.snapshotter, record.snapshot
    yield from _label_needs(record)


def _lease_needs(record: records.Lease) -> Iterator[Need]:
    for held in record.held:
        if held.kind == "snapshot":
            yield held.snapshotter, held.name


def _referred(label: str) -> str | None:
    """Return the snapshotter that a gc label speaks of, if it speaks of a snapshot."""
    if label.startswith(_BACK_SNAPSHOT):
        return label[len(_BACK_SNAPSHOT) :].partition("/")[0] or None
    return records.referred_snapshotter(label)


class _Maker:
    """Makes the links of the records of one namespace."""

    def __init__(self, namespace: Namespace, owners: Owners) -> None:
        self._namespace = namespace
        self._owners = owners

    def source(self, record: records.Container) -> object:
        key = (self._namespace.name, record.name)
        return self._owners.containers.get(key), self._owners.sources.get(key), self._sandbox_gone(record)

    def _sandbox_gone(self, record: records.Container) -> bool:
        return bool(record.sandbox) and record.sandbox not in self._namespace.sandboxes

    def image_owner(self, record: records.Image) -> Attribution:
        return self._owners.images.get((self._namespace.name, record.digest or ""), NOBODY)

    def snapshot_owner(self, record: records.NamedSnapshot, by: str) -> object:
        return self._owners.layers.get(qualified(by, record.key)) if record.key else None

    def lease_owners(self, record: records.Lease) -> object:
        keys = [self._namespace.snapshot(held.snapshotter, held.name) for held in record.held if held.kind == "snapshot"]
        return tuple([self._owners.layers.get(key or "") for key in keys])

    def snapshot(self, record: records.NamedSnapshot, by: str) -> Iterator[Link]:
        space = self._namespace
        place = inside(space.name, "snapshots", by)
        key = qualified(by, record.key) if record.key else f"{space.name}/{by}/{record.name}"
        owner = self._owners.layers.get(key, NOBODY)
        detail = present(namespace=space.name, snapshotter=by, name=record.name, **common(record))
        state = LinkState.PRESENT if record.key else LinkState.MALFORMED
        yield Link(LinkKind.LAYER_RECORD, key, META, None, state, key, detail=detail, facts=facts(record), owner=owner)
        yield Link(LinkKind.LAYER_NAME, record.name, place, key, layer_id=key, owner=owner)
        if record.parent:
            parent = space.snapshot(by, record.parent) or record.parent
            yield Link(LinkKind.PARENT_POINTER, key, META, parent, layer_id=key, detail={"name": record.parent}, owner=owner)
        for child in record.children:
            target = space.snapshot(by, child) or child
            path = f"{place}/{record.name}/children/{child}"
            yield Link(LinkKind.CHILD_POINTER, key, path, target, layer_id=key, detail={"name": child}, owner=owner)
        yield from self._labels(record, key, "snapshot", f"{place}/{record.name}", layer=key, owner=owner)

    def blob(self, record: records.Blob) -> Iterator[Link]:
        place = inside(self._namespace.name, "content", "blob")
        detail = present(namespace=self._namespace.name, size=record.size, **common(record))
        yield Link(LinkKind.CONTENT, record.name, place, detail=detail, facts=facts(record))
        yield from self._labels(record, record.name, "content", f"{place}/{record.name}")

    def image(self, record: records.Image) -> Iterator[Link]:
        place = inside(self._namespace.name, "images")
        owner = self.image_owner(record)
        size = present(namespace=self._namespace.name, media_type=record.media_type, size=record.size)
        if record.digest:
            yield Link(LinkKind.IMAGE_RECORD, record.digest, place, detail=size, owner=owner)
        state = LinkState.PRESENT if record.digest else LinkState.MALFORMED
        detail = present(namespace=self._namespace.name, **common(record))
        yield Link(LinkKind.IMAGE_NAME, record.name, place, record.digest, state, detail=detail, facts=facts(record), owner=owner)
        yield from self._labels(record, record.name, "image", f"{place}/{record.name}", owner=owner)

    def container(self, record: records.Container) -> Iterator[Link]:
        space = self._namespace
        place = inside(space.name, "containers")
        owner = self._owners.containers.get((space.name, record.name), NOBODY)
        detail = present(
            namespace=space.name,
            engine=_engine(space.name, record.labels),
            image=record.image,
            snapshotter=record.snapshotter,
            snapshot=record.snapshot,
            runtime=record.runtime,
            sandbox=record.sandbox,
            sandbox_gone=self._sandbox_gone(record) or None,
            **common(record),
        )
        yield Link(LinkKind.CONTAINER_RECORD, record.name, place, detail=detail, facts=facts(record), owner=owner)
        if record.snapshot:
            key = space.snapshot(record.snapshotter, record.snapshot)
            said = present(snapshotter=record.snapshotter, name=record.snapshot)
            yield Link(LinkKind.CONTAINER_LAYER, record.name, place, key or record.snapshot, layer_id=key, detail=said, owner=owner)
        if record.image:
            source = self._owners.sources.get((space.name, record.name)) or record.image
            yield Link(LinkKind.CONTAINER_IMAGE, record.name, place, source, detail={"name": record.image}, owner=owner)
        yield from self._labels(record, record.name, "container", f"{place}/{record.name}", owner=owner)

    def lease(self, record: records.Lease) -> Iterator[Link]:
        space = self._namespace
        place = inside(space.name, "leases", record.name)
        expires = record.labels.get("containerd.io/gc.expire")
        flat = True if "containerd.io/gc.flat" in record.labels else None
        terms = present(namespace=space.name, expires=expires, flat=flat)
        yield Link(LinkKind.LEASE, record.name, place, detail={**terms, **present(**common(record))}, facts=facts(record))
        for held in record.held:
            key = space.snapshot(held.snapshotter, held.name) if held.kind == "snapshot" else None
            owner = self._owners.layers.get(key, NOBODY) if key else NOBODY
            detail = {**terms, **present(kind=held.kind, snapshotter=held.snapshotter, name=held.name)}
            path = "/".join((place, f"{held.kind}s", *([held.snapshotter] if held.snapshotter else []), held.name))
            yield Link(LinkKind.LEASE, record.name, path, key or held.name, layer_id=key, detail=detail, facts=facts(record), owner=owner)

    def ingest(self, record: records.Ingest) -> Iterator[Link]:
        place = inside(self._namespace.name, "content", "ingests")
        expires = written(record.expires)
        detail = present(namespace=self._namespace.name, expires=expires, expected=record.expected, **common(record))
        yield Link(LinkKind.INGEST, record.name, place, record.target, detail=detail, facts={**facts(record), "expires_ns": record.expires})

    def _labels(
        self, record: records.Record, subject: str, kind: str, place: str, *, layer: str | None = None, owner: Attribution = NOBODY
    ) -> Iterator[Link]:
        for label, value in record.labels.items():
            if not label.startswith(records.GC_LABEL):
                continue
            target = subject  # gc.root, gc.expire: it holds itself
            if label.startswith((_REFERENCE, _BACK)):
                by = _referred(label)
                target = (self._namespace.snapshot(by, value) if by else None) or value
            detail = present(namespace=self._namespace.name, object=kind, label=label, value=value, back=label.startswith(_BACK) or None)
            yield Link(LinkKind.LABEL_REFERENCE, subject, f"{place}/labels/{label}", target, layer_id=layer, detail=detail, owner=owner)


def present(**said: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON holds
    """Return what is there of a detail."""
    return {name: value for name, value in said.items() if value is not None and value != {}}


def common(record: records.Record) -> dict[str, Any]:
    """Return what every record says of itself, as it stands in a detail."""
    faults = list(record.faults) or None
    return {"created": written(record.created), "updated": written(record.updated), "labels": dict(record.labels), "faults": faults}


def facts(record: records.Record) -> Mapping[str, Any]:
    """Return the times of a record as they stand in facts."""
    return {"created_ns": record.created, "updated_ns": record.updated}


def _engine(namespace: str, labels: records.Labels) -> str:
    if POD in labels or "io.cri-containerd.kind" in labels:
        return "kubernetes"
    if any(label.startswith("nerdctl/") for label in labels):
        return "nerdctl"
    return _ENGINES.get(namespace, "unknown")
