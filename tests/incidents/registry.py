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


LIVE: Final[dict[str, str]] = {
    "A12": "What changes is what is mounted at overlay/: two filesystems at one path, in the mount namespace of an engine's process.",
    "B08": "The store is whole; what the engine's check calls damage are mounts in the kernel, and the wipe is the engine's own act.",
    "B09": "The harm is done to the mount table by the checker's shutdown; the files of the store stay as they are.",
    "D02": "The race is between builds inside of BuildKit; the directories that it leaves are those of D01.",
    "D06": "The file has no name any more: it is in /proc/PID/fd of a process that runs (see tests/live/test_holders.py).",
    "D07": "The mount is in the namespace of another process (see tests/mounts/test_real_mounts.py).",
    "D08": "What leaks is a mount with each export of the engine; the directories that stay behind are those of D01.",
    "E02": "Whether the collector of containerd runs after a cancelled pull is a matter of its process; the files are those of E03.",
    "E05": "The cause is the error (EBUSY) that a removal meets in the kernel; the snapshots that wait are those of E01.",
    "E07": "Nothing stays on disk: the order of three steps within half a second is the incident.",
    "E09": "The mounts are the incident: 4,954 of them, over directories that are like any other's.",
    "E12": "The upper directory of a live mount is deleted: without the mount it is a removal like any other.",
    "F03": "The store is healthy; what is wrong is the accounting of the kubelet and its message.",
    "F04": "The store is healthy; what is wrong is the number that a runtime answers to the kubelet.",
}
"""Number -> why it is not replayed from files."""
