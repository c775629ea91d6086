"""The processor: records of one feed into the lake, each row exactly once, whatever is killed when.

How. Everything starts from the lake: the position that ``coverage`` stores for a source is where its intake is sought to, and the state
of continuity is read from the same table. A flush commits the waiting rows of links, findings and usage, and coverage last; each
commit carries the next offset of every source with rows in it, for its table. Killed in between, the next start reads those records
again and leaves out, table by table, what the table's own position says it has. A source is told only after the last commit is durable.

Any failure drops what waits and starts from the lake again (``FencedError``: another processor was faster; ``LakeFullError`` and
``SpoolFullError``: no space; ``BrokerError``, ``LakeUnreachableError``: nobody there; all tried again). So does a change of the feed's
intakes. Nothing but the lake says how far things are. Before intakes are given up, what waits is committed (``_hand_over``); a
processor that was away for so long that they may be another's already drops it instead.

When. At once when the last flush is long enough ago and something waits that people look for (links, findings, gaps); otherwise after
``urgent_seconds``, or after ``idle_seconds`` when only heartbeats and sizes wait, so that an idle node makes few files.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from linktrail.clock import NANOSECONDS, Clock
from linktrail.errors import (
    BrokerError,
    FencedError,
    LakeFullError,
    LakeUnreachableError,
    LinktrailError,
    NewerSchemaError,
    SpoolFullError,
)
from processor.intake import Feed
from processor.lake import COMMIT_ORDER, Lake
from processor.receive import Counts, Receiver
from processor.restore import restore

_log = logging.getLogger(__name__)
_LONGEST_WAIT: Final = 30.0
_PASSING: Final = (FencedError, LakeFullError, LakeUnreachableError, SpoolFullError, BrokerError)


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When rows are committed: at ``rows`` or ``size_bytes``, or when they waited long enough; how often and how much is taken."""

    rows: int = 100_000
    size_bytes: int = 64 << 20
    urgent_seconds: float = 2.0
    idle_seconds: float = 30.0
    poll_seconds: float = 0.2
    finish_seconds: float = 10.0
    take: int = 256


@dataclass(frozen=True, slots=True)
class Progress:
    """What one round did: ``taken`` records, ``committed`` or not, and the ``position``: next offsets of all sources, summed."""

    taken: int
    committed: bool
    position: int


class Processor:
    """One feed, one lake. Not for several threads at once; ``run`` is the loop of a thread or process of its own."""

    def __init__(self, feed: Feed, lake: Lake, *, clock: Clock, policy: FlushPolicy | None = None) -> None:
        """``lake`` must have been opened for writing, and is for this processor alone."""
        self.totals = Counts()
        self.trouble: LinktrailError | None = None
        self.commits = 0
        self.failures: Counter[str] = Counter()  # rounds that are tried again, by class of error
        self.tend: Callable[[], None] | None = None  # called before every round of ``run``
        self._feed = feed
        self._lake = lake
        self._clock = clock
        self._policy = policy or FlushPolicy()
        self._receivers: list[Receiver] | None = None
        self._generation = -1
        self._positions: dict[str, dict[str, int | None]] = {}  # source -> table -> next offset
        self._acknowledged: dict[str, int] = {}
        self._flushed_at: int | None = None
        feed.giving_up = self._hand_over

    @property
    def positions(self) -> dict[str, int]:
        """The next offset of each source that the lake needs, as far as this processor knows."""
        return {source: tables[COMMIT_ORDER[-1]] or 0 for source, tables in self._positions.items()}

    @property
    def position(self) -> int:
        """The sum of ``positions``; with one source, its position."""
        return sum(self.positions.values())

    @property
    def reading(self) -> bool:
        """Whether the intakes were sought, and records are taken from them."""
        return self._receivers is not None

    @property
    def waiting(self) -> int:
        """How many rows wait for a commit, those of ``coverage`` that the processor adds left out."""
        return sum(receiver.pending.rows for receiver in self._receivers or () if receiver.pending is not None)

    @property
    def held(self) -> NewerSchemaError | None:
        """Why a source is held, if one is."""
        return next((receiver.held for receiver in self._receivers or () if receiver.held), None)

    # --- one round ------------------------------------------------------------------------------------------------

    def run_once(self) -> Progress:
        """Take what there is (up to a bound), and commit when it is time. After any error the next call starts from the lake again.

        Raises ``FencedError``, ``LakeFullError``, ``SpoolFullError``, ``BrokerError`` (all pass by themselves), ``NewerSchemaError`` and
        other ``LinktrailError``.
        """
        try:
            return self._round(force=False)
        except BaseException:
            self._receivers = None
            raise

    def drain(self) -> Progress:
        """Take and commit everything the feed has now; raises as ``run_once``."""
        taken, before = 0, self._flushed_at
        try:
            self._feed.find_end()
            while True:
                taken += self._round(force=False).taken
                if self._feed.at_end():
                    break
            with self._feed.guard:
                self._flush(self._receivers or [])
                self._acknowledge()
        except BaseException:
            self._receivers = None
            raise
        return Progress(taken, committed=self._flushed_at != before, position=self.position)

    def _round(self, *, force: bool) -> Progress:
        self._feed.wait()
        with self._feed.guard:
            receivers = self._ready()
            if receivers is None:
                return Progress(0, committed=False, position=self.position)
            before = self._flushed_at
            taken = sum(self._take(receiver) for receiver in receivers)
            if force or self._is_due(receivers):
                self._flush(receivers)
            self._acknowledge()
            return Progress(taken, committed=self._flushed_at != before, position=self.position)

    def _ready(self) -> list[Receiver] | None:
        """Return the receivers of the intakes as they are now, begun where the lake is; ``None`` when they are not ours to read yet."""
        if self._receivers is not None and self._generation == self._feed.generation:
            return self._receivers
        self._receivers = None
        self._generation = self._feed.generation
        self._lake.resume()
        intakes = list(self._feed.intakes)
        self._positions = {
            intake.source: {name: self._lake.transaction_version(intake.source, name) for name in COMMIT_ORDER} for intake in intakes
        }
        self._acknowledged = {}
        for intake in intakes:
            intake.seek(self.positions[intake.source])
        if not self._feed.confirm() or self._generation != self._feed.generation:
            return None
        continuity = restore(self._lake.tables["coverage"])
        self._receivers = [
            Receiver(intake, clock=self._clock, continuity=continuity, positions=self._positions[intake.source]) for intake in intakes
        ]
        return self._receivers

    def _take(self, receiver: Receiver) -> int:
        """Receive the records of one source, committing on the way when too much waits; return how many."""
        if receiver.held:
            return 0
        records = receiver.intake.take(self._policy.take)
        for record in records:
            try:
                receiver.receive(record)
            except NewerSchemaError as error:
                self._flush(self._receivers or [])  # what came before it is not held up
                self._acknowledge()
                if not self._feed.hold(receiver.intake, error):
                    raise
                _log.error("%s %s Everything from %s waits.", error.message, error.advice, receiver.intake.source)
                receiver.held = error
                break
            if self._is_large(self._receivers or []):
                self._flush(self._receivers or [])
        return len(records)

    def _is_large(self, receivers: list[Receiver]) -> bool:
        waiting = [receiver.pending for receiver in receivers if receiver.pending is not None]
        rows, size = sum(pending.rows for pending in waiting), sum(pending.size_bytes for pending in waiting)
        return rows >= self._policy.rows or size >= self._policy.size_bytes

    def _is_due(self, receivers: list[Receiver]) -> bool:
        policy = self._policy
        waiting = [receiver.pending for receiver in receivers if receiver.pending is not None]
        if not waiting or self._is_large(receivers):
            return bool(waiting)
        now = self._clock.now().monotonic
        since = min(pending.since for pending in waiting)
        if not any(pending.urgent for pending in waiting):
            return now - since >= policy.idle_seconds * NANOSECONDS
        return self._flushed_at is None or now - min(self._flushed_at, since) >= policy.urgent_seconds * NANOSECONDS

    def _flush(self, receivers: list[Receiver]) -> None:
        """Commit what waits, coverage last. The same sources and next offsets go with every table that has rows of them."""
        waiting = {receiver.intake.source: receiver.pending for receiver in receivers if receiver.pending is not None}
        if not waiting:
            return
        if not self._feed.may_commit():
            raise FencedError(path=self._lake.path, source=", ".join(waiting))
        for name in COMMIT_ORDER:
            rows = {source: pending.rows_of(name) for source, pending in waiting.items()}
            parts = [part for part in rows.values() if part is not None]
            moved = [source for source in waiting if rows[source] is not None or name == COMMIT_ORDER[-1]]
            if moved:
                self._lake.tables[name].commit(
                    pa.concat_tables(parts) if parts else None,
                    {source: waiting[source].next_offset for source in moved},
                    {source: self._positions[source][name] for source in moved},
                )
            for source in moved:
                self._positions[source][name] = waiting[source].next_offset
        for receiver in receivers:
            receiver.pending = None
        for pending in waiting.values():
            self.totals.add(pending.counts)
        self.commits += 1
        self._flushed_at = self._clock.now().monotonic

    def _acknowledge(self) -> None:
        for receiver in self._receivers or ():
            source = receiver.intake.source
            position = self.positions[source]
            if position > self._acknowledged.get(source, 0):
                receiver.intake.acknowledge(position)
                self._acknowledged[source] = position

    def _hand_over(self) -> None:
        """Commit what waits before the intakes go to another processor; what cannot be committed now, that one reads again."""
        receivers, self._receivers = self._receivers, None
        try:
            self._flush(receivers or [])
        except LinktrailError as error:
            _log.warning("%s What waited is left to the next processor.", error.message)

    # --- for ever -------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Go on until ``stop`` is set, then commit what waits. Want of space or of brokers, and a faster processor, are waited out.

        ``trouble`` is the error that is being waited out, else ``None``. Raises any other ``LinktrailError``, at the end also that of a
        source that is held.
        """
        wait = self._policy.poll_seconds
        while not stop.is_set():
            if self.tend is not None:
                self.tend()
            try:
                progress = self.run_once()
            except _PASSING as error:
                self._say(error)
                stop.wait(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            self.trouble = self.held
            wait = self._policy.poll_seconds
            if not progress.taken:
                stop.wait(wait)
        self._finish()

    def _finish(self) -> None:
        """Commit what waits and what comes at once, as far as that takes no longer than ``finish_seconds``."""
        end = self._clock.now().monotonic + round(self._policy.finish_seconds * NANOSECONDS)
        try:
            while self._round(force=True).taken and self._clock.now().monotonic < end:
                continue
        except _PASSING as error:
            self._say(error)  # the source keeps what could not be committed
        if self.held:
            raise self.held

    def _say(self, error: LinktrailError) -> None:
        self.failures[type(error).__name__] += 1
        if type(error) is not type(self.trouble):
            _log.warning("%s %s", error.message, error.advice)
        self.trouble = error
