from __future__ import annotations

import fcntl
import json
import lzma
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.stores.bolt import Bucket, Image, reader
from collector.stores.bolt.pages import MAGIC, VERSION, fnv1a, parse_meta
from linktrail.errors import BoltError, StoreUnreadableError, StoreUnstableError, TooLargeError
from tests.bolt.helpers import plain, read, written
from tests.bolt.writer import Tree, write_bolt

GOLDEN = Path(__file__).resolve().parent.parent / "data" / "bolt"
BYTES = st.builds(lambda head, byte, count: head + bytes([byte]) * count, st.binary(max_size=3), st.integers(0, 255), st.integers(0, 900))
KEYS = st.builds(lambda byte, count: bytes([byte]) * count, st.integers(0, 255), st.integers(1, 40))
CONTENT = st.recursive(BYTES, lambda inner: st.dictionaries(KEYS, inner, max_size=10), max_leaves=25)
FILES = st.dictionaries(KEYS, st.dictionaries(KEYS, CONTENT, max_size=6), max_size=4)
OBJECTS = {b"v1": {b"object-%03d" % number: {b"name": b"n" * number, b"labels": {b"x": b"y" * 900}} for number in range(120)}}


def unpacked(name: str, where: Path) -> Path:
    path = where / name.removesuffix(".xz")
    path.write_bytes(lzma.decompress((GOLDEN / name).read_bytes()))
    return path


def as_golden(bucket: Bucket) -> dict[str, Any]:
    found: dict[str, Any] = {key.hex(): as_golden(value) if isinstance(value, Bucket) else value.hex() for key, value in bucket.items()}
    return {"": bucket.sequence} | found


@pytest.mark.parametrize("name", ["before", "after"])
def test_a_file_of_the_real_library_reads_as_the_library_reads_it(name: str, tmp_path: Path) -> None:
    """Branch pages, overflow, inline and nested buckets, sequences: every key and value of bbolt's own file."""
    expected = json.loads(lzma.decompress((GOLDEN / f"{name}.json.xz").read_bytes()))
    image = read(unpacked(f"{name}.db.xz", tmp_path))
    assert as_golden(image.root) == {"": 0} | expected


def test_one_transaction_of_the_real_library_leaves_most_nodes_the_same_objects(tmp_path: Path) -> None:
    """Structural sharing holds for bbolt's own way of splitting and reusing pages."""
    path = unpacked("before.db.xz", tmp_path)
    first = read(path)
    path.write_bytes(lzma.decompress((GOLDEN / "after.db.xz").read_bytes()))
    second = read(path, first)
    kept = {id(node) for node in first.nodes.values()} & {id(node) for node in second.nodes.values()}
    assert plain(second.root) == plain(read(path).root) != plain(first.root)
    assert second.txid == first.txid + 1
    assert len(second.nodes) - len(kept) <= 6


@settings(max_examples=30, deadline=None)
@given(FILES, st.sampled_from([512, 4096, 16384]))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, content: dict[bytes, Any], page_size: int) -> None:
    """Any nesting, any page size."""
    path = tmp_path_factory.mktemp("bolt") / "x.db"
    write_bolt(path, content, page_size).close()
    assert plain(read(path).root) == content


STEP = st.tuples(st.integers(0, 150), st.sampled_from(["name", "label", "delete", "grow"]), BYTES)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(STEP, min_size=1, max_size=6), min_size=1, max_size=8))
def test_reading_again_gives_what_a_first_reading_gives(tmp_path_factory: pytest.TempPathFactory, rounds: list[Any]) -> None:
    """Whatever transactions lie between two readings, the shared image equals a fresh one, and unchanged nodes are shared."""
    path = tmp_path_factory.mktemp("bolt") / "x.db"
    writer = write_bolt(path, OBJECTS, 1024)
    image = read(path)
    for steps in rounds:
        for step in steps:
            _change(writer.root.bucket(b"v1"), *step)
        writer.commit()
        before, image = image, read(path, image)
        fresh = read(path)
        assert plain(image.root) == plain(fresh.root) == written(writer.root)
        assert image.nodes.keys() == fresh.nodes.keys()
        _assert_shared(before, image)
    writer.close()


def _change(tree: Tree, number: int, what: str, value: bytes) -> None:
    key = b"object-%03d" % number
    if what == "delete" and tree.get(key) is not None:
        tree.delete(key)
    elif what == "label":
        tree.bucket(key).bucket(b"labels").put(b"l" + value[:2], value)
    elif what == "grow":
        tree.fill({key + value[:8]: {b"name": value}})
    else:
        tree.bucket(key).put(b"name", value)


def _assert_shared(before: Image, after: Image) -> None:
    """A node with the same bytes, over children that are shared, is the same object."""
    for number, node in after.nodes.items():
        old = before.nodes.get(number)
        if old is not None and old.page == node.page and list(map(id, old.children)) == list(map(id, node.children)):
            assert node is old


def test_a_page_used_again_under_an_unchanged_branch_is_seen(tmp_path: Path) -> None:
    """Copy-on-write comes back to the same places: a root page with the same bytes may stand over another leaf."""
    path = tmp_path / "x.db"
    writer = write_bolt(path, {b"v1": {b"a%02d" % number: b"x" * 300 for number in range(40)}}, 1024)
    seen: dict[int, bytes] = {}
    again = 0
    image = read(path)
    for turn in range(12):
        writer.root.bucket(b"v1").put(b"a05", b"%d" % turn * 100)
        writer.commit()
        image = read(path, image)
        nested = image.root.bucket(b"v1")
        assert nested is not None
        again += seen.get(nested.root.number) == nested.root.page
        seen[nested.root.number] = nested.root.page
        assert nested.get(b"a05") == b"%d" % turn * 100
    assert again, "the case that this test is about did not come up"
    writer.close()


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    """The very same image comes back."""
    path = tmp_path / "x.db"
    write_bolt(path, OBJECTS).close()
    first = read(path)
    assert read(path, first) is first


def test_a_lock_held_by_the_engine_does_not_matter(tmp_path: Path) -> None:
    """Containerd holds an exclusive flock for ever; reading neither waits nor takes one."""
    path = tmp_path / "x.db"
    write_bolt(path, OBJECTS).close()
    with path.open("rb") as engine:
        fcntl.flock(engine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert plain(read(path).root) == OBJECTS


@pytest.mark.parametrize("page", [0, 1])
def test_one_damaged_meta_page_is_no_damage(page: int, tmp_path: Path) -> None:
    """The other one is there for that; what it says may be one transaction older."""
    path = tmp_path / "x.db"
    writer = write_bolt(path, OBJECTS)
    writer.root.bucket(b"v1").put(b"new", b"1")
    writer.commit()
    writer.close()
    whole = read(path)
    data = bytearray(path.read_bytes())
    data[page * 4096 + 40] ^= 1
    path.write_bytes(data)
    image = read(path)
    assert image.txid in {whole.txid, whole.txid - 1}
    assert image.root.bucket(b"v1", b"object-001") is not None


def test_a_commit_during_a_reading_is_noticed_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two transactions end between the meta page and the pages: what comes out is the last one, whole."""
    path = tmp_path / "x.db"
    writer = write_bolt(path, OBJECTS)
    whole, turns = reader._whole, [2, 1, 0]

    def interrupted(descriptor: int, size: int) -> bytes:
        for turn in range(turns.pop(0) if turns else 0):
            writer.root.bucket(b"v1").bucket(b"object-%03d" % turn).put(b"name", b"changed")
            writer.commit()
        return whole(descriptor, size)

    monkeypatch.setattr(reader, "_whole", interrupted)
    image = read(path)
    assert turns == []
    assert image.txid == writer.txid
    assert plain(image.root) == written(writer.root)
    writer.close()


def test_a_writer_that_is_always_faster_is_an_error_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, and typed: the caller keeps its earlier image."""
    path = tmp_path / "x.db"
    writer = write_bolt(path, OBJECTS)
    whole = reader._whole

    def interrupted(descriptor: int, size: int) -> bytes:
        writer.root.bucket(b"v1").put(b"turn", b"%d" % writer.txid)
        writer.commit()
        return whole(descriptor, size)

    monkeypatch.setattr(reader, "_whole", interrupted)
    with pytest.raises(StoreUnstableError, match="20 reads"):
        read(path)
    writer.close()


def test_pages_of_an_unfinished_transaction_are_not_taken_for_damage_of_it(tmp_path: Path) -> None:
    """Stopped between its pages and its meta page, a transaction is invisible, for a first and for a second reading."""
    path = tmp_path / "x.db"
    writer = write_bolt(path, OBJECTS)
    writer.root.bucket(b"v1").put(b"turn", b"1")
    writer.commit()
    before = read(path)
    expected = plain(before.root)

    def look() -> None:
        assert plain(read(path).root) == expected
        assert plain(read(path, before).root) == expected

    writer.root.bucket(b"v1").put(b"turn", b"2")
    writer.commit(look)
    assert plain(read(path, before).root)[b"v1"][b"turn"] == b"2"
    writer.close()


def test_damage_in_place_is_seen_though_the_transaction_is_the_same(tmp_path: Path) -> None:
    """The meta pages say nothing about the others; the bytes do."""
    path = tmp_path / "x.db"
    write_bolt(path, OBJECTS).close()
    first = read(path)
    number = next(node.number for node in first.nodes.values() if node.is_leaf and not node.children)
    with path.open("r+b") as file:
        file.seek(number * 4096)
        file.write(struct.pack("<Q", 77))
    os.utime(path, ns=(1, 1))
    with pytest.raises(BoltError, match="calls itself 77"):
        read(path, first)


def test_a_file_cut_short_is_damaged_only_if_pages_in_use_are_gone(tmp_path: Path) -> None:
    """Bolt grows its file in steps, so the size alone says nothing."""
    path = tmp_path / "x.db"
    write_bolt(path, OBJECTS).close()
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * 16384)
    assert plain(read(path).root) == OBJECTS
    path.write_bytes(data[:12288])
    with pytest.raises(BoltError, match="past the end"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"x" * 70000], ids=["empty", "short", "foreign"])
def test_no_meta_page_is_a_typed_error(content: bytes, tmp_path: Path) -> None:
    """Neither hangs nor guesses."""
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(BoltError, match="neither meta page"):
        read(path)


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    """A fifo would hang a reader, a symbolic link would lead it away."""
    (tmp_path / "target.db").write_bytes(b"")
    (tmp_path / "link.db").symlink_to("target.db")
    os.mkfifo(tmp_path / "fifo.db")
    for name in ("link.db", "fifo.db"):
        with pytest.raises(BoltError, match="not a regular file"):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing.db")


def test_what_may_not_be_read_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error in the middle is unreadable, not malformed."""
    path = tmp_path / "x.db"
    write_bolt(path, OBJECTS).close()

    def broken(_descriptor: int, _size: int) -> bytes:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(reader, "_whole", broken)
    with pytest.raises(StoreUnreadableError, match=r"x\.db: input/output error"):
        read(path)


def test_the_size_is_bounded(tmp_path: Path) -> None:
    """Pages in use over the limit are not read into memory."""
    path = tmp_path / "x.db"
    write_bolt(path, OBJECTS).close()
    with pytest.raises(TooLargeError, match="limit of 8192 bytes"):
        read(path, limit=8192)


@pytest.mark.parametrize("size", [0, 1, 256, 4095, 131072, 1 << 31])
def test_an_absurd_page_size_is_no_meta_page(size: int) -> None:
    """Even with a correct checksum."""
    fields = struct.pack("<IIIIQQQQQ", MAGIC, VERSION, size, 0, 3, 0, 2, 4, 2)
    assert parse_meta(bytes(16) + fields + struct.pack("<Q", fnv1a(fields))) is None
    sound = struct.pack("<IIIIQQQQQ", MAGIC, VERSION, 4096, 0, 3, 0, 2, 4, 2)
    assert parse_meta(bytes(16) + sound + struct.pack("<Q", fnv1a(sound))) is not None
