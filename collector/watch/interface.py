"""What the watch layer promises to the recorder.

A watcher tells about every change of a name in the directories it was asked to cover, in order, with a bracket of time around
it; and whatever it may have missed it says, as a ``Loss`` with a cause and the time and place that it concerns. It never reads
what is in a file, and an event means "look again", never more: what stands on disk, only a survey says.

``Loss.cause`` is one of ``Cause``. A condition that lasts (a directory beyond the watch budget, a root that is gone) is stated
again every minute until it is over, each ``Loss`` beginning where the one before ended: the gap has no holes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from collector.stores.protocol import Change, WatchPlan
from linktrail.clock import Instant


class Cause(StrEnum):
    """Every way in which a watch can miss. Stable: these words stand in the coverage table."""

    OVERFLOW = "overflow"  # a queue was full: the kernel's, or ours behind it
    WATCH_BUDGET = "watch-budget"  # the kernel grants no more watches
    UNREADABLE = "unreadable"  # a planned directory may not be watched (permission, kind of filesystem)
    UNMOUNT = "unmount"  # the filesystem of a watched directory was unmounted
    MOUNT_OVER = "mount-over"  # another filesystem hides a watched directory
    ROOT_REPLACED = "root-replaced"  # the root was renamed, removed or recreated
    THREAD_DEATH = "thread-death"  # a thread of the watch ended
    SUSPENDED = "suspended"  # the process or the machine stood still
    CLOCK_JUMP = "clock-jump"  # the wall clock was set


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Changes in the order in which the kernel told them; all of them happened after ``after`` and before ``before``.

    The instant of a change is that of its announcement, which the kernel makes before the call that causes it returns.
    ``after.wall <= before.wall`` even where the wall clock was set in between.
    """

    changes: tuple[Change, ...]
    after: Instant
    before: Instant


@dataclass(frozen=True, slots=True)
class Loss:
    """Changes may be missing that happened after ``after`` and before ``before``.

    ``paths`` are the directories concerned, absolute, each with all below it; empty means everything this watcher covers.
    """

    cause: Cause
    message: str
    after: Instant
    before: Instant
    paths: tuple[Path, ...] = ()


Report = WatchBatch | Loss


class Watcher(Protocol):
    """One way of watching. Every method is called from one thread, the recorder's."""

    mode: str
    """``inotify``, ``fanotify`` or ``survey-only``: what stands in heartbeats."""

    @property
    def watches(self) -> int:
        """Number of kernel watches held."""

    @property
    def covered(self) -> frozenset[Path]:
        """The planned directories that are watched now."""

    @property
    def uncovered(self) -> tuple[Path, ...]:
        """The planned directories that are not, although they are there. Each of them has a ``Loss`` that says why."""

    @property
    def settled(self) -> Instant:
        """Until when everything that happened in what is covered has been returned by ``take``, whatever the load or a standstill."""

    def start(self) -> None:
        """Begin to drain. Raises ``WatchError`` where the kernel refuses."""

    def cover(self, plan: WatchPlan) -> None:
        """Make the watches below ``plan.root`` equal ``plan``; other roots keep theirs. What cannot be watched becomes a ``Loss``.

        Idempotent and cheap when nothing changed. After a ``Loss`` it checks every watch of the plan anew, so call it then too.
        A directory of the plan that is not there is no loss: its parent's watch tells when it appears.
        """

    def uncover(self, root: Path) -> None:
        """Give up all watches of the plan with this root."""

    def take(self, timeout_seconds: float) -> list[Report]:
        """Return what happened, in order; wait up to ``timeout_seconds`` for the first. Changes come in portions of bounded size."""

    def stop(self) -> None:
        """End the threads and close the descriptors. Twice is no harm."""
