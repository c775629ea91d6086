"""Reading a layer's blob from containerd's content store: a tar, plain or compressed with gzip or zstd, streamed once.

The blob tells everything: headers, and the content of each file, of which only a CRC-64 is kept. Both digests are computed on the way, so
that a blob which is itself damaged is told from a layer that is. At most ``UNPACKED_LIMIT`` bytes come out of one blob, in parts of a
megabyte.

References:
    OCI image specification, layer.md (media types); the compression is told by its first bytes, as containerd does.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

import zstandard
from fastcrc import crc64

from collector.contents.expected import ArchiveError, Forward, Headers, Reading, members
from collector.safe import Directory

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

UNPACKED_LIMIT: Final = 128 << 30
_CHUNK: Final = 1 << 20
_WINDOW: Final = 128 << 20  # what zstd itself takes as its limit without --long
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class BlobDamagedError(ArchiveError):
    """The blob is not what its digest says."""


class Blob:
    """The blob ``name`` (hexadecimal digits of its SHA-256) in the open ``directory``; ``diff_digest`` is that of the tar in it."""

    def __init__(self, directory: Directory, name: str, diff_digest: str, limit: int = UNPACKED_LIMIT) -> None:
        """Read it when asked."""
        self._directory = directory
        self._name = name
        self._diff_digest = diff_digest
        self._limit = limit

    def headers(self) -> Headers:
        """Return what should stand in the layer, with checksums.

        Raises ``BlobDamagedError``, ``ArchiveError`` (it cannot be read as a layer) and ``OSError``.
        """
        with os.fdopen(self._directory.open_file(self._name), "rb") as file:
            raw = _Hashing(file)
            stream = _Stream(_unpacked(raw), self._limit)
            try:
                headers = _read(Forward(stream))
                while stream.skip(_CHUNK):  # to the last byte, for the digests
                    pass
            except ArchiveError:
                if raw.finish() != self._name:
                    raise BlobDamagedError("its content is not what its digest says") from None
                raise
            if raw.finish() != self._name:
                raise BlobDamagedError("its content is not what its digest says")
        if stream.digest() != self._diff_digest:
            raise ArchiveError(f"it unpacks to {stream.digest()}, not to {self._diff_digest}")
        return headers


def _read(source: Forward) -> Headers:
    reading = Reading()
    for member in members(source):
        checksum = None
        if member.isreg() and not member.issparse():
            checksum = 0
            for chunk in source.chunks(member.size):
                checksum = crc64.go_iso(chunk, checksum)
        reading.add(member, checksum)
    return reading.headers


class _Hashing:
    """The bytes of a file, hashed as they pass."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, count: int = _CHUNK) -> bytes:
        chunk = self._file.read(min(count, _CHUNK))
        self._hash.update(chunk)
        return chunk

    def finish(self) -> str:
        while self.read():
            pass
        return self._hash.hexdigest()


class _Stream:
    """Unpacked bytes, read forward, hashed and counted."""

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._chunks = chunks
        self._left = limit
        self._limit = limit
        self._chunk = memoryview(b"")
        self._hash = hashlib.sha256()

    def take(self, count: int) -> bytes:
        part = self._part(count)
        return bytes(part)

    def skip(self, count: int) -> int:
        return len(self._part(count))

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def _part(self, count: int) -> memoryview:
        while not self._chunk:
            try:
                fresh = next(self._chunks, None)
            except (zlib.error, zstandard.ZstdError, EOFError) as error:
                raise ArchiveError(f"it cannot be decompressed ({error})") from error
            if fresh is None:
                return self._chunk
            self._left -= len(fresh)
            if self._left < 0:
                raise ArchiveError(f"it unpacks to more than {self._limit} bytes")
            self._hash.update(fresh)
            self._chunk = memoryview(fresh)
        part, self._chunk = self._chunk[:count], self._chunk[count:]
        return part


def _unpacked(raw: _Hashing) -> Iterator[bytes]:
    first = raw.read(_CHUNK)
    if first.startswith(_GZIP):
        return _gunzip(first, raw)
    if first.startswith(_ZSTD):
        return _unzstd(first, raw)
    return _plain(first, raw)


def _plain(first: bytes, raw: _Hashing) -> Iterator[bytes]:
    chunk = first
    while chunk:
        yield chunk
        chunk = raw.read(_CHUNK)


def _gunzip(first: bytes, raw: _Hashing) -> Iterator[bytes]:
    """Unpack one gzip member after the other."""
    unpacker, pending, inside, more = zlib.decompressobj(wbits=31), first, False, False
    while more or pending or (pending := raw.read(_CHUNK)):
        if not inside and not pending.strip(b"\0"):  # padding after the last member
            pending = b""
            continue
        inside = True
        chunk = unpacker.decompress(pending, _CHUNK)
        pending, more = unpacker.unconsumed_tail, len(chunk) == _CHUNK  # with the input used up, output may still be waiting
        if chunk:
            yield chunk
        if unpacker.eof:
            pending, inside, more = unpacker.unused_data, False, False
            unpacker = zlib.decompressobj(wbits=31)
    if inside:
        raise EOFError("it is cut short")


def _unzstd(first: bytes, raw: _Hashing) -> Iterator[bytes]:
    source = io.BufferedReader(_Joined(first, raw), _CHUNK)
    with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(source, read_across_frames=True, closefd=False) as reader:
        while chunk := reader.read(_CHUNK):
            yield chunk


class _Joined(io.RawIOBase):
    """What was read already, then the rest."""

    def __init__(self, first: bytes, rest: _Hashing) -> None:
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        room = memoryview(buffer)
        part, self._first = (self._first[: len(room)], self._first[len(room) :]) if self._first else (self._rest.read(len(room)), b"")
        room[: len(part)] = part
        return len(part)
