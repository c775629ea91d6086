"""Recording one store: when to read it, and what a reading becomes.

Watch first, survey second, and then drain the watch: what happened up to the end of a reading is known when its rows are made. The rows
are the difference between the ledger and the survey, told with what the watch saw (``lives``) and what metadata files said in between
(``version_steps``), in intervals (``brackets``); then the gaps that are over (``vouching``); then findings. The ledger is advanced only
for rows that were taken.

A store that cannot be read (unmounted, permission, half removed) is in a gap until it can. Its links are not claimed removed, for
nobody saw that. Only when its parent directory is there and the root is not, one row says that the store itself is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from collector.brackets import Bounds, Evidence, Reading
from collector.differ import Action, LinkChange
from collector.early import EarlyReader
from collector.inside import InsideLayers
from collector.links import LinkKind, Survey, removed
from collector.lives import Lives, Round, Timed, in_order
from collector.measuring import Measurer
from collector.outbox import Outbox
from collector.rows import link_row
from collector.run_queue import waited_ns
from collector.settings import Settings
from collector.source import Source
from collector.statements import Statements
from collector.store_findings import StoreFindings
from collector.store_memory import StoreMemory
from collector.stores.protocol import Change, Meaning, WatchItem, WatchPlan
from collector.unwatched import Unwatched
from collector.version_steps import VersionSteps
from collector.versions import Keeper
from collector.vouching import Vouching
from collector.watch.deep import FanotifyWatcher
from collector.watch.interface import Loss, Watcher
from linktrail.clock import NANOSECONDS, Clock, Instant
from linktrail.errors import NoStoreError, StoreError, StoreUnreadableError, StoreUnstableError
from linktrail.events import Origin, Stamp

_RETRY_NS = 2 * NANOSECONDS
_PART_ROWS: Final = 500  # some 2 kB each, while they are rows of Python


@dataclass(frozen=True, slots=True)
class Tools:
    """What every store's recording uses.

    ``drain`` takes in what the watcher tells up to now, for all stores; it returns false when something may be missing.
    ``settled`` is until when all that the watch heard has been taken in.
    """

    clock: Clock
    watcher: Watcher
    outbox: Outbox
    settings: Settings
    drain: Callable[[], bool]
    settled: Callable[[], Instant]
    statement: str = ""
    measurer: Measurer | None = None
    keeper: Keeper | None = None


class StoreRecorder:
    """One store, from the start of a run to its end."""

    def __init__(self, source: Source, memory: StoreMemory, tools: Tools, *, ledger_lost: bool = False) -> None:
        """Record ``source`` onto what ``memory`` knows; ``ledger_lost`` says that it once knew more."""
        self.source = source
        self.memory = memory
        self.survey: Survey | None = None
        self.statements = Statements(source, clock=tools.clock, outbox=tools.outbox, watcher=tools.watcher, how=tools.statement)
        self.findings = StoreFindings(
            source,
            memory,
            clock=tools.clock,
            outbox=tools.outbox,
            settings=tools.settings,
            statements=self.statements,
            measurer=tools.measurer,
        )
        self.inside = InsideLayers(
            source.kind,
            memory,
            covered=tools.watcher.mode == FanotifyWatcher.mode,
            clock=tools.clock,
            statements=self.statements,
            settings=tools.settings,
        )
        self.changes = self.events = 0
        self.reading_ns = 0  # how long the last reading took
        self._tools = tools
        self._evidence = Evidence()
        self._lives = Lives()
        self._early = EarlyReader(source.driver, tools.clock)
        self._versions = VersionSteps(source.driver, tools.keeper)
        self.vouching = Vouching(
            memory,
            self.statements,
            self._versions,
            self.inside,
            settled=tools.settled,
            watched=lambda: tools.watcher.mode != Unwatched.mode,
            ledger_lost=ledger_lost,
        )
        self._real_root = source.real_root
        self._known = memory.vouched
        self._previous: Instant | None = None
        self._parent: tuple[int, int] | None = None  # the directory that the root was last seen in
        self._dirty: tuple[int, int] | None = None  # first and last sign of change since the last reading, monotonic ns
        self._plan: WatchPlan | None = None
        self._new_watches: list[WatchItem] = []
        self._not_before = self._periodic_at = 0

    # --- what the watch tells -----------------------------------------------------------------------------------

    def place(self, directory: Path) -> str | None:
        """Return ``directory`` relative to this store, ``None`` when it is not in it."""
        root, path = os.fspath(self._real_root), os.fspath(directory)
        if path == root:
            return ""
        return path[len(root) + 1 :] if path.startswith(f"{root}/") else None

    def concerns(self, loss: Loss) -> bool:
        """Tell whether ``loss`` touches this store."""
        return not loss.paths or any(self.place(path) is not None or self._real_root.is_relative_to(path) for path in loss.paths)

    def saw(self, change: Change, place: str, after: Instant, before: Instant) -> None:
        """Take in one event in the directory ``place``."""
        if self.inside.saw(change, place, after, before):
            self.events += 1
            return
        meaning: Meaning = self.source.driver.interpret(self._real_root, change)
        if not meaning.relevant:
            return
        self.events += 1
        self._evidence.saw(place, change.name, change.action, after, before)
        if meaning.link is not None:
            read = self._early.read(self._real_root, meaning.link, change.action)
            if not self._lives.saw(meaning.link, change.action, after, before, read):
                self.vouching.dropped.add("event-limit")
        if meaning.watch is not None:
            self._new_watches.append(meaning.watch)
        self._touch()

    def lose(self, loss: Loss) -> None:
        """Take in that events may be missing: the store is read again, and then a gap is stated."""
        self.vouching.losses.append(loss)
        self.inside.lose(loss)
        places = [place for path in loss.paths if (place := self.place(path)) is not None]
        self._evidence.lost(loss.before, places, after=loss.after)
        self._touch()

    def look_at_root(self) -> None:
        """Take in that the root is a link, or lies below one, that leads elsewhere now: no watch tells that."""
        if self.survey is not None and self.source.real_root != self._real_root:
            self._touch()

    def look_at_mounts(self) -> None:
        """Take in that something was mounted or unmounted on this machine: if it was of this store, it is read again."""
        if self.survey is not None and self.source.remounted(self.survey):
            self._touch()

    def watch_new(self) -> None:
        """Watch the directories that events told of, at once."""
        if not self._new_watches or self._plan is None:
            return
        items = {item.path: item for item in (*self._plan.items, *self._new_watches)}
        self._plan = replace(self._plan, items=tuple(items.values()))
        self._new_watches.clear()
        self._cover(self._plan)

    # --- when -----------------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether something may have happened that no reading has seen."""
        return self._dirty is not None

    def due_at(self) -> int:
        """Return when the next reading is due (monotonic ns)."""
        settings = self._tools.settings
        due = self._periodic_at
        if self._dirty is not None:
            first, last = self._dirty
            due = min(due, last + round(settings.quiet * NANOSECONDS), first + round(settings.max_delay * NANOSECONDS))
        looked = self.findings.due_at()
        if looked is not None:
            due = min(due, looked)
        return max(due, self._not_before)

    def _touch(self, since: Instant | None = None) -> None:
        now = self._tools.clock.now().monotonic
        self._dirty = (self._dirty[0] if self._dirty else now if since is None else since.monotonic, now)

    # --- reading --------------------------------------------------------------------------------------------------

    def read(self, settled: Callable[[Survey], bool] | None = None, told: Callable[[], None] = lambda: None) -> bool:
        """Read the store and record what changed; false when it could not be read. Raises ``SpoolError``.

        ``settled`` tells whether the store stood still around a survey, where no watch tells it (default: it did). ``told`` is called
        once the rows are in the outbox: they need not wait for the diagnosis.
        """
        clock = self._tools.clock
        begun, waited = (started := clock.now()), waited_ns()
        try:
            self._follow(self.source.driver.watch_plan(self.source.root))
            started = clock.now()
            survey = self.source.survey(clock)
        except StoreUnstableError:
            self._retry(started)
            return False
        except (NoStoreError, StoreUnreadableError) as error:
            self._unreadable(error, started)
            return False
        reading = Reading(started, clock.now())
        if not self._tools.drain():
            self._evidence.lost(reading.finished)  # late events would make the known ones say more than they can

        def ready() -> None:
            told()
            self._rest(begun, waited)  # diagnosis has a pace of its own, ``diagnose_interval``

        self._record(survey, reading, settled, ready)
        return True

    def look_inside(self, *, ending: bool = False) -> None:
        """Look at what changed inside the writable layers, if it is time, and at all of it when the run ends. Raises ``SpoolError``."""
        due = self.inside.due_at()
        if self.vouching.down is None and due is not None and (ending or due <= self._tools.clock.now().monotonic):
            (self.inside.finish if ending else self.inside.look)(self.source.root, self._tools.drain, self._take)

    def _follow(self, plan: WatchPlan) -> None:
        """Watch what ``plan`` says; the root may be a link that leads elsewhere now."""
        if plan.root != self._real_root:
            self._tools.watcher.uncover(self._real_root)
            self._real_root = plan.root
            self._evidence.lost(self._tools.clock.now())
        self._plan = plan
        self._new_watches.clear()
        self._cover(plan)

    def _rest(self, begun: Instant, waited: int) -> None:
        """Leave the machine alone for as long as reading took of it, by ``duty``; waiting for a processor took nothing."""
        now = self._tools.clock.now().monotonic
        rest = round(max(0, now - begun.monotonic - (waited_ns() - waited)) * (1 / self._tools.settings.duty - 1))
        self._not_before = max(self._not_before, now + rest)

    def _cover(self, plan: WatchPlan) -> None:
        self._tools.watcher.cover(plan)
        self._versions.follow(plan, self._previous)
        now = self._tools.clock.now()
        places = (self.place(path) for path in self._tools.watcher.covered)
        self._evidence.watching((place for place in places if place is not None), now)

    def _record(self, survey: Survey, reading: Reading, settled: Callable[[Survey], bool] | None, ready: Callable[[], None]) -> None:
        origin = Origin.BASELINE if self._previous is None and self._known is None else Origin.SURVEY
        told = Round(survey, reading, self._previous, self._known, origin)
        moving = self._dirty is not None and self._previous is not None
        steps, recorded = self._versions.tell(self.memory.links, told, self._evidence)
        timed = in_order([*steps, *self._lives.tell(recorded, told, self._evidence)])
        complete = self._take(timed, reading)
        self.survey = survey
        self.reading_ns = reading.finished.monotonic - reading.started.monotonic
        self._periodic_at = reading.started.monotonic + round(self._tools.settings.survey_interval * NANOSECONDS)
        left = self._evidence.close(reading)
        self._dirty = None
        if not complete:
            self.vouching.dropped.add("spool-full")
            self._versions.fell_behind()
            self._evidence.lost(reading.finished)
            self._retry(reading.finished)
            return
        if left or len(self._lives):
            self._touch(since=reading.started)
        self._refresh_owners(survey)
        self.inside.update(survey, reading, self._take)
        self.vouching.state(reading, self._previous, self._lives.oldest)
        self._previous = reading.started
        self._parent = self.source.parent()
        moving = moving or bool(timed and not told.first) or (settled is not None and not settled(survey))
        ready()
        self.findings.look(survey, reading, moving=moving)

    def _take(self, timed: Sequence[Timed], reading: Reading) -> bool:
        """Give the rows to the outbox and advance the ledger by those it took; tell whether it took all."""
        for start in range(0, len(timed), _PART_ROWS):  # a first reading may be a million rows, which need not all be there at once
            part = timed[start : start + _PART_ROWS]
            rows = [link_row(item.change.action, item.change.link, item.change.previous, self._stamp(item, reading)) for item in part]
            taken = self._tools.outbox.accept("links", rows)
            for item in part[:taken]:
                self.memory.put(item.change.link, item.interval)
            self.changes += taken
            if taken < len(part):
                return False
        return True

    def _stamp(self, item: Timed, reading: Reading) -> Stamp:
        return Stamp(item.interval, reading.finished, self._tools.clock.boot_id, item.origin, self.source.kind, self.source.name)

    def _refresh_owners(self, survey: Survey) -> None:
        """Remember who owns what now, for the rows of what is removed later; ownership alone is no change of a link."""
        links = self.memory.links
        for key, link in survey.links.items():
            held = links.get(key)
            if held is not None and held.owner != link.owner:
                links[key] = replace(held, owner=link.owner)

    # --- until when the record is complete --------------------------------------------------------------------------

    def beat(self, now: Instant) -> None:
        """Say until when the record of this store is complete; while it cannot be read, that it is not."""
        self.vouching.beat(now, self._previous, waiting=self.dirty)

    def stop(self, now: Instant) -> None:
        """Say that recording ends here, and which gaps are still open."""
        if self._previous is not None:
            self.vouching.stop(now, self._previous, waiting=self.dirty)

    # --- when it cannot be read -----------------------------------------------------------------------------------

    def _retry(self, now: Instant) -> None:
        self._not_before = now.monotonic + _RETRY_NS
        self._touch()

    def _unreadable(self, error: StoreError, started: Instant) -> None:
        """Begin, or stay in, a gap; say that the store is gone only when that can be seen."""
        now = self._tools.clock.now()
        self._retry(now)
        self._evidence.lost(now)
        if self.vouching.down is None:
            self.vouching.down = error.message
        if not self.source.gone(self._parent):
            return
        for link in [link for link in self.memory.links.values() if link.kind is LinkKind.STORE_ROOT]:
            bounds = Bounds(Reading(started, now), self._previous, self._known)
            change = LinkChange(Action.REMOVED, removed(link), link)
            self._take([Timed(change, bounds.interval(None, None), Origin.SURVEY)], Reading(started, now))
