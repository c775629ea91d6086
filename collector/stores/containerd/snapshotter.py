"""A snapshotter's metadata.db as a whole: ``[v1][snapshots]`` and the index ``[v1][parents]``.

A key of ``parents`` is the parent's number, a null byte and the child's number (both LEB128); its value is the child's key. containerd
asks this index whether a snapshot has children before it removes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from collector.stores.bolt import Bucket, Node, entries
from collector.stores.containerd.layout import qualified
from collector.stores.containerd.leaves import Leaf, Memory, merged, read_leaves
from collector.stores.containerd.records import stored_snapshot
from collector.stores.containerd.values import uvarint
from linktrail.text import decode


class Child(NamedTuple):
    """One entry of the index: ``numbers`` of parent and child, ``None`` where the key is not two numbers; ``key`` of the child."""

    numbers: tuple[int, int] | None
    raw: str
    key: str


@dataclass(slots=True)
class Snapshots:
    """The snapshots of one snapshotter. Names are as they stand in links: keys and numbers, qualified.

    ``parents`` is {key: key of its parent}, ``numbers`` {key: number of its directory}, ``keys`` the other way round.
    """

    snapshotter: str
    leaves: list[Leaf] = field(default_factory=list)
    index: list[Leaf] = field(default_factory=list)
    parents: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


def read_snapshots(snapshotter: str, root: Bucket, memory: Memory) -> Snapshots:
    """Return what metadata.db records; ``root`` is its root bucket."""
    found = Snapshots(snapshotter)
    found.leaves = read_leaves(root.bucket(b"v1", b"snapshots"), memory, ("stored", snapshotter), stored_snapshot)
    index = root.bucket(b"v1", b"parents")
    found.index = [Leaf(node, memory.once(node, ("index", snapshotter), _children)) for node in index.leaves()] if index else []
    found.parents = merged(found.leaves, memory, ("parents", snapshotter), partial(_parents, snapshotter))
    found.numbers = merged(found.leaves, memory, ("numbers", snapshotter), partial(_numbers, snapshotter))
    found.keys = dict(zip(found.numbers.values(), found.numbers.keys(), strict=True))
    return found


def _parents(snapshotter: str, leaf: Leaf) -> dict[str, str]:
    return {qualified(snapshotter, record.name): qualified(snapshotter, record.parent) for record in leaf.records if record.parent}


def _numbers(snapshotter: str, leaf: Leaf) -> dict[str, str]:
    known = [record for record in leaf.records if record.number is not None]
    return {qualified(snapshotter, record.name): qualified(snapshotter, str(record.number)) for record in known}


def _children(node: Node) -> tuple[Any, ...]:
    return tuple(_child(key, value) for key, value in entries(node) if not isinstance(value, Bucket))


def _child(key: bytes, value: bytes) -> Child:
    first = next((place for place, byte in enumerate(key) if byte < 0x80), len(key)) + 1  # noqa: PLR2004 - the last byte of a number
    try:
        numbers = (uvarint(key[:first]), uvarint(key[first + 1 :])) if key[first : first + 1] == b"\0" else None
    except ValueError:
        numbers = None
    return Child(numbers, key.hex(), decode(value))
