"""What a driver reads from a store: a set of links, and nothing else.

Storage is a graph of links (DESIGN section 1). A ``Link`` is one edge or one record as it stands on disk; a ``Survey``
is the whole set, read between two instants. Because a survey is only a set of links with keys, the differ is a
comparison of two dictionaries, the ledger is a dictionary, and the graph of any past instant is the same dictionary
rebuilt from rows of the lake. Diagnosis reads nothing but this.

Names are ``str`` by ``os.fsdecode``; paths are relative to the store root. Nothing here touches a disk.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final


class StoreKind(StrEnum):
    """The three layouts that linktrail reads."""

    CONTAINERS_STORAGE = "containers_storage"
    CONTAINERD_OVERLAYFS = "containerd_overlayfs"
    DOCKER_OVERLAY2 = "docker_overlay2"


class LinkKind(StrEnum):
    """What sort of link it is. Stable: these words stand in the lake."""

    STORE_ROOT = "store_root"  # root as named -> directory it resolves to
    ADDITIONAL_STORE = "additional_store"  # store -> read-only image store
    LAYER_RECORD = "layer_record"  # layer -> its entry in the engine's metadata
    LAYER_DIRECTORY = "layer_directory"  # layer -> its directory
    PARENT_POINTER = "parent_pointer"  # layer -> parent layer
    CHILD_POINTER = "child_pointer"  # layer -> child layer (containerd's children index)
    LINK_FILE = "link_file"  # layer -> short name, from overlay/<id>/link
    SHORT_LINK = "short_link"  # short name -> ../<id>/diff
    LOWER_REFERENCE = "lower_reference"  # layer -> chain, from overlay/<id>/lower or lower-layers
    LAYER_NAME = "layer_name"  # name -> layer
    IMAGE_RECORD = "image_record"  # image -> its entry
    IMAGE_NAME = "image_name"  # name -> image
    IMAGE_LAYER = "image_layer"  # image -> top layer
    CONTAINER_RECORD = "container_record"  # container -> its entry
    CONTAINER_LAYER = "container_layer"  # container -> writable layer
    CONTAINER_IMAGE = "container_image"  # container -> image
    DATA_FILE = "data_file"  # layer, image or container -> a data file of it
    OWNER_DIRECTORY = "owner_directory"  # image or container -> its own metadata directory
    TEMPORARY_DIRECTORY = "temporary_directory"  # staging, tempdirs, new-*, *-removing, write-set-*
    LEASE = "lease"  # lease -> what it holds
    LABEL_REFERENCE = "label_reference"  # object -> what a gc label of it holds
    CONTENT = "content"  # blob digest -> blob
    INGEST = "ingest"  # download in progress
    MOUNT = "mount"  # mount point -> layer
    OPEN_FILE = "open_file"  # deleted files that processes keep open -> layer
    METADATA_FILE = "metadata_file"  # a metadata file as such: present, missing, unreadable
    SYMLINK = "symlink"  # inside a layer
    HARDLINK = "hardlink"  # inside a layer
    WHITEOUT = "whiteout"  # inside a layer
    UNREAD_NAME = "unread_name"  # inside a layer: came and went before it could be read what it was


INSIDE: Final = frozenset({LinkKind.SYMLINK, LinkKind.HARDLINK, LinkKind.WHITEOUT, LinkKind.UNREAD_NAME})
"""Kinds of links inside layers, which no survey of a store reads."""


class LinkState(StrEnum):
    """The condition of a link as read."""

    PRESENT = "present"
    INCOMPLETE = "incomplete"
    EMPTY = "empty"
    MALFORMED = "malformed"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who owns it, as far as the store's own records tell. Field names are the columns of ``linktrail.schema``."""

    k8s_pod_name: str | None = None
    k8s_namespace_name: str | None = None
    k8s_pod_uid: str | None = None
    container_id: str | None = None
    container_name: str | None = None
    container_image_name: str | None = None
    container_image_id: str | None = None

    def known(self) -> dict[str, str]:
        """Return what is known, by column name."""
        pairs = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: value for name, value in pairs if value is not None}


NOBODY: Final = Attribution()
_NO_DETAIL: Final[Mapping[str, Any]] = MappingProxyType({})


def _no_detail() -> Mapping[str, Any]:
    """Return the one empty mapping (a dataclass of Python 3.11 takes it only from a factory)."""
    return _NO_DETAIL


LinkKey = tuple[LinkKind, str, str]


@dataclass(frozen=True, slots=True)
class Link:
    """One link as it stands on disk.

    ``subject`` is where it starts (an id, as the engine writes it), ``target`` where it points (as written, not
    resolved), ``path`` the file that says so, relative to the store root. ``detail`` is a JSON-able mapping of whatever else
    the record says; ``facts`` are seen beside the link and may change without it (times, sizes, the mount), so they take no
    part in comparison and are not recorded. Two links with the same ``key`` are the same link at different times.
    """

    kind: LinkKind
    subject: str
    path: str
    target: str | None = None
    state: LinkState = LinkState.PRESENT
    layer_id: str | None = None
    inode: int | None = None
    nlink: int | None = None
    detail: Mapping[str, Any] = field(default_factory=_no_detail, hash=False)
    facts: Mapping[str, Any] = field(default_factory=_no_detail, compare=False)
    owner: Attribution = field(default=NOBODY, compare=False)

    @property
    def key(self) -> LinkKey:
        """What makes it the same link at another time."""
        return (self.kind, self.subject, self.path)

    def detail_json(self) -> str | None:
        """Return ``detail`` in its one canonical JSON form, or ``None`` when it is empty."""
        return json.dumps(dict(self.detail), sort_keys=True, separators=(",", ":")) if self.detail else None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read, where, and the error in words. Never fatal for the rest of the survey."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Survey:
    """The whole graph of one store, read between ``started`` and ``finished`` (ns UTC).

    ``links`` are unique by key. ``problems`` are parts that could not be read: what they hide is unknown, so the
    differ must not take absence there for removal (``unread`` lists those paths; a path covers everything below it).
    """

    kind: StoreKind
    root: str
    started: int
    finished: int
    links: Mapping[LinkKey, Link]
    problems: tuple[Problem, ...] = ()
    read_only: bool = False

    @classmethod
    def of(
        cls,
        kind: StoreKind,
        root: str,
        links: Iterable[Link],
        *,
        started: int = 0,
        finished: int = 0,
        problems: Iterable[Problem] = (),
        read_only: bool = False,
    ) -> Survey:
        """Build a survey from ``links``; the first of two links with one key wins (drivers list the authoritative one first)."""
        table: dict[LinkKey, Link] = {}
        for link in links:
            table.setdefault(link.key, link)
        return cls(kind, root, started, finished, MappingProxyType(table), tuple(problems), read_only)

    def of_kind(self, *kinds: LinkKind) -> Iterator[Link]:
        """Yield the links of these kinds."""
        return (link for link in self.links.values() if link.kind in kinds)

    @property
    def unread(self) -> tuple[str, ...]:
        """Paths whose content is unknown in this survey."""
        return tuple(problem.path for problem in self.problems)


def covered(path: str, unread: Collection[str]) -> bool:
    """Tell whether ``path`` or something above it is in ``unread``: what is absent there may be there all the same."""
    while path:
        if path in unread:
            return True
        path = path.rpartition("/")[0]
    return "" in unread or "." in unread


def removed(link: Link) -> Link:
    """Return ``link`` as it stands after its removal."""
    return replace(link, target=None, state=LinkState.REMOVED)
