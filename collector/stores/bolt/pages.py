"""The bytes of one bolt page: nothing here knows a file or a tree.

A file is an array of pages. Every page opens with a header of 16 bytes (little endian: page number u64, flags u16, count u16,
overflow u32); a page with overflow ``n`` goes on over the next ``n`` pages. Pages 0 and 1 are meta pages; of two valid ones the higher
transaction id counts. Leaf elements (flags, position, key size, value size; u32 each) and branch elements (position u32,
key size u32, page number u64) follow the header; a position counts from the start of its own element. A leaf element with flag 1 is
a bucket: its value is root page u64, sequence u64 and, with root 0, a whole leaf page inline.

Every number read is checked against the bytes at hand before it is used, and the sizes of a page's elements together may not exceed
the page: no input makes a parser read past its page or copy more than was there. What is wrong raises ``Defect``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import lt
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("<QHHI")
HEADER_BYTES: Final = HEADER.size
BRANCH: Final = 0x01
LEAF: Final = 0x02
BUCKET: Final = 0x01
INLINE_BYTES: Final = 16
META_BYTES: Final = 80  # header and meta
MAGIC: Final = 0xED0CDAED
VERSION: Final = 2
PAGE_SIZES: Final = tuple(512 << power for power in range(8))  # 512 bytes to 64 KiB, the pages of all processors

_META: Final = struct.Struct("<IIIIQQQQQQ")
_CHECKED: Final = _META.size - 8
_LEAF_ELEMENT: Final = struct.Struct("<IIII")
_BRANCH_ELEMENT: Final = struct.Struct("<IIQ")
_BUCKET_VALUE: Final = struct.Struct("<QQ")
_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_WORD: Final = 0xFFFFFFFFFFFFFFFF


Read = Callable[[int, int], bytes]
"""Gives the bytes of the file at an offset: as many as asked for, or less at its end."""


class Defect(Exception):  # noqa: N818 - never reaches a person: the reader turns it into a BoltError
    """What is wrong with a page, in words."""


class Meta(NamedTuple):
    """A valid meta page. ``high`` is the number of pages in use, ``raw`` the checked bytes."""

    page_size: int
    root: int
    sequence: int
    high: int
    txid: int
    raw: bytes


class Element(NamedTuple):
    """One element of a leaf; the value of a bucket is still its header and inline page."""

    key: bytes
    value: bytes
    is_bucket: bool


class BucketValue(NamedTuple):
    """The value of a bucket element: its root page (0: ``inline`` is the page), and its sequence."""

    root: int
    sequence: int
    inline: bytes


def fnv1a(data: bytes) -> int:
    """Return the FNV-1a hash of 64 bits, the checksum of meta pages."""
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & _WORD
    return value


def parse_meta(page: bytes) -> Meta | None:
    """Return the meta in the first ``META_BYTES`` of a page; ``None`` when it is not valid, which is normal for one of the two."""
    if len(page) < META_BYTES:
        return None
    raw = page[HEADER_BYTES:META_BYTES]
    magic, version, size, _flags, root, sequence, _freelist, high, txid, checksum = _META.unpack(raw)
    if magic != MAGIC or version != VERSION or checksum != fnv1a(raw[:_CHECKED]):
        return None
    if size not in PAGE_SIZES or root < 2 or root >= high:  # noqa: PLR2004 - pages 0 and 1 are the metas
        return None
    return Meta(size, root, sequence, high, txid, raw)


def find_meta(read: Read) -> Meta:
    """Return the meta that counts. Raises ``Defect`` when none is valid.

    The page size stands in the meta pages themselves; with the first one damaged the second is looked for at every page size.
    """
    first = parse_meta(read(0, META_BYTES))
    sizes = (first.page_size,) if first else PAGE_SIZES
    found = [first] if first else []
    for size in sizes:
        second = parse_meta(read(size, META_BYTES))
        if second and second.page_size == size:
            found.append(second)
            break
    if not found:
        raise Defect("neither meta page is valid")
    return max(found, key=lambda meta: meta.txid)


def cut(read: Read, number: int, meta: Meta) -> bytes:
    """Return the bytes of page ``number`` with its overflow. Raises ``Defect``."""
    if not 1 < number < meta.high:
        raise Defect(f"page {number} is outside the file's {meta.high} pages")
    start = number * meta.page_size
    page = read(start, meta.page_size)
    if len(page) < meta.page_size:
        raise Defect(f"page {number} is past the end of the file")
    named, flags, _count, overflow = HEADER.unpack_from(page)
    if named != number:
        raise Defect(f"page {number} calls itself {named}")
    if flags not in (BRANCH, LEAF):
        raise Defect(f"page {number} is neither branch nor leaf (flags {flags:#x})")
    if not overflow:
        return page
    size = (overflow + 1) * meta.page_size
    if number + overflow < meta.high:
        page = read(start, size)
    if len(page) < size:
        raise Defect(f"page {number} overflows past the end of the file ({overflow} pages)")
    return page


def is_leaf(page: bytes) -> bool:
    """Tell whether a page that ``cut`` returned is a leaf."""
    return bool(HEADER.unpack_from(page)[1] == LEAF)


def leaf_elements(page: bytes) -> list[Element]:
    """Return the elements of a leaf page, in key order. Raises ``Defect``."""
    number, _flags, count, _overflow = HEADER.unpack_from(page)
    size = len(page)
    end = HEADER_BYTES + count * _LEAF_ELEMENT.size
    if end > size:
        raise Defect(f"page {number} has no room for its {count} elements")
    found: list[Element] = []
    at, room = HEADER_BYTES, size - end
    for flags, position, key_size, value_size in _LEAF_ELEMENT.iter_unpack(page[HEADER_BYTES:end]):
        start = at + position
        middle = start + key_size
        stop = middle + value_size
        room -= key_size + value_size
        if start < end or stop > size or room < 0:
            raise Defect(f"page {number}: an element points outside the page or into another one")
        found.append(Element(page[start:middle], page[middle:stop], bool(flags & BUCKET)))
        at += _LEAF_ELEMENT.size
    _require_order(number, [element.key for element in found])
    return found


def branch_elements(page: bytes) -> list[tuple[bytes, int]]:
    """Return the elements of a branch page: least key and page number of each child. Raises ``Defect``."""
    number, _flags, count, _overflow = HEADER.unpack_from(page)
    size = len(page)
    end = HEADER_BYTES + count * _BRANCH_ELEMENT.size
    if end > size or not count:
        raise Defect(f"page {number} has no room for its {count} children" if count else f"branch page {number} has no children")
    found: list[tuple[bytes, int]] = []
    at, room = HEADER_BYTES, size - end
    for position, key_size, child in _BRANCH_ELEMENT.iter_unpack(page[HEADER_BYTES:end]):
        start = at + position
        room -= key_size
        if start < end or start + key_size > size or room < 0:
            raise Defect(f"page {number}: a key lies outside the page or in another one")
        found.append((page[start : start + key_size], child))
        at += _BRANCH_ELEMENT.size
    _require_order(number, [key for key, _ in found])
    return found


def bucket_value(value: bytes) -> BucketValue:
    """Take the value of a bucket element apart. Raises ``Defect``."""
    if len(value) < INLINE_BYTES:
        raise Defect(f"a bucket of {len(value)} bytes")
    root, sequence = _BUCKET_VALUE.unpack_from(value)
    inline = b"" if root else value[INLINE_BYTES:]
    if not root:
        if len(inline) < HEADER_BYTES:
            raise Defect("an inline bucket without a page")
        _number, flags, _count, overflow = HEADER.unpack_from(inline)
        if flags != LEAF or overflow:
            raise Defect(f"an inline bucket that is no leaf (flags {flags:#x}, overflow {overflow})")
    return BucketValue(root, sequence, inline)


def _require_order(number: int, keys: list[bytes]) -> None:
    if not all(map(lt, keys, keys[1:])):
        raise Defect(f"the keys of page {number} are not in order")
