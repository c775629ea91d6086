"""Reading a layer's tar-split: the archive it was unpacked from, without the content of its files.

Format (gzip, one JSON object a line): ``{"type": 2, "payload": base64}`` is a raw piece of the archive (headers, padding);
``{"type": 1, "name" | "name_raw", "size", "payload": base64 CRC-64}`` stands for the content of one file. In their order they give the
archive byte by byte.

Everything is bounded: the length of a line, the bytes of all raw pieces, the number of entries. A stated file size costs nothing: the
content is skipped, never made up.

References:
    vbatts/tar-split, tar/storage/entry.go, tar/storage/getter.go (CRC-64/ISO, big-endian) and tar/asm.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from collector.contents.expected import ArchiveError, Forward, Headers, Reading, members
from collector.safe import Directory
from linktrail.text import decode

LINE_LIMIT: Final = 8 << 20
RAW_LIMIT: Final = 2 << 30
ENTRY_LIMIT: Final = 3_000_000
_FILE, _SEGMENT = 1, 2
_CHECKSUM_BYTES: Final = 8
_SIZE_LIMIT: Final = 1 << 63


class Piece(NamedTuple):
    """A raw piece (``name`` is ``None``), or the content of file ``name`` with ``size`` bytes and that CRC-64 (if it is told)."""

    raw: bytes
    name: str | None = None
    size: int = 0
    checksum: int | None = None


class TarSplit:
    """The tar-split in the file ``name`` of the open ``directory``."""

    def __init__(self, directory: Directory, name: str) -> None:
        """Read it whenever asked."""
        self._directory = directory
        self._name = name

    def headers(self) -> Headers:
        """Return what should stand in the layer. Raises ``ArchiveError`` and ``OSError``."""
        reading = Reading()
        for member in members(Forward(_Skeleton(self.pieces()))):
            reading.add(member)
        return reading.headers

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces of the archive in order. Raises ``ArchiveError`` and ``OSError``."""
        total = 0
        descriptor = self._directory.open_file(self._name)
        with os.fdopen(descriptor, "rb") as file, gzip.GzipFile(fileobj=file) as stream:
            for number in range(1, ENTRY_LIMIT + 1):
                try:
                    line = stream.readline(LINE_LIMIT)
                except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                    raise ArchiveError(f"line {number} cannot be decompressed ({error})") from error
                if not line:
                    return
                piece = _piece(line, number)
                total += len(piece.raw)
                if total > RAW_LIMIT:
                    raise ArchiveError(f"it holds more than {RAW_LIMIT} bytes of headers")
                yield piece
        raise ArchiveError(f"it has more than {ENTRY_LIMIT} lines")


def _piece(line: bytes, number: int) -> Piece:
    if len(line) >= LINE_LIMIT:
        raise ArchiveError(f"line {number} is longer than {LINE_LIMIT} bytes")
    try:
        entry = json.loads(line)
        kind, payload = entry["type"], base64.b64decode(entry.get("payload") or "", validate=True)
        if kind == _SEGMENT:
            return Piece(payload)
        if kind == _FILE:
            raw_name = entry.get("name_raw")
            name = decode(base64.b64decode(raw_name, validate=True)) if raw_name else entry.get("name", "")
            size = entry.get("size", 0)
            if isinstance(name, str) and type(size) is int and 0 <= size < _SIZE_LIMIT:
                return Piece(b"", name, size, int.from_bytes(payload, "big") if len(payload) == _CHECKSUM_BYTES else None)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError) as error:
        raise ArchiveError(f"line {number} is malformed ({type(error).__name__})") from error
    raise ArchiveError(f"line {number} is malformed")


class _Skeleton:
    """The archive as bytes; passing over the content of a file is free, and read it is zeros."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._raw = b""
        self._offset = 0
        self._zeros = 0

    def take(self, count: int) -> bytes:
        if not self._fill():
            return b""
        if self._zeros:
            step = min(count, self._zeros, 1 << 20)
            self._zeros -= step
            return bytes(step)
        chunk = self._raw[self._offset : self._offset + count]
        self._offset += len(chunk)
        return chunk

    def skip(self, count: int) -> int:
        if not self._fill():
            return 0
        if self._zeros:
            step = min(count, self._zeros)
            self._zeros -= step
        else:
            step = min(count, len(self._raw) - self._offset)
            self._offset += step
        return step

    def _fill(self) -> bool:
        """Have something to read, or say that there is no more."""
        while not self._zeros and self._offset >= len(self._raw):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._raw, self._offset, self._zeros = piece.raw, 0, piece.size
        return True
