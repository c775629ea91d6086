from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linktrail import text


@given(st.binary(max_size=200))
def test_names_survive_the_way_in_and_out(raw: bytes) -> None:
    """A name that is not UTF-8 stands in the raw column; otherwise the text column alone gives the bytes back."""
    name = text.decode(raw)
    assert text.encode(name) == raw
    kept = text.column_raw(name)
    assert (kept if kept is not None else text.column_text(name).encode()) == raw


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_printed_names_are_inert(value: bytes | str) -> None:
    """Nothing that moves the cursor, reverses text or breaks a line reaches a terminal."""
    shown = text.printable(value)
    shown.encode("utf-8")
    assert not any(character in shown for character in "\x00\x07\x1b\n\r\x7f\x9b\u202e\u2066\u200b\u2028")


def test_long_names_are_cut() -> None:
    """A ten-megabyte name does not become a ten-megabyte line."""
    shown = text.printable("x" * 10_000_000)
    assert len(shown) < 5000
    assert "(10000000 characters)" in shown


def test_escapes_are_readable() -> None:
    """People can read what was there."""
    assert text.printable(b"a\xff\x1b[31m") == "a\\xff\\x1b[31m"
    assert text.printable("dossier é 日本") == "dossier é 日本"
