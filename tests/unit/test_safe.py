from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import safe, safe_json
from collector.links import LinkState
from linktrail.errors import NoStoreError, StoreUnreadableError
from tests.containers_storage.made import as_nobody, open_place
from tests.needs import need


def test_a_planted_link_is_never_followed(tmp_path: Path) -> None:
    """A directory or file that is really a symbolic link is refused, at the last step and on the way."""
    (tmp_path / "etc").symlink_to("/etc")
    (tmp_path / "real").mkdir()
    (tmp_path / "real/passwd").symlink_to("/etc/passwd")
    with safe.open_root(tmp_path) as root:
        for names in (("etc",), ("etc", "ssl")):
            with pytest.raises(OSError, match=r"symbolic links|[Nn]ot a directory"):
                root.directory(*names)
        with root.directory("real") as real:
            content = real.read("passwd", 100)
    assert content.state is LinkState.MALFORMED
    assert content.data == b""
    assert "symlink" in content.error


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "x" * 256, "\ud800"])
def test_a_name_is_one_step(tmp_path: Path, name: str) -> None:
    """A name from metadata that climbs, or is none, opens nothing."""
    with safe.open_root(tmp_path) as root:
        for attempt in (root.directory, root.stat, root.readlink, root.open_file):
            with pytest.raises(OSError, match=r"not a file name|too long"):
                attempt(name)
        assert root.read(name, 10).state is LinkState.MISSING


def test_special_files_neither_hang_nor_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifo, a socket or a directory in the place of a file is malformed, at once."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listener, safe.open_root(tmp_path) as root:
        monkeypatch.chdir(tmp_path)  # a socket path is limited to 108 bytes
        listener.bind("socket")
        began = time.monotonic()
        for name in ("fifo", "directory", "socket"):
            content = root.read(name, 10)
            assert (content.state, content.data) == (LinkState.MALFORMED, b"")
            assert name in content.error
        assert time.monotonic() - began < 1


def test_a_file_swapped_for_a_fifo_after_the_look_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look before the open can be outrun; the open does not block, and the second look refuses."""
    (tmp_path / "file").write_text("x")
    facts = (tmp_path / "file").stat()
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    with safe.open_root(tmp_path) as root:
        monkeypatch.setattr(safe.Directory, "stat", lambda self, name: facts)  # noqa: ARG005 - the signature of the real one
        assert root.read("file", 10).state is LinkState.MALFORMED


@pytest.mark.parametrize(
    ("size", "state"), [(0, LinkState.EMPTY), (1, LinkState.PRESENT), (10, LinkState.PRESENT), (11, LinkState.MALFORMED)]
)
def test_reads_are_bounded(tmp_path: Path, size: int, state: LinkState) -> None:
    """Up to the limit a file is read whole; beyond it, its first bytes remain as evidence."""
    (tmp_path / "file").write_bytes(b"x" * size)
    with safe.open_root(tmp_path) as root:
        content = root.read("file", 10)
    assert content.state is state
    assert content.data == b"x" * min(size, 10)
    assert bool(content.error) == (state is LinkState.MALFORMED)


def test_a_sparse_terabyte_is_not_read(tmp_path: Path) -> None:
    """Size is asked before a byte is read."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with safe.open_root(tmp_path) as root:
        content = root.read("huge", 256 << 20)
    assert content.state is LinkState.MALFORMED
    assert len(content.data) == safe.EVIDENCE_BYTES


def test_a_file_that_grows_while_it_is_read_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size said one thing, the reads another: the limit holds for what was read."""
    (tmp_path / "file").write_bytes(b"x" * 10)
    monkeypatch.setattr(os, "read", lambda descriptor, size: b"y" * size)  # noqa: ARG005 - the signature of the real one
    with safe.open_root(tmp_path) as root:
        content = root.read("file", 10_000)
    assert content.state is LinkState.MALFORMED
    assert len(content.data) <= safe.EVIDENCE_BYTES


def test_listings_are_bounded_and_typed(tmp_path: Path) -> None:
    """A listing says what each name is without following it, and when there were more."""
    (tmp_path / "d").mkdir()
    (tmp_path / "f").touch()
    (tmp_path / "s").symlink_to("d")
    os.mkfifo(tmp_path / "p")
    with safe.open_root(tmp_path) as root:
        whole, cut = root.entries(), root.entries(limit=2)
    assert {entry.name: entry.kind for entry in whole.entries} == {"d": "directory", "f": "file", "s": "symlink", "p": "other"}
    assert {entry.name: entry.inode for entry in whole.entries} == {name: (tmp_path / name).lstat().st_ino for name in "dfsp"}
    assert whole.complete
    assert (len(cut.entries), cut.complete) == (2, False)


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    """A name of bytes that are no UTF-8 is listed, opened and read like any other."""
    odd = tmp_path / os.fsdecode(b"\xff\xfe")
    odd.mkdir()
    (odd / "file").write_text("x")
    with safe.open_root(tmp_path) as root:
        (entry,) = root.entries().entries
        assert os.fsencode(entry.name) == b"\xff\xfe"
        with root.directory(entry.name) as inner:
            assert inner.read("file", 10).data == b"x"


def test_no_descriptor_leaks(tmp_path: Path) -> None:
    """Whatever is refused, every descriptor is closed again."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/link").symlink_to("/etc")
    os.mkfifo(tmp_path / "a/fifo")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with safe.open_root(tmp_path) as root:
            root.directory("a", "b").close()
            for names in (("a", "b", "c"), ("a", "link"), ("a", "link", "x"), ("a", "fifo")):
                with pytest.raises(OSError, match=r"No such file|symbolic links|Not a directory"):
                    root.directory(*names)
            root.directory().close()
            with root.directory("a") as inner:
                inner.read("fifo", 1)
                inner.entries()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_access_times_are_spared(tmp_path: Path) -> None:
    """Reading a file and listing a directory, as their owner, leaves no trace."""
    (tmp_path / "file").write_text("x")
    os.utime(tmp_path / "file", ns=(1, 2))
    os.utime(tmp_path, ns=(1, 2))
    with safe.open_root(tmp_path) as root:
        root.entries()
        root.read("file", 10)
    assert (tmp_path / "file").stat().st_atime_ns == 1
    assert tmp_path.stat().st_atime_ns == 1


def test_a_file_of_somebody_else_is_read_all_the_same() -> None:
    """Where the kernel refuses O_NOATIME, the file is read without it."""
    need("root")
    with open_place() as place:
        (place / "file").write_text("x")
        (place / "file").chmod(0o644)
        with as_nobody(), safe.open_root(place) as root:
            with pytest.raises(PermissionError):
                os.open(place / "file", os.O_RDONLY | os.O_NOATIME)
            assert root.read("file", 10).data == b"x"


def test_the_root_alone_may_be_a_link(tmp_path: Path) -> None:
    """The administrator's link to a root is followed once, to where it really is."""
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to("real")
    with safe.open_root(tmp_path / "named") as root:
        assert root.path == (tmp_path / "real").resolve()
        assert not root.gone()
        (tmp_path / "real").rmdir()
        assert root.gone()


def test_a_root_that_is_none(tmp_path: Path) -> None:
    """No directory, a file, a loop of links, a name with a null byte: no store, and the error says which."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for root, what in (
        ("none", "no such file"),
        ("file", "not a directory"),
        ("loop", "too many levels"),
        ("a\0b", "null"),
        ("x" * 300, "too long"),
    ):
        with pytest.raises(NoStoreError, match=what):
            safe.open_root(tmp_path / root)


def test_a_root_without_permission() -> None:
    """A root that this user may not enter is unreadable, which is not the same as absent."""
    need("root")
    with open_place() as place:
        (place / "closed").mkdir(mode=0o700)
        with as_nobody(), pytest.raises(StoreUnreadableError, match="permission denied"):
            safe.open_root(place / "closed")


# --- JSON -----------------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
@settings(max_examples=100)
def test_good_json_is_read_as_it_is(value: object) -> None:
    """What Python writes as strict JSON comes back without a fault."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a lone surrogate can only be written as an escape
        return
    assert safe_json.parse(data) == safe_json.Parsed(json.loads(text))


@given(st.binary(max_size=300) | st.text('[]{}",:0123456789eE.-\\u d8truefalsn', max_size=300).map(str.encode))
@settings(max_examples=300)
def test_parsing_never_raises(data: bytes) -> None:
    """Whatever the bytes, there is a value or a fault, and strings in it can be encoded."""
    parsed = safe_json.parse(data)
    assert parsed.value is not None or parsed.faults or data.strip() == b"null"
    json.dumps(parsed.value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("data", "value", "fault"),
    [
        (b"[1, NaN, 2]", [1, None, 2], "NaN is no JSON"),
        (b"[-Infinity]", [None], "-Infinity is no JSON"),
        (b"[1e999]", [None], "out of range"),
        (b"[9223372036854775808]", [None], "64 bits"),
        (b"[" + b"9" * 10_000 + b"]", [None], "64 bits"),
        (b'["\\ud800x"]', ["\ufffdx"], "lone surrogate"),
        (b'{"\\udfff": "\\ud83d\\ude00"}', {"\ufffd": "\U0001f600"}, "lone surrogate"),
        (b'["a\xff"]', ["a\ufffd"], "not UTF-8 at byte 3"),
        (b'[{"a": 1}, {"a": garbage}, {"a": 2}]', [{"a": 1}, {"a": 2}], "entry 1 cannot be parsed"),
        (b'[{"a": 1}, {"a": "cut sh', [{"a": 1}], "entry 1 cannot be parsed"),
        (b'[{"a": 1}, {"a": "x\\', [{"a": 1}], "entry 1 cannot be parsed"),
        (b'[{"a": 1}, ' + b"[" * 100 + b"]" * 100 + b', {"a": 2}]', [{"a": 1}, {"a": 2}], "entry 1 is nested deeper"),
        (b'{"a": 1', None, "expecting"),
        (b"", None, "expecting value"),
        (b"null", None, ""),
    ],
)
def test_bad_json_hides_nothing_else(data: bytes, value: object, fault: str) -> None:
    """One bad value becomes null, one bad entry is left out, and each is named."""
    parsed = safe_json.parse(data)
    assert parsed.value == value
    assert fault in "; ".join(parsed.faults)
    assert bool(parsed.faults) == bool(fault)


@pytest.mark.parametrize("unit", [b"[", b'[{"a":', b'"\\"', b"[]", b'["' + b'\\"' * 100, b"{", b"]", b'"', b"\\", b"1,"])
def test_hostile_json_takes_linear_time(unit: bytes) -> None:
    """Two megabytes of nesting, quotes or escapes are refused within seconds, without deep recursion."""
    began = time.process_time()
    parsed = safe_json.parse(b"[" + unit * ((2 << 20) // len(unit)))
    assert time.process_time() - began < 5
    assert parsed.faults
