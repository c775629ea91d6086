"""Rows on their way into the spool: bounded, and patient while the spool is full.

Rows are given to the spool, which buffers them until ``seal`` makes them durable. While it cannot (no space, its limit), they stay in
memory, at most ``limit`` of them. ``accept`` says how many of the rows it took: the recorder advances its ledger for those alone, so
a later survey finds the rest again. What only an event told and does not fit is lost, and the recorder states a gap. ``state`` takes
the few rows that say so (gap, start, stop, heartbeat) whatever the limit.

When little of the spool is left (``TIGHT_SHARE`` of its limit is in use, or it is full), it takes no more sizes: what is left is for
links, findings and coverage (the policy ``block-new-contents``). ``withheld`` counts what was refused, and the recorder states a gap.

A row that the schema refuses is left out and kept in ``refused``; the others go through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from collector.spool import Sealed, Spool
from linktrail.batch import MAX_ROWS
from linktrail.errors import BatchError, SpoolFullError
from linktrail.events import Row

TIGHT_SHARE: Final = 0.75
_BLOCKED_FIRST: Final = "usage"
_LINKS: Final = "links"


class Outbox:
    """The way into one spool."""

    def __init__(self, spool: Spool, limit: int) -> None:
        """Keep at most ``limit`` rows in memory for ``spool``."""
        self._spool = spool
        self._limit = limit
        self.full: str | None = None  # why the spool takes nothing now
        self.refused: list[tuple[Row, str]] = []  # rows left out since this was last cleared, and why
        self.sealed_rows = 0
        self.tight = False  # whether little of the spool is left
        self.links: Counter[tuple[str, str, str]] = Counter()  # rows of links taken, by kind of store, kind of link and action
        self.withheld = 0  # rows of sizes refused since this was last cleared

    @property
    def room(self) -> int:
        """How many rows ``accept`` would take."""
        return max(0, self._limit - self._spool.pending_rows)

    @property
    def pending(self) -> int:
        """How many rows are not durable yet."""
        return self._spool.pending_rows

    @property
    def urgent(self) -> bool:
        """Whether a whole batch is waiting that was not begun with."""
        return self.full is None and self._spool.buffered_rows >= MAX_ROWS

    def accept(self, table: str, rows: Sequence[Row]) -> int:
        """Take rows from the front as far as there is room, sealing to make some, and return how many. Raises ``SpoolError``."""
        if table == _BLOCKED_FIRST:
            self.tight = self.full is not None or self._is_tight()
            if self.tight:
                self.withheld += len(rows)
                return 0
        taken = 0
        while taken < len(rows):
            if self.room == 0 and self.full is None:
                self.seal()
            count = min(len(rows) - taken, self.room, MAX_ROWS)
            if count == 0:
                break
            if table == _LINKS:
                part = rows[taken : taken + count]
                self.links.update((str(row["store_kind"]), str(row["link_kind"]), str(row["action"])) for row in part)
            self.state(table, rows[taken : taken + count])
            taken += count
            if self.urgent:
                self.seal(beside=True)
        return taken

    def state(self, table: str, rows: Sequence[Row]) -> None:
        """Take all ``rows``. Raises ``SpoolError``."""
        if not rows:
            return
        try:
            self._spool.append(table, list(rows))
        except BatchError:
            for row in rows:
                self._take_one(table, row)

    def seal(self, *, beside: bool = False) -> list[Sealed]:
        """Make durable what is waiting, as far as the spool has room. Raises ``SpoolError`` when the spool is unusable.

        ``beside``: the last batch is only begun with, and waits for the next call.
        """
        try:
            sealed = self._spool.seal_beside() if beside else self._spool.seal()
        except SpoolFullError as error:
            self.full = error.message
            self.tight = True
            return []
        self.full = None
        self.tight = self._is_tight()
        self.sealed_rows += sum(batch.rows for batch in sealed)
        return sealed

    def _is_tight(self) -> bool:
        return self._spool.size_bytes >= TIGHT_SHARE * self._spool.limit_bytes

    def _take_one(self, table: str, row: Row) -> None:
        try:
            self._spool.append(table, [row])
        except BatchError as error:
            self.refused.append((row, error.message))
