"""One open snapshot of the lake for all requests, renewed when it is older than a few seconds. One request at a time uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from linktrail.clock import NANOSECONDS, Clock
from queries.engine import Engine, open_lake

FRESH_SECONDS: Final = 5


class LakeCache:
    """The lake at ``path``."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open nothing yet."""
        self.path = path
        self._clock = clock
        self._lock = Lock()
        self._engine: Engine | None = None
        self._opened = 0

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Yield the lake as it is now, give or take ``FRESH_SECONDS``. Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``."""
        with self._lock:
            now = self._clock.now().monotonic
            if self._engine is not None and now - self._opened > FRESH_SECONDS * NANOSECONDS:
                self._engine.close()
                self._engine = None
            if self._engine is None:
                self._engine, self._opened = open_lake(self.path), now
            yield self._engine

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None
