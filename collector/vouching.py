"""What the record of one store can vouch for: until when it is complete, and the gaps in it.

The collector vouches (``memory.vouched``) for the time before the oldest thing that is not told yet: what the watch has not taken in, what
waits to be read or recorded, what was lost and not stated. A gap is stated once it is over, with its cause; one that lasts, at every
heartbeat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from collector.brackets import Reading, between, since_wall
from collector.inside import InsideLayers
from collector.statements import DROPPED, UNREAD_VERSION, Statements
from collector.store_memory import StoreMemory
from collector.version_steps import VersionSteps
from collector.watch.interface import Loss
from linktrail.clock import Instant
from linktrail.events import Interval

_RESTART: Final = "linktrail was not running; what changed meanwhile was found by comparing with what was recorded"
_LEDGER_LOST: Final = "what was recorded before could not be read back; everything that is there was observed anew"


class Vouching:
    """The gaps of one store, from the start of a run to its end."""

    def __init__(
        self,
        memory: StoreMemory,
        statements: Statements,
        versions: VersionSteps,
        inside: InsideLayers,
        *,
        settled: Callable[[], Instant],
        watched: Callable[[], bool],
        ledger_lost: bool,
    ) -> None:
        """Vouch in ``memory``. ``settled`` is until when all that the watch heard was taken in, ``watched`` whether it hears anything.

        ``ledger_lost`` says that the memory once knew more.
        """
        self.down: str | None = None  # why the store cannot be read
        self.losses: list[Loss] = []  # since then no reading has told what was missed
        self.dropped: set[str] = set()  # causes for which something that only events told was dropped
        self._memory = memory
        self._statements = statements
        self._versions = versions
        self._inside = inside
        self._settled = settled
        self._watched = watched
        self._known = memory.vouched
        self._lost_ledger = ledger_lost

    def state(self, reading: Reading, previous: Instant | None, oldest: Instant | None) -> None:
        """Say which gaps ``reading`` ends, and vouch for the time before it.

        ``previous`` is when the reading before it began (``None``: it is the first), ``oldest`` the first event that is not told yet.
        """
        finished, gap = reading.finished, self._statements.gap
        if previous is None:
            self._state_start(reading)
        if self.down is not None:
            gap("unreadable", self.down, since_wall(self._memory.vouched, finished), finished)
            self.down = None
        over = [loss for loss in self.losses if loss.before.monotonic <= reading.started.monotonic]
        for loss in over:
            gap(loss.cause, loss.message, between(loss.after, finished), finished)
        self.losses = [loss for loss in self.losses if loss not in over]
        for cause in sorted(self.dropped):
            gap(cause, DROPPED[cause], since_wall(self._memory.vouched, finished), finished)
        self.dropped.clear()
        self._state_unread(finished, all_of_it=False)
        losses = (loss.after for loss in self.losses)  # told while this was read; the next reading states them
        limits = (oldest, self._versions.doubtful, self._inside.oldest, self._settled(), *losses, reading.started)
        self._memory.vouched = min((limit for limit in limits if limit is not None), key=lambda instant: instant.monotonic).wall

    def beat(self, now: Instant, previous: Instant | None, *, waiting: bool) -> None:
        """Say until when the record is complete; while the store cannot be read, that it is not.

        ``waiting``: something may have happened that no reading has seen.
        """
        before = self._memory.vouched
        self._state_unread(now, all_of_it=True)
        self._inside.beat(now)
        if self.down is not None:
            self._statements.gap("unreadable", self.down, since_wall(before, now), now)
            self._memory.vouched = None if before is None else now.wall
        elif previous is not None:
            self._vouch(now, previous, waiting=waiting)
            self._statements.heartbeat(before, self._memory.vouched or now.wall, now)

    def stop(self, now: Instant, previous: Instant, *, waiting: bool) -> None:
        """Say that recording ends here, and which gaps are still open."""
        if self.down is not None:
            self._statements.gap("unreadable", self.down, since_wall(self._memory.vouched, now), now)
        for loss in self.losses:
            self._statements.gap(loss.cause, loss.message, between(loss.after, now), now)
        self._inside.stop(now)
        self._state_unread(now, all_of_it=True)
        self._vouch(now, previous, waiting=waiting)
        self._statements.stop(self._memory.vouched or now.wall, now)

    def clock_jumped(self, interval: Interval, message: str, now: Instant) -> None:
        """Say that wall times around now are in doubt, and measure what is vouched for by the new setting."""
        self._statements.gap("clock-jump", message, interval, now)
        if self._memory.vouched is not None:
            self._memory.vouched = min(self._memory.vouched, now.wall)

    def _vouch(self, now: Instant, previous: Instant, *, waiting: bool) -> None:
        """Vouch for all that the watch has told, if nothing is waiting to be read or recorded.

        By the watch's own account: how long ago something was does not tell that it has been heard, for a process may stand still.
        """
        untold = waiting or self.losses or self.dropped or self.down is not None or self._inside.oldest is not None
        settled = self._settled()
        if self._watched() and not untold and settled.monotonic > previous.monotonic:
            self._memory.vouched = now.wall - (now.monotonic - settled.monotonic)

    def _state_unread(self, now: Instant, *, all_of_it: bool) -> None:
        """Say in which time versions of metadata files went unread."""
        for unread in self._versions.unread(now, all_of_it=all_of_it):
            self._statements.gap(UNREAD_VERSION, unread.message, unread.interval, now)

    def _state_start(self, reading: Reading) -> None:
        finished = reading.finished
        if self._known is not None:
            self._statements.gap("restart", _RESTART, since_wall(self._known, finished), finished)
        elif self._lost_ledger:
            self._statements.gap("ledger-lost", _LEDGER_LOST, Interval(None, finished.wall), finished)
        self._statements.start(reading.started.wall, finished)
