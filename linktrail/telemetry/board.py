"""Between a program's loop and the endpoint: the last values and states, and the signs of life of its threads.

The loop puts up a whole ``Reading`` at a time, so the endpoint's threads never look into a program at work. Signs of life are
monotonic times, written by the threads themselves: they go on being asked for when the loop is stuck.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from linktrail.telemetry.table import BY_NAME

STUCK_SECONDS: Final = 180.0
Samples = Mapping[str, Mapping[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What there is to tell now: values by metric and labels, and why the program is not ready (nothing: it is)."""

    samples: Samples = field(default_factory=dict)
    unready: tuple[str, ...] = ("it has just been started",)


class Board:
    """The last reading of one program, and its threads' signs of life."""

    def __init__(self, program: str, *, stuck_seconds: float = STUCK_SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        """``now`` in seconds; a thread that is silent for ``stuck_seconds`` is stuck."""
        self.program = program
        self.reading = Reading()
        self._now = now
        self._stuck = stuck_seconds
        self._pulses: dict[str, Callable[[], float | None]] = {}
        self._beats: dict[str, float] = {}

    def put_up(self, samples: Samples, unready: Sequence[str]) -> None:
        """Replace the reading. A name that the table has not is a defect: ``KeyError``."""
        for name, values in samples.items():
            wanted = len(BY_NAME[name].labels)
            if any(len(labels) != wanted for labels in values):
                raise KeyError(name)
        self.reading = Reading(dict(samples), tuple(unready))

    def beat(self, thread: str) -> None:
        """Say that ``thread`` lives."""
        self._beats[thread] = self._now()

    def ask(self, thread: str, pulse: Callable[[], float | None]) -> None:
        """Ask ``pulse`` for the last sign of life of ``thread`` (monotonic seconds; ``None``: it has ended)."""
        self._pulses[thread] = pulse

    def stuck(self) -> list[str]:
        """Return what is wrong with threads; nothing while all live."""
        now = self._now()
        beats: dict[str, float | None] = {**self._beats, **{thread: pulse() for thread, pulse in self._pulses.items()}}
        found = []
        for thread, beat in sorted(beats.items()):
            if beat is None:
                found.append(f"{thread} has ended")
            elif now - beat > self._stuck:
                found.append(f"{thread} gave no sign of life for {now - beat:.0f} s")
        return found
