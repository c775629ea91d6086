"""The table of incidents: every one is replayed, or it says why files alone cannot hold it.

A replay is a function that makes the history of a store in a ``Scene`` and returns what the answers must say (``Says``); it is entered
here by ``@incident(id, title)``. The numbers are those of the reference (``incidents.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.incidents.replay import Says, Scene

Replay = Callable[[Scene], Says]

REPLAYS: Final[dict[str, tuple[str, Replay]]] = {}
"""Number -> (title, replay)."""


def incident(number: str, title: str) -> Callable[[Replay], Replay]:
    """Enter a replay into the table."""

    def enter(replay: Replay) -> Replay:
        assert number not in REPLAYS
        REPLAYS[number] = title, replay
        return replay

    return enter
