"""What happened to links between two readings: the readings' difference, and what only the watch saw.

A link that is made and removed between two readings leaves no trace in either; one that is removed and made again looks untouched.
Where the watch saw names come and go (``Meaning.link``), the steps are told one by one:

* the events since the previous reading are taken in order, as far as this reading certainly or possibly saw them (the shortest run that
  ends in what it found). The rest waits for the next reading, so no step is told twice, and none is lost
* a step whose result no survey read has the target that was read when its event came (``early``), if that is certain to have been the
  result of that step; otherwise none: ``created`` with target null, then ``removed``
* where the events do not lead to what was read (some lost, or still under way), the reading is the truth: one more step, in a wide
  interval, leads there. If the event of that step comes after all, it is not told again (``_owed``)

* where events were lost after the last one that was heard, another may have been put in place of what that one made: what was read is not
  its result, but one more step, in a wide interval

* a pointer that changed several times during one reading may be read as any of them: those steps wait for the next reading

Everything else is ``differ.diff`` with the intervals of ``brackets``.
"""

from __future__ import annotations

from collections.abc import KeysView, Mapping
from dataclasses import dataclass, replace
from typing import Final

from collector.brackets import APPEARED, VANISHED, Bounds, Evidence, Reading
from collector.differ import OWN_INODE, Action, LinkChange, Unread, diff, steps
from collector.early import Read
from collector.links import Link, LinkKey, LinkKind, Survey, removed
from collector.rows import recorded
from linktrail.clock import NANOSECONDS, Instant
from linktrail.events import Interval, Origin

EVENT_LIMIT: Final = 200_000
_OWED_NS: Final = 10 * NANOSECONDS
_POINTERS: Final = frozenset({LinkKind.SHORT_LINK, LinkKind.SYMLINK})


@dataclass(frozen=True, slots=True)
class Timed:
    """A change, when it happened, and how that is known."""

    change: LinkChange
    interval: Interval
    origin: Origin


@dataclass(frozen=True, slots=True)
class Round:
    """One reading and what came before it.

    ``previous`` is when the reading before began (``None``: the first of this run), ``known`` until when earlier runs vouch (ns UTC;
    ``None``: the store was never read), ``origin`` what differences count as that no event explains.
    """

    survey: Survey
    reading: Reading
    previous: Instant | None
    known: int | None
    origin: Origin

    @property
    def first(self) -> bool:
        """Whether the store was never read before."""
        return self.previous is None and self.known is None


@dataclass(frozen=True, slots=True)
class _Event:
    """A name appeared or vanished. One that was made (not moved in) cannot have been there just before: making it would have failed."""

    appeared: bool
    made: bool
    link: Link
    after: Instant
    before: Instant
    read: Read | None = None

    def is_read_before(self, later: _Event) -> bool:
        """Tell whether what was read after this event was read before ``later`` happened."""
        return self.read is not None and self.read.at.monotonic <= later.after.monotonic


class Lives:
    """The comings and goings of names in one store that no reading has accounted for yet."""

    def __init__(self) -> None:
        """Know of none."""
        self._events: dict[LinkKey, list[_Event]] = {}
        self._floors: dict[LinkKey, tuple[Instant | None, int | None]] = {}
        self._owed: dict[LinkKey, tuple[bool, Instant]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return the number of events kept."""
        return self._count

    def saw(self, link: Link, action: str, after: Instant, before: Instant, read: Read | None = None) -> bool:
        """Note that the name of ``link`` appeared or vanished; false when it was not noted because there are too many already.

        ``read`` is what stood under the name after that.
        """
        if action not in APPEARED and action not in VANISHED:
            return True
        if self._count >= EVENT_LIMIT:
            return False
        self._events.setdefault(link.key, []).append(_Event(action in APPEARED, action == "created", link, after, before, read))
        self._count += 1
        return True

    @property
    def pending(self) -> KeysView[LinkKey]:
        """The links of which events are kept."""
        return self._events.keys()

    def begins(self, key: LinkKey) -> bool | None:
        """Tell whether the first kept event of a link is an appearance, ``None`` when none is kept."""
        life = self._events.get(key)
        return life[0].appeared if life else None

    @property
    def oldest(self) -> Instant | None:
        """The instant after which everything happened that is not told yet, ``None`` when all is told."""
        return min((life[0].after for life in self._events.values()), key=lambda instant: instant.monotonic, default=None)

    def tell(self, old: Mapping[LinkKey, Link], told: Round, evidence: Evidence) -> list[Timed]:
        """Return all that happened up to this reading, in order of time, and forget the events it accounts for."""
        unread = Unread(told.survey.unread)
        self._expire(told.reading)
        events, self._events = self._events, {}
        elsewhere = self._paths_of_others(events, old, told.survey)
        result: list[Timed] = []
        explained: set[LinkKey] = set()
        for key, life in events.items():
            if unread.hides(key[2]):
                self._keep(key, life, told)
            elif key[2] not in elsewhere:
                explained.add(key)
                result += self._relate(key, life, old.get(key), told, evidence)
        for change in diff(old, told.survey, first=told.first):
            if change.link.key in explained:
                continue
            interval, seen = evidence.interval(change, told.reading, told.previous, told.known)
            result.append(Timed(change, interval, Origin.WATCH if seen else told.origin))
            if told.previous is not None and change.link.kind in _NAMED:
                self._owed[change.link.key] = (change.action is not Action.REMOVED, told.reading.finished)
        self._floors = {key: floor for key, floor in self._floors.items() if key in self._events}
        self._count = sum(len(life) for life in self._events.values())
        return in_order(result)

    def _relate(self, key: LinkKey, life: list[_Event], old: Link | None, told: Round, evidence: Evidence) -> list[Timed]:
        """Tell one link's steps; what this reading cannot have seen is kept for the next."""
        life = self._without_owed(key, life)
        found = told.survey.links.get(key)
        new = None if found is None else recorded(found)
        definite = sum(event.before.monotonic <= told.reading.started.monotonic for event in life)
        possible = sum(event.after.monotonic < told.reading.finished.monotonic for event in life)
        fitting = next((count for count in range(definite, possible + 1) if _leads(life[:count], old, new)), None)
        taken = definite if fitting is None else fitting
        unseen = told.previous is None or evidence.broken
        undecided = key[0] in _POINTERS and new is not None and _undecided(life[:possible], definite, old, new, unseen=unseen)
        if undecided:  # a later reading says what stands; the step that led to what stood before the doubt waits for it too
            fitting, taken = None, definite - (definite > 0 and life[definite - 1].appeared)
        elif new is not None and _was_replaced_unseen(key[0], life[:taken], evidence):
            fitting = None
        previous, known = self._floors.pop(key, (told.previous, told.known))
        told = replace(told, previous=previous, known=known)
        if life[taken:]:
            self._keep(key, life[taken:], replace(told, previous=life[taken - 1].after) if taken else told)
        teller = _Teller(old, None if fitting is None else new, told, evidence)
        made_last = -1 if undecided else max((number for number, event in enumerate(life[:taken]) if event.appeared), default=-1)
        for number, event in enumerate(life[:taken]):
            sure = not evidence.broken and number + 1 < len(life) and event.is_read_before(life[number + 1])
            teller.step(event if sure else replace(event, read=None), last=number == made_last)
        if fitting is None and not undecided and teller.settle(new):
            self._owed[key] = (new is not None, told.reading.finished)
        return teller.result

    def _keep(self, key: LinkKey, life: list[_Event], floor: Round) -> None:
        """Keep events for the next reading. What went unseen before them did so since ``floor``, not since this reading."""
        self._events[key] = life
        self._floors.setdefault(key, (floor.previous, floor.known))

    def _without_owed(self, key: LinkKey, life: list[_Event]) -> list[_Event]:
        """Drop the first event when it is the late news of a step that a reading already told."""
        appeared, until = self._owed.pop(key, (None, None))
        if until is not None and life and life[0].appeared is appeared and life[0].after.monotonic < until.monotonic:
            return life[1:]
        return life

    def _expire(self, reading: Reading) -> None:
        limit = reading.started.monotonic - _OWED_NS
        self._owed = {key: debt for key, debt in self._owed.items() if debt[1].monotonic > limit}

    @staticmethod
    def _paths_of_others(events: Mapping[LinkKey, list[_Event]], old: Mapping[LinkKey, Link], survey: Survey) -> frozenset[str]:
        """Return paths where readings find something of another kind than the event made believe: there only they speak."""
        strange = {key[2] for key in events if key not in survey.links and key not in old}
        if not strange:
            return frozenset()
        return frozenset(key[2] for links in (survey.links, old) for key in links if key[2] in strange and key not in events)


_NAMED: Final = OWN_INODE | {LinkKind.LINK_FILE, LinkKind.LOWER_REFERENCE, LinkKind.DATA_FILE}
"""Kinds whose names a driver recognises in an event."""


def _leads(life: list[_Event], old: Link | None, new: Link | None) -> bool:
    """Tell whether these events can turn ``old`` into ``new``."""
    present = life[-1].appeared if life else old is not None
    if present != (new is not None):
        return False
    return old is None or new is None or old == new or any(event.appeared for event in life)


def _was_replaced_unseen(kind: LinkKind, life: list[_Event], evidence: Evidence) -> bool:
    """Tell whether what the last of these events made may have been replaced while nothing was heard: its target is not what was read."""
    return kind in _POINTERS and bool(life) and life[-1].appeared and evidence.lost_only_after(life[-1].before)


def _undecided(life: list[_Event], definite: int, old: Link | None, new: Link, *, unseen: bool) -> bool:
    """Tell whether the reading can have found ``new`` at more than one place among the events that happened while it read.

    Those are the events of ``life`` after the ``definite`` ones, which came before it; ``unseen`` says that there may be others before.
    """
    appearances = sum(event.appeared for event in life[definite:])
    if len(life) <= definite:
        return False
    if unseen:
        before = True
    elif definite:
        before = life[definite - 1].appeared
    elif old is not None:
        before = old == new
    else:
        before = not life[0].made  # it was there unseen
    return appearances + before > 1


def in_order(told: list[Timed]) -> list[Timed]:
    """Sort by time, but never a link's own steps, which are in order already."""
    latest: dict[LinkKey, int] = {}
    keys = []
    for timed in told:
        key = timed.change.link.key
        latest[key] = max(latest.get(key, 0), timed.interval.before)
        keys.append(latest[key])
    return [told[index] for index in sorted(range(len(told)), key=keys.__getitem__)]


class _Teller:
    """Walks along the events of one link and says each step."""

    def __init__(self, old: Link | None, new: Link | None, told: Round, evidence: Evidence) -> None:
        self.result: list[Timed] = []
        self._stands = old
        self._new = new
        self._told = told
        self._evidence = evidence
        self._latest: _Event | None = None
        self._replaced: _Event | None = None  # the first replacement whose result nobody read and no row told

    def step(self, event: _Event, *, last: bool) -> None:
        """Take one event; ``last`` says that nothing appeared after it, so what it made is what the reading found, if it found anything."""
        if event.appeared:
            self._appear(event, self._new if last else None)
        else:
            self._vanish(event)
        self._latest = event

    def settle(self, new: Link | None) -> bool:
        """Lead to what was read where the events did not; tell whether there was a step to tell."""
        interval = self._interval(self._latest.after if self._latest else None, None)
        before = len(self.result)
        if new is None and self._stands is not None:
            self._say(LinkChange(Action.REMOVED, removed(self._stands), self._stands), interval, self._told.origin)
        elif new is not None and self._stands is None:
            action = Action.OBSERVED if self._told.first and self._latest is None else Action.CREATED
            self._say(LinkChange(action, new), interval, self._told.origin)
        elif new is not None and self._stands is not None:
            for change in steps(self._stands, new):
                self._say(change, interval, self._told.origin)
        return len(self.result) > before

    def _appear(self, event: _Event, result: Link | None) -> None:
        made = result or recorded(event.link if event.read is None else event.read.link)
        upper = self._upper(event, read=result is not None)
        if self._stands is not None and event.made:  # its end went unseen
            gone = LinkChange(Action.REMOVED, removed(self._stands), self._stands)
            self._say(gone, self._interval(self._latest.after if self._latest else None, event.before))
            self._stands, self._replaced = None, None
        if self._stands is None:
            self._say(LinkChange(Action.CREATED, made), self._interval(event.after, upper))
            self._stands = made
        elif result is not None:
            first = (self._replaced or event).after
            replaced = event.link.kind in _POINTERS  # put over another one, which may look the same, or was read in its place
            changes = [LinkChange(Action.RETARGETED, result, self._stands)] if replaced else steps(self._stands, result)
            for change in changes:
                self._say(change, self._interval(first, upper))
            self._stands, self._replaced = result, None
        elif event.link.kind in _POINTERS:
            self._say(LinkChange(Action.RETARGETED, made, self._stands), self._interval(event.after, upper))
            self._stands = made
        else:
            self._replaced = self._replaced or event

    def _vanish(self, event: _Event) -> None:
        stood = self._stands
        if stood is None:  # it was there unseen: made before the watch stood, or its making was lost
            stood = recorded(event.link)
            after = self._latest.after if self._latest else None
            self._say(LinkChange(Action.CREATED, stood), self._interval(after, event.before))
        self._say(LinkChange(Action.REMOVED, removed(stood), stood), self._interval(event.after, event.before))
        self._stands, self._replaced = None, None

    def _upper(self, event: _Event, *, read: bool) -> Instant:
        """Return when what was made stood as it was read: a file is filled after it is made, and lost events hide a later maker."""
        if not read:
            return event.before
        later = None if event.link.kind in OWN_INODE else self._evidence.last_event(event.link.path)
        if self._evidence.broken:
            later = self._told.reading.finished
        return later if later is not None and later.monotonic > event.before.monotonic else event.before

    def _interval(self, after: Instant | None, before: Instant | None) -> Interval:
        return Bounds(self._told.reading, self._told.previous, self._told.known).interval(after, before)

    def _say(self, change: LinkChange, interval: Interval, origin: Origin = Origin.WATCH) -> None:
        self.result.append(Timed(change, interval, origin))
