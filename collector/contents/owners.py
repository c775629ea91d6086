"""Which differences of owner are damage, and which are how the store was made.

Owners on disk are those of the archive only where root unpacked it without a user namespace. A namespace shifts them
(0 is 1000, 33 is 100032), and ``ignore_chown_errors`` gives every file to one user. In all these cases an owner of the archive is
one and the same owner on disk everywhere in the layer. So the map is learnt from the layer itself: the most frequent owner on disk for
each one in the archive. An entry that departs from a clear majority was changed. Where nearly nothing speaks for a map, nothing is said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

_CLEAR: Final = 2  # the majority is this many times as frequent as everything else together
_WITNESSES: Final = 2  # distinct owners that are the same on disk make it certain that none is shifted


class Owners:
    """Collects (recorded, found) ids of one sort, of users or of groups, and says which departed."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._seen: defaultdict[int, Counter[int]] = defaultdict(Counter)

    def add(self, recorded: int, found: int) -> None:
        """Count one entry."""
        self._seen[recorded][found] += 1

    def departed(self) -> frozenset[tuple[int, int]]:
        """Return the pairs (recorded, found) that the map of this layer does not explain."""
        usual = {recorded: _majority(found) for recorded, found in self._seen.items()}
        same = sum(recorded == found for recorded, found in usual.items())
        if same >= _WITNESSES:
            usual = {recorded: recorded for recorded in usual}
        return frozenset(
            (recorded, found)
            for recorded, counts in self._seen.items()
            for found in counts
            if usual[recorded] is not None and found != usual[recorded]
        )


def _majority(counts: Counter[int]) -> int | None:
    (first, most), *_ = counts.most_common(1)
    return first if most >= _CLEAR * (counts.total() - most) else None
