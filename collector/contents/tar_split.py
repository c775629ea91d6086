"""Reading a layer's tar-split: the archive it was unpacked from, without the content of its files.

Format (gzip, one JSON object a line): ``{"type": 2, "payload": base64}`` is a raw piece of the archive (headers, padding);
``{"type": 1, "name" | "name_raw", "size", "payload": base64 CRC-64}`` stands for the content of one file. In their order they give the
archive byte by byte.

Everything is bounded: the length of a line, the bytes of all raw pieces, the number of entries. A stated file size costs nothing: the
content is skipped, never made up.

References:
    vbatts/tar-split, tar/storage/entry.go and tar/asm.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from collector.safe import Directory
from linktrail.text import decode

LINE_LIMIT: Final = 64 << 20
RAW_LIMIT: Final = 4 << 30
ENTRY_LIMIT: Final = 5_000_000
_FILE, _SEGMENT = 1, 2


class TarSplitError(Exception):
    """The tar-split cannot be read; the text says why."""


class Piece(NamedTuple):
    """A raw piece (``name`` is ``None``), or the content of file ``name`` with ``size`` bytes."""

    raw: bytes
    name: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class TarSplitReader:
    """The tar-split of layer ``layer`` in the store whose root is open as ``root``."""

    root: Directory
    layer: str

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces of the archive in order. Raises ``TarSplitError`` and ``OSError``."""
        total = 0
        with self.root.directory("overlay-layers") as directory:
            descriptor = directory.open_file(f"{self.layer}.tar-split.gz")
        with os.fdopen(descriptor, "rb") as file, gzip.GzipFile(fileobj=file) as stream:
            for number in range(ENTRY_LIMIT):
                try:
                    line = stream.readline(LINE_LIMIT)
                except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                    raise TarSplitError(f"line {number + 1} cannot be decompressed ({error})") from error
                if not line:
                    return
                piece = _piece(line, number + 1)
                total += len(piece.raw)
                if total > RAW_LIMIT:
                    raise TarSplitError(f"it holds more than {RAW_LIMIT} bytes of headers")
                yield piece
        raise TarSplitError(f"it has more than {ENTRY_LIMIT} entries")

    def members(self) -> Iterator[tarfile.TarInfo]:
        """Yield the headers of the archive in order. Raises ``TarSplitError`` and ``OSError``."""
        try:
            with tarfile.open(fileobj=_Archive(self.pieces()), mode="r:", errors="surrogateescape") as archive:  # type: ignore[call-overload]  # it reads forward only
                while (member := archive.next()) is not None:
                    archive.members = []  # it would keep them all
                    yield member
        except (tarfile.TarError, ValueError) as error:
            raise TarSplitError(f"its archive is damaged ({error})") from error


def _piece(line: bytes, number: int) -> Piece:
    if len(line) >= LINE_LIMIT:
        raise TarSplitError(f"line {number} is longer than {LINE_LIMIT} bytes")
    try:
        entry = json.loads(line)
        kind, payload = entry["type"], entry.get("payload") or ""
        if kind == _SEGMENT:
            return Piece(base64.b64decode(payload, validate=True))
        if kind == _FILE:
            raw_name = entry.get("name_raw")
            name = decode(base64.b64decode(raw_name, validate=True)) if raw_name else entry.get("name", "")
            size = entry.get("size", 0)
            if isinstance(name, str) and isinstance(size, int) and size >= 0:
                return Piece(b"", name, size)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError) as error:
        raise TarSplitError(f"line {number} is malformed ({type(error).__name__})") from error
    raise TarSplitError(f"line {number} is malformed")


class _Archive:
    """The archive as a file that is read forward; skipping over content is free, and content reads as zeros."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._position = 0
        self._raw = b""
        self._offset = 0
        self._zeros = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        if whence or position < self._position:
            raise ValueError("it does not read in order")
        self._take(position - self._position, keep=False)
        return self._position

    def read(self, count: int) -> bytes:
        return self._take(count, keep=True)

    def _take(self, count: int, *, keep: bool) -> bytes:
        parts: list[bytes] = []
        while count > 0 and self._fill():
            if self._zeros:
                step = min(count, self._zeros, 1 << 20) if keep else min(count, self._zeros)
                self._zeros -= step
                if keep:
                    parts.append(bytes(step))
            else:
                step = min(count, len(self._raw) - self._offset)
                if keep:
                    parts.append(self._raw[self._offset : self._offset + step])
                self._offset += step
            count -= step
            self._position += step
        return b"".join(parts)

    def _fill(self) -> bool:
        """Have something to read, or say that there is no more."""
        while not self._zeros and self._offset >= len(self._raw):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._raw, self._offset, self._zeros = piece.raw, 0, piece.size
        return True
