"""Deep mode: one fanotify mark on each filesystem that holds a store, and so every link change below the root, with who did it.

What it sees beyond the plan: everything inside every layer, written through the engine's overlay mount (in any mount namespace) or
beside it; new directories from the first moment; link counts, wherever the other name lies. The kernel keeps its queue without limit,
so a burst is late, not lost. What it costs: CAP_SYS_ADMIN (the mark, the queue, who did it) and CAP_DAC_READ_SEARCH (handles),
and a look at every link change of the whole filesystem, most of which are dropped as outside.

Writes to files are not heard filesystem-wide; the planned directories with files of interest are marked for them one by one.

The kernel joins unread changes of one name, object and process into one event: a short life stays told as made and removed, but a
hard link that is removed and made again unread is told in that order too. Link counts are as read after the change. Whiteouts (a
character device 0:0, hard links of one inode) are how overlay removes names: their counts are no news.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.stores.protocol import Change, Purpose, WatchItem, WatchPlan
from collector.watch import fanotify
from collector.watch.emitter import RawRead, Source
from collector.watch.engine import Engine
from collector.watch.fanotify import Fanotify, Handle, Record
from collector.watch.guard import Identity, parents
from collector.watch.interface import Cause, Loss, Report
from collector.watch.linkcounts import LinkCounts
from collector.watch.places import GoneError, Places
from collector.watch.steps import NOT_THERE, Steps, identity_of
from collector.watch.watches import Outcome
from linktrail.clock import NANOSECONDS, Instant

_PATIENCE: Final = NANOSECONDS // 2
_DIRECTORY_REMOVED: Final = fanotify.FAN_DELETE | fanotify.FAN_ONDIR
_MADE_AND_REMOVED: Final = fanotify.FAN_CREATE | fanotify.FAN_DELETE
_NEW: Final = tuple.__new__
_WRITTEN_IN_PLACE: Final = (Purpose.METADATA, Purpose.LAYER)
_WORDS: Final = (
    (fanotify.FAN_CREATE, "created"),
    (fanotify.FAN_MODIFY, "modified"),
    (fanotify.FAN_ATTRIB, "attributes"),
    (fanotify.FAN_DELETE, "removed"),
)
_PLAIN: Final = {fanotify.FAN_CREATE: "created", fanotify.FAN_DELETE: "removed"}


@dataclass(slots=True)
class _Marked:
    """A planned directory: whose plan, which directory, and what for."""

    root: Path
    identity: Identity
    purpose: Purpose

    @property
    def contents(self) -> bool:
        """Whether writes to the files in it are heard."""
        return self.purpose in _WRITTEN_IN_PLACE


@dataclass(slots=True)
class _Reading:
    """A read being converted: how far, and since when it waits for the place of a directory.

    ``brief`` are objects whose one name came and went in it: the number of their links is what it was.
    """

    raw: RawRead
    records: list[Record]
    brief: set[Handle] = field(default_factory=set)
    position: int = 0
    changes: list[Change] = field(default_factory=list)
    unplaced: int = 0
    waits_since: Instant | None = None


class FanotifyWatcher(Engine):
    """Watches whole filesystems for what happens below the roots. Raises ``WatchError`` where the kernel does not allow it."""

    mode = "fanotify"

    @property
    def watches(self) -> int:
        """Number of kernel marks held: the filesystems, and the directories marked for writes."""
        return len(self._filesystems) + sum(1 for marked in self._marked.values() if marked.contents)

    @property
    def covered(self) -> frozenset[Path]:
        """The planned directories, each of which is heard with all below it."""
        return frozenset(self._marked)

    def stop(self) -> None:
        """End the threads and close the descriptors."""
        super().stop()
        self._counts.stop()

    def _open(self) -> Source:
        self._fanotify = Fanotify()
        self._places = Places()
        self._filesystems: dict[Path, int] = {}  # where one begins -> its device
        self._followed: set[int] = set()  # devices whose mark can be seen to end
        self._marked: dict[Path, _Marked] = {}
        self._stems: set[Path] = set()
        self._readings: deque[_Reading] = deque()
        self._counts = LinkCounts(self._places, self._layers)
        self._renames = 0
        return self._fanotify

    def _close(self) -> None:
        self._fanotify.close()

    # --- the plan -------------------------------------------------------------------------------------------------

    def _claim(self, plan: WatchPlan, now: Instant, *, verify: bool) -> Outcome:  # noqa: ARG002 - marks have no budget
        outcome = Outcome()
        try:
            opened = Steps(plan.root)
        except OSError as error:
            if error.errno not in NOT_THERE:
                outcome.refused.append((plan.root, _words(error)))
            return outcome
        wanted = {item.path for item in plan.items}
        for path in [path for path, marked in self._marked.items() if marked.root == plan.root and path not in wanted]:
            self._unmark(path)
        with opened as steps:
            outcome.root = identity_of(steps.top)
            try:
                self._hear(plan.root, steps.top, verify=verify)
            except OSError as error:
                outcome.refused.append((plan.root, _words(error)))
                return outcome
            for item in plan.items:
                if verify or item.path not in self._marked:
                    self._mark(item, plan.root, steps, outcome, verify=verify)
        self._stems = parents(self._marked)
        return outcome

    def _hear(self, path: Path, directory: int, *, verify: bool) -> None:
        """Mark the filesystem of an open directory, unless a directory above it has it marked. Raises ``OSError``."""
        device = os.fstat(directory).st_dev
        above = [known for known, marked in self._filesystems.items() if marked == device and (known == path or known in path.parents)]
        if above and not (verify and path in above):
            return
        self._fanotify.mark_filesystem(directory)
        self._places.anchor(path, directory)
        self._filesystems[path] = device
        if device in self._fanotify.marked_filesystems():  # not so on btrfs, where directories have device numbers of their own
            self._followed.add(device)

    def _mark(self, item: WatchItem, root: Path, steps: Steps, outcome: Outcome, *, verify: bool) -> None:
        try:
            with steps.opened(item.path) as directory:
                self._hear(item.path, directory, verify=verify)
                marked = self._marked[item.path] = _Marked(root, identity_of(directory), item.purpose)
                if marked.contents:
                    self._fanotify.mark_contents(directory)
        except OSError as error:
            self._marked.pop(item.path, None)
            if error.errno not in NOT_THERE:
                outcome.refused.append((item.path, _words(error)))

    def _unmark(self, path: Path) -> None:
        """Give up the mark for writes, where the directory still is the one that was marked; else it ends with the directory."""
        marked = self._marked.pop(path)
        if not marked.contents:
            return
        with contextlib.suppress(OSError), Steps(marked.root) as steps, steps.opened(path) as directory:
            if identity_of(directory) == marked.identity:
                self._fanotify.unmark_contents(directory)

    def _release(self, path: Path) -> None:
        for marked in [known for known in self._marked if known == path or path in known.parents]:
            self._unmark(marked)
        self._places.lift(path)
        for begun in [known for known in self._filesystems if known == path or path in known.parents]:
            device = self._filesystems.pop(begun)
            if device not in self._filesystems.values():
                with contextlib.suppress(OSError), Steps(begun) as steps:
                    if identity_of(steps.top).device == device:
                        self._fanotify.unmark_filesystem(steps.top)

    def _unheard(self) -> list[Path]:
        """Return where a mark has ended with its filesystem. Mounted again, everything looks as before, and nothing would be heard."""
        marked = self._fanotify.marked_filesystems()
        return [path for path, device in self._filesystems.items() if device in self._followed and device not in marked]

    def _identities(self) -> Mapping[Path, Identity]:
        return {path: marked.identity for path, marked in self._marked.items()}

    def _layers(self) -> list[Path]:
        return [path for path, marked in self._marked.items() if marked.purpose is Purpose.LAYER]

    # --- what was read --------------------------------------------------------------------------------------------

    def _decode(self, raw: RawRead) -> list[Report]:
        reading = _Reading(raw, list(fanotify.records(raw.data)))
        for mask, _, directory, name, _, _, target in reading.records:
            if mask & _DIRECTORY_REMOVED == _DIRECTORY_REMOVED:
                self._places.will_fall(target, directory, name)
            elif mask & _MADE_AND_REMOVED == _MADE_AND_REMOVED:
                reading.brief.add(target)
        self._readings.append(reading)
        return self._convert_all()

    def _overdue(self) -> list[Report]:
        with self._places.looking():
            return [*self._convert_all(), *self._counts.answered()]

    def _unfinished(self) -> bool:
        return bool(self._readings) or self._counts.waiting

    def _convert_all(self) -> list[Report]:
        reports: list[Report] = []
        with self._places.looking():
            while self._readings and self._convert(self._readings[0], reports):
                self._finish(self._readings.popleft(), reports)
        return reports

    def _convert(self, reading: _Reading, reports: list[Report]) -> bool:
        """Go on with a read; tell whether it is done. One that waits for a place holds up those after it, so the order stays."""
        records = reading.records
        while reading.position < len(records):
            record = records[reading.position]
            if record.mask in _PLAIN and self._plain(record, reading):
                continue
            try:
                self._convert_one(record, reading, reports)
            except GoneError:
                now = self._clock.now()
                reading.waits_since = reading.waits_since or now
                if now.monotonic - reading.waits_since.monotonic < _PATIENCE:
                    return False
                reading.unplaced += 1
            except OSError:  # no descriptor to ask with
                reading.unplaced += 1
            reading.position += 1
        return True

    def _plain(self, first: Record, reading: _Reading) -> bool:
        """Go on with names of files made and removed in known places, which is most of what happens; tell whether there was any."""
        records, changes, known = reading.records, reading.changes, self._places.known
        position, named = reading.position, self._counts.named
        record = first
        while record.directory in known and (word := _PLAIN.get(record.mask)) is not None:
            _, pid, directory, name, _, _, target = record
            here = known[directory]
            if here is not None:
                if word == "created":
                    named(target, directory, name)
                changes.append(_NEW(Change, (here, name, word, False, 0, pid, None, None)))
            position += 1
            if position == len(records):
                break
            record = records[position]
        moved = position > reading.position
        reading.position = position
        return moved

    def _finish(self, reading: _Reading, reports: list[Report]) -> None:
        reports += self._batch(reading.changes, reading.raw)
        if reading.unplaced:
            message = f"{reading.unplaced} changes happened in directories that were gone before they could be placed"
            reports.append(Loss(Cause.UNREADABLE, message, reading.raw.after, reading.raw.before))

    def _convert_one(self, record: Record, reading: _Reading, reports: list[Report]) -> None:
        mask, places = record.mask, self._places
        if mask & fanotify.FAN_Q_OVERFLOW:
            reports += self._batch(reading.changes, reading.raw)
            reading.changes = []
            message = "the kernel had no memory for an event"
            reports.append(Loss(Cause.OVERFLOW, message, reading.raw.after, reading.raw.before))
        elif not record.directory:
            change = None if record.target in reading.brief else self._counts.changed(record, reading.raw)
            if change is not None:
                reading.changes.append(change)
        elif mask & fanotify.FAN_RENAME:
            self._renamed(record, places.place(record.directory), places.place(record.to_directory), reading.changes)
        else:
            here = places.place(record.directory)
            if mask & fanotify.FAN_ONDIR:
                self._directory(record, here)
            if here is not None:
                self._told(record, here, reading.changes)

    def _told(self, record: Record, here: Path, changes: list[Change]) -> None:
        mask, pid = record.mask, record.pid
        name, directory = record.name, bool(mask & fanotify.FAN_ONDIR)
        if mask & fanotify.FAN_CREATE and not directory:
            self._counts.named(record.target, record.directory, name)
        if mask & fanotify.FAN_ATTRIB and here not in self._marked:
            mask &= ~fanotify.FAN_ATTRIB  # inside the layers only links count
        for bit, word in _WORDS:
            if mask & bit:
                changes.append(_NEW(Change, (here, "" if name == "." else name, word, directory, 0, pid, None, None)))

    def _renamed(self, record: Record, here: Path | None, there: Path | None, changes: list[Change]) -> None:
        directory = bool(record.mask & fanotify.FAN_ONDIR)
        name, to_name = record.name, record.to_name
        if directory:
            if record.target in self._places.roots:
                self._guard.hurry()
            self._places.moved(record.target, record.to_directory, to_name)
            if here is not None:
                self._went(here / name)
            elif there is not None:
                self._counts.expire()  # files came inside with it
        elif there is not None:
            self._counts.named(record.target, record.to_directory, to_name)
        self._renames += 1
        for place, called, word in ((here, name, "moved_out"), (there, to_name, "moved_in")):
            if place is not None:
                changes.append(_NEW(Change, (place, called, word, directory, self._renames, record.pid, None, None)))

    def _directory(self, record: Record, here: Path | None) -> None:
        """Keep the tree of places true."""
        name, made = record.name, record.mask & fanotify.FAN_CREATE
        if made:
            self._places.made(record.target, record.directory, name)
        if record.mask & fanotify.FAN_DELETE:
            if not made:  # told as one event, both stand where it was made: what happened inside is still to come
                self._places.removed(record.target)
            if record.target in self._places.roots:
                self._guard.hurry()
            if here is not None:
                self._went(here / name)

    def _went(self, path: Path) -> None:
        """Take note that nothing planned is at ``path`` or below it any more."""
        if path in self._marked or path in self._stems:
            for planned in [known for known in self._marked if known == path or path in known.parents]:
                del self._marked[planned]


def _words(error: OSError) -> str:
    return os.strerror(error.errno or 0)
