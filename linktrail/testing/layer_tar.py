"""Contents of an image layer, and everything an engine derives from them.

A ``Layer`` is a mapping of paths to entries. From it come, byte for byte the same on every machine: the tar, its
digest (the diff id), the gzip that a registry would have served, the layer id of containers/storage, and the tar-split
file (github.com/vbatts/tar-split: gzip of JSON lines, type 2 = raw tar bytes, type 1 = a file with its size and CRC-64/ISO).
Sizes in bytes. Meant for small layers: the CRC is computed in Python, about 3 MB a second.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import struct
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

WHITEOUT_PREFIX = ".wh."
_MODIFIED = 1_795_449_600  # 2026-11-23T16:00:00Z
_GZIP_LEVEL = 6
_CRC64_ISO = 0xD800000000000000


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link to ``to``, as written."""

    to: str


@dataclass(frozen=True, slots=True)
class Hardlink:
    """A further name of the file ``of`` (a path in the same layer, named before)."""

    of: str


@dataclass(frozen=True, slots=True)
class Whiteout:
    """Hides the name in the layers below; a character device 0:0 on disk, ``.wh.<name>`` in the tar."""


Entry = bytes | Symlink | Hardlink | Whiteout


@dataclass(frozen=True)
class Layer:
    """One layer: paths relative to its root and what is there; parents are made, files are mode 0755. ``created_by``: the build's step."""

    entries: Mapping[str, Entry]
    modified: int = field(default=_MODIFIED)
    created_by: str = "linktrail"

    @cached_property
    def tar(self) -> bytes:
        """The uncompressed tar."""
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path, entry in self.walk():
                archive.addfile(*_member(path, entry, self.modified))
        return sink.getvalue()

    @cached_property
    def compressed(self) -> bytes:
        """The gzip of the tar, without a time in it."""
        return gzip.compress(self.tar, _GZIP_LEVEL, mtime=0)

    @cached_property
    def diff_hex(self) -> str:
        """SHA-256 of the tar, in hexadecimal."""
        return hashlib.sha256(self.tar).hexdigest()

    @cached_property
    def tar_split(self) -> bytes:
        """The tar-split file: with it and the files, the tar can be made again byte for byte."""
        lines = (json.dumps(record, separators=(",", ":")) for record in _tar_split(self.tar))
        return gzip.compress(("\n".join(lines) + "\n").encode(), _GZIP_LEVEL, mtime=0)

    def walk(self) -> Iterator[tuple[str, Entry | None]]:
        """Yield every path with its entry, directories (entry ``None``) before what is in them."""
        seen: set[str] = set()
        for path, entry in self.entries.items():
            for parent in reversed(PurePosixPath(path).parents[:-1]):
                if str(parent) not in seen:
                    seen.add(str(parent))
                    yield str(parent), None
            yield path, entry


def sha256(data: bytes) -> str:
    """Return the digest of ``data`` as engines write it (``sha256:<hex>``)."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer_id(parent: str | None, diff_hex: str) -> str:
    """Return the id containers/storage gives an image layer: the diff id for a base, else SHA-256 of ``<parent>+<diff hex>``."""
    return hashlib.sha256(f"{parent}+{diff_hex}".encode()).hexdigest() if parent else diff_hex


def layer_ids(layers: Sequence[Layer]) -> list[str]:
    """Return the ids of a chain of layers, base first."""
    ids: list[str] = []
    for layer in layers:
        ids.append(layer_id(ids[-1] if ids else None, layer.diff_hex))
    return ids


def _member(path: str, entry: Entry | None, modified: int) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
    member = tarfile.TarInfo(path)
    member.mtime, member.mode = modified, 0o755
    match entry:
        case None:
            member.type = tarfile.DIRTYPE
        case Symlink(to):
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, to, 0o777
        case Hardlink(of):
            member.type, member.linkname = tarfile.LNKTYPE, of
        case Whiteout():
            place = PurePosixPath(path)
            member.name = str(place.with_name(WHITEOUT_PREFIX + place.name))
        case bytes():
            member.size = len(entry)
            return member, io.BytesIO(entry)
    return member, None


def _tar_split(tar: bytes) -> Iterator[dict[str, object]]:
    position, done = 0, 0
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            yield {"type": 2, "payload": base64.b64encode(tar[done : member.offset_data]).decode(), "position": position}
            name = _name(member.name + ("/" if member.isdir() else ""))
            done = member.offset_data
            if member.isreg() and member.size:
                content = tar[done : done + member.size]
                done += member.size
                checksum = base64.b64encode(struct.pack(">Q", crc64(content))).decode()
                yield {"type": 1, **name, "size": member.size, "payload": checksum, "position": position + 1}
            else:
                yield {"type": 1, **name, "payload": None, "position": position + 1}
            position += 2
    yield {"type": 2, "payload": base64.b64encode(tar[done:]).decode(), "position": position}


def _name(name: str) -> dict[str, str]:
    raw = os.fsencode(name)
    try:
        return {"name": raw.decode()}
    except UnicodeDecodeError:
        return {"name_raw": base64.b64encode(raw).decode()}


def _crc64_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_CRC64_ISO if value & 1 else 0)  # noqa: PLW2901 - the register being shifted
        table.append(value)
    return tuple(table)


_TABLE = _crc64_table()


def crc64(data: bytes) -> int:
    """Return the CRC-64/ISO of ``data`` as Go's hash/crc64 computes it."""
    register = 0xFFFFFFFFFFFFFFFF
    table = _TABLE
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFFFFFFFFFF
