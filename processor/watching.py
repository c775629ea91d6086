"""Metrics, health and settings of a processor while it runs: what the command line states of them, put around a ``Processor``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from linktrail.clock import NANOSECONDS, Clock
from linktrail.config.reload import Reload
from linktrail.config.resolve import Configuration
from linktrail.config.table import BY_KEY
from linktrail.late import load_late
from linktrail.telemetry.board import STUCK_SECONDS, Board
from linktrail.telemetry.table import PROCESSOR
from processor.pipeline import Processor
from processor.telling import LOOP, Lagging, Telling

LAG_LIMIT: Final = int(BY_KEY["process.lag_limit"].default)


@dataclass(frozen=True, slots=True)
class Watching:
    """``metrics``: where to serve (``None``: nowhere); ``reload``: what SIGHUP changes; the rest says when health says no."""

    metrics: str | None = None
    reload: Reload | None = None
    lag_limit: int = LAG_LIMIT
    stuck_seconds: float = STUCK_SECONDS

    @contextmanager
    def board(self, clock: Clock) -> Iterator[Board]:
        """Serve a board meanwhile, and take SIGHUP. Raises ``MissingExtraError`` and ``ListenError``."""
        board = Board(PROCESSOR, stuck_seconds=self.stuck_seconds, now=lambda: clock.now().monotonic / NANOSECONDS)
        board.beat(LOOP)
        with ExitStack() as stack:
            if self.metrics is not None:
                endpoint = load_late("linktrail.telemetry.endpoint", for_verb="process --metrics", extra="metrics")
                stack.enter_context(endpoint.serving(self.metrics, board))
            if self.reload is not None:
                stack.enter_context(self.reload.on_hangup())
            yield board

    def attach(self, board: Board, processor: Processor, feed: Lagging, clock: Clock) -> None:
        """Let ``processor`` tell ``board``, and read settings again, in every round."""
        telling = Telling(board, processor, feed, clock=clock, lag_limit=self.lag_limit)
        reload = self.reload

        def take_over(configuration: Configuration) -> None:
            telling.lag_limit = int(configuration.text("process.lag_limit") or LAG_LIMIT)

        def tend() -> None:
            if reload is not None:
                reload.tend()
            telling.tend()

        if reload is not None:
            reload.apply = take_over
        processor.tend = tend
