"""Whether time went on as it should while we looked: a process that stood still, and a wall clock that was set.

A stopped process (SIGSTOP, a frozen cgroup, a suspended machine) hears nothing; the kernel's queue holds what it can meanwhile, but
nothing vouched for it. A wall clock that was set makes the times on both sides incomparable. Both are stated as a ``Loss``.
"""

from __future__ import annotations

from typing import Final

from collector.watch.interface import Cause, Loss
from collector.watch.watermark import bracket
from linktrail.clock import NANOSECONDS, Instant

STILL_SECONDS: Final = 5.0
JUMP_SECONDS: Final = 1.0


class Pulse:
    """Compares each beat with the one before."""

    def __init__(self, started: Instant, *, still_seconds: float = STILL_SECONDS, jump_seconds: float = JUMP_SECONDS) -> None:
        """Call a silence of ``still_seconds`` a suspension, a step of ``jump_seconds`` between two beats a jump."""
        self._last = started
        self._still = int(still_seconds * NANOSECONDS)
        self._jump = int(jump_seconds * NANOSECONDS)

    def beat(self, now: Instant) -> list[Loss]:
        """Return what happened to time since the last beat; usually nothing."""
        last, self._last = self._last, now
        passed = now.monotonic - last.monotonic
        step = (now.wall - last.wall) - passed
        found = []
        if passed > self._still:
            message = f"the collector stood still for {passed / NANOSECONDS:.1f} s (stopped, frozen or the machine suspended)"
            found.append(Loss(Cause.SUSPENDED, message, *bracket(last, now)))
        if abs(step) > self._jump:
            direction = "forward" if step > 0 else "back"
            message = f"the wall clock was set {direction} by {abs(step) / NANOSECONDS:.3f} s"
            found.append(Loss(Cause.CLOCK_JUMP, message, *bracket(last, now)))
        return found
