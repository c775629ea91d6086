"""The links that a snapshotter's metadata.db holds. See the package's docstring for what each is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from collector.links import NOBODY, Link, LinkKind, LinkState
from collector.stores.containerd.layout import database_of, qualified, taken_apart
from collector.stores.containerd.leaves import Leaf, Links, Memory
from collector.stores.containerd.meta_links import common, facts, present
from collector.stores.containerd.ownership import Owners
from collector.stores.containerd.records import StoredSnapshot
from collector.stores.containerd.snapshotter import Child, Snapshots


def snapshotter_links(snapshots: Snapshots, owners: Owners, memory: Memory, *, directories: bool) -> Links:
    """Return the links of one snapshotter; ``directories`` tells whether it keeps a directory for each snapshot."""
    found: Links = {}
    path = database_of(snapshots.snapshotter)
    make = partial(_snapshot, snapshotter=snapshots.snapshotter, path=path, owners=owners, directories=directories)
    for leaf in snapshots.leaves:
        keys = memory.of_leaf(leaf, "own keys", partial(_own_keys, snapshots.snapshotter))
        known = (directories, tuple(map(owners.layers.get, keys)))
        found.update(memory.links(leaf, ("stored links", path), known, make))
    for leaf in snapshots.index:
        parents = [snapshots.keys.get(_parent_number(snapshots, child) or "") for child in leaf.records]
        owned = [owners.layers.get(key or "") for key in parents]
        make_child = partial(_child, snapshots=snapshots, path=path, owners=owners)
        found.update(memory.links(leaf, ("index links", path), (parents, owned), make_child))
    return found


def _own_keys(snapshotter: str, leaf: Leaf) -> list[str]:
    return [qualified(snapshotter, record.name) for record in leaf.records]


def _snapshot(record: StoredSnapshot, *, snapshotter: str, path: str, owners: Owners, directories: bool) -> Iterator[Link]:
    key = qualified(snapshotter, record.name)
    owner = owners.layers.get(key, NOBODY)
    number = None if record.number is None else qualified(snapshotter, str(record.number))
    apart = taken_apart(record.name)
    detail = present(
        snapshotter=snapshotter,
        namespace=apart.namespace,
        name=apart.name,
        id=record.number,
        kind=record.kind,
        diff_size=record.size,
        inodes=record.inodes,
        **common(record),
    )
    state = LinkState.PRESENT if number and record.kind else LinkState.MALFORMED
    target = number if directories else None
    yield Link(LinkKind.LAYER_RECORD, key, path, target, state, key, detail=detail, facts=facts(record), owner=owner)
    if record.parent:
        yield Link(LinkKind.PARENT_POINTER, key, path, qualified(snapshotter, record.parent), layer_id=key, owner=owner)


def _child(child: Child, *, snapshots: Snapshots, path: str, owners: Owners) -> Iterator[Link]:
    target = qualified(snapshots.snapshotter, child.key)
    if child.numbers is None:
        link = Link(LinkKind.CHILD_POINTER, child.raw, f"{path}#parents/{child.raw}", target, LinkState.MALFORMED, target)
        yield link
        return
    parent = _parent_number(snapshots, child) or ""
    key = snapshots.keys.get(parent, parent)
    place = f"{path}#parents/{child.numbers[0]}/{child.numbers[1]}"
    detail = {"parent": child.numbers[0], "child": child.numbers[1]}
    yield Link(LinkKind.CHILD_POINTER, key, place, target, layer_id=key, detail=detail, owner=owners.layers.get(key, NOBODY))


def _parent_number(snapshots: Snapshots, child: Child) -> str | None:
    return qualified(snapshots.snapshotter, str(child.numbers[0])) if child.numbers else None
