"""Recording without a watch: the store is only read, from time to time.

For ``--once``, and where the kernel grants no watch. What is made and removed between two readings is not seen; the mode ``survey-only``
in the record says so.
"""

from __future__ import annotations

from pathlib import Path

from collector.stores.protocol import WatchPlan
from collector.watch.interface import Report
from linktrail.clock import Clock, Instant


class Unwatched:
    """A watcher that watches nothing."""

    mode = "survey-only"
    watches = 0
    covered: frozenset[Path] = frozenset()
    uncovered: tuple[Path, ...] = ()

    def __init__(self, clock: Clock) -> None:
        """Wait with ``clock``."""
        self._clock = clock

    @property
    def settled(self) -> Instant:
        """Nothing is ever told, so nothing is on its way."""
        return self._clock.now()

    def start(self) -> None:
        """Begin nothing."""

    def cover(self, plan: WatchPlan) -> None:
        """Watch nothing."""

    def uncover(self, root: Path) -> None:
        """Give up nothing."""

    def take(self, timeout_seconds: float) -> list[Report]:
        """Wait ``timeout_seconds``; nothing is ever told."""
        if timeout_seconds > 0:
            self._clock.sleep(timeout_seconds)
        return []

    def stop(self) -> None:
        """End nothing."""
