"""What the processor tells monitoring, taken in its own thread: values, and why it is not ready.

Ready means that what there is reaches the lake: the source can be read, the lake takes commits, and no more than a bound waits.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from linktrail.clock import NANOSECONDS, Clock, Instant
from linktrail.errors import LinktrailError
from linktrail.telemetry.board import Board
from processor.pipeline import Processor

LOOP: Final = "the processor's loop"
_EVERY: Final = 1.0
_LAG_EVERY: Final = 5.0
_PASSING: Final = 2  # one question that is not answered passes: partitions move, leaders change


class Lagging(Protocol):
    """A feed that knows how much waits."""

    def lag(self) -> int:
        """Return how many records wait that were not taken. Raises ``LinktrailError``."""


class Telling:
    """The processor's side of a board: ``tend`` in every round."""

    def __init__(self, board: Board, processor: Processor, feed: Lagging, *, clock: Clock, lag_limit: int) -> None:
        """``lag_limit``: so many batches may wait."""
        self.lag_limit = lag_limit
        self._board = board
        self._processor = processor
        self._feed = feed
        self._clock = clock
        self._lag: int | None = None
        self._due = self._lag_due = 0
        self._unanswered: deque[LinktrailError] = deque(maxlen=_PASSING)
        self._committed = (0, 0)  # commits, and when the last was noticed (ns UTC)

    def tend(self) -> None:
        """Give a sign of life, and once a second tell how things are."""
        self._board.beat(LOOP)
        now = self._clock.now()
        if now.monotonic < self._due:
            return
        self._due = now.monotonic + round(_EVERY * NANOSECONDS)
        if self._lag is None or now.monotonic >= self._lag_due:
            self._lag_due = now.monotonic + round(_LAG_EVERY * NANOSECONDS)
            self._lag = self._measured()
        self._board.put_up(self._samples(now), self._unready())

    def _measured(self) -> int | None:
        if not self._processor.reading:
            self._unanswered.clear()
            return None
        try:
            lag = self._feed.lag()
        except LinktrailError as error:  # reading may go on, and wait: where nothing answers, nothing comes and nothing fails
            self._unanswered.append(error)
            return None
        self._unanswered.clear()
        return lag

    def _samples(self, now: Instant) -> dict[str, dict[tuple[str, ...], float]]:
        processor, totals = self._processor, self._processor.totals
        if processor.commits != self._committed[0]:
            self._committed = (processor.commits, now.wall)
        mean = totals.rows / totals.batches if totals.batches else 0.0
        single: dict[str, float | None] = {
            "lag_batches": self._lag,
            "lag_events": None if self._lag is None else round(self._lag * mean),
            "waiting_rows": processor.waiting,
            "commits_total": processor.commits,
            "rows_total": totals.rows,
            "batches_total": totals.batches,
            "duplicates_total": totals.duplicates,
            "gaps_total": totals.gaps,
            "dead_letters_total": totals.set_aside,
            "last_commit_timestamp_seconds": self._committed[1] / NANOSECONDS or None,
        }
        told = {f"linktrail_processor_{name}": {(): float(value)} for name, value in single.items() if value is not None}
        failures = {(why,): float(count) for why, count in processor.failures.items()}
        return {**told, "linktrail_processor_failures_total": failures}  # type: ignore[dict-item]  # tuples of one word are tuples of words

    def _unready(self) -> list[str]:
        processor = self._processor
        wrong = [error.message for error in dict.fromkeys((processor.trouble, processor.held)) if error is not None]
        if not processor.reading and not wrong:
            wrong.append("nothing was read from the source yet")
        if len(self._unanswered) == _PASSING and not wrong:
            wrong.append(self._unanswered[-1].message)
        if self._lag is not None and self._lag > self.lag_limit:
            wrong.append(f"{self._lag} batches wait, more than {self.lag_limit}")
        return wrong
