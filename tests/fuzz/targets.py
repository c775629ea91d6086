"""What is fuzzed: one function a parser. It takes bytes and tells whether they were understood: a typed error is a plain no.

Anything else that is raised or broken fails.

Each has seeds that real engines (or linktrail) wrote, from which inputs are mutated; ``tests.fuzz.__main__`` hands the same functions to
atheris.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard

from collector.contents.blob import Blob
from collector.contents.compare import compare
from collector.contents.expected import ArchiveError
from collector.contents.tar_split import TarSplit
from collector.contents.verify import verify_archive
from collector.explain import find_messages
from collector.mounts.mountinfo import layers_of, parse
from collector.safe import Directory, open_root
from collector.safe_json import parse as parse_json
from collector.spool_directory import ACKNOWLEDGED, IDENTITY, batch_name, read_cursor
from collector.spool_reader import SpoolReader
from collector.stores.containerd.values import any_of, json_of
from linktrail import batch
from linktrail.durable import LocalFileSystem
from linktrail.errors import BatchError, SpoolError
from linktrail.testing.layer_tar import Hardlink, Layer, Symlink, Whiteout
from tests.containerd.build import any_message
from tests.explain.quotes import QUOTES
from tests.faults.rows import link, sealed
from tests.fuzz import bolt_target

LAYER: Final = Layer(
    {
        "bin/app": b"program" * 40,
        "bin/sh": Symlink("app"),
        "bin/again": Hardlink("bin/app"),
        "etc/gone": Whiteout(),
        "n\udcff\u00e4me": b"x",
    }
)
_BLOB_LIMIT: Final = 8 << 20


@dataclass(frozen=True)
class Target:
    """A parser under test, and what to begin with."""

    run: Callable[[bytes], bool]
    seeds: Callable[[], list[bytes]]


@contextlib.contextmanager
def layer_beside(name: str, data: bytes) -> Iterator[tuple[Directory, Directory]]:
    """Yield the open directory that holds ``data`` as ``name``, and that of a small layer."""
    with tempfile.TemporaryDirectory() as where:
        Path(where, name).write_bytes(data)
        Path(where, "diff/bin").mkdir(parents=True)
        Path(where, "diff/bin/app").write_bytes(b"program" * 40)
        Path(where, "diff/bin/sh").symlink_to("app")
        with open_root(Path(where)) as home, home.directory("diff") as diff:
            yield home, diff


def long_tar(kind: int) -> bytes:
    """Return a tar whose names need extended headers, in one of tarfile's formats."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=kind) as archive:
        for name in (f"{'d' * 90}/{'e' * 90}/f", "\u00e4" * 60):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "t" * 300
            archive.addfile(member)
    return sink.getvalue()


def tar_split(data: bytes) -> bool:
    """Compare a layer with ``data`` as its tar-split."""
    with layer_beside("split", data) as (home, diff):
        split = TarSplit(home, "split")
        try:
            headers = split.headers()
            found, _ = compare(diff, headers)
            verify_archive(diff, split.pieces(), "sha256:0", frozenset(found.missing))
        except ArchiveError:
            return False
        assert set(found.missing) <= headers.entries.keys()
        return True


def tar_split_lines(data: bytes) -> bool:
    """The same, with ``data`` as what the file unpacks to."""
    return tar_split(gzip.compress(data, 1))


def blob(data: bytes) -> bool:
    """Compare a layer with ``data`` as the blob it was made of, both digests being right."""
    name = hashlib.sha256(data).hexdigest()
    with layer_beside(name, data) as (home, diff):
        try:
            Blob(home, name, "sha256:0", limit=_BLOB_LIMIT).headers()
        except ArchiveError as error:
            match = re.match(r"it unpacks to (sha256:[0-9a-f]{64}), not", str(error))
            if match is None:
                return False
            compare(diff, Blob(home, name, match[1], limit=_BLOB_LIMIT).headers())
    return True


def mountinfo(data: bytes) -> bool:
    """Read ``data`` as a mount table."""
    table = parse(data)
    for mount in table.mounts:
        assert mount.point.startswith("/")
        layers_of(mount)
    assert len(table.mounts) + table.odd <= data.count(b"\n") + 1
    return not table.odd


def protobuf(data: bytes) -> bool:
    """Read ``data`` as the message that holds a container's specification."""
    value = json_of(data)
    json.dumps(value, allow_nan=False)
    try:
        url, message = any_of(data)
    except ValueError:
        return False
    assert len(message) <= len(data)
    url.encode()
    return value is not None


def safe_json(data: bytes) -> bool:
    """Parse ``data`` as JSON: what comes out is JSON again."""
    parsed = parse_json(data)
    json.dumps(parsed.value, allow_nan=False).encode()
    return not parsed.faults


def sealed_batch(data: bytes) -> bool:
    """Decode ``data`` as a batch."""
    try:
        header, rows = batch.decode(data, "here")
    except BatchError:
        return False
    assert rows.num_rows == header.rows
    return True


def packed_batch(data: bytes) -> bool:
    """The same, with ``data`` as what the batch unpacks to."""
    return sealed_batch(zstandard.ZstdCompressor(level=1, write_content_size=True).compress(data))


def spool_files(data: bytes) -> bool:
    """Read a spool whose own small files, and a batch, are ``data``; understood is what is any of them."""
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        for file in (IDENTITY, ACKNOWLEDGED, batch_name(0)):
            (where / file).write_bytes(data)
        cursor = read_cursor(LocalFileSystem(), where)
        assert cursor is None or isinstance(cursor[1], int)
        ((_, content),) = SpoolReader(where).batches()
        understood = cursor is not None or sealed_batch(content)
        with contextlib.suppress(SpoolError):
            understood |= bool(SpoolReader(where).identity().id)
    return understood


def messages(data: bytes) -> bool:
    """Look for error messages in ``data``."""
    text = data.decode(errors="replace")
    found = find_messages(text)
    assert sum(match.count for match in found) <= len(text.splitlines())
    for match in found:
        assert re.search(match.message.pattern, match.line.lower())
    return bool(found)


def bolt(data: bytes) -> bool:
    """Read ``data`` as a bolt file, its checksums being right."""
    return bool(bolt_target.one_input(data))


_MOUNTS: Final = (
    rb"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
    b"\n"
    rb"41 36 0:43 / /var/lib/docker/overlay2/a\134b/merged rw - overlay overlay "
    rb"rw,lowerdir=/l/A\:x:/l/B\134,upperdir=/u\054,workdir=/w,lowerdir+=/c,datadir+=/d"
    b"\n"
    rb"42 36 0:44 //deleted /x\011\012 ro shared:7 master:2 - tmpfs none ro"
    b"\n"
)
_SPEC: Final = any_message("types.containerd.io/opencontainers/runtime-spec/1/Spec", b'{"annotations": {"a": "b"}}')
_SPOOL: Final = (b'{"format": 1, "id": "x", "cluster": "c", "node": "n"}', b'{"spool": "x", "next": 7}')


def _batches() -> list[bytes]:
    return [sealed([link(number) for number in range(3)])]


TARGETS: Final[dict[str, Target]] = {
    "bolt": Target(bolt, lambda: [bolt_target.seed()]),
    "tar-split": Target(tar_split, lambda: [LAYER.tar_split]),
    "tar-split-lines": Target(tar_split_lines, lambda: [gzip.decompress(LAYER.tar_split)]),
    "blob-tar": Target(blob, lambda: [LAYER.tar, long_tar(tarfile.PAX_FORMAT), long_tar(tarfile.GNU_FORMAT)]),
    "blob-gzip": Target(blob, lambda: [LAYER.compressed]),
    "blob-zstd": Target(blob, lambda: [zstandard.compress(LAYER.tar)]),
    "mountinfo": Target(mountinfo, lambda: [_MOUNTS]),
    "protobuf": Target(protobuf, lambda: [_SPEC]),
    "json": Target(safe_json, lambda: [b'[{"id": "a", "n": [1, 2.5e3, null, true], "s": "\\ud83d\\ude00"}]', *_SPOOL]),
    "batch": Target(sealed_batch, _batches),
    "batch-unpacked": Target(packed_batch, lambda: [zstandard.decompress(data) for data in _batches()]),
    "spool": Target(spool_files, lambda: [*_SPOOL, *_batches()]),
    "messages": Target(messages, lambda: ["\n".join(text for _, text, _ in QUOTES).encode()]),
}
