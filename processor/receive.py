"""From records to rows that wait for the next commit: decode, check continuity, state what is wrong.

Nothing is dropped in silence. A record that cannot be decoded is set aside with all its bytes, and a gap ``batch-undecodable`` says where;
positions that are gone from the source are a gap ``batch-missing``, unless the numbering of the run they belong to says so already.
A batch of another node in a source that is one node's alone is set aside too, and stated as ``batch-foreign`` of the node whose source
that is: no row is the other's, whatever the batch says of itself.
A batch that only a newer linktrail can read is neither: it stops the processor (``NewerSchemaError``), and waits in its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from linktrail import batch
from linktrail.clock import Clock
from linktrail.errors import BatchError, ForeignBatchError, NewerSchemaError
from linktrail.events import Row
from linktrail.schema import COVERAGE
from processor.continuity import BATCH_MISSING, Continuity
from processor.coverage import Gap, Position, batch_row, coverage_table, earliest, gap_row
from processor.intake import Intake, Record

BATCH_UNDECODABLE: Final = "batch-undecodable"
BATCH_FOREIGN: Final = "batch-foreign"
_LONGEST_NAME: Final = 200
_URGENT_TABLES: Final = frozenset({"links", "findings"})


@dataclass(slots=True)
class Counts:
    """What was done: batches and rows taken, duplicates skipped, gaps stated, records set aside."""

    batches: int = 0
    rows: int = 0
    duplicates: int = 0
    gaps: int = 0
    set_aside: int = 0

    def add(self, other: Counts) -> None:
        """Add ``other`` to these."""
        self.batches += other.batches
        self.rows += other.rows
        self.duplicates += other.duplicates
        self.gaps += other.gaps
        self.set_aside += other.set_aside


@dataclass(slots=True)
class Pending:
    """Rows that wait for a commit. ``since`` is when the first of them came (monotonic ns); ``next_offset`` is where the source goes on."""

    since: int
    next_offset: int
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    coverage: list[Row] = field(default_factory=list)
    urgent: bool = False
    rows: int = 0
    size_bytes: int = 0
    counts: Counts = field(default_factory=Counts)

    def rows_of(self, table: str) -> pa.Table | None:
        """Return all rows that wait for ``table``, ``None`` when there are none."""
        parts = list(self.tables.get(table, []))
        if table == COVERAGE.name and self.coverage:
            parts.append(coverage_table(self.coverage))
        return pa.concat_tables(parts) if parts else None


class Receiver:
    """Takes records of one source in order; ``pending`` is what came of them since it was last set to ``None``."""

    def __init__(self, intake: Intake, *, clock: Clock, continuity: Continuity, positions: Mapping[str, int | None]) -> None:
        """``positions`` are the next offsets that the tables of the lake need: rows below them are committed already."""
        self.pending: Pending | None = None
        self.held: NewerSchemaError | None = None  # why nothing more is taken from this source for now
        self.intake = intake
        self._source = intake.source
        self._clock = clock
        self._continuity = continuity
        self._committed = {table: offset or 0 for table, offset in positions.items()}
        self._reported = 0  # records since the last good batch whose loss is stated already

    def receive(self, record: Record) -> None:
        """Take one record. Raises ``NewerSchemaError``, and what setting a bad record aside raises; the record is not taken then."""
        position = Position(self._source, record.offset)
        try:
            header, rows = _open(record)
        except NewerSchemaError:
            raise
        except BatchError as error:
            self._refuse(record, position, error)
            return
        digest = batch.digest(record.data)
        low = earliest(rows)
        before = self._continuity.low_of(self._source)
        judgement = self._continuity.judge(header, digest, low, self._source)
        kept = self.intake.set_aside(record, judgement.gaps[0].message) if judgement.set_aside else ""
        pending = self._pending_after(record)
        if record.missing > max(0, judgement.hole - self._reported):
            self._state_missing(pending, record, position, header.sealed_at, before)
        if judgement.hole == 0 or judgement.hole > self._reported:
            for gap in judgement.gaps:
                self._state(pending, gap, position)
        self._reported = 0
        pending.counts.set_aside += bool(kept)
        if not judgement.take:
            pending.counts.duplicates += not kept
            return
        pending.coverage.append(batch_row(header, digest, low, position, self._clock))
        pending.counts.batches += 1
        if record.offset >= self._committed[header.table]:
            self._add(pending, header.table, rows)

    def _add(self, pending: Pending, table: str, rows: pa.Table) -> None:
        pending.tables.setdefault(table, []).append(rows)
        pending.rows += rows.num_rows
        pending.size_bytes += rows.get_total_buffer_size()
        pending.counts.rows += rows.num_rows
        if table in _URGENT_TABLES or (table == COVERAGE.name and pc.any(pc.not_equal(rows.column("kind"), "heartbeat")).as_py()):
            pending.urgent = True

    def _pending_after(self, record: Record) -> Pending:
        if self.pending is None:
            self.pending = Pending(since=self._clock.now().monotonic, next_offset=record.offset + 1)
        self.pending.next_offset = record.offset + 1
        return self.pending

    def _refuse(self, record: Record, position: Position, error: BatchError) -> None:
        is_foreign = isinstance(error, ForeignBatchError)
        kept = self.intake.set_aside(record, error.message)
        pending = self._pending_after(record)
        now = self._clock.now().wall
        low = self._continuity.low_of(self._source)
        if record.missing:
            self._state_missing(pending, record, position, now, low)
        gap = Gap(
            cause=BATCH_FOREIGN if is_foreign else BATCH_UNDECODABLE,
            message=f"{error.message}; its {len(record.data)} bytes are kept in {kept}",
            gap_id=f"{position.source}/{position.offset}",
            cluster=record.cluster,
            node=record.node,
            run="",
            after=low,
            before=now,
            batch_digest=batch.digest(record.data) if record.data else None,
        )
        self._state(pending, gap, position)
        self._reported += record.missing + (not is_foreign)  # a foreign one explains no hole in the numbers of the node itself
        pending.counts.set_aside += 1

    def _state_missing(self, pending: Pending, record: Record, position: Position, before: int, after: int | None) -> None:
        """State positions that are gone, for every node whose batches come from this source: any of them may have been there."""
        nodes = {(record.cluster, record.node), *self._continuity.nodes_of(self._source)}
        for whose in sorted(nodes):
            self._state(pending, _positions_missing(record, position, before=before, after=after, whose=whose), position)

    def _state(self, pending: Pending, gap: Gap, position: Position) -> None:
        pending.coverage.append(gap_row(gap, position, self._clock))
        pending.counts.gaps += 1
        pending.urgent = True


def _open(record: Record) -> tuple[batch.Header, pa.Table]:
    """Return header and rows of the batch. Raises ``BatchError``, of it ``ForeignBatchError`` for one that its source is not for."""
    if record.problem:
        raise BatchError(where=record.where, what=record.problem)
    if record.foreign:
        raise ForeignBatchError(where=record.where, what=record.foreign)
    header, rows = batch.decode(record.data, record.where)
    if record.owned and (header.cluster, header.node) != (record.cluster, record.node):
        claimed = f"{header.cluster[:_LONGEST_NAME]}/{header.node[:_LONGEST_NAME]}"  # whoever wrote it chose them
        what = f"it says that it is of {claimed}, and the topic is that of {record.cluster}/{record.node} alone"
        raise ForeignBatchError(where=record.where, what=what)
    return header, rows


def _positions_missing(record: Record, position: Position, *, before: int, after: int | None, whose: tuple[str, str]) -> Gap:
    first, last = record.offset - record.missing, record.offset - 1
    names = f"offset {first} is" if first == last else f"offsets {first} to {last} are"
    return Gap(
        cause=BATCH_MISSING,
        message=f"{names} gone from {position.source}",
        gap_id=f"{position.source}/{first}-{last}",
        cluster=whose[0],
        node=whose[1],
        run="",
        after=after,
        before=before,
    )
