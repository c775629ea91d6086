"""The reading side of a spool: no lock, for the processor, the shipper and the ledger.

Promises. A batch that ``read`` returns is whole and will never change (files appear by rename and are write-once). A file
that the collector trims between ``offsets`` and ``read`` is not an error: ``read`` says ``None``. Only the collector
removes batch files; a reader moves one it cannot use to ``quarantine/`` (a rename, so it needs no space and keeps
every byte) and writes one file, ``acknowledged``: JSON ``{"spool": id, "next": offset}``, where every batch below
``next`` is durable elsewhere. The format of the directory is described in ``collector.spool``.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from collector.spool_directory import ACKNOWLEDGED, QUARANTINE, Identity, batch_name, batch_offset, failed, read_cursor, read_identity
from linktrail.durable import TEMPORARY_SUFFIX, FileSystem, LocalFileSystem
from linktrail.errors import SpoolError


class SpoolReader:
    """A spool directory, read while its collector may be writing, trimming, or away."""

    def __init__(self, path: Path, *, filesystem: FileSystem | None = None) -> None:
        """Read the spool at ``path``; nothing is touched yet."""
        self.path = path
        self._filesystem = filesystem or LocalFileSystem()

    def identity(self) -> Identity:
        """Return the spool's id and node; raises ``SpoolError`` when no collector has used the directory yet."""
        found = read_identity(self._filesystem, self.path)
        if found is None:
            raise SpoolError(path=self.path, what="no collector has written here yet")
        return found

    def offsets(self, start: int = 0) -> list[int]:
        """Return the offsets from ``start`` on of the batches that are there now, ascending. Raises ``SpoolError``."""
        return self._offsets(self.path, start)

    def quarantined(self) -> list[int]:
        """Return the offsets of the batches set aside as unusable, ascending. Raises ``SpoolError``."""
        return self._offsets(self.path / QUARANTINE)

    def _offsets(self, directory: Path, start: int = 0) -> list[int]:
        try:
            names = self._filesystem.names(directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise failed(directory, "cannot be listed", error) from error
        first = batch_name(start)  # names are as long as each other: those before it need no closer look, and may be many
        return [offset for name in names if name >= first and (offset := batch_offset(name)) is not None]

    def read(self, offset: int) -> bytes | None:
        """Return the sealed bytes of the batch at ``offset``, or ``None`` when it is gone. Raises ``SpoolError``."""
        return self._read(self.path / batch_name(offset))

    def read_quarantined(self, offset: int) -> bytes | None:
        """Return the bytes of a batch set aside, or ``None`` when it is gone. Raises ``SpoolError``."""
        return self._read(self.quarantine_path(offset))

    def _read(self, file: Path) -> bytes | None:
        try:
            return self._filesystem.read(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failed(self.path, f"{file.name} cannot be read", error) from error

    def batches(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, sealed bytes) from ``start`` on, as listed now; a file trimmed meanwhile is left out."""
        for offset in self.offsets(start):
            if (data := self.read(offset)) is not None:
                yield offset, data

    def make_names_durable(self) -> None:
        """Fsync the directory: what ``offsets`` listed before this call cannot vanish in a power loss.

        A reader that commits offsets elsewhere calls it first. Otherwise a file seen before the collector's own fsync could be lost
        while its offset is already committed, and the collector would use that offset again for other rows.
        """
        try:
            self._filesystem.sync_directory(self.path)
        except OSError as error:
            raise failed(self.path, "cannot be made durable", error) from error

    def acknowledged(self) -> int:
        """Return the next offset the processor or shipper needs; 0 when it has none yet, or it belongs to another spool."""
        cursor = read_cursor(self._filesystem, self.path)
        identity = read_identity(self._filesystem, self.path)
        return cursor[1] if cursor and identity and cursor[0] == identity.id else 0

    def acknowledge(self, spool: str, next_offset: int) -> None:
        """State that every batch below ``next_offset`` of spool id ``spool`` is durable elsewhere; never goes back.

        Raises ``OSError`` (the caller knows whether a full disk here is fatal).
        """
        cursor = read_cursor(self._filesystem, self.path)
        if cursor and cursor[0] == spool and cursor[1] >= next_offset:
            return
        try:
            self._write_cursor(spool, next_offset)
        except FileNotFoundError:  # a collector that was just starting swept the unfinished file away; it does so once
            self._write_cursor(spool, next_offset)

    def _write_cursor(self, spool: str, next_offset: int) -> None:
        # A name of its own: two processors may race here until one of them is fenced.
        temporary = self.path / f".{ACKNOWLEDGED}.{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}"
        self._filesystem.write_new(temporary, json.dumps({"spool": spool, "next": next_offset}).encode() + b"\n")
        self._filesystem.replace(temporary, self.path / ACKNOWLEDGED)
        self._filesystem.sync_directory(self.path)

    def quarantine_path(self, offset: int) -> Path:
        """Return where the batch at ``offset`` is kept once it was set aside."""
        return self.path / QUARANTINE / batch_name(offset)

    def quarantine(self, offset: int) -> Path:
        """Move the batch at ``offset`` aside, durably, and return where it is; not an error when it is there already.

        Raises ``OSError``.
        """
        target = self.quarantine_path(offset)
        self._filesystem.make_directory(target.parent)
        try:
            self._filesystem.replace(self.path / batch_name(offset), target)
        except FileNotFoundError:
            if offset not in self.quarantined():
                raise
        self._filesystem.sync_directory(target.parent)  # the new name first, so that no moment is without one
        self._filesystem.sync_directory(self.path)
        return target
