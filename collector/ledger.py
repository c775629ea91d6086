"""The ledger: what the collector has already recorded, so that nothing is recorded twice and nothing is taken for new.

It is the fold of the rows in this node's spool: per store the links as they stand and since when, the open findings, the last sizes,
and until when the record is complete (``vouched``). After a start it is rebuilt as *checkpoint + replay*: the checkpoint covers every batch
below an offset, the batches from there on are folded onto it. So after kill -9 the next survey is compared with what is truly in the
spool. Rows that were never sealed are not in the fold, so the survey finds their subject again.

Files beside the spool, both written atomically: ``ledger`` and the one before it, ``ledger.previous``. A damaged checkpoint costs
nothing as long as the spool keeps the batches since the previous one (``floor``). Format: zstd frame with checksum of one JSON object
``{"format": 1, "spool": id, "next": offset, "runs": ..., "stores": {root: ...}}``. If none can be used and batches are missing from
the spool, ``lost`` is true: stores are then observed anew, and a gap says so.

A batch that cannot be decoded is left out, as the processor leaves it out of the lake; what it said is found again.
What is remembered of each store: ``collector.store_memory``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import zstandard

from collector.measure import Size
from collector.rows import interval_of, link_of, rows_of
from collector.spool_reader import SpoolReader
from collector.store_memory import StoreMemory, memory_document, memory_of
from linktrail.batch import decode
from linktrail.durable import FileSystem, write_durably
from linktrail.errors import BatchError, NewerSchemaError
from linktrail.events import Row

FORMAT: Final = 1
_PREVIOUS: Final = "ledger.previous"
_VOUCHING: Final = frozenset({"start", "heartbeat", "stop"})


class Ledger:
    """All stores of this node, as recorded."""

    def __init__(self, path: Path, *, spool: str, filesystem: FileSystem) -> None:
        """Start empty; ``open`` is the usual way in. ``path`` is the checkpoint, ``spool`` the id of the spool it belongs to."""
        self.stores: dict[str, StoreMemory] = {}
        self.next_offset = 0
        self.floor = 0
        self.lost = False
        self.damaged: list[str] = []
        self.last_run: str | None = None
        self._written = 0  # next offset of the checkpoint that stands in ``ledger``
        self._path = path
        self._spool = spool
        self._filesystem = filesystem

    @classmethod
    def open(cls, path: Path, reader: SpoolReader, *, filesystem: FileSystem) -> Ledger:
        """Load the newest usable checkpoint and replay the spool onto it.

        Raises ``SpoolError`` when the spool cannot be read, ``NewerSchemaError`` when a newer linktrail wrote to it.
        """
        spool = reader.identity().id
        offsets = reader.offsets()
        ledger = cls(path, spool=spool, filesystem=filesystem)
        start = ledger._start(offsets)
        ledger.lost = start == 0 and bool(offsets) and offsets[0] > 0
        for offset, data in reader.batches(start):
            ledger._replay(offset, data)
        if ledger.lost:
            for memory in ledger.stores.values():
                memory.vouched = None  # the batches that are left tell what is newest, not all that stands
        return ledger

    @staticmethod
    def least_offset(path: Path, filesystem: FileSystem) -> int:
        """Return the offset below which a checkpoint at ``path`` knows all were used, 0 when there is none to ask; for ``Spool.open``."""
        try:
            document = json.loads(zstandard.ZstdDecompressor().decompress(filesystem.read(path)))
            return int(document["next"])
        except (OSError, ValueError, KeyError, TypeError, zstandard.ZstdError):  # ``open`` says what is wrong with it
            return 0

    def store(self, root: str) -> StoreMemory:
        """Return the memory of the store at ``root``, empty when it is new."""
        return self.stores.setdefault(root, StoreMemory())

    def fold(self, table: str, row: Row) -> None:
        """Take in one row of the spool."""
        root = row.get("store_root")
        if not isinstance(root, str):
            return
        memory = self.store(root)
        if table == "links":
            memory.put(link_of(row), interval_of(row))
        elif table == "findings":
            memory.put_finding(row)
        elif table == "usage" and row["scope"] == "layer":
            memory.sizes[str(row["subject"])] = _size_of(row)
        elif table == "coverage" and row["kind"] in _VOUCHING:
            memory.vouched = interval_of(row).before - 1000  # a batch rounds it up to the next microsecond

    def checkpoint(self, next_offset: int) -> None:
        """Write all that is known, which must be exactly the batches below ``next_offset``. Raises ``OSError``; the old one stays then."""
        document = {
            "format": FORMAT,
            "spool": self._spool,
            "next": next_offset,
            "run": self.last_run,
            "stores": {root: memory_document(memory) for root, memory in self.stores.items()},
        }
        text = json.dumps(document, separators=(",", ":")).encode("ascii")
        data = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(text)
        if self._filesystem_has(self._path):
            self._filesystem.replace(self._path, self._previous)
            self.floor = self._written
        write_durably(self._filesystem, self._path, data)
        self.next_offset = self._written = next_offset

    def checkpoint_sealed(self, reader: SpoolReader) -> None:
        """Write what the sealed batches say, while this ledger already knows of rows that could not be sealed yet.

        Both files are written, so that ``floor`` comes up to the end of the spool. Raises ``OSError`` and what ``open`` raises.
        """
        sealed = Ledger.open(self._path, reader, filesystem=self._filesystem)
        for _ in range(2):
            sealed.checkpoint(sealed.next_offset)
        self.floor, self._written = sealed.floor, sealed.next_offset

    @property
    def _previous(self) -> Path:
        return self._path.with_name(_PREVIOUS)

    def _filesystem_has(self, path: Path) -> bool:
        return path.name in self._filesystem.names(path.parent)

    def _start(self, offsets: list[int]) -> int:
        """Load the newest checkpoint that can be used with the batches at ``offsets``; return where to replay from."""
        for file in (self._path, self._previous):
            try:
                document = _read_checkpoint(self._filesystem.read(file), self._spool, offsets[0] if offsets else 0)
                self.stores = {root: memory_of(value) for root, value in document["stores"].items()}
                self.last_run = document["run"]
                self.next_offset = self.floor = self._written = int(document["next"])
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError, IndexError, zstandard.ZstdError) as error:
                self.damaged.append(f"{file.name} cannot be used: {error}")
                continue
            return self.next_offset
        return 0

    def _replay(self, offset: int, data: bytes) -> None:
        self.next_offset = offset + 1
        try:
            header, table = decode(data, f"{offset} of the spool")
        except NewerSchemaError:
            raise
        except BatchError as error:
            self.damaged.append(error.message)
            return
        self.last_run = header.run
        for row in rows_of(table):
            self.fold(header.table, row)


def _read_checkpoint(data: bytes, spool: str, first: int) -> dict[str, Any]:
    """Return the checkpoint of ``spool``, whose batches begin at ``first``. Raises ``ValueError`` when the two do not meet."""
    document: dict[str, Any] = json.loads(zstandard.ZstdDecompressor().decompress(data))
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']}")
    if document["spool"] != spool:
        raise ValueError("it belongs to another spool")
    if first > document["next"]:
        raise ValueError(f"it ends at {document['next']}, the spool begins at {first}")
    return document


def _size_of(row: Row) -> Size:
    numbers = (row.get(name) for name in ("bytes", "apparent_bytes", "inodes", "shared_bytes"))
    used, apparent, inodes, shared = (number if isinstance(number, int) else 0 for number in numbers)
    return Size(used, apparent, inodes, shared, 0)
