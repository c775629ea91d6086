"""The collector program: everything put together, until it is told to stop.

``collect`` opens the state directory, finds the driver of each root, takes the spool's lock, rebuilds the ledger, and then steps the
recorder until SIGTERM or SIGINT (or the ``stop`` event of a caller). A clean stop reads once more what is waiting, writes a ``stop``
row, seals, and checkpoints. Being killed instead costs nothing but a wider gap.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from collector.barrier import Barrier
from collector.interpreter import give_back, set_for_recording
from collector.ledger import Ledger
from collector.links import LinkKind, Survey
from collector.live import Status, StoreStatus, write_status
from collector.measuring import InProcess, Measurer, Workers
from collector.mounts.machine import Machine, usual_proc
from collector.recorder import Pace, Recorder
from collector.settings import Settings
from collector.source import Source, find_sources
from collector.spool import LIMIT_BYTES, Spool
from collector.store_recorder import StoreRecorder
from collector.telling import Telling
from collector.version_service import VersionService
from collector.versions import Keeper
from collector.watch.engine import Engine
from collector.watch.probe import FANOTIFY, INOTIFY, SURVEY_ONLY, choose, require_mode
from linktrail import __version__
from linktrail.broker import Connection
from linktrail.clock import NANOSECONDS, Clock, Instant, SystemClock
from linktrail.config.reload import Reload
from linktrail.config.resolve import Configuration
from linktrail.durable import FileSystem, LocalFileSystem
from linktrail.durations import parse_duration
from linktrail.errors import MissingExtraError, StateUnusableError
from linktrail.late import load_late
from linktrail.state import State, open_state
from linktrail.stopping import until_signalled
from linktrail.telemetry.board import STUCK_SECONDS, Board
from linktrail.telemetry.table import COLLECTOR

if TYPE_CHECKING:
    from collector.ship import Shipping

_log = logging.getLogger(__name__)
STEP_SECONDS: Final = 0.5
_UNWATCHED_INTERVAL: Final = 30.0
_BARRIER: Final = "barrier"
_LOOP: Final = "the recorder's loop"
_TRIM_INTERVAL: Final = 30.0
_STILL_HERE: Final = 5  # a reader takes silence for death after ten seconds


@dataclass(frozen=True, slots=True)
class Options:
    """How to collect. ``once``: read the stores once and end. ``watch``: the wanted mode (``collector.watch.probe.MODES``).

    ``proc``: where mounts are read (``None``: as ``usual_proc`` says). ``kafka``: where to ship. ``reload``: what SIGHUP changes.
    ``metrics``: where to serve metrics and health. ``broker_limit``, ``stuck_seconds``: when those say no.
    """

    cluster: str = ""
    node: str = field(default_factory=socket.gethostname)
    once: bool = False
    watch: str = INOTIFY
    proc: Path | None = None
    spool_limit: int = LIMIT_BYTES
    settings: Settings = field(default_factory=Settings)
    kafka: Connection | None = None
    reload: Reload | None = None
    metrics: str | None = None
    broker_limit: float = 300.0
    stuck_seconds: float = STUCK_SECONDS

    @classmethod
    def of(
        cls,
        *,
        cluster: str = "",
        node: str | None = None,
        once: bool = False,
        watch: str = INOTIFY,
        settings: Settings | None = None,
        proc: Path | None = None,
        kafka: Connection | None = None,
        spool_limit: int = LIMIT_BYTES,
        reload: Reload | None = None,
        metrics: str | None = None,
        broker_limit: float = 300.0,
    ) -> Options:
        """Return the options that a command line states. Raises ``UsageError`` for a watch mode that there is not."""
        require_mode(watch)
        name = node or socket.gethostname()
        return cls(
            cluster=cluster,
            node=name,
            once=once,
            watch=watch,
            proc=proc,
            settings=settings or Settings(),
            kafka=kafka,
            spool_limit=spool_limit,
            reload=reload,
            metrics=metrics,
            broker_limit=broker_limit,
        )


def collect(
    roots: Sequence[Path],
    state_directory: Path | None,
    options: Options,
    *,
    clock: Clock | None = None,
    filesystem: FileSystem | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Record the stores at ``roots`` into the spool of ``state_directory`` until stopped; return the exit code.

    Raises ``NoStoreError``, ``StoreUnreadableError``, ``StateInStoreError``, ``StateUnusableError``, ``SpoolLockedError``, ``SpoolError``.
    """
    clock = clock or SystemClock()
    filesystem = filesystem or LocalFileSystem()
    state = open_state(state_directory, roots)
    machine = Machine(options.proc or usual_proc(), clock, keep=True)
    sources = find_sources(roots, machine)
    try:
        filesystem.make_directory(state.path)
    except OSError as error:
        raise StateUnusableError(path=state.path, what=error.strerror or error) from error
    spool = Spool.open(
        state.spool,
        filesystem=filesystem,
        clock=clock,
        cluster=options.cluster,
        node=options.node,
        limit_bytes=options.spool_limit,
        least_offset=Ledger.least_offset(state.ledger, filesystem),
    )
    try:
        ledger = Ledger.open(state.ledger, spool.reader, filesystem=filesystem)
        set_for_recording()
        with until_signalled(stop or threading.Event()) as stopping, ExitStack() as stack:
            shipping = _ship(state, options, clock=clock, filesystem=filesystem)
            stack.enter_context(options.reload.on_hangup() if options.reload else nullcontext())
            collector = _Collector(
                sources, state=state, options=options, clock=clock, spool=spool, ledger=ledger, machine=machine, shipping=shipping
            )
            try:
                if options.metrics is not None:
                    stack.enter_context(_serving(options.metrics, collector.board))
                collector.run(stopping)
                if shipping is not None and options.once:
                    shipping.wait_until(spool.next_offset, stopping)
            finally:
                if shipping is not None:
                    shipping.close()
    finally:
        machine.close()
        spool.close()
    return 0


def _ship(state: State, options: Options, *, clock: Clock, filesystem: FileSystem) -> Shipping | None:
    """Begin to ship where that is wanted. Raises ``MissingExtraError`` and ``SecretFileError``."""
    if options.kafka is None:
        return None
    try:
        from collector.ship import start_shipping  # noqa: PLC0415 - a collector without Kafka needs no library for it
    except ModuleNotFoundError as error:
        raise MissingExtraError(verb="collect --kafka", library=error.name, extra="kafka") from error
    return start_shipping(state.spool, options.kafka, clock=clock, filesystem=filesystem)


def _serving(address: str, board: Board) -> AbstractContextManager[str]:
    """Serve metrics meanwhile. Raises ``MissingExtraError`` and ``ListenError``."""
    endpoint = load_late("linktrail.telemetry.endpoint", for_verb="collect --metrics", extra="metrics")
    serving: AbstractContextManager[str] = endpoint.serving(address, board)
    return serving


class _Collector:
    """One run of the program."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        state: State,
        options: Options,
        clock: Clock,
        spool: Spool,
        ledger: Ledger,
        machine: Machine,
        shipping: Shipping | None = None,
    ) -> None:
        self._state = state
        self._shipping = shipping
        self._options = options
        self._clock = clock
        self._spool = spool
        self._started = clock.now()
        choice = choose(SURVEY_ONLY if options.once else options.watch, [source.root for source in sources], clock=clock)
        self._watcher = choice.watcher
        keeper, refused = _keeper(clock, self._watcher.mode)
        self._statement = f"{choice.statement}{refused}"
        settings = self._paced(options.settings)
        self._measurer: Measurer = InProcess() if options.once else Workers(entries_per_second=settings.entries_per_second)
        self._recorder = Recorder(
            sources,
            watcher=self._watcher,
            spool=spool,
            ledger=ledger,
            clock=clock,
            settings=settings,
            barrier=_barrier(state, sources, self._watcher.mode),
            keeper=keeper,
            statement=self._statement,
            machine=machine,
            measurer=self._measurer,
        )
        self.board = Board(COLLECTOR, stuck_seconds=options.stuck_seconds, now=lambda: clock.now().monotonic / NANOSECONDS)
        self.board.beat(_LOOP)
        if isinstance(self._watcher, Engine):
            self.board.ask("the thread that drains the kernel's queue", partial(_seconds, self._watcher))
        if shipping is not None:
            self.board.ask("the shipper", partial(_seconds, shipping))
        self._telling = Telling(
            self.board,
            self._recorder.stores,
            watcher=self._watcher,
            spool=spool,
            outbox=self._recorder.outbox,
            broker_limit=options.broker_limit,
        )
        self._pace = Pace(settings.status_interval)
        self._trims = Pace(_TRIM_INTERVAL)
        if options.reload is not None:
            options.reload.apply = self._take_over
        self._counted = (0, self._started)
        self._said: tuple[object, ...] = ()
        self._surveys: dict[str, tuple[Survey, Mapping[LinkKind, int]]] = {}  # the last reading of each store, and its links by kind

    def _paced(self, settings: Settings) -> Settings:
        """Return a copy of ``settings`` as this way of watching needs them."""
        if self._options.once:
            return replace(settings, entries_per_second=1e12)
        if self._watcher.mode == SURVEY_ONLY:
            return replace(settings, survey_interval=min(settings.survey_interval, _UNWATCHED_INTERVAL))
        return replace(settings)

    def _take_over(self, configuration: Configuration) -> None:
        """Record as ``configuration`` says from now on; what the command line states stays. Raises ``UsageError``."""
        settings = Settings.configured(configuration)
        stated = {key.rpartition(".")[2] for key in (self._options.reload.flags if self._options.reload else ())}
        for name in stated.intersection(("min_age", "quiet", "max_delay")):
            setattr(settings, name, getattr(self._options.settings, name))
        settings.require_sense()
        self._telling.broker_limit = parse_duration(configuration.text("collect.broker_limit") or "", "collect.broker_limit")
        self._recorder.take_over(self._paced(settings))

    def run(self, stopping: threading.Event) -> None:
        """Record until ``stopping`` is set. Raises ``SpoolError``, after which only what was sealed before is certain."""
        try:
            self._recorder.start()
            _log.info("recording %d stores (%s)", len(self._recorder.stores), self._statement or self._watcher.mode)
            if self._options.once:
                self._recorder.record_once()
            while not stopping.is_set() and not self._options.once:
                if self._options.reload is not None:
                    self._options.reload.tend()
                self.board.beat(_LOOP)
                self._recorder.step(STEP_SECONDS)
                now = self._clock.now()
                if self._pace.due(now) and self._newsworthy(now):
                    self._say(now, "recording")
                if self._trims.due(now):
                    give_back()
            self._recorder.stop()
            self._say(self._clock.now(), "stopped")
            _log.info("stopped; everything that was seen is sealed")
        finally:
            self._recorder.end_watch()
            self._measurer.close()

    def _newsworthy(self, now: Instant) -> bool:
        """Tell whether the status file would say something new, or has said nothing for ``_STILL_HERE`` intervals."""
        outbox, stores = self._recorder.outbox, self._recorder.stores
        rested = sum(store.events for store in stores) == self._counted[0]
        news: tuple[object, ...] = (rested, outbox.sealed_rows, outbox.pending, outbox.full)
        news += (self._recorder.trouble, self._spool.acknowledged())
        news += tuple((store.events, store.vouching.down, store.findings.trouble, store.reading_ns) for store in stores)
        news += (self._watcher.watches, asdict(self._shipping.status) if self._shipping is not None else None)
        passed = now.monotonic - self._counted[1].monotonic
        same, self._said = news == self._said, news
        return not same or passed >= _STILL_HERE * self._options.settings.status_interval * NANOSECONDS

    def _kinds(self, store: StoreRecorder) -> Mapping[LinkKind, int]:
        """Count the links of the last reading, once a reading."""
        name, survey = store.source.name, store.survey
        if survey is None:
            return {}
        if name not in self._surveys or self._surveys[name][0] is not survey:
            self._surveys[name] = (survey, Counter(link.kind for link in survey.links.values()))
        return self._surveys[name][1]

    def _say(self, now: Instant, state: str) -> None:
        """Write the status file. Failing to is not worth stopping for: the live view then says that it is old."""
        recorder, spool = self._recorder, self._spool
        if self._options.metrics is not None:
            self._telling.tell(now, recorder.gaps, self._shipping)
        events = sum(store.events for store in recorder.stores)
        before, since = self._counted
        self._counted = (events, now)
        status = Status(
            run=spool.run,
            pid=os.getpid(),
            version=__version__,
            started_at=self._started.wall,
            updated_at=now.wall,
            state=state,
            mode=self._watcher.mode,
            statement=self._statement,
            watches=self._watcher.watches,
            uncovered=len(self._watcher.uncovered),
            events_per_second=round((events - before) * NANOSECONDS / max(1, now.monotonic - since.monotonic), 1),
            rows_sealed=recorder.outbox.sealed_rows,
            rows_waiting=recorder.outbox.pending,
            spool_bytes=spool.size_bytes,
            spool_limit=spool.limit_bytes,
            spool_next=spool.next_offset,
            spool_acknowledged=spool.acknowledged(),
            spool_full=recorder.outbox.full,
            trouble=recorder.trouble or next((store.findings.trouble for store in recorder.stores if store.findings.trouble), None),
            stores=tuple(_store_status(store, self._kinds(store)) for store in recorder.stores),
            shipping=asdict(self._shipping.status) if self._shipping is not None else None,
        )
        try:
            write_status(self._state.path, status)
        except OSError as error:
            recorder.trouble = f"the status cannot be written: {error.strerror or error}"


def _seconds(thread: Engine | Shipping) -> float | None:
    """Return the last sign of life of a thread (monotonic seconds), ``None`` when it has ended."""
    return None if thread.beat is None else thread.beat.monotonic / NANOSECONDS


def _store_status(store: StoreRecorder, counts: Mapping[LinkKind, int]) -> StoreStatus:
    memory = store.memory
    return StoreStatus(
        root=store.source.name,
        kind=store.source.kind.value,
        links=len(memory.links),
        layers=counts.get(LinkKind.LAYER_RECORD, 0),
        images=counts.get(LinkKind.IMAGE_RECORD, 0),
        containers=counts.get(LinkKind.CONTAINER_RECORD, 0),
        changes=store.changes,
        events=store.events,
        gaps=store.statements.gaps,
        findings=dict(Counter(str(row["severity"]) for row in memory.findings.values())),
        bytes=store.findings.total_bytes,
        read_at=None if store.survey is None else store.survey.finished,
        reading_ms=round(store.reading_ns / 1e6, 1) if store.survey is not None else None,
        vouched=memory.vouched,
        down=store.vouching.down,
    )


def _keeper(clock: Clock, mode: str) -> tuple[Keeper | None, str]:
    """Return what reads every version of the metadata files, or ``None`` and what to say of it."""
    if mode == SURVEY_ONLY:
        return None, ""
    try:
        return VersionService(clock), ""
    except OSError as error:
        return None, f"; not covered: metadata files that are replaced twice between two surveys ({error.strerror or error})"


def _barrier(state: State, sources: Sequence[Source], mode: str) -> Barrier | None:
    """Return the barrier for a watch of this mode, if there can be one: fanotify hears only the filesystems of the stores."""
    try:
        here = {source.root.stat().st_dev for source in sources}
        if mode == INOTIFY or (mode == FANOTIFY and state.path.stat().st_dev in here):
            return Barrier(state.path / _BARRIER)
    except OSError:  # not writable now: readings then end with an instant of silence instead
        pass
    return None
