from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.stores.containerd.layout import is_number, is_temporary, qualified, snapshotter_of, taken_apart
from collector.stores.containerd.values import any_of, go_time, json_of, uvarint, varint, written
from linktrail.clock import NANOSECONDS
from tests.containerd.build import any_message
from tests.containerd.build import go_time as as_go_time
from tests.containerd.build import uvarint as as_uvarint
from tests.containerd.build import varint as as_varint


@settings(deadline=None)
@given(st.integers(0, (1 << 64) - 1), st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 61), 1 << 61))
def test_what_go_writes_is_what_is_read(unsigned: int, signed: int, moment: int) -> None:
    """Over the whole range of each."""
    assert uvarint(as_uvarint(unsigned)) == unsigned
    assert varint(as_varint(signed)) == signed
    assert go_time(as_go_time(moment)) == moment


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_bring_a_value_or_a_value_error(data: bytes) -> None:
    """Nothing else ever."""
    for decode in (uvarint, varint, go_time, any_of):
        try:
            decode(data)
        except ValueError:
            continue
    json_of(data)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "cut short"),
        (b"\x80", "cut short"),
        (b"\x01\x01", "1 bytes after"),
        (b"\xff" * 10, "over 64 bits"),
        (b"\x80" * 9 + b"\x02", "over 64"),
    ],
)
def test_integers_that_are_none(data: bytes, what: str) -> None:
    """Cut short, followed by more, too large."""
    with pytest.raises(ValueError, match=what):
        uvarint(data)


def test_times() -> None:
    """As containerd wrote one, Go's zero time, the longer version, and nonsense."""
    assert written(go_time(bytes.fromhex("010000000ee2965afa05658ff0ffff"))) == "2026-11-23T16:04:10.090542064Z"
    assert go_time(b"\x01" + bytes(12) + b"\xff\xff") is None
    assert go_time(b"\x02" + as_go_time(5)[1:] + b"\0") == 5
    assert written(None) is None
    assert written(10**30) is None
    assert written(-NANOSECONDS) == "1969-12-31T23:59:59.000000000Z"
    for data in (b"\x03" + bytes(14), as_go_time(0)[:-1], as_go_time(0)[:9] + b"\x7f\xff\xff\xff\xff\xff"):
        with pytest.raises(ValueError, match="not a time"):
            go_time(data)


def test_messages() -> None:
    """The type and the bytes; JSON inside; a length that lies."""
    assert any_of(any_message("a/B", b"{}")) == ("a/B", b"{}")
    assert json_of(any_message("a/B", b'{"x": [1]}')) == {"x": [1]}
    assert json_of(any_message("a/B", b'{"x": ')) is None
    assert json_of(any_message("a/B", b'"' + b"x" * (1 << 20) + b'"')) is None
    with pytest.raises(ValueError, match="cut short"):
        any_of(b"\x12\x7fx")
    with pytest.raises(ValueError, match="wire type 0"):
        any_of(b"\x08\x01")


def test_names() -> None:
    """Keys, numbers, temporary names, plugins."""
    assert taken_apart("k8s.io/7/sha256:x")[1:] == ("k8s.io", "sha256:x")
    assert taken_apart("a/7/b/c d")[1:] == ("a", "b/c d")
    assert taken_apart("scratch")[1:] == (None, None)
    assert [is_number(name) for name in ("1", "115", "0", "01", "x", "new-1", "")] == [True, True, False, False, False, False, False]
    assert [is_temporary(name) for name in ("new-1", "rm-1", "1")] == [True, True, False]
    assert (qualified("overlayfs", "1"), qualified("native", "1")) == ("1", "native:1")
    assert (snapshotter_of("io.containerd.snapshotter.v1.erofs"), snapshotter_of("io.containerd.content.v1.content")) == ("erofs", None)
    assert as_varint(2) == b"\x04"
