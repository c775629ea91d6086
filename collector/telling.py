"""What the collector tells monitoring, taken in the recorder's own thread once a second: values, and why it is not ready.

Ready means that the record is complete up to now: every store was read, nothing that may have been missed waits for a reading, every
planned directory is watched, the spool takes rows, and brokers are not away for too long.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from collector.outbox import Outbox
from collector.spool import Spool
from collector.store_recorder import StoreRecorder
from collector.watch.interface import Watcher
from collector.watch.limits import read_limits
from linktrail import batch
from linktrail.clock import NANOSECONDS, Instant
from linktrail.codes import CODES
from linktrail.errors import LinktrailError
from linktrail.telemetry.board import Board

if TYPE_CHECKING:
    from collector.ship import Shipping

_Values = dict[tuple[str, ...], float]


class Telling:
    """The collector's side of a board."""

    def __init__(
        self, board: Board, stores: Sequence[StoreRecorder], *, watcher: Watcher, spool: Spool, outbox: Outbox, broker_limit: float
    ) -> None:
        """``broker_limit``: how long brokers may be away (seconds)."""
        self.broker_limit = broker_limit
        self._board = board
        self._stores = stores
        self._watcher = watcher
        self._spool = spool
        self._outbox = outbox
        self._away_since: Instant | None = None
        self._oldest: tuple[int, float | None] = (-1, None)
        self._sealed: tuple[int, int] = (-1, 0)
        self._seen: set[tuple[str, str]] = set()

    def tell(self, now: Instant, gaps: Counter[str], shipping: Shipping | None) -> None:
        """Put up what there is to tell; ``gaps`` are those that no store states."""
        self._board.put_up(self._samples(now, gaps, shipping), self._unready(now, shipping))

    def _samples(self, now: Instant, gaps: Counter[str], shipping: Shipping | None) -> dict[str, _Values]:
        spool, stores = self._spool, self._stores
        for store in stores:
            gaps = gaps + store.statements.by_cause
        if self._sealed[0] != self._outbox.sealed_rows:
            self._sealed = (self._outbox.sealed_rows, now.wall)
        values: dict[str, _Values] = {
            "linktrail_events_total": {labels: float(count) for labels, count in self._outbox.links.items()},
            "linktrail_gaps_total": {(cause,): float(count) for cause, count in gaps.items()},
            "linktrail_watches": {(): self._watcher.watches},
            "linktrail_watches_limit": {(): read_limits().watches},
            "linktrail_watches_missing": {(): len(self._watcher.uncovered)},
            "linktrail_spool_bytes": {(): spool.size_bytes},
            "linktrail_spool_limit_bytes": {(): spool.limit_bytes},
            "linktrail_last_event_timestamp_seconds": {(): self._sealed[1] / NANOSECONDS},
            "linktrail_send_failures_total": {} if shipping is None else {(why,): count for why, count in shipping.status.failures.items()},
        }
        acknowledged = spool.acknowledged()
        values["linktrail_spool_pending_batches"] = {(): max(0, spool.next_offset - acknowledged)}
        oldest = self._oldest_at(acknowledged)
        values["linktrail_spool_oldest_event_timestamp_seconds"] = {} if oldest is None else {(): oldest}
        return values | self._of_stores() | self._found()

    def _of_stores(self) -> dict[str, _Values]:
        read: _Values = {}
        size: _Values = {}
        room: dict[str, tuple[float, float, float]] = {}
        for store in self._stores:
            kind = store.source.kind.value
            if store.survey is not None:
                at = store.survey.finished / NANOSECONDS
                read[(kind,)] = min(at, read.get((kind,), at))
            if (total := store.findings.total_bytes) is not None:
                size[(kind,)] = size.get((kind,), 0) + total
            if (found := _room(store.source.root)) is not None:
                room[kind] = min(found, room.get(kind, found))
        return {
            "linktrail_last_reconcile_timestamp_seconds": read,
            "linktrail_store_bytes": size,
            "linktrail_filesystem_size_bytes": {(kind,): whole for kind, (_, whole, _) in room.items()},
            "linktrail_filesystem_available_bytes": {(kind,): free for kind, (_, _, free) in room.items()},
        }

    def _found(self) -> dict[str, _Values]:
        """Count the open findings; a code that was open once in this run stays, at 0."""
        count: _Values = {}
        held: _Values = {}
        for store in self._stores:
            kind = store.source.kind.value
            for row in store.memory.findings.values():
                code = str(row["code"])
                self._seen.add((kind, code))
                count[(kind, code)] = count.get((kind, code), 0) + 1
                if isinstance(row["bytes"], int):
                    held[(kind, code)] = held.get((kind, code), 0) + row["bytes"]
        known = {labels for labels in self._seen if labels[1] in CODES}
        leaks = {labels for labels in known if CODES[labels[1]].family == "leaks"}
        return {
            "linktrail_findings": {labels: count.get(labels, 0) for labels in known},
            "linktrail_unreferenced_bytes": {labels: held.get(labels, 0) for labels in leaks},
        }

    def _oldest_at(self, acknowledged: int) -> float | None:
        """Return when the oldest batch that is not acknowledged was sealed (seconds UTC), ``None`` when there is none."""
        if acknowledged >= self._spool.next_offset:
            return None
        if self._oldest[0] != acknowledged:
            try:
                data = self._spool.read(acknowledged)
                sealed = None if data is None else batch.read_header(data, str(acknowledged)).sealed_at / NANOSECONDS
            except LinktrailError:  # damaged or gone: the shipper and the processor say so; here it only has no time
                sealed = None
            self._oldest = (acknowledged, sealed)
        return self._oldest[1]

    def _unready(self, now: Instant, shipping: Shipping | None) -> list[str]:
        wrong = []
        for store in self._stores:
            name = store.source.kind.value
            if store.vouching.down is not None:
                wrong.append(f"a store ({name}) cannot be read: {store.vouching.down}")
            elif store.survey is None:
                wrong.append(f"a store ({name}) was not read yet")
            elif store.vouching.losses or store.vouching.dropped:
                wrong.append(f"a store ({name}) was not read again since events may have been missed")
        if missing := len(self._watcher.uncovered):
            wrong.append(f"{missing} directories are not watched")
        if self._outbox.full is not None:
            wrong.append(f"the spool is full: {self._outbox.full}")
        return wrong + self._brokers(now, shipping)

    def _brokers(self, now: Instant, shipping: Shipping | None) -> list[str]:
        if shipping is None or shipping.status.ready:
            self._away_since = None
            return []
        self._away_since = self._away_since or now
        away = (now.monotonic - self._away_since.monotonic) / NANOSECONDS
        return [f"nothing reached the brokers for {away:.0f} s"] if away > self.broker_limit else []


def _room(root: Path) -> tuple[float, float, float] | None:
    """Return (share that is available, size, available) of a filesystem, ``None`` where it does not tell."""
    try:
        told = os.statvfs(root)
    except OSError:  # the store is down then, which readiness says
        return None
    whole, free = told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize
    return (free / whole, whole, free) if whole else None
