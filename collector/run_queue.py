"""How long this thread was ready to run and did not get a processor: time that it cost nobody.

Read from ``/proc/thread-self/schedstat`` (three numbers: ns on a processor, ns waiting for one, time slices; kernel documentation,
"Scheduler Statistics"). Where the kernel does not count (no CONFIG_SCHED_INFO, no /proc) it is 0, and waiting counts as work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")


def waited_ns(schedstat: Path = _SCHEDSTAT) -> int:
    """Return for how many ns the calling thread has waited for a processor since it began."""
    try:
        return int(schedstat.read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
