"""The content of a layer's files: each against its CRC-64, and the archive put together again against its digest.

Every byte is read once, in the order of the archive. A file that is known to differ already (missing, of another type or size) is passed
over, and then the digest says nothing and is not computed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from fastcrc import crc64

from collector.contents.expected import Expected, normal
from collector.contents.tar_split import Piece
from collector.safe import Directory

_CHUNK: Final = 1 << 20


@dataclass(slots=True)
class Verdict:
    """What reading the files showed: those whose content is another, those that could not be read, and the digest if it is wrong."""

    changed: list[str] = field(default_factory=list)
    unread: list[tuple[str, OSError]] = field(default_factory=list)
    digest: str | None = None


def verify_files(diff: Directory, entries: dict[str, Expected], known: Collection[str]) -> Verdict:
    """Compare every file that has a checksum and is not ``known`` to differ."""
    verdict = Verdict()
    with _Files(diff) as files:
        for path, entry in entries.items():
            if entry.checksum is not None and entry.size and path not in known:
                _one(verdict, files, Piece(b"", path, entry.size, entry.checksum), _nothing)
    return verdict


def verify_archive(
    diff: Directory, pieces: Iterator[Piece], digest: str | None, known: Collection[str], renamed: Mapping[str, str] = MappingProxyType({})
) -> Verdict:
    """Compare the files of a tar-split, and put the archive together again. Raises ``ArchiveError`` and ``OSError``.

    ``renamed`` gives, for names that lead through symbolic links, where the file stands.
    """
    verdict = Verdict()
    archive, whole = hashlib.sha256(), True
    with _Files(diff) as files:
        for piece in pieces:
            archive.update(piece.raw)
            path = normal(piece.name) if piece.name is not None and piece.size else None
            path = renamed.get(path, path) if path is not None else None
            if piece.size and (path is None or path in known):
                whole = False
            elif path is not None:
                whole &= _one(verdict, files, piece._replace(name=path), archive.update)
    found = f"sha256:{archive.hexdigest()}"
    if whole and digest is not None and digest.startswith("sha256:") and found != digest:
        verdict.digest = found
    return verdict


def _one(verdict: Verdict, files: _Files, piece: Piece, feed: Callable[[bytes], None]) -> bool:
    """Read one file, handing its bytes to ``feed``; tell whether it could be read to its stated size."""
    path, left, checksum = piece.name or "", piece.size, 0
    try:
        for chunk in files.read(path, piece.size):
            feed(chunk)
            checksum = crc64.go_iso(chunk, checksum)
            left -= len(chunk)
    except OSError as error:
        verdict.unread.append((path, error))
        return False
    if left or (piece.checksum is not None and checksum != piece.checksum):
        verdict.changed.append(path)
    return not left


def _nothing(chunk: bytes) -> None:
    """Take a chunk and do nothing with it."""


class _Files:
    """The files of a layer, opened one name at a time; the directory of the last one stays open for the next. A context manager."""

    def __init__(self, top: Directory) -> None:
        self._top = top
        self._parents: list[str] | None = None
        self._directory = top

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def read(self, path: str, size: int) -> Iterator[bytes]:
        *parents, name = path.split("/")
        if parents != self._parents:
            self._leave()
            self._directory = self._top.directory(*parents)
            self._parents = parents
        descriptor = self._directory.open_file(name)
        try:
            while size > 0 and (chunk := os.read(descriptor, min(size, _CHUNK))):
                yield chunk
                size -= len(chunk)
        finally:
            os.close(descriptor)

    def _leave(self) -> None:
        if self._directory is not self._top:
            self._directory.close()
        self._directory, self._parents = self._top, None
