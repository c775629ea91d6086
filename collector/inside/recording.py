"""Recording what changes inside the writable layers of one store, in deep mode.

A survey of a store does not enter layers, so these links have a life of their own. Events tell of every name, whichever mount namespace
it was touched in; each name is read a moment later (``LayerEvents``). What stood before the watch, after a loss, or came in with a
directory that was moved, a scan finds: it goes through a layer in slices, at ``entries_per_second`` on average, and whatever differs from
the record is read again. A layer's links end with its directory.

Which layers: those of containers, from the moment a survey says so; what events told of a layer before is kept that long (``WAITING``
events a layer). Layers of images do not change, and what is unpacked into them is no news: they are left out. Loss is stated like
that of the store, in a gap of its own that ends once every layer was gone through again. Beyond ``LINK_LIMIT`` links in one layer it is
given up, and that is a gap as long as it lasts.

In other modes nothing of this is covered (the ``start`` row says so). Links that an earlier run recorded then stand as ``unreadable``:
nobody looks after them any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from collector.brackets import Bounds, Reading, between, since_wall
from collector.differ import Action, LinkChange
from collector.graph import LAYER_HOME
from collector.inside.layer import LayerEvents
from collector.inside.names import AbsentError, Place, read, walk
from collector.links import Link, LinkKey, LinkKind, LinkState, StoreKind, Survey, removed
from collector.lives import Timed, in_order
from collector.samples import targets
from collector.settings import Settings
from collector.statements import Statements
from collector.store_memory import StoreMemory
from collector.stores.protocol import Change
from collector.watch.interface import Loss
from linktrail.clock import NANOSECONDS, Clock, Instant
from linktrail.errors import StoreError
from linktrail.events import Interval, Origin

WAITING: Final = 5_000
LINK_LIMIT: Final = 100_000
_SLICE_ENTRIES: Final = 2_000
_SPACING_NS: Final = NANOSECONDS // 50
_RETRY_NS: Final = NANOSECONDS
_ABSENT_NS: Final = NANOSECONDS // 5
_LAST_LOOKS: Final = 200
_CONTENTS: Final = {
    StoreKind.CONTAINERS_STORAGE: "diff",
    StoreKind.DOCKER_OVERLAY2: "diff",
    StoreKind.CONTAINERD_OVERLAYFS: "fs",
}
_ABOUT: Final = "inside the writable layers"

Take = Callable[[list[Timed], Reading], bool]
"""Records steps; false when not all were taken."""


@dataclass(slots=True)
class _Early:
    """Events in a layer of which no survey has said what it is."""

    events: list[tuple[str, Change, Instant, Instant]] = field(default_factory=list)
    overrun: bool = False


@dataclass(slots=True)
class _Scan:
    """A walk under way: through which layer, from where, and the links met so far."""

    layer: LayerEvents
    below: str
    steps: Iterator[tuple[int, list[str]]]
    links: list[str] = field(default_factory=list)
    done: bool = False


@dataclass(frozen=True, slots=True)
class _Gap:
    cause: str
    message: str
    since: Instant | None
    known: int | None = None


class InsideLayers:
    """The writable layers of one store. Not safe for several threads."""

    def __init__(
        self,
        kind: StoreKind,
        memory: StoreMemory,
        *,
        covered: bool,
        clock: Clock,
        statements: Statements,
        settings: Settings,
    ) -> None:
        """Record onto ``memory`` if the watch has the inside of layers ``covered``."""
        self.layers: dict[str, LayerEvents] = {}
        self._kind = kind
        self._memory = memory
        self._clock = clock
        self._statements = statements
        self._covered = covered
        self._rate = settings.entries_per_second
        self._duty = settings.duty
        self._begun = False
        self._given_up: dict[str, Instant] = {}  # contents of layers with too many links -> until when that was stated
        self._home = f"{LAYER_HOME[kind]}/"
        self._known = memory.vouched
        self._early: dict[str, _Early] = {}
        self._ignored: frozenset[str] = frozenset()
        self._shape: frozenset[tuple[LinkKey, str | None, LinkState]] = frozenset()
        self._gaps: list[_Gap] = []
        self._scan: _Scan | None = None
        self._not_before = 0
        self._rest_until = 0
        self._scan_not_before = 0
        if memory.vouched is not None:
            self._gaps.append(_Gap("restart", "linktrail was not running", None, memory.vouched))

    # --- what the watch tells -------------------------------------------------------------------------------------

    def saw(self, change: Change, place: str, after: Instant, before: Instant) -> bool:
        """Take in an event in the directory ``place`` of the store; false when it is none inside a layer."""
        if not self._covered or not place.startswith(self._home):
            return False
        name, _, rest = place[len(self._home) :].partition("/")
        first, _, inner = rest.partition("/")
        contents = f"{self._home}{name}/{_CONTENTS[self._kind]}"
        if first != _CONTENTS[self._kind]:
            if not rest and not change.name and change.nlink is not None and contents in self.layers:
                self.layers[contents].counted(change, None, after, before)
                return True
            return False
        layer = self.layers.get(contents)
        if layer is not None:
            if not layer.saw(inner, change, after, before):
                self._lose("event-limit", "more names changed than can be kept in mind", after, before)
        elif contents not in self._ignored and contents not in self._given_up:
            early = self._early.setdefault(contents, _Early())
            if len(early.events) < WAITING:
                early.events.append((inner, change, after, before))
            else:
                early.overrun = True
        return True

    def lose(self, loss: Loss) -> None:
        """Take in that events may be missing: all layers are gone through again, and then a gap is stated."""
        if self._covered:
            self._lose(str(loss.cause), loss.message, loss.after, loss.before)

    def _lose(self, cause: str, message: str, after: Instant, before: Instant) -> None:
        if not any(gap.cause == cause and gap.since is not None for gap in self._gaps):
            self._gaps.append(_Gap(cause, message, after))
        self._scan = None
        for layer in self.layers.values():
            layer.lost(before)

    def update(self, survey: Survey, reading: Reading, take: Take) -> None:
        """Take over which layers are writable, and that others are gone."""
        if not self._covered:
            take(_forsaken(self._memory.inside.values(), reading), reading)
            return
        self._begun = True
        kinds = (LinkKind.CONTAINER_LAYER, LinkKind.LAYER_DIRECTORY, LinkKind.LAYER_RECORD)
        shape = frozenset((link.key, link.target, link.state) for link in survey.of_kind(*kinds))
        if shape == self._shape and not self._early:
            return
        whole = not survey.problems  # else what is not in it may be there all the same
        self._shape = shape if whole else frozenset()
        found = targets(survey)
        ours = {f"{path}/{_CONTENTS[self._kind]}": target for path, target in found.items() if path.startswith(self._home)}
        self._ignored = frozenset(contents for contents, target in ours.items() if target.role == "image")
        self._given_up = {contents: since for contents, since in self._given_up.items() if contents in ours}
        if whole:
            self._end([contents for contents in self.layers if contents not in ours], reading, take)
        writable = {contents: target for contents, target in ours.items() if target.role == "container"}
        new = [Place(contents, target.subject, target.owner) for contents, target in writable.items() if self._is_new(contents)]
        made = _directories(self._memory.since) if new else {}
        for place in new:
            self._begin(place, made.get(place.contents.rpartition("/")[0]))
        self._early = {contents: early for contents, early in self._early.items() if contents in ours and contents not in self._ignored}
        self._take_over()
        if not whole:
            return
        lost = [link for link in self._memory.inside.values() if _contents(link) not in {*self.layers, *self._given_up}]
        self._remove(lost, reading, take)

    def _is_new(self, contents: str) -> bool:
        return contents not in self.layers and contents not in self._given_up

    def _begin(self, place: Place, made: Interval | None) -> None:
        """Follow a layer from now on, whose directory was ``made`` then."""
        after = None if made is None else made.after
        fresh = after is not None and (self._known is None or after >= self._known)
        known = after if fresh else self._known
        layer = self.layers[place.contents] = LayerEvents(place, known, fresh=fresh)
        early = self._early.pop(place.contents, _Early())
        for inner, change, first, last in early.events:
            layer.saw(inner, change, first, last)
        if early.overrun:
            self._gaps.append(_Gap("event-limit", "more names changed in a new layer than can be kept in mind", None, known))

    def _take_over(self) -> None:
        """Give each layer the links that are recorded of it."""
        for link in self._memory.inside.values():
            layer = self.layers.get(_contents(link))
            if layer is not None and link.subject[1:] not in layer.links:
                layer.recorded(link)

    def _end(self, gone: Iterable[str], reading: Reading, take: Take) -> None:
        """Say that layers are gone, and all in them."""
        for contents in gone:
            layer = self.layers.pop(contents)
            if self._scan is not None and self._scan.layer is layer:
                self._scan = None
            names = dict.fromkeys([*layer.links, *layer.names])
            self._told(layer, layer.tell(self._kind, list(names), {}, reading, certain=True), reading, take)

    def _remove(self, links: list[Link], reading: Reading, take: Take) -> None:
        """Say of links in layers that went while nobody watched that they are gone."""
        gone = _directories(self._memory.gone) if links else {}
        unknown = Bounds(reading, None, self._known).interval(None, None)
        changes = [LinkChange(Action.REMOVED, removed(link), link) for link in links]
        take([Timed(change, gone.get(_contents(change.link).rpartition("/")[0], unknown), Origin.SURVEY) for change in changes], reading)

    # --- looks ------------------------------------------------------------------------------------------------------

    @property
    def oldest(self) -> Instant | None:
        """The instant after which everything happened that is not told yet, ``None`` when all is told."""
        found = (layer.oldest for layer in self.layers.values())
        return min((instant for instant in found if instant is not None), key=lambda instant: instant.monotonic, default=None)

    @property
    def complete(self) -> bool:
        """Whether every layer was gone through since the last loss, and every event is told."""
        return self._scan is None and not any(layer.scans or layer.waiting for layer in self.layers.values())

    def due_at(self) -> int | None:
        """Return when to look next (monotonic ns), ``None`` when there is nothing to look at."""
        if not self._begun:
            return None
        if any(layer.waiting for layer in self.layers.values()):
            return self._not_before
        if self._scan is not None or self._gaps or any(layer.scans for layer in self.layers.values()):
            return max(self._not_before, self._scan_not_before)
        return None

    def finish(self, root: Path, drain: Callable[[], bool], take: Take) -> None:
        """Tell all that events told of and end scans without a rest, as far as that is a matter of moments. Raises ``SpoolError``."""
        for _ in range(_LAST_LOOKS):
            if self.complete:
                return
            self._scan_not_before = 0
            self.look(root, drain, take)

    def look(self, root: Path, drain: Callable[[], bool], take: Take) -> None:
        """Read the names that events told of, or go on with a scan. Raises ``SpoolError``."""
        started = self._clock.now()
        try:
            waiting = [layer for layer in self.layers.values() if layer.waiting]
            if waiting:
                self._read(root, waiting, drain, take)
            elif started.monotonic >= self._scan_not_before:
                self._go_on(root)
        except (OSError, StoreError) as error:
            now = self._clock.now()
            self._lose("unreadable", f"{_ABOUT}: {error}", started, now)
            self._not_before = now.monotonic + _RETRY_NS
            return
        now = self._clock.now()
        if self.complete and self._gaps:
            self._state(now)
        rest = max(_SPACING_NS, round((now.monotonic - started.monotonic) * (1 / self._duty - 1)))
        self._not_before = max(self._rest_until, now.monotonic + rest)

    def _read(self, root: Path, waiting: list[LayerEvents], drain: Callable[[], bool], take: Take) -> None:
        started = self._clock.now()
        found = []
        for layer in waiting:
            names = layer.wanted()
            with contextlib.suppress(AbsentError):  # it waits until the survey has said whether the layer is gone
                found.append((layer, names, read(root, layer.place, names)))
        if not found:
            self._rest_until = started.monotonic + _ABSENT_NS
            return
        reading = Reading(started, self._clock.now())
        certain = drain()
        for layer, names, standing in found:
            if self.layers.get(layer.place.contents) is layer:
                self._told(layer, layer.tell(self._kind, names, standing, reading, certain=certain), reading, take)
                if layer.sure is None and not layer.scans and (self._scan is None or self._scan.layer is not layer) and not layer.waiting:
                    layer.sure = reading.started

    def _told(self, layer: LayerEvents, timed: list[Timed], reading: Reading, take: Take) -> None:
        timed = in_order(timed)
        complete = take(timed, reading)
        for item in timed:
            key = item.change.link.key
            layer.recorded(self._memory.inside.get(key, removed(item.change.link)))
        if not complete:
            self._lose("spool-full", "more changed than could be kept while the spool took no rows", reading.started, reading.finished)

    def _go_on(self, root: Path) -> None:
        """Go through the next directories of a scan, at the pace that is allowed."""
        if self._scan is None:
            layer = next((layer for layer in self.layers.values() if layer.scans), None)
            if layer is None:
                return
            below = next(iter(layer.scans))
            del layer.scans[below]
            self._scan = _Scan(layer, below, walk(root, layer.place, below))
        scan, entries = self._scan, 0
        started = self._clock.now()
        try:
            for count, links in scan.steps:
                entries += count
                scan.links += links
                if len(scan.links) > LINK_LIMIT:
                    self._give_up(scan.layer, started)
                    return
                if entries >= _SLICE_ENTRIES:
                    break
            else:
                scan.done = True
        except AbsentError:  # the survey will say whether the layer is gone
            self._scan = None
            scan.layer.scans[scan.below] = None
            self._scan_not_before = started.monotonic + _ABSENT_NS
            return
        if scan.done:
            self._scan = None
            scan.layer.found(scan.below, scan.links)
            if not scan.layer.waiting and not scan.layer.scans:
                scan.layer.sure = started
        self._scan_not_before = started.monotonic + round(entries / self._rate * NANOSECONDS)

    def _give_up(self, layer: LayerEvents, now: Instant) -> None:
        """Follow a layer with too many links no longer."""
        self._scan = None
        del self.layers[layer.place.contents]
        self._given_up[layer.place.contents] = layer.sure or now

    # --- statements -------------------------------------------------------------------------------------------------

    def beat(self, now: Instant) -> None:
        """Say which layers are given up."""
        for contents, since in self._given_up.items():
            message = f"{contents} holds more than {LINK_LIMIT} links and is not followed"
            self._statements.gap("link-limit", message, between(since, now), now)
        self._given_up = dict.fromkeys(self._given_up, now)

    def _state(self, now: Instant) -> None:
        """Say which gaps are over; where there is no writable layer, nothing was missed."""
        for gap in self._gaps if self.layers or self._memory.inside else ():
            interval = since_wall(gap.known, now) if gap.since is None else between(gap.since, now)
            self._statements.gap(gap.cause, gap.message if gap.message.startswith(_ABOUT) else f"{_ABOUT}: {gap.message}", interval, now)
        self._gaps.clear()

    def stop(self, now: Instant) -> None:
        """State what is still open."""
        self._state(now)
        self.beat(now)


def _contents(link: Link) -> str:
    """Return the contents directory that a link inside a layer lies in."""
    return link.path[: -len(link.subject)]


def _directories(times: Mapping[LinkKey, Interval]) -> dict[str, Interval]:
    return {key[2]: interval for key, interval in times.items() if key[0] is LinkKind.LAYER_DIRECTORY}


def _forsaken(links: Iterable[Link], reading: Reading) -> list[Timed]:
    """Return the steps that say that nobody looks after ``links`` any more."""
    now = Interval(reading.started.wall, reading.finished.wall)
    changes = [
        LinkChange(Action.CHANGED, replace(link, state=LinkState.UNREADABLE), link)
        for link in links
        if link.state is not LinkState.UNREADABLE
    ]
    return [Timed(change, now, Origin.SURVEY) for change in changes]
