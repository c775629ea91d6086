"""The default mode: one inotify descriptor that holds the whole plan, shallow directories only.

Needs no privilege beyond reading the directories (CAP_DAC_READ_SEARCH for stores of root). It tells every change of a name in a planned
directory, and nothing below; the link count of a file does not reach its directory's watch (deep mode tells it). Between the making of a
directory and its watch, only the survey sees what is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.stores.protocol import Change, WatchPlan
from collector.watch import inotify
from collector.watch.emitter import RawRead, Source
from collector.watch.engine import Engine
from collector.watch.guard import Displaced, Identity
from collector.watch.inotify import ACTIONS, Inotify, columns, parts_of
from collector.watch.interface import Cause, Loss, Report
from collector.watch.watches import Held, Outcome, WatchTable
from linktrail.clock import Instant

_SELF: Final = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF


@dataclass(slots=True)
class _Told:
    """What a read has told so far."""

    reports: list[Report] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    unmounted: list[Held] = field(default_factory=list)


class InotifyWatcher(Engine):
    """Watches plans through one inotify descriptor. Raises ``WatchError`` where the kernel grants none."""

    mode = "inotify"

    @property
    def watches(self) -> int:
        """Number of kernel watches held."""
        return len(self._table)

    @property
    def covered(self) -> frozenset[Path]:
        """The planned directories that are watched now."""
        return self._table.paths

    def _open(self) -> Source:
        self._inotify = Inotify()
        self._table = WatchTable(self._inotify, self._budget)
        return self._inotify

    def _close(self) -> None:
        self._inotify.close()

    def _claim(self, plan: WatchPlan, now: Instant, *, verify: bool) -> Outcome:
        return self._table.cover(plan, now, verify=verify)

    def _release(self, path: Path) -> None:
        for held in self._table.below(path):
            self._table.forget(held)

    def _identities(self) -> Mapping[Path, Identity]:
        return self._table.identities()

    def _decode(self, raw: RawRead) -> list[Report]:
        keys, cookies, names = columns(raw.data)
        new = tuple.__new__
        if all(names) and (steps := self._steps(keys)) is not None:  # most reads: names in watched directories, and nothing else
            rows = zip(map(steps.__getitem__, keys), cookies, names, strict=True)
            changes = [
                new(Change, (path, name, word, directory, cookie, None, None, None)) for (path, word, directory), cookie, name in rows
            ]
            return self._batch(changes, raw)
        told = _Told()
        for key, cookie, name in zip(keys, cookies, names, strict=True):
            descriptor, mask = parts_of(key)
            held, action = self._table.by_descriptor.get(descriptor), ACTIONS.get(mask)
            if held is None or action is None or not name:
                self._special(descriptor, mask, raw, told)
            else:
                told.changes.append(Change(held.path, name, *action, cookie))
        unmounted = self._unmounted(told.unmounted, raw) if told.unmounted else []
        return [*told.reports, *self._batch(told.changes, raw), *unmounted]

    def _steps(self, keys: list[int]) -> dict[int, tuple[Path, str, bool]] | None:
        """Return what each key says of a name in a watched directory; ``None`` where one says something else."""
        steps = {}
        for key in set(keys):
            descriptor, mask = parts_of(key)
            held, action = self._table.by_descriptor.get(descriptor), ACTIONS.get(mask)
            if held is None or action is None:
                return None
            steps[key] = (held.path, *action)
        return steps

    def _special(self, descriptor: int, mask: int, raw: RawRead, told: _Told) -> None:
        """Take a record that is not about a name in a watched directory."""
        held = self._table.by_descriptor.get(descriptor)
        if mask & inotify.IN_Q_OVERFLOW:
            told.reports += self._batch(told.changes, raw)
            told.reports.append(_overflow(raw))
            told.changes = []
        elif mask & inotify.IN_IGNORED:
            self._table.ended(descriptor)
        elif held is not None:
            self._about_itself(held, mask, told.changes, told.unmounted)

    def _about_itself(self, held: Held, mask: int, changes: list[Change], unmounted: list[Held]) -> None:
        """Take a record about a watched directory as such."""
        if mask & inotify.IN_UNMOUNT:
            unmounted.append(held)
        elif mask & inotify.IN_ATTRIB:
            changes.append(Change(held.path, "", "attributes", is_directory=True))
        elif mask & _SELF:
            moved = bool(mask & inotify.IN_MOVE_SELF)
            changes.append(Change(held.path, "", "moved_out" if moved else "removed", is_directory=True))
            if moved:  # what happens in it from now on happens elsewhere; so it is with all that is below
                self._release(held.path)
            if held.path == held.root:
                self._guard.hurry()

    def _unmounted(self, watches: list[Held], raw: RawRead) -> list[Loss]:
        """State the end of a filesystem once, for all that was watched on it: the other records of it may still be unread."""
        devices = {held.identity.device for held in watches}
        paths = {held.path for held in watches} | {path for path, found in self._identities().items() if found.device in devices}
        found = []
        for path in sorted(paths):
            if not any(parent in paths for parent in path.parents):
                found += self._displaced(Displaced(Cause.UNMOUNT, path, "its filesystem was unmounted", raw.after), raw.before)
        return found


def _overflow(raw: RawRead) -> Loss:
    message = "the kernel's event queue overflowed (fs.inotify.max_queued_events)"
    return Loss(Cause.OVERFLOW, message, raw.after, raw.before)
