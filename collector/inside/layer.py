"""The names in one writable layer: what is recorded of them, what events told, and what a look at them says happened.

A layer is *sure* from the end of a scan of all of it: what is not recorded then is no link. Before, an event about a name that was
never read says no more than that it was there. Whoever looks gives the names that events told of to ``wanted``, reads them, takes in what
was told meanwhile, and asks ``tell``. What an event explains has the event's bracket; what only a scan found, the time since the layer was
last known. Names whose events the reading cannot have seen are asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Final

from collector.brackets import APPEARED, VANISHED, Bounds, Evidence, Reading, Span
from collector.differ import Action, LinkChange, steps
from collector.inside.names import Place, plain, slot, told, unknown
from collector.links import Link, LinkKey, LinkKind, LinkState, StoreKind, Survey, removed
from collector.lives import Lives, Round, Timed
from collector.rows import recorded
from collector.stores.protocol import Change
from linktrail.clock import Instant
from linktrail.events import Origin

LOOK_NAMES: Final = 5_000
EVENT_LIMIT: Final = 200_000
_SOUGHT_LIMIT: Final = 50_000


@dataclass(slots=True)
class _Told:
    """What events told of one name since it was last read."""

    span: Span
    events: list[tuple[str, Instant, Instant]] = field(default_factory=list)


class LayerEvents:
    """One layer. ``links`` are those recorded of it, by name; ``known`` is the time (ns UTC) up to which they were complete."""

    def __init__(self, place: Place, known: int | None, *, fresh: bool) -> None:
        """Know nothing of ``place`` yet; ``fresh`` says that it was made while it was watched, after ``known``."""
        self.place = place
        self.known = known
        self.sure: Instant | None = None
        self.links: dict[str, Link] = {}
        self.scans: dict[str, None] = {"": None}  # directories to go through
        self._inodes: dict[int, set[str]] = {}
        self._fresh = fresh
        self._told: dict[str, _Told] = {}
        self._lives = Lives()
        self._evidence = Evidence()
        self._again: set[str] = set()
        self._moved: dict[str, str] = {}
        self._left: dict[int, str] = {}  # cookie -> name that left
        self._sought: dict[tuple[int, int], Span] = {}  # inode and number of names -> when that number came about
        self._events = 0

    @property
    def oldest(self) -> Instant | None:
        """The instant after which everything happened that is not told yet, ``None`` when all is told."""
        found = [item.span.first for item in self._told.values()]
        if self._lives.oldest is not None:
            found.append(self._lives.oldest)
        return min(found, key=lambda instant: instant.monotonic, default=None)

    @property
    def names(self) -> list[str]:
        """The names to be read."""
        return [*self._again, *self._told]

    @property
    def waiting(self) -> int:
        """How many names are to be read."""
        return len(self._told) + len(self._again)

    def recorded(self, link: Link) -> None:
        """Take over how a link stands now, or that it is gone."""
        name = link.subject[1:]
        before = self.links.pop(name, None)
        if before is not None and before.inode is not None:
            self._inodes.get(before.inode, set()).discard(name)
        if link.state is not LinkState.REMOVED:
            self.links[name] = link
            if link.inode is not None:
                self._inodes.setdefault(link.inode, set()).add(name)

    # --- events ---------------------------------------------------------------------------------------------------

    def saw(self, inner: str, change: Change, after: Instant, before: Instant) -> bool:
        """Take in an event in the directory ``inner`` of the layer; false when too many are waiting already."""
        if not change.name or change.action == "modified":
            return True
        if self._events >= EVENT_LIMIT:
            return False
        name = f"{inner}/{change.name}" if inner else change.name
        if change.action == "attributes":
            self.counted(change, name, after, before)
            return True
        self._note(name, change.action, after, before)
        if change.cookie:
            self._couple(name, change)
        if change.is_directory:
            if change.action == "moved_in":
                self.scans[name] = None
            elif change.action in VANISHED:
                for below in [known for known in self.links if known.startswith(f"{name}/")]:
                    self._note(below, change.action, after, before)
        return True

    def counted(self, change: Change, name: str | None, after: Instant, before: Instant) -> None:
        """Take in that the number of names of a file changed: all of them are read, and those not known yet are looked for."""
        names = set(self._inodes.get(change.inode, ())) if change.inode is not None else set()
        if name is not None:
            names.add(name)
        for known in names:
            self._note(known, "attributes", after, before)
        if not names and change.inode is not None and change.nlink is not None:
            self._seek(change.inode, change.nlink, Span(after, before, change.action, change.action))

    def _note(self, name: str, action: str, after: Instant, before: Instant) -> None:
        item = self._told.get(name)
        if item is None:
            item = self._told[name] = _Told(Span(after, before, action, action))
        else:
            item.span.add(action, after, before)
        if action in APPEARED or action in VANISHED:
            self._events += 1
            item.events.append((action, after, before))

    def _couple(self, name: str, change: Change) -> None:
        if change.action == "moved_out":
            self._left = {change.cookie: name}
        elif change.cookie in self._left:
            self._moved[self._left.pop(change.cookie)] = name

    def _seek(self, inode: int, nlink: int, since: Span) -> None:
        """Look for the other names of a file, once for each number of names that it had: they may lie outside the layer."""
        if (inode, nlink) not in self._sought:
            if len(self._sought) >= _SOUGHT_LIMIT:
                self._sought.clear()
            self._sought[inode, nlink] = since
            self.scans[""] = None

    def lost(self, now: Instant) -> None:
        """Take in that events were lost: nothing is sure until all was read again."""
        if self.sure is not None:
            self.known, self.sure = self.sure.wall, None
        self._evidence.lost(now)
        self._sought.clear()
        self.scans = {"": None}

    # --- a look -----------------------------------------------------------------------------------------------------

    def found(self, below: str, links: list[str]) -> None:
        """Take in what a scan of the directory ``below`` found; what differs from the record is read again with the next look."""
        self._again |= set(links) - self.links.keys()
        self._again |= {name for name in self.links if not below or name == below or name.startswith(f"{below}/")}

    def wanted(self) -> list[str]:
        """Return the names to read in the next look, a bounded number."""
        return list(dict.fromkeys(islice(chain(self._again, self._told), LOOK_NAMES)))

    def tell(self, kind: StoreKind, names: list[str], found: Mapping[str, Link], reading: Reading, *, certain: bool) -> list[Timed]:
        """Return what happened to ``names``, which were ``found`` so; ``certain``: all events up to the end of ``reading`` are in."""
        if not certain:
            self._evidence.lost(reading.finished)
        self._again.difference_update(names)
        old: dict[LinkKey, Link] = {}
        new: dict[LinkKey, Link] = {}
        unheard: list[Timed] = []
        spans: dict[str, Span] = {}
        for name in names:
            item = self._told.pop(name, None)
            if item is not None:
                self._hear(name, item)
                spans[name] = item.span
                if item.span.last.monotonic > reading.started.monotonic:
                    self._again.add(name)
            key = unknown(self.place, name).key
            before, now = self._standing(name), found.get(name)
            if key in self._lives.pending:
                old |= {} if before is None else {key: before}
                new |= {} if now is None else {key: now}
            else:
                unheard += self._unheard(before, now, spans.get(name), reading)
        survey = Survey(kind, "", reading.started.wall, reading.finished.wall, new)
        timed = [*self._lives.tell(old, Round(survey, reading, self.sure, self.known, Origin.SURVEY), self._evidence), *unheard]
        self._again |= {path[1:] for _, path, _ in self._lives.pending}
        self._evidence.close(reading)
        result = [step for item in timed for step in told(self._named(item, found))]
        self._count(found, spans)
        self._moved.clear()
        return result

    def _hear(self, name: str, item: _Told) -> None:
        self._events -= len(item.events)
        for action, after, before in item.events:
            self._lives.saw(unknown(self.place, name), action, after, before)

    def _standing(self, name: str) -> Link | None:
        """Return the slot in which a name stood when it was last known."""
        link = self.links.get(name)
        if link is not None:
            return slot(link)
        vanishes = self._lives.begins(unknown(self.place, name).key) is False
        return plain(self.place, name) if self.sure is not None and vanishes else None

    def _unheard(self, before: Link | None, now: Link | None, span: Span | None, reading: Reading) -> Iterator[Timed]:
        """Yield what changed without a name that came or went: link counts, and what only a scan found."""
        now = None if now is None else recorded(now)
        if span is None and now is not None and now.inode is not None and now.nlink is not None:
            span = self._sought.get((now.inode, now.nlink)) if before is None else None
        if span is None:
            bounds = Bounds(reading, self.sure, self.known)
            interval, origin = bounds.interval(None, None), Origin.SURVEY
        else:
            interval, origin = Bounds(reading, self.sure, self.known).interval(span.first, span.last), Origin.WATCH
        if before is None and now is not None:
            first = self.known is None and self.sure is None and not self._fresh
            yield Timed(LinkChange(Action.OBSERVED if first else Action.CREATED, now), interval, Origin.BASELINE if first else origin)
        elif before is not None and now is None:
            yield Timed(LinkChange(Action.REMOVED, removed(before), before), interval, origin)
        elif before is not None and now is not None:
            for change in steps(before, now):
                yield Timed(change, interval, origin)

    def _named(self, timed: Timed, found: Mapping[str, Link]) -> Timed:
        """Say what a name was that nobody read, where it was moved to a place at which it was read: an object keeps its sort."""
        change = timed.change

        def known(link: Link) -> Link:
            there = found.get(self._moved.get(link.subject[1:], ""))
            if there is None or "is" in link.detail:
                return link
            return replace(link, detail={"is": there.detail["is"]}) if "is" in there.detail else link

        previous = None if change.previous is None else known(change.previous)
        return replace(timed, change=LinkChange(change.action, known(change.link), previous))

    def _count(self, found: Mapping[str, Link], spans: Mapping[str, Span]) -> None:
        """Look for names of files that have more of them than are known here."""
        linked: dict[tuple[int, int], set[str]] = {}
        for name, standing in found.items():
            if standing.detail.get("is") == LinkKind.HARDLINK and standing.inode is not None and standing.nlink is not None:
                linked.setdefault((standing.inode, standing.nlink), set()).add(name)
        for (inode, nlink), names in linked.items():
            told_of = [spans[name] for name in names if name in spans]
            if told_of and len(names | self._inodes.get(inode, set())) < nlink:
                self._seek(inode, nlink, told_of[0])
