"""A clock that moves only when told."""

from __future__ import annotations

from linktrail.clock import NANOSECONDS, Instant

START = 1_795_449_600 * NANOSECONDS  # 2026-11-23T16:00:00Z


class FakeClock:
    """A ``linktrail.clock.Clock`` for tests; ``sleep`` only advances it."""

    def __init__(self, wall: int = START, boot_id: str = "00000000-0000-4000-8000-000000000000") -> None:
        """Start at ``wall`` (ns UTC), 100 seconds after boot."""
        self.boot_id = boot_id
        self._wall = wall
        self._monotonic = 100 * NANOSECONDS

    def now(self) -> Instant:
        """Return both clocks."""
        return Instant(self._wall, self._monotonic)

    def sleep(self, seconds: float) -> None:
        """Advance both clocks."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward, as time does."""
        step = round(seconds * NANOSECONDS)
        self._wall += step
        self._monotonic += step

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as an administrator or a time daemon does."""
        self._wall += round(seconds * NANOSECONDS)
