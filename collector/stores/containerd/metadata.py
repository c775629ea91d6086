"""meta.db as a whole: the objects of every namespace, leaf by leaf, and the few indexes that links need.

``[v1][<namespace>]{images, containers, sandboxes, snapshots/<snapshotter>, content/{blob,ingests}, leases}``. Every namespace is read
(k8s.io, moby, default, buildkit, whatever there is). Buckets that are not known are passed over. A file without ``v1`` is one that
containerd has just made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from collector.stores.bolt import Bucket
from collector.stores.containerd import records
from collector.stores.containerd.layout import qualified
from collector.stores.containerd.leaves import Leaf, Memory, merged, read_leaves, records_of
from linktrail.text import decode

_OBJECTS: Final[tuple[tuple[str, tuple[bytes, ...], Callable[[str, Bucket], Any]], ...]] = (
    ("images", (b"images",), records.image),
    ("containers", (b"containers",), records.container),
    ("blobs", (b"content", b"blob"), records.blob),
    ("ingests", (b"content", b"ingests"), records.ingest),
    ("leases", (b"leases",), records.lease),
)


@dataclass(slots=True)
class Namespace:
    """The objects of one namespace.

    ``snapshots`` and ``keys`` are by snapshotter; ``keys`` give {name: snapshot as it stands in links}. ``sandboxes`` are the ids of pods'
    sandboxes, which are containers of their own, records of the sandbox API (containerd 1.7 and later), or both.
    """

    name: str
    images: list[Leaf] = field(default_factory=list)
    containers: list[Leaf] = field(default_factory=list)
    blobs: list[Leaf] = field(default_factory=list)
    ingests: list[Leaf] = field(default_factory=list)
    leases: list[Leaf] = field(default_factory=list)
    snapshots: dict[str, list[Leaf]] = field(default_factory=dict)
    keys: dict[str, Mapping[str, str]] = field(default_factory=dict)
    blobs_by_digest: Mapping[str, records.Blob] = field(default_factory=dict)
    sandboxes: frozenset[str] = frozenset()

    def snapshot(self, snapshotter: str | None, name: str | None) -> str | None:
        """Return the snapshot called ``name``, as it stands in links; ``None`` when nothing has that name."""
        return self.keys.get(snapshotter or "", {}).get(name or "")

    def parents(self) -> dict[str, str]:
        """Return {snapshot: its parent}, both as they stand in links."""
        found: dict[str, str] = {}
        for snapshotter, leaves in self.snapshots.items():
            for record in records_of(leaves):
                key, parent = self.snapshot(snapshotter, record.name), self.snapshot(snapshotter, record.parent)
                if key and parent:
                    found[key] = parent
        return found


def read_namespaces(root: Bucket | None, memory: Memory) -> list[Namespace]:
    """Return the namespaces of meta.db, in the order of their names; ``root`` is its root bucket."""
    version = root.bucket(b"v1") if root else None
    return [_namespace(decode(key), value, memory) for key, value in version.items() if isinstance(value, Bucket)] if version else []


def _namespace(name: str, bucket: Bucket, memory: Memory) -> Namespace:
    found = Namespace(name)
    for kind, place, record in _OBJECTS:
        setattr(found, kind, read_leaves(bucket.bucket(*place), memory, (kind, name), record))
    found.blobs_by_digest = merged(found.blobs, memory, "digests", lambda leaf: {record.name: record for record in leaf.records})
    found.sandboxes = _sandboxes(found, bucket.bucket(b"sandboxes"))
    for snapshotter, nested in _snapshotters(bucket):
        leaves = read_leaves(nested, memory, ("snapshots", name, snapshotter), records.named_snapshot)
        found.snapshots[snapshotter] = leaves
        found.keys[snapshotter] = merged(leaves, memory, ("keys", snapshotter), partial(_keys, snapshotter))
    return found


def _sandboxes(found: Namespace, bucket: Bucket | None) -> frozenset[str]:
    named = {record.name for record in records_of(found.containers)}
    stored = {decode(key) for key, value in bucket.items() if isinstance(value, Bucket)} if bucket else set()
    return frozenset(named | stored)


def _snapshotters(bucket: Bucket) -> Iterator[tuple[str, Bucket]]:
    snapshotters = bucket.bucket(b"snapshots")
    for key, value in snapshotters.items() if snapshotters else ():
        if isinstance(value, Bucket):
            yield decode(key), value


def _keys(snapshotter: str, leaf: Leaf) -> dict[str, str]:
    return {record.name: qualified(snapshotter, record.key) for record in leaf.records if record.key}
