"""What one object says in meta.db or in a snapshotter's metadata.db: its bucket, decoded, nothing looked up elsewhere.

Text is ``os.fsdecode`` of the bytes, times are ns UTC. A value that cannot be decoded leaves its field empty and is named in
``faults``; the rest of the record stands. Source: containerd, core/metadata/{buckets,boltutil/helpers}.go and
core/snapshots/storage/bolt.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from collector.stores.bolt import Bucket
from collector.stores.bolt.tree import Value
from collector.stores.containerd.values import go_time, json_of, uvarint, varint
from linktrail.text import decode

KINDS: Final = {1: "view", 2: "active", 3: "committed"}
GC_LABEL: Final = "containerd.io/gc."
CONTENT_LABEL: Final = "containerd.io/gc.ref.content"
SNAPSHOT_LABEL: Final = "containerd.io/gc.ref.snapshot."
_LAYER_LABEL: Final = re.compile(r"containerd\.io/gc\.ref\.content\.l\.([0-9]{1,6})")
_CRI: Final = b"io.kubernetes.cri."
_CRI_IMAGE: Final = "io.kubernetes.cri.image-name"
_CRI_EXTRA: Final = {
    "io.kubernetes.pod.name": "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.pod.namespace": "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.pod.uid": "io.kubernetes.cri.sandbox-uid",
    "io.kubernetes.container.name": "io.kubernetes.cri.container-name",
}
Labels = Mapping[str, str]
Decoded = TypeVar("Decoded")


@dataclass(frozen=True, slots=True)
class Record:
    """What every object has. ``name`` is its key."""

    name: str
    created: int | None
    updated: int | None
    labels: Labels
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredSnapshot(Record):
    """A snapshot in metadata.db: ``name`` is its key there, ``number`` that of its directory."""

    number: int | None
    kind: str | None
    parent: str | None
    size: int | None
    inodes: int | None


@dataclass(frozen=True, slots=True)
class NamedSnapshot(Record):
    """A snapshot in meta.db: ``key`` is its key in metadata.db; ``parent`` and ``children`` are names in meta.db."""

    key: str | None
    parent: str | None
    children: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blob(Record):
    """A blob in meta.db: ``name`` is its digest.

    ``contents`` are the blobs that lead to image configurations (manifests name those, indexes name manifests), ``layers`` those of a
    manifest's layers, lowest first, ``tops`` the snapshots that labels name: label, snapshotter, name.
    """

    size: int | None
    contents: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    tops: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ingest(Record):
    """A download in meta.db: ``target`` is its reference in the content store."""

    target: str | None
    expires: int | None
    expected: str | None


@dataclass(frozen=True, slots=True)
class Image(Record):
    """An image name in meta.db and the descriptor that it stands for."""

    digest: str | None
    media_type: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Container(Record):
    """A container in meta.db. ``image`` is the name it was made from, ``extra`` what its OCI spec adds for CRI."""

    image: str | None
    snapshotter: str | None
    snapshot: str | None
    runtime: str | None
    sandbox: str | None
    extra: Labels = field(default_factory=dict)


def referred_snapshotter(label: str) -> str | None:
    """Return the snapshotter in a label that refers to a snapshot (``containerd.io/gc.ref.snapshot.<snapshotter>[/<any>]``)."""
    return label[len(SNAPSHOT_LABEL) :].partition("/")[0] or None if label.startswith(SNAPSHOT_LABEL) else None


class Held(NamedTuple):
    """What a lease holds: kind is snapshot, content, ingest or image."""

    kind: str
    name: str
    snapshotter: str | None = None


@dataclass(frozen=True, slots=True)
class Lease(Record):
    """A lease in meta.db."""

    held: tuple[Held, ...]


class _Fields:
    """The keys of one bucket, taken one by one; what does not decode is noted."""

    def __init__(self, bucket: Bucket) -> None:
        self.values: dict[bytes, Value] = dict(bucket.items())
        self.faults: list[str] = []

    def decoded(self, key: bytes, how: Callable[[bytes], Decoded]) -> Decoded | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, Bucket):
            self.faults.append(f"{decode(key)} is a bucket")
            return None
        try:
            return how(value)
        except ValueError as error:
            self.faults.append(f"{decode(key)}: {error}")
            return None

    def text(self, key: bytes) -> str | None:
        return self.decoded(key, decode) or None

    def bucket(self, key: bytes) -> Bucket | None:
        value = self.values.get(key)
        return value if isinstance(value, Bucket) else None

    def labels(self, key: bytes = b"labels") -> dict[str, str]:
        nested = self.bucket(key)
        return {decode(name): decode(value) for name, value in nested.items() if isinstance(value, bytes)} if nested else {}

    def common(self, name: str) -> dict[str, Any]:
        """Return the fields of ``Record``; to be called last, when all faults are known."""
        created, updated = self.decoded(b"createdat", go_time), self.decoded(b"updatedat", go_time)
        return {"name": name, "created": created, "updated": updated, "labels": self.labels(), "faults": tuple(self.faults)}


def stored_snapshot(name: str, bucket: Bucket) -> StoredSnapshot:
    """Decode a snapshot of metadata.db."""
    fields = _Fields(bucket)
    number = fields.decoded(b"id", uvarint)
    if number is None:
        fields.faults.append("no id")
    said = fields.decoded(b"kind", _kind)
    size, inodes = fields.decoded(b"size", varint), fields.decoded(b"inodes", varint)
    parent = fields.text(b"parent")
    return StoredSnapshot(**fields.common(name), number=number, kind=said, parent=parent, size=size, inodes=inodes)


def named_snapshot(name: str, bucket: Bucket) -> NamedSnapshot:
    """Decode a snapshot of meta.db."""
    fields = _Fields(bucket)
    key, parent = fields.text(b"name"), fields.text(b"parent")
    if key is None:
        fields.faults.append("no name in the snapshotter")
    children = fields.bucket(b"children")
    names = tuple(decode(child) for child, _ in children.items()) if children else ()
    return NamedSnapshot(**fields.common(name), key=key, parent=parent, children=names)


def blob(name: str, bucket: Bucket) -> Blob:
    """Decode a blob of meta.db."""
    fields = _Fields(bucket)
    size = fields.decoded(b"size", varint)
    common = fields.common(name)
    contents: list[str] = []
    layers: list[tuple[int, str]] = []
    tops: list[tuple[str, str, str]] = []
    for label, value in common["labels"].items():
        if number := _LAYER_LABEL.fullmatch(label):
            layers.append((int(number[1]), value))
        elif label.startswith(CONTENT_LABEL):
            contents.append(value)
        elif snapshotter := referred_snapshotter(label):
            tops.append((label, snapshotter, value))
    lowest_first = tuple(digest for _, digest in sorted(layers))
    return Blob(**common, size=size, contents=tuple(contents), layers=lowest_first, tops=tuple(tops))


def ingest(name: str, bucket: Bucket) -> Ingest:
    """Decode a download of meta.db."""
    fields = _Fields(bucket)
    target, expected = fields.text(b"ref"), fields.text(b"expected")
    expires = fields.decoded(b"expireat", go_time)
    return Ingest(**fields.common(name), target=target, expires=expires, expected=expected)


def image(name: str, bucket: Bucket) -> Image:
    """Decode an image of meta.db."""
    fields = _Fields(bucket)
    nested = fields.bucket(b"target")
    target = _Fields(nested) if nested else None
    if target is None:
        fields.faults.append("no target")
        return Image(**fields.common(name), digest=None, media_type=None, size=None)
    digest, media_type, size = target.text(b"digest"), target.text(b"mediatype"), target.decoded(b"size", varint)
    fields.faults += target.faults
    return Image(**fields.common(name), digest=digest, media_type=media_type, size=size)


def container(name: str, bucket: Bucket) -> Container:
    """Decode a container of meta.db."""
    fields = _Fields(bucket)
    runtime = fields.bucket(b"runtime")
    common = fields.common(name)
    image_name = fields.text(b"image")
    return Container(
        **common,
        image=image_name,
        snapshotter=fields.text(b"snapshotter"),
        snapshot=fields.text(b"snapshotKey"),
        runtime=_Fields(runtime).text(b"name") if runtime else None,
        sandbox=fields.text(b"sandboxid"),
        extra=_extra(fields.values.get(b"spec"), common["labels"], image_name),
    )


def lease(name: str, bucket: Bucket) -> Lease:
    """Decode a lease of meta.db."""
    fields = _Fields(bucket)
    held: list[Held] = []
    for kind, place in (("content", b"content"), ("ingest", b"ingests"), ("image", b"images")):
        nested = fields.bucket(place)
        held += [Held(kind, decode(key)) for key, _ in nested.items()] if nested else []
    snapshotters = fields.bucket(b"snapshots")
    for snapshotter, nested_snapshots in snapshotters.items() if snapshotters else ():
        if isinstance(nested_snapshots, Bucket):
            held += [Held("snapshot", decode(key), decode(snapshotter)) for key, _ in nested_snapshots.items()]
    return Lease(**fields.common(name), held=tuple(held))


def _kind(value: bytes) -> str:
    if len(value) != 1 or value[0] not in KINDS:
        raise ValueError(f"unknown kind {value.hex()}")
    return KINDS[value[0]]


def _extra(spec: Value | None, labels: Labels, image_name: str | None) -> dict[str, str]:
    """Return what the annotations of an OCI spec say of the pod and the image, where the labels and the record do not."""
    lacking = "io.kubernetes.pod.name" not in labels or not image_name or image_name.startswith("sha256:")
    if not lacking or not isinstance(spec, bytes) or _CRI not in spec:
        return {}
    document = json_of(spec)
    annotations = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(annotations, dict):
        return {}
    wanted = {**_CRI_EXTRA, "image": _CRI_IMAGE}
    found = {name: annotations.get(annotation) for name, annotation in wanted.items()}
    return {name: value for name, value in found.items() if isinstance(value, str) and value}
