"""The two ways of taking a read apart say the same: records of one size at once, others one by one."""

from __future__ import annotations

import os
import struct

from hypothesis import given
from hypothesis import strategies as st

from collector.watch.inotify import columns, parts_of

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name and b"/" not in name)
WORDS = st.integers(0, 2**32 - 1)
RECORDS = st.tuples(st.integers(1, 2**31 - 1), WORDS, WORDS, NAMES | st.just(b""))
ONE_SIZE = st.tuples(st.integers(1, 2**31 - 1), WORDS, WORDS, st.binary(min_size=240, max_size=255).filter(lambda name: b"\0" not in name))


def packed(told: list[tuple[int, int, int, bytes]]) -> bytes:
    """Return records as inotify(7) lays them out: the name padded with at least one null byte to a multiple of 16."""
    data = b""
    for descriptor, mask, cookie, name in told:
        padded = name.ljust(len(name) // 16 * 16 + 16, b"\0") if name else b""
        data += struct.pack("=iIII", descriptor, mask, cookie, len(padded)) + padded
    return data


@given(st.lists(RECORDS, max_size=20) | st.lists(ONE_SIZE, min_size=1, max_size=20))
def test_every_read_is_taken_apart_as_the_kernel_put_it_together(told: list[tuple[int, int, int, bytes]]) -> None:
    found = [(*parts_of(key), cookie, name) for key, cookie, name in zip(*columns(packed(told)), strict=True)]
    assert found == [(descriptor, mask, cookie, os.fsdecode(name)) for descriptor, mask, cookie, name in told]
