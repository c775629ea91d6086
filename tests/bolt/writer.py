"""A small writer of bolt files, for tests: B+ trees, nested and inline buckets, copy-on-write transactions, page reuse.

It writes what bbolt would accept (``go run bbolt check`` passes on its files), so that the reader is tested against a file that
lives: pages freed by transaction N are written over by N+1 at the lowest free place, as bbolt does without readers. It never merges
small pages, and keeps everything in memory. ``Writer.commit(pause=...)`` stops between the pages and the meta page.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from collector.stores.bolt.pages import MAGIC, VERSION, fnv1a

HEADER = 16
ELEMENT = 16
NO_PAUSE: Callable[[], None] = lambda: None  # noqa: E731 - a name for "do nothing"


class Page:
    """One node of a tree; ``values`` are bytes or trees in a leaf, pages in a branch."""

    __slots__ = ("count", "dirty", "keys", "leaf", "number", "values")

    def __init__(self, *, leaf: bool, keys: list[bytes] | None = None, values: list[Any] | None = None) -> None:
        self.leaf = leaf
        self.keys = keys or []
        self.values = values or []
        self.number = 0
        self.count = 0
        self.dirty = True


class Tree:
    """A bucket that can be changed."""

    def __init__(self, owner: tuple[Tree, bytes] | None = None) -> None:
        self.root = Page(leaf=True)
        self.sequence = 0
        self.owner = owner
        self.dropped: list[Page] = []

    def put(self, key: bytes, value: bytes) -> None:
        """Set a plain value."""
        leaf = self._touch(key)
        at = bisect_left(leaf.keys, key)
        if at < len(leaf.keys) and leaf.keys[at] == key:
            leaf.values[at] = value
        else:
            leaf.keys.insert(at, key)
            leaf.values.insert(at, value)

    def delete(self, key: bytes) -> Any:
        """Remove a value or a bucket with all in it, and return it."""
        leaf = self._touch(key)
        at = leaf.keys.index(key)
        del leaf.keys[at]
        gone = leaf.values.pop(at)
        if isinstance(gone, Tree):
            self._top().dropped.append(gone.root)
        return gone

    def _top(self) -> Tree:
        return self.owner[0]._top() if self.owner else self

    def bucket(self, key: bytes) -> Tree:
        """Return the nested bucket ``key``, made if need be."""
        found = self.get(key)
        if found is None:
            found = Tree((self, key))
            self.put(key, found)  # type: ignore[arg-type]  # a tree stands for its value until the commit
        assert isinstance(found, Tree)
        return found

    def get(self, key: bytes) -> Any:
        """Return the value or the bucket under ``key``."""
        page = self.root
        while not page.leaf:
            page = page.values[max(bisect_right(page.keys, key) - 1, 0)]
        at = bisect_left(page.keys, key)
        return page.values[at] if at < len(page.keys) and page.keys[at] == key else None

    def fill(self, content: Mapping[bytes, Any]) -> None:
        """Put a whole mapping; mappings in it are buckets."""
        for key, value in content.items():
            if isinstance(value, Mapping):
                self.bucket(key).fill(value)
            else:
                self.put(key, value)

    def _touch(self, key: bytes) -> Page:
        """Return the leaf for ``key`` and mark all above it as changed."""
        if self.owner:
            self.owner[0]._touch(self.owner[1])
        page = self.root
        page.dirty = True
        while not page.leaf:
            page = page.values[max(bisect_right(page.keys, key) - 1, 0)]
            page.dirty = True
        return page


class Writer:
    """A bolt file being written."""

    def __init__(self, path: Path, page_size: int = 4096) -> None:
        self.page_size = page_size
        self.root = Tree()
        self.txid = 1
        self._high = 3
        self._free: set[int] = set()
        self._pending: set[int] = set()
        self._freelist = (2, 1)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self._written: list[tuple[int, bytes]] = []

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def commit(self, pause: Callable[[], None] = NO_PAUSE) -> None:
        """Write the changed pages, then the meta page of a new transaction."""
        self.txid += 1
        self._free |= self._pending
        self._pending = set()
        while self.root.dropped:
            self._forget(self.root.dropped.pop())
        self._write_tree(self.root)
        self._write_freelist()
        for number, data in self._written:
            os.pwrite(self._descriptor, data, number * self.page_size)
        self._written = []
        pause()
        self._write_meta()

    def _write_meta(self) -> None:
        meta = struct.pack(
            "<IIIIQQQQQ",
            MAGIC,
            VERSION,
            self.page_size,
            0,
            self.root.root.number,
            self.root.sequence,
            self._freelist[0],
            self._high,
            self.txid,
        )
        page = struct.pack("<QHHI", self.txid % 2, 4, 0, 0) + meta + struct.pack("<Q", fnv1a(meta))
        for number in {self.txid % 2} if self.txid > 2 else {0, 1}:
            body = page if number == self.txid % 2 else struct.pack("<QHHI", number, 4, 0, 0) + page[16:]
            os.pwrite(self._descriptor, body.ljust(self.page_size, b"\0"), number * self.page_size)

    def _write_tree(self, tree: Tree) -> None:
        pieces = self._spill(tree.root)
        while len(pieces) > 1:
            pieces = self._spill(Page(leaf=False, keys=[piece.keys[0] for piece in pieces], values=pieces))
        tree.root = pieces[0] if pieces else self._placed(Page(leaf=True))

    def _spill(self, page: Page) -> list[Page]:
        """Write what changed at and below ``page``; return the pages it became (none when it is empty now)."""
        if not page.dirty:
            return [page]
        self._release(page)
        if page.leaf:
            for value in page.values:
                if isinstance(value, Tree):
                    self._settle(value)
        else:
            children = [piece for child in page.values for piece in self._spill(child)]
            page.keys, page.values = [child.keys[0] for child in children], children
        return [self._placed(piece) for piece in self._split(page)] if page.keys else []

    def _settle(self, tree: Tree) -> None:
        if self._inline(tree) is not None:
            self._release(tree.root)
            tree.root.dirty = False
        elif tree.root.dirty or not tree.root.number:
            tree.root.dirty = True
            self._write_tree(tree)

    def _inline(self, tree: Tree) -> bytes | None:
        root = tree.root
        if not root.leaf or any(isinstance(value, Tree) for value in root.values):
            return None
        size = HEADER + sum(self._size(root, at) for at in range(len(root.keys)))
        return self._page_bytes(root, 0) if size <= self.page_size // 4 else None

    def _size(self, page: Page, at: int) -> int:
        value = page.values[at]
        if not page.leaf:
            return ELEMENT + len(page.keys[at])
        return ELEMENT + len(page.keys[at]) + len(self._value(value) if isinstance(value, Tree) else value)

    def _split(self, page: Page) -> list[Page]:
        pieces = [Page(leaf=page.leaf)]
        size = HEADER
        for at, key in enumerate(page.keys):
            more = self._size(page, at)
            if size + more > self.page_size and len(pieces[-1].keys) >= 2:
                pieces.append(Page(leaf=page.leaf))
                size = HEADER
            pieces[-1].keys.append(key)
            pieces[-1].values.append(page.values[at])
            size += more
        return pieces

    def _value(self, tree: Tree) -> bytes:
        inline = self._inline(tree)
        return struct.pack("<QQ", 0 if inline is not None else tree.root.number, tree.sequence) + (inline or b"")

    def _page_bytes(self, page: Page, number: int, count: int = 1) -> bytes:
        elements, data = [], []
        at = HEADER + ELEMENT * len(page.keys)
        for place, (key, value) in enumerate(zip(page.keys, page.values, strict=True)):
            position = at - HEADER - ELEMENT * place
            if page.leaf:
                body = self._value(value) if isinstance(value, Tree) else value
                elements.append(struct.pack("<IIII", isinstance(value, Tree), position, len(key), len(body)))
            else:
                body = b""
                elements.append(struct.pack("<IIQ", position, len(key), value.number))
            data += [key, body]
            at += len(key) + len(body)
        header = struct.pack("<QHHI", number, 2 if page.leaf else 1, len(page.keys), count - 1)
        return b"".join([header, *elements, *data])

    def _placed(self, page: Page) -> Page:
        size = HEADER + sum(self._size(page, at) for at in range(len(page.keys)))
        page.count = -(-size // self.page_size)
        page.number = self._allocate(page.count)
        page.dirty = False
        self._written.append((page.number, self._page_bytes(page, page.number, page.count).ljust(page.count * self.page_size, b"\0")))
        return page

    def _allocate(self, count: int) -> int:
        """Return the lowest run of free pages, else new ones at the end."""
        for number in sorted(self._free):
            run = set(range(number, number + count))
            if run <= self._free:
                self._free -= run
                return number
        number, self._high = self._high, self._high + count
        return number

    def _forget(self, page: Page) -> None:
        """Free a page and all below it."""
        self._release(page)
        for value in page.values:
            if isinstance(value, Tree):
                self._forget(value.root)
            elif isinstance(value, Page):
                self._forget(value)

    def _release(self, page: Page) -> None:
        if page.number:
            self._pending |= set(range(page.number, page.number + page.count))
            page.number = page.count = 0

    def _write_freelist(self) -> None:
        number, count = self._freelist
        self._pending |= set(range(number, number + count))
        count = -(-(HEADER + 8 * (len(self._free) + len(self._pending) + 1)) // self.page_size)
        number = self._allocate(count)
        free = sorted(self._free | self._pending)
        body = b"".join(struct.pack("<Q", place) for place in free)
        if len(free) >= 0xFFFF:
            body = struct.pack("<Q", len(free)) + body
            count = max(count, -(-(HEADER + len(body)) // self.page_size))
        data = struct.pack("<QHHI", number, 0x10, min(len(free), 0xFFFF), count - 1) + body
        self._freelist = (number, count)
        self._written.append((number, data.ljust(count * self.page_size, b"\0")))


def write_bolt(path: Path, content: Mapping[bytes, Any], page_size: int = 4096) -> Writer:
    """Write ``content`` (mappings are buckets) as one transaction; the caller may go on writing, and closes it."""
    writer = Writer(path, page_size)
    writer.root.fill(content)
    writer.commit()
    return writer
