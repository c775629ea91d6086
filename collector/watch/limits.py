"""How many watches this process may take, asked before coverage is claimed.

The kernel counts inotify watches and instances per user (fs.inotify.*, and per user namespace user.max_inotify_*), not per process:
what linktrail takes, the engines and the kubelet of the same user cannot have. So an eighth of the limit always stays free, and what
others hold is counted (``/proc/*/fdinfo``) before more than an eighth is taken. In a pid namespace of its own a process does not see
all others; then the kernel's ENOSPC is the last word.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linktrail.clock import NANOSECONDS, Instant

_PROC: Final = Path("/proc")
_UNKNOWN_WATCHES: Final = 8192  # the kernel's smallest default
_UNKNOWN_INSTANCES: Final = 128
_UNKNOWN_QUEUED: Final = 16_384
_COUNT_AGAIN: Final = 300 * NANOSECONDS
_FDINFO_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The kernel's limits: ``watches`` and ``instances`` per user, ``queued`` events per instance."""

    watches: int
    instances: int
    queued: int


def read_limits(proc: Path = _PROC) -> Limits:
    """Return the limits in force; the kernel's smallest defaults where it does not tell."""
    watches = _least(proc, ("sys/fs/inotify/max_user_watches", "sys/user/max_inotify_watches"), _UNKNOWN_WATCHES)
    instances = _least(proc, ("sys/fs/inotify/max_user_instances", "sys/user/max_inotify_instances"), _UNKNOWN_INSTANCES)
    queued = _least(proc, ("sys/fs/inotify/max_queued_events",), _UNKNOWN_QUEUED)
    return Limits(watches, instances, queued)


def held_by_others(proc: Path = _PROC) -> int:
    """Count the watches that other processes of this user hold, as far as they can be seen."""
    own, user = os.getpid(), os.getuid()
    total = 0
    for name in os.listdir(proc):  # noqa: PTH208 - names, not paths
        if name.isdigit() and int(name) != own:
            try:
                if os.stat(proc / name).st_uid == user:  # noqa: PTH116 - as fast as it gets: once per process
                    total += _watches_of(proc / name)
            except OSError:  # the process ended meanwhile, or is not ours to look at
                continue
    return total


class Budget:
    """How many watches may be held in all, by the limits and by what others hold."""

    def __init__(self, limits: Callable[[], Limits] = read_limits, others: Callable[[], int] = held_by_others) -> None:
        """Ask ``limits`` and ``others`` when it matters."""
        self._limits = limits
        self._others = others
        self._counted: tuple[int, int] | None = None

    def allows(self, wanted: int, now: Instant) -> int:
        """Return how many of ``wanted`` watches may be held in all."""
        limit = self._limits().watches
        share = limit // 8
        if wanted <= share:
            return wanted
        if self._counted is None or now.monotonic - self._counted[1] > _COUNT_AGAIN:
            self._counted = (self._others(), now.monotonic)
        return min(wanted, max(share, limit - self._counted[0] - share))

    def words(self) -> str:
        """State the numbers, for a message."""
        limits = self._limits()
        others = f", others of this user hold {self._counted[0]}" if self._counted else ""
        return f"fs.inotify.max_user_watches is {limits.watches}{others}, an eighth stays free; raise it with sysctl"


def _least(proc: Path, names: tuple[str, ...], default: int) -> int:
    found = []
    for name in names:
        try:
            found.append(int((proc / name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not on this kernel, or /proc/sys is hidden
            continue
    return min(found, default=default)


def _watches_of(process: Path) -> int:
    total = 0
    for descriptor in os.listdir(process / "fd"):  # noqa: PTH208 - names, not paths
        try:
            if os.readlink(process / "fd" / descriptor) == "anon_inode:inotify":  # noqa: PTH115 - once per descriptor
                with (process / "fdinfo" / descriptor).open("rb") as info:
                    total += info.read(_FDINFO_BYTES).count(b"inotify wd:")
        except OSError:  # closed meanwhile
            continue
    return total
