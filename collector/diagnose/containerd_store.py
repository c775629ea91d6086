"""A containerd survey as its engine sees it: snapshots with both of their records, and who holds what.

A snapshot stands in two databases: the *stored* record (metadata.db of the snapshotter, with the number of the directory) and the *named*
one (meta.db, with the name by which people and garbage collection know it). This module only sorts links; it judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from collector.diagnose.cases import fact, listed, short
from collector.graph_nodes import created, instant_of
from collector.links import Attribution, Link, LinkKind, LinkState, Survey, covered

META: Final = "io.containerd.metadata.v1.bolt/meta.db"
SNAPSHOTTER: Final = "io.containerd.snapshotter.v1."
BLOBS: Final = "io.containerd.content.v1.content/blobs"
DATABASE: Final = "/metadata.db"
UNPACKING: Final = "extract-"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(slots=True)
class Snapshot:
    """One snapshot.

    ``stored`` and ``named`` are its two records (``record``: the one that says more), ``below`` and ``below_named`` the parent that each
    of them names.
    """

    key: str
    record: Link
    stored: Link | None = None
    named: Link | None = None
    below: Link | None = None
    below_named: Link | None = None
    directory: Link | None = None

    @property
    def parent(self) -> str | None:
        """The key of its parent: as garbage collection sees it, else as the snapshotter does."""
        link = self.below_named or self.below
        return link.target if link is not None else None

    @property
    def name(self) -> str:
        """The name in its namespace: what ``ctr snapshots`` takes."""
        for link in (self.named, self.stored):
            name = link.detail.get("name") if link is not None else None
            if isinstance(name, str):
                return name
        return self.key

    @property
    def namespace(self) -> str | None:
        """Its namespace, unless another program than containerd made the key."""
        for link in (self.named, self.stored):
            namespace = link.detail.get("namespace") if link is not None else None
            if isinstance(namespace, str):
                return namespace
        return None

    @property
    def snapshotter(self) -> str:
        """The snapshotter that keeps it."""
        return str(self.record.detail.get("snapshotter", "overlayfs"))

    @property
    def number(self) -> str | None:
        """The name of its directory."""
        return self.stored.target.rpartition(":")[2] if self.stored is not None and self.stored.target else None

    @property
    def kind(self) -> str | None:
        """View, active or committed, in lower case."""
        kind = self.stored.detail.get("kind") if self.stored is not None else None
        return kind if isinstance(kind, str) else None

    @property
    def unpacking(self) -> bool:
        """Tell whether it was made to unpack a layer into, and that has not ended."""
        return self.kind == "active" and self.name.startswith(UNPACKING)

    @property
    def path(self) -> str | None:
        """Where its directory is, or would be."""
        if self.directory is not None:
            return self.directory.path
        if self.stored is None or self.number is None:
            return None
        return f"{self.stored.path.removesuffix(DATABASE)}/snapshots/{self.number}"

    @property
    def stands(self) -> bool:
        """Tell whether its directory is there with its content."""
        found = self.directory
        return found is not None and found.state is LinkState.PRESENT and found.detail.get("diff") is not False

    @property
    def owner(self) -> Attribution:
        """Who it belongs to."""
        return self.record.owner

    def times(self) -> dict[str, int | None]:
        """Return what shows when somebody last worked on it."""
        return {
            "snapshot created": created(self.record),
            "snapshot updated": fact(self.named or self.stored, "updated_ns"),
            "directory modified": fact(self.directory, "mtime_ns"),
            "fs modified": fact(self.directory, "diff_mtime_ns"),
        }

    def words(self) -> str:
        """Return it as people name it: ``vgone (namespace default, directory 122)``."""
        parts = [f"namespace {short(self.namespace)}" if self.namespace else "", f"directory {self.number}" if self.number else ""]
        shown = ", ".join(part for part in parts if part)
        return f"{brief(self.name)} ({shown})" if shown else brief(self.name)


@dataclass(slots=True)
class Lease:
    """A lease: ``expires`` in ns UTC (``None``: never), ``held`` the links to what it holds."""

    namespace: str
    name: str
    record: Link
    expires: int | None
    flat: bool
    held: list[Link] = field(default_factory=list)

    def over(self, now: int) -> bool:
        """Tell whether it has expired, so that it holds nothing any more."""
        return self.expires is not None and self.expires <= now


@dataclass(slots=True)
class ContainerNode:
    """A container with the links to its snapshot and its image."""

    record: Link
    layer: Link | None = None
    image: Link | None = None


class ContainerdStore:
    """Indexes over one survey of a containerd root. Things in a namespace are found by (namespace, name)."""

    def __init__(self, survey: Survey) -> None:
        """Sort the links of ``survey``."""
        self.survey = survey
        self.snapshots: dict[str, Snapshot] = {}
        self.directories: dict[str, Link] = {}
        self.children: list[Link] = []
        self.images: dict[tuple[str, str], Link] = {}
        self.tops: list[Link] = []
        self.containers: dict[tuple[str, str], ContainerNode] = {}
        self.leases: dict[tuple[str, str], Lease] = {}
        self.labels: list[Link] = []
        self.blobs: dict[tuple[str, str], Link] = {}
        self.files: dict[str, Link] = {}
        self.ingests: dict[tuple[str, str], Link] = {}
        self.downloads: list[Link] = []
        self._unread = frozenset(survey.unread)
        first = {LinkKind.LAYER_RECORD: self._record, LinkKind.LEASE: self._lease, LinkKind.CONTAINER_RECORD: self._container}
        then = {
            LinkKind.PARENT_POINTER: self._parent,
            LinkKind.LAYER_DIRECTORY: self._directory,
            LinkKind.CHILD_POINTER: self.children.append,
            LinkKind.IMAGE_NAME: self._image,
            LinkKind.IMAGE_LAYER: self.tops.append,
            LinkKind.CONTAINER_LAYER: self._container_layer,
            LinkKind.CONTAINER_IMAGE: self._container_image,
            LinkKind.LEASE: self._held,
            LinkKind.LABEL_REFERENCE: self.labels.append,
            LinkKind.CONTENT: self._content,
            LinkKind.INGEST: self._ingest,
        }
        for table in (first, then):
            for link in survey.links.values():
                if handler := table.get(link.kind):
                    handler(link)
        for snapshot in self.snapshots.values():
            if snapshot.stored is not None and snapshot.stored.target is not None:
                snapshot.directory = self.directories.get(snapshot.stored.target)

    def _record(self, link: Link) -> None:
        snapshot = self.snapshots.setdefault(link.subject, Snapshot(link.subject, link))
        if _in_meta(link):
            snapshot.named = link
        else:
            snapshot.stored = snapshot.record = link

    def _parent(self, link: Link) -> None:
        snapshot = self.snapshots.get(link.subject)
        if snapshot is None:
            return
        if _in_meta(link):
            snapshot.below_named = link
        else:
            snapshot.below = link

    def _directory(self, link: Link) -> None:
        self.directories[link.subject] = link

    def _image(self, link: Link) -> None:
        self.images[_namespace(link), link.subject] = link

    def _container(self, link: Link) -> None:
        self.containers[namespace_of(link.path), link.subject] = ContainerNode(link)

    def _container_layer(self, link: Link) -> None:
        if node := self.containers.get((namespace_of(link.path), link.subject)):
            node.layer = link

    def _container_image(self, link: Link) -> None:
        if node := self.containers.get((namespace_of(link.path), link.subject)):
            node.image = link

    def _lease(self, link: Link) -> None:
        if link.target is None:
            expires = instant_of(link.detail.get("expires"))
            lease = Lease(_namespace(link), link.subject, link, expires, bool(link.detail.get("flat")))
            self.leases[lease.namespace, lease.name] = lease

    def _held(self, link: Link) -> None:
        lease = self.leases.get((_namespace(link), link.subject))
        if lease is not None and link.target is not None:
            lease.held.append(link)

    def _content(self, link: Link) -> None:
        if _in_meta(link):
            self.blobs[_namespace(link), link.subject] = link
        else:
            self.files[link.subject] = link

    def _ingest(self, link: Link) -> None:
        if _in_meta(link):
            self.ingests[_namespace(link), link.subject] = link
        else:
            self.downloads.append(link)

    @cached_property
    def named_known(self) -> bool:
        """Tell whether meta.db was read, so that what it does not name has no name."""
        return self._known(META)

    @cached_property
    def known_snapshotters(self) -> frozenset[str]:
        """The snapshotters of this root whose database was read; others (proxies) keep their data elsewhere, or are damaged."""
        paths = [link.path for link in self.survey.of_kind(LinkKind.METADATA_FILE) if link.path != META]
        return frozenset(path.removeprefix(SNAPSHOTTER).partition("/")[0] for path in paths if self._known(path))

    @cached_property
    def below(self) -> dict[str, list[str]]:
        """{snapshot: those recorded on top of it}."""
        found: dict[str, list[str]] = {}
        for snapshot in self.snapshots.values():
            if snapshot.parent is not None:
                found.setdefault(snapshot.parent, []).append(snapshot.key)
        return found

    def unknown(self, path: str) -> bool:
        """Tell whether ``path`` or something above it could not be read: absence there means nothing."""
        return covered(path, self._unread)

    def ancestors(self, key: str) -> Iterator[str]:
        """Yield the recorded parents, nearest first; a circle ends before the first repetition."""
        seen = {key}
        snapshot = self.snapshots.get(key)
        while snapshot is not None and snapshot.parent is not None and snapshot.parent not in seen:
            yield snapshot.parent
            seen.add(snapshot.parent)
            snapshot = self.snapshots.get(snapshot.parent)

    def _known(self, path: str) -> bool:
        link = self.survey.links.get((LinkKind.METADATA_FILE, path, path))
        return link is not None and link.state is LinkState.PRESENT


def brief(name: str) -> str:
    """Return a name for a sentence, digests in it cut to twelve digits as people quote them."""
    return short(_DIGEST.sub(lambda match: match[0][:19], name))


def briefly(names: Collection[str]) -> str:
    """Return some names for a sentence."""
    return listed([brief(name) for name in names])


def namespace_of(path: str) -> str:
    """Return the namespace of a place inside meta.db (``meta.db#<namespace>/...``)."""
    return path.partition("#")[2].partition("/")[0]


def _namespace(link: Link) -> str:
    said = link.detail.get("namespace")
    return said if isinstance(said, str) else namespace_of(link.path)


def _in_meta(link: Link) -> bool:
    return link.path.startswith(META)
