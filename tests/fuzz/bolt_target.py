"""The fuzz target of the bolt reader: bytes in, an image read to its last value or a typed error out.

Run for long with atheris, where it is installed: ``python -m tests.fuzz bolt CORPUS``. ``test_bolt_fuzz`` runs the same function over
mutations that hypothesis chooses. Meta pages get their checksums made right, or nothing would come past them.
"""

from __future__ import annotations

import functools
import struct
import tempfile
from pathlib import Path

from collector.safe import open_root
from collector.stores.bolt import BoltFile, Bucket
from collector.stores.bolt.pages import fnv1a
from linktrail.errors import LinktrailError
from linktrail.testing.clock import FakeClock
from tests.bolt.writer import write_bolt

PAGE = 512


def with_checksums(data: bytes) -> bytes:
    """Return ``data`` with the checksums of both meta pages made right."""
    fixed = bytearray(data)
    for start in (0, PAGE):
        if len(fixed) >= start + 80:
            struct.pack_into("<Q", fixed, start + 72, fnv1a(bytes(fixed[start + 16 : start + 72])))
    return bytes(fixed)


def count(bucket: Bucket) -> int:
    """Touch everything in ``bucket`` and return how many bytes that were."""
    return sum(len(key) + (count(value) if isinstance(value, Bucket) else len(value)) for key, value in bucket.items())


def one_input(data: bytes) -> int | None:
    """Read ``data`` as a bolt file, twice. Returns the bytes it held, or ``None`` when it was refused; any other error is a bug."""
    with tempfile.TemporaryDirectory() as where, open_root(Path(where)) as directory:
        Path(where, "x.db").write_bytes(with_checksums(data))
        file = BoltFile(directory, "x.db", root=where, path="x.db", clock=FakeClock())
        try:
            image = file.read()
        except LinktrailError:
            return None
        held = count(image.root)
        assert held <= len(data), "more came out than went in"
        Path(where, "x.db").touch()
        assert count(file.read(image).root) == held
        return held


@functools.cache
def seed() -> bytes:
    """Return a file with everything in it: branches, overflow, nested and inline buckets."""
    with tempfile.TemporaryDirectory() as where:
        path = Path(where, "seed.db")
        objects = {b"object-%02d" % number: {b"name": b"x" * number, b"labels": {b"a": b"b"}} for number in range(40)}
        write_bolt(path, {b"v1": objects, b"long": {b"key": b"y" * 3000}, b"empty": {}}, PAGE).close()
        return path.read_bytes()
