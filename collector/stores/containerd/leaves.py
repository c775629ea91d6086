"""Work that is done once for each leaf page of a bolt file, and again only when that page or what it depends on changed.

bolt's nodes stay the same objects as long as their content, and that of all below them, stays the same. So what was made of a leaf (its
records, their links) is kept by the node itself. A survey walks over the leaves of a bucket (one page holds some twenty objects) and
works only on new ones. ``Memory`` lives from one survey to the next and holds exactly what the last one used.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

from collector.links import Link, LinkKey
from collector.stores.bolt import Bucket, Node, entries
from linktrail.text import decode

Made = TypeVar("Made")
Links = dict[LinkKey, Link]

_NOTHING: Final = object()


class Leaf(NamedTuple):
    """One leaf page of a bucket of objects, and the records in it."""

    node: Node
    records: tuple[Any, ...]


class Memory:
    """What was made of leaves, by page and purpose."""

    def __init__(self, earlier: Memory | None = None) -> None:
        """Start a survey; what ``earlier`` holds is taken over when it is asked for."""
        self._kept: dict[tuple[Node, Hashable], Any] = {}
        self._earlier: dict[tuple[Node, Hashable], Any] = {}
        self.made = 0
        if earlier is not None:
            earlier.hand_over(self)

    def hand_over(self, later: Memory) -> None:
        """Let ``later`` look at what this one holds."""
        later._earlier = self._kept

    def once(self, node: Node, purpose: Hashable, make: Callable[[Node], Made]) -> Made:
        """Return what ``make`` makes of ``node`` for ``purpose``; it is made once for as long as the node stands."""
        key = (node, purpose)
        found: Any = self._earlier.get(key, _NOTHING)
        if found is _NOTHING:
            found = make(node)
            self.made += 1
        self._kept[key] = found
        made: Made = found  # what is kept for a purpose is what its make returned
        return made

    def of_leaf(self, leaf: Leaf, purpose: Hashable, make: Callable[[Leaf], Made]) -> Made:
        """Return what ``make`` makes of a leaf, likewise."""
        return self.once(leaf.node, purpose, lambda _: make(leaf))

    def links(self, leaf: Leaf, purpose: Hashable, known: object, make: Callable[[Any], Iterable[Link]]) -> Links:
        """Return the links that ``make`` makes of the records of a leaf; ``known`` is all that it looks up elsewhere.

        They are made again when the page changed or when ``known`` is not what it was.
        """
        key = (leaf.node, purpose)
        found = self._earlier.get(key)
        if found is None or found[0] != known:
            found = (known, {link.key: link for record in leaf.records for link in make(record)})
            self.made += 1
        self._kept[key] = found
        links: Links = found[1]
        return links

    def forget(self) -> None:
        """Let go of the earlier survey."""
        self._earlier = {}


def read_leaves(bucket: Bucket | None, memory: Memory, purpose: Hashable, record: Callable[[str, Bucket], Any]) -> list[Leaf]:
    """Return the leaves of ``bucket``, with what ``record`` makes of each nested bucket in them; plain values are passed over."""

    def records(node: Node) -> tuple[Any, ...]:
        return tuple([record(decode(key), value) for key, value in entries(node) if isinstance(value, Bucket)])

    return [Leaf(node, memory.once(node, purpose, records)) for node in bucket.leaves()] if bucket else []


def records_of(leaves: Iterable[Leaf]) -> Iterator[Any]:
    """Yield the records of all leaves."""
    for leaf in leaves:
        yield from leaf.records


def merged(leaves: Iterable[Leaf], memory: Memory, purpose: Hashable, part: Callable[[Leaf], dict[str, Made]]) -> dict[str, Made]:
    """Return one dictionary of what ``part`` makes of each leaf."""
    found: dict[str, Made] = {}
    for leaf in leaves:
        found.update(memory.of_leaf(leaf, purpose, part))
    return found
