"""The rows that the processor itself adds to ``coverage``: one for each batch it received, one for each gap it found.

Together with the collector's own rows they answer "is the record complete for this time?". A ``batch`` row is also the processor's memory:
continuity is restored from these rows after a restart (``processor.continuity``), so they need no other state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from linktrail import batch
from linktrail.clock import Clock
from linktrail.events import Origin, Row
from linktrail.schema import COVERAGE, INTEGER, TEXT


@dataclass(frozen=True, slots=True)
class Position:
    """Where the processor read something: the source, and the offset in it."""

    source: str
    offset: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A time from which something may be missing (``after`` and ``before`` in ns UTC; ``after`` ``None``: unknown), and why.

    ``first_batch`` and the ``seq`` bounds name what is missing where that is known.
    """

    cause: str
    message: str
    gap_id: str
    cluster: str
    node: str
    run: str
    after: int | None
    before: int
    first_batch: int | None = None
    first_seq: int | None = None
    last_seq: int | None = None
    batch_digest: str | None = None
    previous_digest: str | None = None


def earliest(rows: pa.Table) -> int:
    """Return the earliest time that ``rows`` speak of (ns UTC): as far as is known, what was observed after them is not older."""
    bounds = [pc.min(pc.cast(rows.column(name), INTEGER)).as_py() for name in ("occurred_after", "observed_at")]
    return int(min(bound for bound in bounds if bound is not None)) * 1000


def batch_row(header: batch.Header, digest: str, low: int, position: Position, clock: Clock) -> Row:
    """Return the row that says a batch was received: its rows were observed between ``low`` and ``sealed_at``."""
    return {
        **_common(header.cluster, header.node, header.run, clock),
        "occurred_after": min(low, header.sealed_at),
        "occurred_before": header.sealed_at,
        "kind": "batch",
        "batch": header.batch,
        "batch_table": header.table,
        "batch_rows": header.rows,
        "first_seq": header.first_seq,
        "last_seq": header.last_seq,
        "batch_digest": digest,
        "previous_digest": header.previous_digest,
        "source": position.source,
        "source_offset": position.offset,
    }


def gap_row(gap: Gap, position: Position, clock: Clock) -> Row:
    """Return the row that states ``gap``, found at ``position``."""
    return {
        **_common(gap.cluster, gap.node, gap.run, clock),
        "occurred_after": None if gap.after is None else min(gap.after, gap.before),
        "occurred_before": gap.before,
        "kind": "gap",
        "cause": gap.cause,
        "gap_id": gap.gap_id,
        "message": gap.message,
        "batch": gap.first_batch,
        "first_seq": gap.first_seq,
        "last_seq": gap.last_seq,
        "batch_digest": gap.batch_digest,
        "previous_digest": gap.previous_digest,
        "source": position.source,
        "source_offset": position.offset,
    }


def _common(cluster: str, node: str, run: str, clock: Clock) -> Row:
    now = clock.now()
    return {
        "cluster": cluster,
        "node": node,
        "run": run,
        "observed_at": now.wall,
        "monotonic_ns": now.monotonic,
        "boot_id": clock.boot_id,
        "origin": Origin.PROCESSOR.value,
    }


def coverage_table(rows: Sequence[Row]) -> pa.Table:
    """Return rows of this module as a table of ``coverage``; ``seq`` is null, because no collector numbered them."""
    body = batch.columns(COVERAGE.name, rows)
    own = {name: pa.array([row[name] for row in rows], TEXT) for name in ("cluster", "node", "run")}
    schema = COVERAGE.arrow()
    own["seq"] = pa.nulls(len(rows), INTEGER)
    return pa.table([own[name] if name in own else body.column(name) for name in schema.names], schema=schema)
