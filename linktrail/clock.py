"""Time, as one argument that tests replace.

Wall time is nanoseconds UTC since 1970; monotonic time is nanoseconds since boot and comparable only under the
same boot id. Nothing else in linktrail reads a clock.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

NANOSECONDS = 1_000_000_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Instant:
    """One reading of both clocks: ``wall`` (ns UTC) and ``monotonic`` (ns since boot)."""

    wall: int
    monotonic: int


class Clock(Protocol):
    """What the program knows of time."""

    boot_id: str

    def now(self) -> Instant:
        """Return both clocks, read together."""

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        """Read the boot id once; where the kernel has none (no /proc), a random one stands for this process."""
        try:
            self.boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            self.boot_id = str(uuid.uuid4())

    def now(self) -> Instant:
        """Return both clocks, read together."""
        return Instant(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        time.sleep(seconds)


def iso(nanoseconds: int | None) -> str | None:
    """Return ``nanoseconds`` UTC as ISO 8601 with microseconds (``2026-11-23T16:02:07.123456Z``)."""
    if nanoseconds is None:
        return None
    moment = datetime.fromtimestamp(nanoseconds // NANOSECONDS, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % NANOSECONDS // 1000:06d}Z"
