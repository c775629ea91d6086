"""A containerd root made of files, in the steps in which containerd makes it: directories, then metadata.db, then meta.db."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

from tests.bolt.writer import Tree, Writer

SECOND = 1_000_000_000
AT = 1_795_449_600 * SECOND
KINDS = {"view": 1, "active": 2, "committed": 3}
HOME = "io.containerd.snapshotter.v1."


def uvarint(value: int) -> bytes:
    """Return LEB128, as Go's PutUvarint writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def varint(value: int) -> bytes:
    """Return zigzag LEB128, as Go's PutVarint writes it."""
    return uvarint(value << 1 ^ value >> 63)


def go_time(nanoseconds: int) -> bytes:
    """Return a time in UTC as Go marshals it."""
    return struct.pack(">BqiH", 1, nanoseconds // SECOND + 62_135_596_800, nanoseconds % SECOND, 0xFFFF)


def any_message(url: str, value: bytes) -> bytes:
    """Return a protobuf Any."""
    return b"\x0a" + uvarint(len(url)) + url.encode() + b"\x12" + uvarint(len(value)) + value


class Store:
    """A containerd root that can be changed; ``commit`` ends one transaction in each database."""

    def __init__(self, root: Path, page_size: int = 4096) -> None:
        self.root = root
        self._page_size = page_size
        self._clock = AT
        (root / "io.containerd.metadata.v1.bolt").mkdir(parents=True)
        (root / "io.containerd.content.v1.content/ingest").mkdir(parents=True)
        (root / "io.containerd.content.v1.content/blobs/sha256").mkdir(parents=True)
        self.files = True  # whether blobs and snapshots stand on disk too
        self.meta_path = root / "io.containerd.metadata.v1.bolt/meta.db"
        self.meta = Writer(self.meta_path, page_size)
        self.stores: dict[str, Writer] = {}
        self._numbers: dict[str, int] = {}
        self._sequence: dict[tuple[str, str], int] = {}
        self._keys: dict[tuple[str, str, str], tuple[str, int]] = {}

    def now(self) -> bytes:
        """Return the next second."""
        self._clock += SECOND
        return go_time(self._clock)

    def home(self, snapshotter: str = "overlayfs") -> Path:
        """Return the directory of a snapshotter."""
        return self.root / f"{HOME}{snapshotter}"

    def directory(self, number: int, snapshotter: str = "overlayfs") -> Path:
        """Return the directory of a snapshot."""
        return self.home(snapshotter) / "snapshots" / str(number)

    def store(self, snapshotter: str) -> Writer:
        """Return the database of a snapshotter, made if need be."""
        if snapshotter not in self.stores:
            (self.home(snapshotter) / "snapshots").mkdir(parents=True)
            self.stores[snapshotter] = Writer(self.home(snapshotter) / "metadata.db", self._page_size)
        return self.stores[snapshotter]

    def place(self, namespace: str, *buckets: str) -> Tree:
        """Return a bucket of meta.db."""
        tree = self.meta.root.bucket(b"v1")
        for name in (namespace, *buckets):
            tree = tree.bucket(name.encode())
        return tree

    def snapshot(
        self,
        name: str,
        parent: str | None = None,
        *,
        kind: str = "committed",
        namespace: str = "k8s.io",
        snapshotter: str = "overlayfs",
        labels: Mapping[str, str] | None = None,
        directory: bool = True,
    ) -> int:
        """Make a snapshot everywhere; return its number."""
        by = (namespace, snapshotter)
        stored = self.store(snapshotter).root.bucket(b"v1")
        self._numbers[snapshotter] = number = self._numbers.get(snapshotter, 0) + 1
        self._sequence[by] = sequence = self._sequence.get(by, 0) + 1
        key = f"{namespace}/{sequence}/{name}"
        self._keys[(*by, name)] = (key, number)
        if directory and self.files:
            (self.directory(number, snapshotter) / "fs").mkdir(parents=True)
            (self.directory(number, snapshotter) / "work").mkdir()
        record = stored.bucket(b"snapshots").bucket(key.encode())
        record.fill({b"id": uvarint(number), b"kind": bytes([KINDS[kind]]), b"createdat": self.now(), b"updatedat": self.now()})
        if kind == "committed":
            record.fill({b"size": varint(4096 * number), b"inodes": varint(number)})
        named = self.place(namespace, "snapshots", snapshotter, name)
        named.fill({b"name": key.encode(), b"createdat": self.now(), b"updatedat": self.now()})
        if parent is not None:
            parent_key, parent_number = self._keys[(*by, parent)]
            record.put(b"parent", parent_key.encode())
            stored.bucket(b"parents").put(uvarint(parent_number) + b"\0" + uvarint(number), key.encode())
            named.put(b"parent", parent.encode())
            self.place(namespace, "snapshots", snapshotter, parent, "children").put(name.encode(), b"")
        if labels:
            named.bucket(b"labels").fill(encoded(labels))
        return number

    def remove_snapshot(
        self, name: str, *, namespace: str = "k8s.io", snapshotter: str = "overlayfs", unlink: bool = True, where: str = "meta stored disk"
    ) -> None:
        """Remove a snapshot from the places named; with ``unlink`` false its parent keeps it as a child, as containerd's collector does."""
        key, number = self._keys[namespace, snapshotter, name]
        if "meta" in where:
            named = self.place(namespace, "snapshots", snapshotter).delete(name.encode())
            parent = named.get(b"parent")
            if parent and unlink:
                self.place(namespace, "snapshots", snapshotter, parent.decode(), "children").delete(name.encode())
        if "stored" in where:
            stored = self.stores[snapshotter].root.bucket(b"v1")
            record = stored.bucket(b"snapshots").delete(key.encode())
            if record.get(b"parent"):
                parent_number = next(n for k, n in self._keys.values() if k == record.get(b"parent").decode())
                stored.bucket(b"parents").delete(uvarint(parent_number) + b"\0" + uvarint(number))
        if "disk" in where:
            shutil.rmtree(self.directory(number, snapshotter))

    def blob(self, digest: str, labels: Mapping[str, str] | None = None, *, namespace: str = "k8s.io", data: bytes = b"{}") -> str:
        """Make a blob; return its digest."""
        self.place(namespace, "content", "blob", digest).fill(
            {b"createdat": self.now(), b"updatedat": self.now(), b"size": varint(len(data))}
            | ({b"labels": encoded(labels)} if labels else {})
        )
        if self.files:
            (self.root / "io.containerd.content.v1.content/blobs" / digest.replace(":", "/", 1)).write_bytes(data)
        return digest

    def image(
        self,
        name: str,
        layers: list[str],
        *,
        namespace: str = "k8s.io",
        snapshotter: str = "overlayfs",
        unpacked: bool = True,
        seed: str = "",
    ) -> str:
        """Make an image whose layers are snapshots of these names (chain ids), lowest first; return its digest."""
        seed = seed or name
        config = self.blob(
            f"sha256:{_hex(seed + 'config')}",
            {f"containerd.io/gc.ref.snapshot.{snapshotter}": layers[-1]} if unpacked and layers else None,
            namespace=namespace,
        )
        labels = {"containerd.io/gc.ref.content.config": config}
        for number, layer in enumerate(layers):
            blob = self.blob(
                f"sha256:{_hex(layer + 'blob')}", {"containerd.io/uncompressed": layer} if number == 0 else None, namespace=namespace
            )
            labels[f"containerd.io/gc.ref.content.l.{number}"] = blob
        digest = self.blob(f"sha256:{_hex(seed + 'manifest')}", labels, namespace=namespace)
        self.tag(name, digest, namespace=namespace)
        return digest

    def tag(self, name: str, digest: str, *, namespace: str = "k8s.io") -> None:
        """Let a name stand for a digest."""
        self.place(namespace, "images", name).fill(
            {
                b"createdat": self.now(),
                b"updatedat": self.now(),
                b"target": {b"digest": digest.encode(), b"mediatype": b"application/vnd.oci.image.manifest.v1+json", b"size": varint(2)},
            }
        )

    def container(
        self,
        name: str,
        image: str,
        parent: str | None = None,
        *,
        namespace: str = "k8s.io",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> int:
        """Make a container with a snapshot of its own name; return the number of that."""
        number = self.snapshot(name, parent, kind="active", namespace=namespace)
        spec = any_message(
            "types.containerd.io/opencontainers/runtime-spec/1/Spec", json.dumps({"annotations": annotations or {}}).encode()
        )
        self.place(namespace, "containers", name).fill(
            {
                b"createdat": self.now(),
                b"updatedat": self.now(),
                b"image": image.encode(),
                b"snapshotter": b"overlayfs",
                b"snapshotKey": name.encode(),
                b"spec": spec,
                b"runtime": {b"name": b"io.containerd.runc.v2"},
                b"labels": encoded(labels or {}),
            }
        )
        return number

    def lease(
        self, name: str, held: Mapping[str, list[str]], labels: Mapping[str, str] | None = None, *, namespace: str = "k8s.io"
    ) -> None:
        """Make a lease; ``held`` is by bucket: content, ingests, images, or snapshots/<snapshotter>."""
        place = self.place(namespace, "leases", name)
        place.fill({b"createdat": self.now(), b"labels": encoded(labels or {})})
        for bucket, names in held.items():
            tree = place
            for part in bucket.split("/"):
                tree = tree.bucket(part.encode())
            for item in names:
                tree.put(item.encode(), b"")

    def ingest(self, name: str, *, namespace: str = "k8s.io", data: bytes = b"x" * 100) -> str:
        """Make a download in progress; return the name of its directory."""
        target = f"{namespace}/1/{name}"
        self.place(namespace, "content", "ingests", name).fill(
            {b"ref": target.encode(), b"expireat": go_time(self._clock + 86_400 * SECOND)}
        )
        where = self.root / "io.containerd.content.v1.content/ingest" / _hex(target)
        where.mkdir()
        (where / "ref").write_text(target)
        (where / "total").write_text("900000")
        (where / "startedat").write_text("2026-11-23T16:00:00Z")
        (where / "updatedat").write_text("2026-11-23T16:00:01Z")
        (where / "data").write_bytes(data)
        return where.name

    def commit(self) -> Store:
        """End one transaction in each database."""
        for writer in self.stores.values():
            writer.commit()
        self.meta.commit()
        return self

    def close(self) -> None:
        """Close the databases."""
        for writer in (self.meta, *self.stores.values()):
            writer.close()


def encoded(labels: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return labels as they stand in a bucket."""
    return {name.encode(): value.encode() for name, value in labels.items()}


def chain(name: str) -> str:
    """Return a chain id made from a word."""
    return f"sha256:{_hex(name)}"


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
