"""The processor: records of one intake into the lake, each row exactly once, whatever is killed when.

How. Everything starts from the lake: the position that ``coverage`` stores is where the intake is sought to, and the state of
continuity is read from the same table. A flush commits the waiting rows of links, findings and usage, and coverage last; each commit
carries the next offset of the source for its table. Killed in between, the next start reads those records again and leaves out,
table by table, what the table's own position says it has. The intake is told only after the last commit is durable.

Any failure drops what waits and starts from the lake again (``FencedError``: another processor was faster; ``LakeFullError`` and
``SpoolFullError``: no space, tried again until there is some). Nothing but the lake says how far things are.

When. At once when the last flush is long enough ago and something waits that people look for (links, findings, gaps); otherwise after
``urgent_seconds``, or after ``idle_seconds`` when only heartbeats and sizes wait, so that an idle node makes few files.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Final

from linktrail.clock import NANOSECONDS, Clock
from linktrail.errors import FencedError, LakeFullError, LinktrailError, NewerSchemaError, SpoolFullError
from processor.intake import Intake
from processor.lake import COMMIT_ORDER, Lake
from processor.receive import Counts, Pending, Receiver
from processor.restore import restore

_log = logging.getLogger(__name__)
_LONGEST_WAIT: Final = 30.0
_PASSING: Final = (FencedError, LakeFullError, SpoolFullError)


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When rows are committed: at ``rows`` or ``size_bytes``, or when they waited long enough; how often and how much is taken."""

    rows: int = 100_000
    size_bytes: int = 64 << 20
    urgent_seconds: float = 2.0
    idle_seconds: float = 30.0
    poll_seconds: float = 0.2
    take: int = 256


@dataclass(frozen=True, slots=True)
class Progress:
    """What one round did: ``taken`` records from the intake, ``committed`` or not, and the next offset the lake needs."""

    taken: int
    committed: bool
    position: int


class Processor:
    """One intake, one lake. Not for several threads at once; ``run`` is the loop of a thread or process of its own."""

    def __init__(self, intake: Intake, lake: Lake, *, clock: Clock, policy: FlushPolicy | None = None) -> None:
        """``lake`` must have been opened for writing, and is for this processor alone."""
        self.totals = Counts()
        self.trouble: LinktrailError | None = None
        self._intake = intake
        self._lake = lake
        self._clock = clock
        self._policy = policy or FlushPolicy()
        self._receiver: Receiver | None = None
        self._positions: dict[str, int | None] = {}
        self._acknowledged = 0
        self._flushed_at: int | None = None

    @property
    def position(self) -> int:
        """The next offset that the lake needs, as far as this processor knows."""
        return self._positions.get(COMMIT_ORDER[-1]) or 0

    # --- one round ------------------------------------------------------------------------------------------------

    def run_once(self) -> Progress:
        """Take what there is (up to a bound), and commit when it is time. After any error the next call starts from the lake again.

        Raises ``FencedError``, ``LakeFullError``, ``SpoolFullError`` (all pass by themselves), ``NewerSchemaError`` and other
        ``LinktrailError``.
        """
        try:
            return self._round(force=False)
        except BaseException:
            self._receiver = None
            raise

    def drain(self) -> Progress:
        """Take and commit everything the intake has now; raises as ``run_once``."""
        rounds: list[Progress] = []
        try:
            while not rounds or rounds[-1].taken:
                rounds.append(self._round(force=False))
            rounds.append(self._round(force=True))
        except BaseException:
            self._receiver = None
            raise
        return Progress(sum(one.taken for one in rounds), committed=any(one.committed for one in rounds), position=self.position)

    def _round(self, *, force: bool) -> Progress:
        receiver = self._receiver or self._start()
        records = self._intake.take(self._policy.take)
        for record in records:
            try:
                receiver.receive(record)
            except NewerSchemaError:
                self._flush(receiver)  # what came before it is not held up
                self._acknowledge()
                raise
        committed = False
        if receiver.pending is not None and (force or self._is_due(receiver.pending)):
            self._flush(receiver)
            committed = True
        self._acknowledge()
        return Progress(len(records), committed=committed, position=self.position)

    def _start(self) -> Receiver:
        """Begin where the lake is."""
        source = self._intake.source
        self._lake.resume()
        self._positions = {name: self._lake.transaction_version(source, name) for name in COMMIT_ORDER}
        self._acknowledged = 0
        self._intake.seek(self.position)
        self._receiver = Receiver(
            self._intake, clock=self._clock, continuity=restore(self._lake.tables["coverage"]), positions=self._positions
        )
        return self._receiver

    def _is_due(self, pending: Pending) -> bool:
        policy = self._policy
        if pending.rows >= policy.rows or pending.size_bytes >= policy.size_bytes:
            return True
        now = self._clock.now().monotonic
        if not pending.urgent:
            return now - pending.since >= policy.idle_seconds * NANOSECONDS
        last = pending.since if self._flushed_at is None else self._flushed_at
        return self._flushed_at is None or now - min(last, pending.since) >= policy.urgent_seconds * NANOSECONDS

    def _flush(self, receiver: Receiver) -> None:
        """Commit what waits, coverage last. The same source and next offset go with every table that has rows."""
        pending = receiver.pending
        if pending is None:
            return
        source = self._intake.source
        for name in COMMIT_ORDER:
            rows = pending.rows_of(name)
            if rows is not None or name == COMMIT_ORDER[-1]:
                table = self._lake.tables[name]
                table.commit(rows, {source: pending.next_offset}, {source: self._positions[name]})
                self._positions[name] = pending.next_offset
        receiver.pending = None
        self.totals.add(pending.counts)
        self._flushed_at = self._clock.now().monotonic

    def _acknowledge(self) -> None:
        if self.position > self._acknowledged:
            self._intake.acknowledge(self.position)
            self._acknowledged = self.position

    # --- for ever -------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Go on until ``stop`` is set, then commit what waits. Want of space and a faster processor are waited out.

        ``trouble`` is the error that is being waited out, else ``None``. Raises any other ``LinktrailError``.
        """
        wait = self._policy.poll_seconds
        while not stop.is_set():
            try:
                progress = self.run_once()
            except _PASSING as error:
                self._say(error)
                stop.wait(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            self.trouble = None
            wait = self._policy.poll_seconds
            if not progress.taken:
                stop.wait(wait)
        self._finish()

    def _finish(self) -> None:
        try:
            self.drain()
        except _PASSING as error:
            self._say(error)  # the source keeps what could not be committed

    def _say(self, error: LinktrailError) -> None:
        if type(error) is not type(self.trouble):
            _log.warning("%s %s", error.message, error.advice)
        self.trouble = error
