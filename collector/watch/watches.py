"""Which directories are watched: the plan made true, one kernel watch a directory.

Every directory is opened step by step from the root with O_NOFOLLOW (O_PATH: nothing is read), asked for its identity and watched
through that descriptor, which is closed again at once. The watches belong to inodes, the table says at which path each stood.
A watch that is given up keeps its place in the table until the kernel has delivered what was queued of it (IN_IGNORED).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.stores.protocol import Purpose, WatchItem, WatchPlan
from collector.watch.guard import Identity
from collector.watch.inotify import IN_ATTRIB, IN_DONT_FOLLOW, IN_MODIFY, ITSELF, NAMES, Inotify
from collector.watch.limits import Budget
from collector.watch.steps import NOT_THERE, Steps, identity_of
from linktrail.clock import Instant

MASKS: Final[dict[Purpose, int]] = {
    Purpose.METADATA: ITSELF | NAMES | IN_MODIFY | IN_ATTRIB,  # bolt files are rewritten in place and never closed
    Purpose.PLUMBING: ITSELF | NAMES,
    Purpose.LAYER: ITSELF | NAMES | IN_MODIFY | IN_ATTRIB,  # link and lower are written in place
}
"""What is asked for, by purpose. Opening, reading and closing are never asked for: our own surveys would come back as events."""

_OWN_DESCRIPTORS: Final = Path("/proc/self/fd")


@dataclass(slots=True)
class Held:
    """One watch: the directory ``identity``, which stands at ``path``, belongs to the plan of ``root``."""

    path: Path
    root: Path
    descriptor: int
    mask: int
    identity: Identity


@dataclass(slots=True)
class Outcome:
    """What came of covering a plan: directories beyond the budget, those refused and why, and the root's identity (``None``: gone)."""

    beyond: list[Path] = field(default_factory=list)
    refused: list[tuple[Path, str]] = field(default_factory=list)
    root: Identity | None = None


class WatchTable:
    """The watches of one inotify instance."""

    def __init__(self, inotify: Inotify, budget: Budget) -> None:
        """Hold nothing yet."""
        self._inotify = inotify
        self._budget = budget
        self.by_descriptor: dict[int, Held] = {}
        self._by_path: dict[Path, Held] = {}
        self._through_proc = _OWN_DESCRIPTORS.is_dir()

    def __len__(self) -> int:
        return len(self._by_path)

    @property
    def paths(self) -> frozenset[Path]:
        """The directories that are watched."""
        return frozenset(self._by_path)

    def identities(self) -> Mapping[Path, Identity]:
        """Return which directory is watched at each path."""
        return {path: held.identity for path, held in self._by_path.items()}

    def cover(self, plan: WatchPlan, now: Instant, *, verify: bool) -> Outcome:
        """Make the watches of this root equal ``plan``; with ``verify``, look whether those held are still what stands there."""
        wanted = {item.path: MASKS[item.purpose] for item in plan.items}
        for held in [held for held in self._by_path.values() if held.root == plan.root and held.path not in wanted]:
            self.drop(held)
        missing = [item for item in plan.items if verify or self._mask_at(item.path) != MASKS[item.purpose]]
        outcome = Outcome()
        try:
            opened = Steps(plan.root)
        except OSError as error:
            if error.errno not in NOT_THERE:
                outcome.refused.append((plan.root, os.strerror(error.errno or 0)))
            return outcome
        with opened as steps:
            outcome.root = identity_of(steps.top)
            others = sum(1 for held in self._by_path.values() if held.root != plan.root)
            allowed = self._budget.allows(others + len(wanted), now) if missing else 0
            for item in missing:
                self._claim(item, plan.root, steps, outcome, allowed)
        return outcome

    def drop(self, held: Held) -> None:
        """Give up a watch; what is queued of it is still delivered under its path."""
        self._by_path.pop(held.path, None)
        self._inotify.remove(held.descriptor)

    def forget(self, held: Held) -> None:
        """Give up a watch whose path is not true any more: what is queued of it is not delivered."""
        if self._by_path.get(held.path) is held:
            del self._by_path[held.path]
        if self.by_descriptor.get(held.descriptor) is held:
            del self.by_descriptor[held.descriptor]
            self._inotify.remove(held.descriptor)

    def ended(self, descriptor: int) -> None:
        """Take note that the kernel has ended a watch (IN_IGNORED)."""
        held = self.by_descriptor.pop(descriptor, None)
        if held is not None and self._by_path.get(held.path) is held:
            del self._by_path[held.path]

    def below(self, path: Path) -> list[Held]:
        """Return the watches at ``path`` and below it."""
        own, inside = str(path), f"{path}/"
        return [held for held in self._by_path.values() if str(held.path) == own or str(held.path).startswith(inside)]

    def of_root(self, root: Path) -> list[Held]:
        """Return the watches that belong to the plan of ``root``."""
        return [held for held in self._by_path.values() if held.root == root]

    def _mask_at(self, path: Path) -> int | None:
        held = self._by_path.get(path)
        return None if held is None else held.mask

    def _claim(self, item: WatchItem, root: Path, steps: Steps, outcome: Outcome, allowed: int) -> None:
        known = self._by_path.get(item.path)
        if known is None and (outcome.beyond or len(self._by_path) >= allowed):
            outcome.beyond.append(item.path)
            return
        try:
            with steps.opened(item.path) as directory:
                self._watch(item, root, directory)
        except OSError as error:
            if known is not None:
                self.forget(known)
            if error.errno == errno.ENOSPC:
                outcome.beyond.append(item.path)
            elif error.errno not in NOT_THERE:
                outcome.refused.append((item.path, os.strerror(error.errno or 0)))

    def _watch(self, item: WatchItem, root: Path, directory: int) -> None:
        mask = MASKS[item.purpose]
        current, known = identity_of(directory), self._by_path.get(item.path)
        if known is not None and known.identity != current:
            self.forget(known)  # another directory stands there now
        if self._through_proc:
            descriptor = self._inotify.add_open(directory, mask)
        else:
            descriptor = self._inotify.add(str(item.path), mask | IN_DONT_FOLLOW)
        elsewhere = self.by_descriptor.get(descriptor)
        if elsewhere is not None and elsewhere.path != item.path and self._by_path.get(elsewhere.path) is elsewhere:
            del self._by_path[elsewhere.path]  # the same directory, renamed
        if known is not None and known.descriptor != descriptor:
            self.by_descriptor.pop(known.descriptor, None)  # the kernel ended it and the word of that was lost
        held = Held(item.path, root, descriptor, mask, current)
        self.by_descriptor[descriptor] = self._by_path[item.path] = held
