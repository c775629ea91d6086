"""Reading a short link as soon as an event tells of it: it may be gone before the store is read.

An event says that a name appeared, never where it points. The store is read a moment later (``Settings.quiet``), at the latest after
some time; of a link that was gone by then its target would not be known. So it is read at once, here, without following anything. What was
read is that of the event only if nothing happened to the name in between: ``lives`` believes it where the next event of that name is
certain to have come later. In a burst nobody reads: at most ``READS`` in ``WINDOW_NS``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from collector.brackets import APPEARED
from collector.links import Link, LinkKind
from collector.stores.protocol import Driver, ReadsNames
from linktrail.clock import Clock, Instant

READS: Final = 16
WINDOW_NS: Final = 100_000_000


class Read(NamedTuple):
    """What stood under a name, read before ``at``."""

    link: Link
    at: Instant


class EarlyReader:
    """One store's."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        """Read with ``driver``, where it can."""
        self._driver = driver if isinstance(driver, ReadsNames) else None
        self._clock = clock
        self._window = (0, 0)  # since when (monotonic ns), and how many were read in it

    def read(self, root: Path, link: Link, action: str) -> Read | None:
        """Return what stands under the name of ``link`` after an event ``action`` of it; ``None`` where that is not asked or not there."""
        if self._driver is None or link.kind is not LinkKind.SHORT_LINK or action not in APPEARED:
            return None
        begun, count = self._window
        now = self._clock.now().monotonic
        if now - begun > WINDOW_NS:
            begun, count = now, 0
        if count >= READS:
            return None
        self._window = (begun, count + 1)
        found = self._driver.read_name(root, link)
        return None if found is None else Read(found, self._clock.now())
