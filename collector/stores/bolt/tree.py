"""The trees in a bolt file: pages become nodes, nodes become buckets, and what did not change stays the same object.

bolt never writes over a page of the current transaction: a change copies the leaf and every page above it to other places. But
places are used again, so a page number says nothing over time, and a branch with the same bytes may stand over a rewritten leaf. Hence
``build`` reuses a node only when the bytes of its own page and of every page below it are those of the previous image, compared as
bytes. Whoever keeps results by node (``node is node``) therefore has them by content.

Limits: a page is reached once (a loop or a shared page is a ``Defect``), at most ``DEPTH_LIMIT`` pages deep, nested buckets
included; an inline bucket holds no bucket, as in bolt. A node keeps the bytes of its page and parses them again when asked: what callers
make of the elements is theirs to keep.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from collector.stores.bolt.pages import BucketValue, Defect, Meta, Read, branch_elements, bucket_value, cut, is_leaf, leaf_elements

DEPTH_LIMIT: Final = 128
_NUMBERS_LIMIT: Final = 512


class Node:
    """One page, checked, with the nodes below it.

    ``children`` are the child pages of a branch, or the root pages of the nested buckets of a leaf, in key order. ``first`` and ``last``
    are the least and the greatest key at or below it, ``None`` when it is an empty leaf. ``pages`` is how many pages of the file the page
    itself takes; ``below`` are the numbers of all pages at and below it, ``None`` where they are too many to keep at every level.
    Inline buckets are nodes with number 0.
    """

    __slots__ = ("below", "children", "first", "is_leaf", "last", "number", "page", "pages")

    def __init__(self, number: int, page: bytes, pages: int, children: tuple[Node, ...], keys: tuple[bytes | None, bytes | None]) -> None:
        """Hold page ``number``, which goes over ``pages`` pages of the file."""
        self.number = number
        self.page = page
        self.pages = pages
        self.is_leaf = is_leaf(page)
        self.children = children
        self.first, self.last = keys
        self.below = _numbers(number, pages, children)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket: the root of its tree and its sequence (the last number that bolt gave out for it)."""

    root: Node
    sequence: int

    def leaves(self) -> Iterator[Node]:
        """Yield the leaves in key order."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if node.is_leaf:
                yield node
            else:
                waiting.extend(reversed(node.children))

    def items(self) -> Iterator[tuple[bytes, Value]]:
        """Yield keys with their values, in key order; a nested bucket is a ``Bucket``."""
        for leaf in self.leaves():
            yield from entries(leaf)

    def get(self, key: bytes) -> Value | None:
        """Return the value or the bucket under ``key``."""
        node = self.root
        while not node.is_leaf:
            place = bisect_right(node.children, key, key=lambda child: child.first or b"")
            node = node.children[max(place - 1, 0)]
        return next((value for name, value in entries(node) if name == key), None)

    def bucket(self, *names: bytes) -> Bucket | None:
        """Return the bucket reached by ``names``, each nested in the one before; ``None`` when there is none."""
        found: Value | None = self
        for name in names:
            found = found.get(name) if isinstance(found, Bucket) else None
        return found if isinstance(found, Bucket) else None

    def value(self, key: bytes) -> bytes | None:
        """Return the plain value under ``key``; ``None`` when there is none, or a bucket."""
        found = self.get(key)
        return found if isinstance(found, bytes) else None


Value = bytes | Bucket


def entries(leaf: Node) -> Iterator[tuple[bytes, Value]]:
    """Yield the keys of one leaf with their values, in key order."""
    nested = iter(leaf.children)
    for key, value, is_bucket in leaf_elements(leaf.page):
        if not is_bucket:
            yield key, value
            continue
        found = bucket_value(value)
        yield key, Bucket(next(nested) if found.root else _inline(found), found.sequence)


class Builder:
    """Makes the tree of one transaction, with the nodes of an earlier one where nothing changed."""

    def __init__(self, read: Read, meta: Meta, *, same: Mapping[int, Node], changed: AbstractSet[int]) -> None:
        """``read`` gives the bytes of the file.

        Of the nodes of the earlier transaction, ``same`` are those whose own page has the same bytes now, by number, and ``changed``
        the numbers of the others.
        """
        self._read = read
        self._meta = meta
        self._same = same
        self._changed = changed
        self._reached: set[int] = set()
        self._made: dict[int, Node] = {}

    def build(self) -> Bucket:
        """Return the root bucket. Raises ``Defect``."""
        return Bucket(self._node(self._meta.root, 0), self._meta.sequence)

    def nodes(self) -> dict[int, Node]:
        """Return the nodes of what was built, by number."""
        return {number: node for number, node in self._same.items() if number in self._reached} | self._made

    def _node(self, number: int, depth: int) -> Node:
        if depth >= DEPTH_LIMIT:
            raise Defect(f"page {number} lies more than {DEPTH_LIMIT} pages deep")
        old = self._same.get(number)
        if old is None:
            made = self._fresh(number, depth)
        elif old.below is not None and old.below.isdisjoint(self._changed):
            self._reach(old.below)
            return old
        else:
            made = self._again(old, depth)
        if made is not old:
            self._made[number] = made
        return made

    def _fresh(self, number: int, depth: int) -> Node:
        page = cut(self._read, number, self._meta)
        pages = len(page) // self._meta.page_size
        self._reach(range(number, number + pages))
        if is_leaf(page):
            return _leaf(number, page, pages, self._below(_roots(page), depth))
        return _branch(number, page, pages, self._below([child for _, child in branch_elements(page)], depth))

    def _again(self, old: Node, depth: int) -> Node:
        """Return the node of a page that did not change, over pages of which some may have."""
        self._reach(range(old.number, old.number + old.pages))
        children = self._below([child.number for child in old.children], depth)
        if all(map(_is, children, old.children)):
            return old
        return (_leaf if old.is_leaf else _branch)(old.number, old.page, old.pages, children)

    def _below(self, numbers: list[int], depth: int) -> tuple[Node, ...]:
        return tuple([self._node(number, depth + 1) for number in numbers])

    def _reach(self, numbers: Collection[int]) -> None:
        if not self._reached.isdisjoint(numbers):
            raise Defect(f"page {min(self._reached.intersection(numbers))} is reached twice")
        self._reached.update(numbers)


def _numbers(number: int, pages: int, children: tuple[Node, ...]) -> frozenset[int] | None:
    found: set[int] = set(range(number, number + pages))
    for child in children:
        if child.below is None:
            return None
        found |= child.below
        if len(found) > _NUMBERS_LIMIT:
            return None
    return frozenset(found)


def _is(one: Node, other: Node) -> bool:
    return one is other


def _roots(page: bytes) -> list[int]:
    """Return the root pages of the buckets nested in a leaf, and check its inline buckets."""
    found: list[int] = []
    for _key, value, is_bucket in leaf_elements(page):
        if is_bucket:
            nested = bucket_value(value)
            if nested.root:
                found.append(nested.root)
            elif any(element.is_bucket for element in leaf_elements(nested.inline)):
                raise Defect("an inline bucket holds a bucket")
    return found


def _leaf(number: int, page: bytes, pages: int, children: tuple[Node, ...]) -> Node:
    elements = leaf_elements(page)
    keys = (elements[0].key, elements[-1].key) if elements else (None, None)
    return Node(number, page, pages, children, keys)


def _branch(number: int, page: bytes, pages: int, children: tuple[Node, ...]) -> Node:
    keys = [key for key, _ in branch_elements(page)]
    limits: list[bytes | None] = [*keys[1:], None]
    for child, least, limit in zip(children, keys, limits, strict=True):
        if child.first is None or child.last is None:
            raise Defect(f"page {child.number} is an empty page in a tree of many")
        if child.first < least or (limit is not None and child.last >= limit):
            raise Defect(f"page {child.number} holds keys that belong elsewhere")
    return Node(number, page, pages, children, (children[0].first, children[-1].last))


def _inline(found: BucketValue) -> Node:
    elements = leaf_elements(found.inline)
    keys = (elements[0].key, elements[-1].key) if elements else (None, None)
    return Node(0, found.inline, 0, (), keys)
