"""The spool: the collector's own ordered, durable log of sealed batches.

Format of the directory (``sha256sum``, ``zstd -d`` and any Arrow reader verify it without linktrail):

* ``spool.json``  ``{"format": 1, "id": <random>, "cluster": ..., "node": ...}``. Offsets belong to the id; a spool directory
  made anew has a new id, so no offset remembered elsewhere is applied to it.
* ``<offset:016d>.batch``  one sealed batch (``linktrail.batch``), write-once: written beside, fsynced, renamed, directory fsynced.
* ``acknowledged``  what the processor or shipper has made durable elsewhere (``collector.spool_reader``).
* ``quarantine/``  batches a reader could not use, every byte kept. They count towards the limit until somebody removes them.
* ``lock``  held (flock) by the one collector; holds its process id.

Promises. A batch that ``seal`` returned survives kill -9 and power loss. An offset is never used twice, also not after
trimming or a restart: the newest batch is never trimmed, and the cursor and the ledger are lower bounds besides. In a run,
``batch`` and ``seq`` start at 0 and have no holes. ``seal`` writes a batch wholly or leaves the directory as it was: after a
full disk the rows stay buffered and a later ``seal`` carries on with the same numbers. After any other failure of a write
(a failed fsync above all: the kernel may have dropped the pages) the spool refuses everything until it is opened again.

``seal_beside`` is for a burst of rows: its last batch is compressed in a thread while its caller makes further rows, and written by the
next call. All else, and every file operation, is done by the one thread that uses the spool, in the same order.

Limits. ``limit_bytes`` bounds the batch files including quarantine; ``reserve_bytes`` of the filesystem are left to others.
What to do when either is reached (``SpoolFullError``) is the recorder's policy; it may ``trim`` or ``discard``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self

import pyarrow as pa

from collector.spool_batch import Sealed, Unwritten, rows_that_fit, run_name
from collector.spool_directory import FULL, Identity, batch_name, batch_offset, failed, make_identity, read_cursor, take_lock
from collector.spool_reader import SpoolReader
from linktrail import batch
from linktrail.clock import Clock
from linktrail.durable import TEMPORARY_SUFFIX, FileSystem
from linktrail.errors import SpoolError, SpoolFullError
from linktrail.events import Row
from linktrail.schema import SCHEMA_VERSION, TABLES

__all__ = ["Sealed", "Spool", "SpoolReader"]

LIMIT_BYTES: Final = 1 << 30
RESERVE_BYTES: Final = 16 << 20


class Spool:
    """The one writer of a spool directory. Not safe for several threads at once; readers need nothing from it."""

    def __init__(
        self, path: Path, *, filesystem: FileSystem, clock: Clock, identity: Identity, lock: int, limit_bytes: int, reserve_bytes: int
    ) -> None:
        """Use ``Spool.open``."""
        self.path = path
        self.id = identity.id
        self.cluster = identity.cluster
        self.node = identity.node
        self.limit_bytes = limit_bytes
        self.reserve_bytes = reserve_bytes
        self.run = ""
        self.next_offset = 0
        self.pending_rows = 0  # buffered and not yet durable
        self.reader = SpoolReader(path, filesystem=filesystem)
        self._filesystem = filesystem
        self._clock = clock
        self._lock = lock
        self._sizes: dict[int, int] = {}
        self._buffer: dict[str, list[pa.Table]] = {}
        self._unwritten: Unwritten | None = None  # whose rows are pending too, and come before those in the buffer
        self._unreported: list[Sealed] = []
        self._failure = ""
        self._batch = self._seq = 0
        self._previous_digest = ""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        filesystem: FileSystem,
        clock: Clock,
        cluster: str,
        node: str,
        limit_bytes: int = LIMIT_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        least_offset: int = 0,
    ) -> Self:
        """Open (or make) the spool at ``path`` for writing, and hold its lock until ``close``.

        ``least_offset`` is a further lower bound for new offsets (the ledger's). Raises ``SpoolLockedError`` when another collector has
        it, ``SpoolFullError`` when there is no space to make it, ``SpoolError`` otherwise.
        """
        lock = -1
        try:
            filesystem.make_directory(path)
            lock = take_lock(path)
            identity = make_identity(filesystem, path, cluster, node)
            spool = cls(
                path,
                filesystem=filesystem,
                clock=clock,
                identity=identity,
                lock=lock,
                limit_bytes=limit_bytes,
                reserve_bytes=reserve_bytes,
            )
            spool._take_stock(least_offset)
        except BaseException as error:
            if lock >= 0:
                os.close(lock)
            if isinstance(error, OSError):
                raise failed(path, "cannot be opened", error) from error
            raise
        return spool

    def _take_stock(self, least_offset: int) -> None:
        """Clear away unfinished files, and find the next offset and the bytes in use."""
        for name in self._filesystem.names(self.path):
            offset = batch_offset(name)
            if offset is not None:
                self._sizes[offset] = (self.path / name).stat().st_size
            elif name.endswith(TEMPORARY_SUFFIX) and name.startswith("."):
                # A processor that is just writing its cursor retries; everything else here is ours and dead.
                self._filesystem.unlink(self.path / name)
        cursor = read_cursor(self._filesystem, self.path)
        quarantined = self.reader.quarantined()
        newest = max([*self._sizes, *quarantined], default=-1)
        self.next_offset = max(newest + 1, cursor[1] if cursor else 0, least_offset)

    def close(self) -> None:
        """Release the lock. Rows still buffered are dropped: seal first."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._failure = self._failure or "it is closed"

    # --- writing ------------------------------------------------------------------------------------------------

    def begin_run(self, after: str | None = None) -> str:
        """Start a new run (``20261124T000000.000000Z-1a2b3c4d``) with batch and row numbers from 0; rows still buffered belong to it.

        Its name begins with its start, and sorts behind ``after``, the run before it, also where both began within a clock tick or the
        clock was set back: what is known of a link is what the last of its runs says.
        """
        self._require_sound()
        self._recall()
        self.run = run_name(self._clock.now().wall, after)
        self._batch = self._seq = 0
        self._previous_digest = ""
        return self.run

    def append(self, table: str, rows: list[Row]) -> None:
        """Buffer ``rows`` of ``table`` until ``seal``. Raises ``BatchError`` for a row that does not fit its table, and keeps none then."""
        self._require_sound()
        if rows:
            self._buffer.setdefault(table, []).append(batch.columns(table, rows))
            self.pending_rows += len(rows)

    @property
    def pending_bytes(self) -> int:
        """Memory that the rows take which are not yet durable."""
        parts = [part for parts in self._buffer.values() for part in parts]
        return sum(part.nbytes for part in (*parts, *([self._unwritten.rows] if self._unwritten else ())))

    @property
    def buffered_rows(self) -> int:
        """How many of the pending rows ``seal_beside`` has not begun with."""
        return self.pending_rows - (self._unwritten.count if self._unwritten else 0)

    def seal(self) -> list[Sealed]:
        """Make every pending row durable, and return the batches sealed since the last time that this or ``seal_beside`` returned.

        One batch holds rows of one table; tables are sealed in the order of ``linktrail.schema.TABLES``. Raises ``SpoolFullError``
        (the rows not yet sealed stay buffered; call again once there is room) or ``SpoolError`` (the spool is unusable now).
        """
        return self._seal(beside=False)

    def seal_beside(self) -> list[Sealed]:
        """Do as ``seal``, but only begin with the last batch: its rows stay pending until the next call of either."""
        return self._seal(beside=True)

    def _seal(self, *, beside: bool) -> list[Sealed]:
        self._require_sound()
        if self._buffer and not self.run:
            raise SpoolError(path=self.path, what="no run has begun")
        self._finish()
        tables = [name for name in TABLES if name in self._buffer]
        for table in tables:
            rest = pa.concat_tables(self._buffer[table]).combine_chunks()
            while rest.num_rows:
                count = rows_that_fit(rest)
                part, rest = rest.slice(0, count), rest.slice(count)
                self._unwritten = self._serialized(table, part)
                self._buffer[table] = [rest]
                if beside and not rest.num_rows and table == tables[-1]:
                    self._unwritten.begin()
                else:
                    self._finish()
            del self._buffer[table]
        sealed, self._unreported = self._unreported, []
        return sealed

    def _serialized(self, table: str, rows: pa.Table) -> Unwritten:
        sealed_at = self._clock.now().wall
        header = batch.Header(
            schema_version=SCHEMA_VERSION,
            cluster=self.cluster,
            node=self.node,
            run=self.run,
            batch=self._batch,
            table=table,
            rows=rows.num_rows,
            first_seq=self._seq,
            last_seq=self._seq + rows.num_rows - 1,
            previous_digest=self._previous_digest,
            sealed_at=sealed_at,
        )
        return Unwritten(table, rows, batch.stream_of(header, rows), sealed_at)

    def _finish(self) -> None:
        """Write the batch that is serialized, if there is one."""
        if (ready := self._unwritten) is None:
            return
        data = ready.data()
        size, count = len(data), ready.count
        self._require_room(size)
        self._write(self.next_offset, data)
        offset, first, last = self.next_offset, self._seq, self._seq + count - 1
        done = Sealed(offset, batch.digest(data), ready.table, self.run, self._batch, count, first, last, size, ready.sealed_at)
        self._sizes[offset] = size
        self._batch, self._seq, self._previous_digest = self._batch + 1, last + 1, done.digest
        self.next_offset = offset + 1
        self.pending_rows -= count
        self._unwritten = None
        self._unreported.append(done)

    def _recall(self) -> None:
        """Make buffered rows again of those in a batch that is not written."""
        ready, self._unwritten = self._unwritten, None
        if ready is not None:
            self._buffer[ready.table] = [ready.rows, *self._buffer.get(ready.table, [])]

    def _write(self, offset: int, data: bytes) -> None:
        """Put a batch in place. A full disk leaves nothing and may be tried again; any other failure ends the use of this spool."""
        target = self.path / batch_name(offset)
        temporary = self.path / f".{target.name}{TEMPORARY_SUFFIX}"
        visible = False
        try:
            self._filesystem.unlink(temporary)
            self._filesystem.write_new(temporary, data)
            self._filesystem.replace(temporary, target)
            visible = True
            self._filesystem.sync_directory(self.path)
        except OSError as error:
            if error.errno in FULL and not visible:
                self._sweep(temporary)
                raise failed(self.path, f"batch {offset} cannot be written", error) from error
            raise self._fail(f"batch {offset} cannot be written", error) from error

    def _sweep(self, temporary: Path) -> None:
        """Take away what a full disk left half-written; the rename of a finished file may have been what failed."""
        try:
            self._filesystem.unlink(temporary)
        except OSError as error:
            raise self._fail(f"{temporary.name} cannot be removed", error) from error

    def _fail(self, what: str, error: OSError) -> SpoolError:
        self._failure = f"{what}: {error.strerror or error}; it takes nothing more until it is opened again"
        return SpoolError(path=self.path, what=self._failure)

    def _require_sound(self) -> None:
        if self._failure:
            raise SpoolError(path=self.path, what=self._failure)

    def _require_room(self, size: int) -> None:
        used = self.size_bytes
        if used + size > self.limit_bytes:
            raise SpoolFullError(path=self.path, what=f"{used} of {self.limit_bytes} bytes are in use and a batch of {size} waits")
        try:
            free = self._filesystem.free_bytes(self.path)
        except OSError as error:
            raise self._fail("its free space cannot be read", error) from error
        if free < size + self.reserve_bytes:
            raise SpoolFullError(path=self.path, what=f"{free} bytes are free on its filesystem, {self.reserve_bytes} are left to others")

    def discard(self) -> dict[str, int]:
        """Drop the pending rows and return how many of each table; the recorder states the gap."""
        self._recall()
        dropped = {table: sum(part.num_rows for part in parts) for table, parts in self._buffer.items()}
        self._buffer.clear()
        self.pending_rows = 0
        return dropped

    # --- reading and trimming -----------------------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Bytes of all batch files, quarantine included."""
        return self._quarantined_bytes() + sum(self._sizes.values())

    def _quarantined_bytes(self) -> int:
        """Bytes set aside; a batch that moved there since the last look is no longer counted twice."""
        total = 0
        for offset in self.reader.quarantined():
            self._sizes.pop(offset, None)
            try:
                total += self.reader.quarantine_path(offset).stat().st_size
            except FileNotFoundError:
                continue  # somebody cleared it away between the listing and now
        return total

    def acknowledged(self) -> int:
        """Return the next offset that the processor or shipper needs."""
        return self.reader.acknowledged()

    def offsets(self) -> list[int]:
        """Return the offsets of the batches that are there now, ascending."""
        return self.reader.offsets()

    def read(self, offset: int) -> bytes | None:
        """Return the sealed bytes at ``offset``, or ``None`` when they are gone."""
        return self.reader.read(offset)

    def trim(self, upto: int) -> int:
        """Remove the batches below ``upto`` except the newest one, and return how many. Raises ``SpoolError``.

        The newest stays because its name is what keeps offsets from being used again.
        """
        self._require_sound()
        removable = sorted(offset for offset in self._sizes if offset < min(upto, self.next_offset - 1))
        try:
            for offset in removable:
                self._filesystem.unlink(self.path / batch_name(offset))
                del self._sizes[offset]
            if removable:
                self._filesystem.sync_directory(self.path)
        except OSError as error:
            raise self._fail("acknowledged batches cannot be removed", error) from error
        return len(removable)
