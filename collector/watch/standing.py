"""Conditions that last: what is not covered, why, and since when.

A condition is stated when it begins, again every minute while it lasts, and once when it is over; each statement begins where the
one before ended. So the coverage rows of it have no holes, and the survey that follows each looks at what nobody watches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.watch.interface import Cause, Loss
from collector.watch.watermark import bracket
from linktrail.clock import NANOSECONDS, Instant

RESTATE_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Condition:
    message: str
    paths: tuple[Path, ...]
    stated: Instant


class Standing:
    """The conditions in force, by cause and root."""

    def __init__(self, restate_seconds: float = RESTATE_SECONDS) -> None:
        """State each condition again every ``restate_seconds``."""
        self._restate = int(restate_seconds * NANOSECONDS)
        self._conditions: dict[tuple[Cause, Path], _Condition] = {}

    def begin(self, cause: Cause, root: Path, message: str, paths: Sequence[Path], *, since: Instant, now: Instant) -> list[Loss]:
        """State that exactly ``paths`` are concerned, perhaps since ``since``; nothing when that is stated already."""
        known = self._conditions.get((cause, root))
        if known is not None and set(known.paths) == set(paths):
            return []
        ended = self.end(root, now, cause) if known is not None else []
        self._conditions[cause, root] = _Condition(message, tuple(paths), now)
        return [*ended, Loss(cause, message, *bracket(since, now), tuple(paths))]

    def widen(self, cause: Cause, root: Path, message: str, paths: Sequence[Path], *, since: Instant, now: Instant) -> list[Loss]:
        """State that ``paths`` are concerned too."""
        known = self._conditions.get((cause, root))
        every = paths if known is None else (*known.paths, *(path for path in paths if path not in known.paths))
        return self.begin(cause, root, message, every, since=since, now=now)

    def end(self, root: Path, now: Instant, *causes: Cause) -> list[Loss]:
        """State the last part of the conditions of ``root`` with these causes (none named: all of them)."""
        over = [key for key in self._conditions if key[1] == root and (not causes or key[0] in causes)]
        return [self._statement(key[0], self._conditions.pop(key), now) for key in over]

    def due(self, now: Instant) -> list[Loss]:
        """State again what has not been stated for a while."""
        late = [(cause, condition) for (cause, _), condition in self._conditions.items() if self._late(condition, now)]
        return [self._statement(cause, condition, now) for cause, condition in late]

    def paths(self, *causes: Cause) -> tuple[Path, ...]:
        """Return the directories concerned by the conditions with these causes (none named: all of them)."""
        found = (condition.paths for (cause, _), condition in self._conditions.items() if not causes or cause in causes)
        return tuple(path for paths in found for path in paths)

    def _late(self, condition: _Condition, now: Instant) -> bool:
        return now.monotonic - condition.stated.monotonic >= self._restate

    @staticmethod
    def _statement(cause: Cause, condition: _Condition, now: Instant) -> Loss:
        loss = Loss(cause, condition.message, *bracket(condition.stated, now), condition.paths)
        condition.stated = now
        return loss
