"""The table of incidents: every one is replayed; ``UNTOLD`` says what of an incident no file tells.

A replay is a function that makes the history of a store in a ``Scene`` and returns what the answers must say (``Says``); it is entered
here by ``@incident(id, title)``. The numbers are those of the reference (``incidents.md``). Where mounts or open files are the incident,
they stand in a ``/proc`` of the scene (``kernel``); real ones: tests/mounts and tests/live.
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


UNTOLD: Final[dict[str, str]] = {
    "A13": "Which version of an engine runs on the node: the store does not say by what it is read.",
    "B08": "Who wiped the store: nothing in it names the process.",
    "B09": "Who unmounted: the kernel keeps no record of it.",
    "B11": "When the engine forgot the container: that is in a database of the engine's own, which is not read.",
    "C04": "Which build was killed: the directory bears no name of it, only the time.",
    "E05": "The error that the removal met: it is in the log of containerd; that the snapshot is mounted, is told.",
    "E07": "That the next layer failed: nothing of it ever stood on disk.",
    "E13": "At which threshold the kubelet collects: that is in its configuration.",
    "F01": "Which mount hides how much: that it may be hidden under one is said, with the size of all that is elsewhere.",
    "F03": "Which paths in the writable layer are large: layers are measured as a whole.",
    "F04": "What the runtime answered: it is asked of the runtime; the directory whose size that is, and the true size, are told.",
}
"""Number -> the part of what the reference wants printed that linktrail does not know, and why."""
