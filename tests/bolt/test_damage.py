from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.stores.bolt.pages import BRANCH, LEAF, MAGIC, VERSION, fnv1a
from linktrail.errors import BoltError
from tests.bolt.helpers import plain, read

SIZE = 512


def leaf(number: int, elements: list[tuple[bytes, bytes, int]], overflow: int = 0, *, count: int | None = None) -> bytes:
    """Return a leaf page of (key, value, flags)."""
    at, body, heads = 16 + 16 * len(elements), b"", b""
    for place, (key, value, flags) in enumerate(elements):
        heads += struct.pack("<IIII", flags, at + len(body) - 16 - 16 * place, len(key), len(value))
        body += key + value
    page = struct.pack("<QHHI", number, LEAF, len(elements) if count is None else count, overflow) + heads + body
    return page.ljust(SIZE * (1 if overflow > 8 else overflow + 1), b"\0")


def branch(number: int, children: list[tuple[bytes, int]]) -> bytes:
    """Return a branch page of (key, child)."""
    at, body, heads = 16 + 16 * len(children), b"", b""
    for place, (key, child) in enumerate(children):
        heads += struct.pack("<IIQ", at + len(body) - 16 - 16 * place, len(key), child)
        body += key
    return (struct.pack("<QHHI", number, BRANCH, len(children), 0) + heads + body).ljust(SIZE, b"\0")


def bucket(root: int, inline: bytes = b"") -> bytes:
    return struct.pack("<QQ", root, 0) + inline


def file(where: Path, *pages: bytes, root: int = 2) -> Path:
    """Write a file of two meta pages and ``pages``."""
    body = b"".join(pages)
    fields = struct.pack("<IIIIQQQQQ", MAGIC, VERSION, SIZE, 0, root, 0, 0, 2 + len(body) // SIZE, 2)
    meta = (bytes(16) + fields + struct.pack("<Q", fnv1a(fields))).ljust(SIZE, b"\0")
    path = where / "x.db"
    path.write_bytes(meta * 2 + body)
    return path


def _amplified() -> bytes:
    """Twenty elements, each of which claims the same 150 bytes."""
    heads = b"".join(struct.pack("<IIII", 0, 16 * (20 - place), 1, 150) for place in range(20))
    return (struct.pack("<QHHI", 2, LEAF, 20, 0) + heads).ljust(SIZE, b"x")


def _past() -> bytes:
    """One element whose value would end a byte after the page."""
    return (struct.pack("<QHHI", 2, LEAF, 1, 0) + struct.pack("<IIII", 0, 16, 1, SIZE - 32)).ljust(SIZE, b"x")


def _chain(length: int) -> list[bytes]:
    return [*(leaf(2 + step, [(b"b", bucket(3 + step), 1)]) for step in range(length)), leaf(2 + length, [])]


DAMAGE: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "a bucket in itself": (lambda: [leaf(2, [(b"b", bucket(2), 1)])], "page 2 is reached twice"),
    "a branch over itself": (lambda: [branch(2, [(b"a", 3), (b"b", 2)]), leaf(3, [(b"a", b"", 0)])], "page 2 is reached twice"),
    "a page in two buckets": (lambda: [leaf(2, [(b"a", bucket(3), 1), (b"b", bucket(3), 1)]), leaf(3, [])], "page 3 is reached twice"),
    "an overflow over another page": (
        lambda: [leaf(2, [(b"a", bucket(3), 1), (b"b", bucket(4), 1)]), leaf(3, [(b"k", b"v" * 600, 0)], 1)[:SIZE], leaf(4, [])],
        "page 4 is reached twice",
    ),
    "too deep": (lambda: _chain(140), "more than 128 pages deep"),
    "a child past the file": (lambda: [branch(2, [(b"a", 99)])], "page 99 is outside the file's 3 pages"),
    "a child that is a meta page": (lambda: [branch(2, [(b"a", 1)])], "page 1 is outside"),
    "a page with another number": (lambda: [leaf(7, [])], "page 2 calls itself 7"),
    "a page that is a freelist": (lambda: [struct.pack("<QHHI", 2, 0x10, 0, 0).ljust(SIZE, b"\0")], "neither branch nor leaf"),
    "an absurd overflow": (lambda: [leaf(2, [], 0xFFFFFFFF)], "overflows past the end"),
    "an absurd count": (lambda: [leaf(2, [], count=0xFFFF)], "no room for its 65535 elements"),
    "a branch without children": (lambda: [branch(2, [])], "has no children"),
    "a value past the page": (lambda: [_past()], "outside the page"),
    "values that lie in one another": (lambda: [_amplified()], "outside the page or into another"),
    "keys in disorder": (lambda: [leaf(2, [(b"b", b"", 0), (b"a", b"", 0)])], "not in order"),
    "a key twice": (lambda: [leaf(2, [(b"a", b"", 0), (b"a", b"", 0)])], "not in order"),
    "keys of another page": (
        lambda: [branch(2, [(b"a", 3), (b"m", 4)]), leaf(3, [(b"z", b"", 0)]), leaf(4, [(b"n", b"", 0)])],
        "page 3 holds keys that belong elsewhere",
    ),
    "an empty page among many": (lambda: [branch(2, [(b"a", 3)]), leaf(3, [])], "page 3 is an empty page"),
    "a bucket too short": (lambda: [leaf(2, [(b"b", b"short", 1)])], "a bucket of 5 bytes"),
    "an inline bucket without a page": (lambda: [leaf(2, [(b"b", bucket(0), 1)])], "without a page"),
    "an inline branch": (lambda: [leaf(2, [(b"b", bucket(0, struct.pack("<QHHI", 0, BRANCH, 0, 0)), 1)])], "no leaf"),
    "an inline bucket in an inline bucket": (
        lambda: [leaf(2, [(b"b", bucket(0, leaf(0, [(b"c", bucket(0, leaf(0, [])[:16]), 1)])[:80]), 1)])],
        "holds a bucket",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_nothing_else_happens(name: str, tmp_path: Path) -> None:
    """Loops, wrong counts, offsets, sizes and page numbers: one typed error that says which page."""
    pages, message = DAMAGE[name]
    with pytest.raises(BoltError, match=message):
        read(file(tmp_path, *pages()))


def test_the_builders_of_these_files_make_sound_ones_too(tmp_path: Path) -> None:
    """What differs in the cases above is the damage alone."""
    inline = leaf(0, [(b"x", b"1", 0)])[:40]
    pages = [branch(2, [(b"a", 3), (b"m", 4)]), leaf(3, [(b"b", bucket(0, inline), 1)]), leaf(4, [(b"n", b"v" * 600, 0)], 1)]
    assert plain(read(file(tmp_path, *pages)).root) == {b"b": {b"x": b"1"}, b"n": b"v" * 600}
    assert plain(read(file(tmp_path, *_chain(100))).root)


def test_damage_behind_an_unchanged_page_is_found_by_a_second_reading_too(tmp_path: Path) -> None:
    """Sharing with the earlier image hides nothing: here a rewritten page takes a page that another bucket still has."""
    sound = [leaf(2, [(b"a", bucket(3), 1), (b"b", bucket(5), 1)]), leaf(3, [(b"s", bucket(4), 1)]), leaf(4, []), leaf(5, [])]
    image = read(file(tmp_path, *sound))
    sound[3] = leaf(5, [(b"t", bucket(4), 1)])
    path = file(tmp_path, *sound)
    for previous in (None, image):
        with pytest.raises(BoltError, match="page 4 is reached twice"):
            read(path, previous)
