"""The loop: watch, read, record, seal, remember.

One ``step`` takes what the watcher tells, reads the stores that are due, measures a little, and once a second seals what there is to say.
Everything comes in by arguments, and time only from the clock, so tests drive it step by step.

Order of what becomes durable: rows (links before the coverage that vouches for them), then the checkpoint of the ledger, then the trimming
of what both the processor and the checkpoint no longer need. A crash between any two of these repeats nothing and loses nothing.

When the spool takes no rows, readings pause once ``rows_limit`` rows wait; the ledger then stands still, so the next reading finds what
changed meanwhile. A spool that cannot be trusted any more (a failed fsync) ends the program with its error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.barrier import Barrier
from collector.brackets import between
from collector.ledger import Ledger
from collector.measuring import Measurer
from collector.mounts.machine import Machine
from collector.outbox import Outbox
from collector.rows import Statement, coverage_row, interval_of
from collector.second_look import moves
from collector.settings import Settings
from collector.source import Source
from collector.spool import Spool
from collector.store_recorder import StoreRecorder, Tools
from collector.versions import Keeper
from collector.watch.interface import Cause, Loss, Report, WatchBatch, Watcher
from linktrail.clock import NANOSECONDS, Clock, Instant
from linktrail.errors import StoreUnreadableError
from linktrail.events import Origin, Stamp

JUMP_NS: Final = NANOSECONDS
BARRIER_SECONDS: Final = 1.0
NEWS_SHARE: Final = 0.01
RESTING_INTERVALS: Final = 20
"""With fewer new rows than this share of the links in the ledger, a checkpoint is made once in so many intervals."""


@dataclass(slots=True)
class Pace:
    """Something done every ``interval`` seconds."""

    interval: float
    next_at: int = 0

    def due(self, now: Instant) -> bool:
        """Tell whether it is time, and if so, count from now again."""
        if now.monotonic < self.next_at:
            return False
        self.next_at = now.monotonic + round(self.interval * NANOSECONDS)
        return True


class Recorder:
    """Records stores into a spool. Not safe for several threads."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        watcher: Watcher,
        spool: Spool,
        ledger: Ledger,
        clock: Clock,
        settings: Settings,
        barrier: Barrier | None = None,
        keeper: Keeper | None = None,
        statement: str = "",
        machine: Machine | None = None,
        measurer: Measurer | None = None,
    ) -> None:
        """Record ``sources``; the watcher is started and the run of the spool begun by ``start``.

        ``statement`` says how stores are watched, ``machine`` tells when something was mounted or unmounted, ``measurer`` measures
        trees (``None``: the recorder itself).
        """
        self.outbox = Outbox(spool, settings.rows_limit)
        tools = Tools(clock, watcher, self.outbox, settings, self._drain, self._settled, statement, measurer, keeper)
        self.stores = [StoreRecorder(source, ledger.store(source.name), tools, ledger_lost=ledger.lost) for source in sources]
        self._machine = machine
        self._measurer = measurer
        self._watcher = watcher
        self._keeper = keeper
        self._barrier = barrier
        self._spool = spool
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self._last = self._certain = clock.now()
        self._beats = Pace(settings.heartbeat, self._last.monotonic + round(settings.heartbeat * NANOSECONDS))
        self._seals = Pace(settings.seal_interval)
        self._checkpoints = Pace(settings.checkpoint_interval)
        self._remembered = -1  # up to which batch the last checkpoint knows
        self._remembered_rows = 0
        self._remembered_at = self._last.monotonic
        self._turn = 0
        self.gaps: Counter[str] = Counter()  # by cause, those that no store states
        self.trouble: str | None = None  # what does not work now, though nothing is lost
        self._written = self._last  # when rows were last written
        self._withheld_since: Instant | None = None

    def start(self) -> None:
        """Begin to watch, and a run. Raises ``WatchError``, ``SpoolError``."""
        self._watcher.start()
        if self._keeper is not None:
            self._keeper.start()
        if self._barrier is not None:
            self._watcher.cover(self._barrier.plan)
        self._spool.begin_run(after=self._ledger.last_run)

    def take_over(self, settings: Settings) -> None:
        """Record as ``settings`` say from now on; sizes of memory and of the spool stay as they are."""
        self._settings.take_over(settings)
        self._beats.interval, self._checkpoints.interval = settings.heartbeat, settings.checkpoint_interval
        soon = self._clock.now().monotonic + round(settings.heartbeat * NANOSECONDS)
        self._beats.next_at = min(self._beats.next_at, soon)
        for store in self.stores:
            store.findings.take_over()

    def step(self, timeout: float) -> None:
        """Take what the watcher tells (waiting up to ``timeout`` seconds for it) and do what is due. Raises ``SpoolError``."""
        if self._keeper is not None:
            self._keeper.tend()
        self._digest(self._watcher.take(self._wait(timeout)))
        for store in self.stores:
            store.look_at_root()
        if self._machine is not None and self._machine.changed():
            for store in self.stores:
                store.look_at_mounts()
        now = self._clock.now()
        self._check_clock(now)
        for store in self.stores:
            if store.due_at() <= self._clock.now().monotonic and self.outbox.room:
                store.read(told=self._seal_due)
            if self.outbox.room:
                store.look_inside()
        self._sample()
        self._write(self._clock.now())

    def record_once(self) -> None:
        """Read every store and measure everything that was never measured; look twice where ``linktrail check`` would.

        Raises ``SpoolError``, and ``StoreUnreadableError`` for a store that cannot be read: the others are recorded by then.
        """
        unread = None
        for store in self.stores:
            if not self._read_once(store):
                unread = StoreUnreadableError(root=store.source.name, what=store.vouching.down or "it changed under every read")
        self._seal()
        if unread is not None:
            raise unread

    def _read_once(self, store: StoreRecorder) -> bool:
        """Read and measure a store, and again when a finding waits for a second look; false when it could not be read."""
        if not store.read(settled=lambda survey: not moves(survey, self._clock)):
            return False
        self._measure(store)
        if (second := store.findings.second_look) is not None:
            self._clock.sleep(max(0, second - self._clock.now().monotonic) / NANOSECONDS)
            if not store.read():
                return False
            self._measure(store)
        return True

    def _measure(self, store: StoreRecorder) -> None:
        while (at := store.findings.sample_due_at()) is not None and at <= self._clock.now().monotonic:
            store.findings.sample()

    def stop(self) -> None:
        """Say that recording ends, and make everything durable. Raises ``SpoolError``."""
        self._drain()
        for store in self.stores:
            if store.dirty and self.outbox.room:
                store.read()
            if self.outbox.room:
                store.look_inside(ending=True)
        self.end_watch()
        now = self._clock.now()
        self._state_withheld(now, ending=True)
        for store in self.stores:
            store.stop(now)
        self.checkpoint()

    def end_watch(self) -> None:
        """End all threads; twice is no harm."""
        self._watcher.stop()
        if self._keeper is not None:
            self._keeper.stop()

    # --- the watch ------------------------------------------------------------------------------------------------

    def _wait(self, timeout: float) -> float:
        """Return how long to wait for events: until something else is due, at most ``timeout`` seconds."""
        now = self._clock.now().monotonic
        due = [now + round(timeout * NANOSECONDS), self._beats.next_at]
        if self.outbox.room:
            due += [store.due_at() for store in self.stores]
            due += [at for store in self.stores if (at := store.inside.due_at()) is not None]
            due += [at for store in self.stores if (at := store.findings.sample_due_at()) is not None]
        if self.outbox.pending:
            due.append(self._seals.next_at)
        return max(0, min(due) - now) / NANOSECONDS

    def _digest(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if isinstance(report, WatchBatch):
                self._take_batch(report)
            else:
                self._take_loss(report)
        for store in self.stores:
            store.watch_new()

    def _take_batch(self, batch: WatchBatch) -> None:
        places: dict[Path, tuple[StoreRecorder, str] | None] = {}
        for change in batch.changes:
            if change.directory not in places:
                places[change.directory] = self._home(change.directory)
            home = places[change.directory]
            if home is not None:
                home[0].saw(change, home[1], batch.after, batch.before)
            elif self._barrier is not None and change.directory == self._barrier.directory:
                self._barrier.saw(change)

    def _home(self, directory: Path) -> tuple[StoreRecorder, str] | None:
        """Return the innermost store that holds ``directory``, and the place in it."""
        found = [(store, place) for store in self.stores if (place := store.place(directory)) is not None]
        return min(found, key=lambda pair: len(pair[1]), default=None)

    def _take_loss(self, loss: Loss) -> None:
        if loss.cause is Cause.CLOCK_JUMP:
            return  # ``_check_clock`` sees it too, and states it once for all stores
        for store in self.stores:
            if store.concerns(loss):
                store.lose(loss)

    def _drain(self) -> bool:
        """Take in what is under way, so that a reading is told with all the events up to its end; tell whether that is certain.

        Where no barrier can be raised, an instant of silence has to do.
        """
        barrier = self._barrier
        now = self._clock.now()
        raised = barrier is not None and barrier.raise_flag()
        end = self._clock.now().monotonic + round(BARRIER_SECONDS * NANOSECONDS)
        while (left := end - self._clock.now().monotonic) > 0:
            reports = self._watcher.take(left / NANOSECONDS if raised else self._settings.drain)
            self._digest(reports)
            if barrier is not None and raised and barrier.seen:
                self._certain = now
                return True
            if not raised and not reports:
                return True
        if barrier is not None and raised:
            barrier.missed()
        return False

    def _settled(self) -> Instant:
        """Return until when all that the watch heard has been taken in: by its own account, or because a barrier came back."""
        return max(self._certain, self._watcher.settled, key=lambda instant: instant.monotonic)

    # --- time -----------------------------------------------------------------------------------------------------

    def _check_clock(self, now: Instant) -> None:
        """State a jump of the wall clock: times around it may be told by the old or by the new setting."""
        jump = (now.wall - self._last.wall) - (now.monotonic - self._last.monotonic)
        if abs(jump) > JUMP_NS:
            message = f"the wall clock was set {'forward' if jump > 0 else 'back'} by {abs(jump) / NANOSECONDS:.1f} s"
            for store in self.stores:
                store.vouching.clock_jumped(between(self._last, now), message, now)
        self._last = now

    # --- writing --------------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        """Measure one tree of one store, the stores taking turns; readings that are due come first."""
        now = self._clock.now().monotonic
        if any(store.due_at() <= now for store in self.stores):
            return
        if self._measurer is not None:
            self._measurer.attend()
        self._turn = (self._turn + 1) % len(self.stores)
        self.stores[self._turn].findings.sample()

    def _write(self, now: Instant) -> None:
        self._state_refused(now)
        beats = self._beats.due(now)
        self._state_withheld(now, ending=beats or not self.outbox.tight)
        if beats:
            for store in self.stores:
                store.beat(now)
        self._seal_due()
        if self._checkpoints.due(now) and self._worth_remembering(now):
            self.checkpoint()

    def _state_refused(self, now: Instant) -> None:
        """State a gap for every row that the schema refused: what it said is in the record only as this."""
        for row, why in self.outbox.refused:
            stamp = Stamp(interval_of(row), now, self._clock.boot_id, Origin.SURVEY, _text(row["store_kind"]), _text(row["store_root"]))
            statement = Statement("gap", cause="unrecordable", message=why, gap_id=f"unrecordable-{now.monotonic}")
            self.gaps[statement.cause or ""] += 1
            self.outbox.state("coverage", [coverage_row(statement, stamp)])
        self.outbox.refused.clear()

    def _state_withheld(self, now: Instant, *, ending: bool) -> None:
        """State a gap for the sizes that the outbox refused, once that is over and otherwise with every heartbeat."""
        if self.outbox.withheld and self._withheld_since is None:
            self._withheld_since = self._written
        self._written = now
        if self._withheld_since is None or not ending:
            return
        message = f"the spool was nearly full; {self.outbox.withheld} sizes were left out, so that links are kept longest"
        for store in self.stores:
            store.statements.gap("contents-blocked", message, between(self._withheld_since, now), now)
        self.outbox.withheld, self._withheld_since = 0, None

    def _seal_due(self) -> None:
        waiting = self.outbox.pending or self.outbox.full
        if waiting and self._seals.due(self._clock.now()):  # at once after a silence, then at that pace
            self._seal()
        elif self.outbox.urgent:
            self._seal(beside=True)

    def _seal(self, *, beside: bool = False) -> None:
        if self.outbox.pending or self.outbox.full:
            self.outbox.seal(beside=beside)
            if self.outbox.full and self._spool.acknowledged() > self._ledger.floor:
                self._make_room()

    def _worth_remembering(self, now: Instant) -> bool:
        """Tell whether a checkpoint, which is all of the ledger, is worth its time: a few rows more are as soon replayed.

        Of a large store that rests, it would be most of what the collector does: every heartbeat is a row.
        """
        links = sum(len(store.memory.links) for store in self.stores)
        passed = now.monotonic - self._remembered_at
        return (
            self.outbox.sealed_rows - self._remembered_rows >= NEWS_SHARE * links
            or passed >= RESTING_INTERVALS * self._checkpoints.interval * NANOSECONDS
            or self.trouble is not None
        )

    def checkpoint(self) -> None:
        """Seal, and remember what is sealed; not while rows wait, for the ledger then knows more than the spool. Raises ``SpoolError``."""
        self._seal()
        if not self.outbox.pending and (self._spool.next_offset != self._remembered or self.trouble is not None):
            self._remembered, self._remembered_rows = self._spool.next_offset, self.outbox.sealed_rows
            self._remembered_at = self._clock.now().monotonic
            self._ledger.last_run = self._spool.run
            self._save(lambda: self._ledger.checkpoint(self._spool.next_offset))
        self._trim()

    def _make_room(self) -> None:
        """Let go of batches that the processor has and only the ledger still needs, by writing down what they say."""
        self._save(lambda: self._ledger.checkpoint_sealed(self._spool.reader))
        self._trim()

    def _save(self, write: Callable[[], None]) -> None:
        try:
            write()
            self.trouble = None
        except OSError as error:  # the older checkpoint stands, and the spool keeps what it needs: only a start takes longer
            self.trouble = f"the ledger cannot be written: {error.strerror or error}"

    def _trim(self) -> None:
        self._spool.trim(min(self._spool.acknowledged(), self._ledger.floor))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
