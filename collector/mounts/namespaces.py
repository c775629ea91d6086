"""The mount tables of all mount namespaces, each read once, with the processes that live in it.

A mount that is gone from the host's table may stand in that of a container which copied it; so every namespace is read, the one of
process 1 first. Processes come and go while this is read: one that went is no loss. A process whose namespace link is hidden (no
CAP_SYS_PTRACE) is told from others by the first mount id in its table, which is unique on the machine.

Bounded: ``PROCESS_LIMIT`` processes, ``LINE_LIMIT`` mounts in all tables together; what lies beyond is said to be unread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from collector.mounts.mountinfo import TABLE_BYTES, Mount, parse
from collector.safe import words

PROCESS_LIMIT: Final = 200_000
LINE_LIMIT: Final = 1_000_000
_COMMAND_BYTES: Final = 64
_NOT_ABOUT_STORES: Final = frozenset(
    {
        *("proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "mqueue", "securityfs", "debugfs", "tracefs", "bpf", "pstore"),
        *("configfs", "hugetlbfs", "efivarfs", "autofs", "binfmt_misc", "rpc_pipefs", "fusectl", "nsfs", "nfs", "nfs4", "cifs"),
    }
)


class Namespace(NamedTuple):
    """One mount namespace: its name as the kernel writes it (``mnt:[4026531840]``), who lives in it, and the mounts that may matter.

    ``command`` is what its first process calls itself: hostile text.
    """

    name: str
    processes: tuple[int, ...]
    mounts: tuple[Mount, ...]
    command: str = ""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """All of them, that of process 1 first. ``unread`` says what is missing: then a mount that is not here may stand all the same."""

    all: tuple[Namespace, ...] = ()
    unread: str | None = None


def processes(proc: Path) -> list[int]:
    """Return the ids of all processes, lowest first. Raises ``OSError``."""
    return sorted(int(name) for name in os.listdir(proc) if name.isascii() and name.isdigit())  # noqa: PTH208 - names, not paths


def read_namespaces(proc: Path) -> Namespaces:
    """Read the mount tables below ``proc`` (``/proc``, or that of the host). Never raises."""
    try:
        living = processes(proc)
    except OSError as error:
        return Namespaces(unread=words(error))
    unread = f"only {PROCESS_LIMIT} of {len(living)} processes were asked" if len(living) > PROCESS_LIMIT else None
    members: dict[str, list[int]] = {}
    hidden: list[int] = []
    for pid in living[:PROCESS_LIMIT]:
        try:
            members.setdefault(str(Path(f"{proc}/{pid}/ns/mnt").readlink()), []).append(pid)
        except PermissionError:
            hidden.append(pid)
        except OSError:  # it ended, or is a zombie: it holds nothing
            continue
    found: list[Namespace] = []
    left = LINE_LIMIT
    for name, pids in _with_hidden(proc, members, hidden).items():
        if left <= 0:
            unread = f"more than {LINE_LIMIT} mounts"
            break
        data = _first_table(proc, pids)
        if data is None:
            continue
        table = parse(data)
        left -= len(table.mounts)
        kept = tuple(mount for mount in table.mounts if mount.kind not in _NOT_ABOUT_STORES)
        found.append(Namespace(name, tuple(pids), kept, _command(proc, pids[0])))
    if not found:
        return Namespaces(unread=unread or "no mount table can be read")
    return Namespaces(tuple(found), unread)


def _with_hidden(proc: Path, members: dict[str, list[int]], hidden: list[int]) -> dict[str, list[int]]:
    """Add the processes whose namespace has no readable name, by the first mount of their table; process 1's namespace comes first."""
    if hidden:
        names = {_identity(_table(proc, pids[0])): name for name, pids in members.items()}
        for pid in hidden:
            mark = _identity(_table(proc, pid))
            if mark is not None:
                members.setdefault(names.setdefault(mark, f"mnt:first-mount-{mark}"), []).append(pid)
    return dict(sorted(members.items(), key=lambda item: min(item[1])))


def _identity(data: bytes | None) -> str | None:
    number = data.partition(b" ")[0] if data else b""
    return number.decode("ascii", "replace") if number.isdigit() else None


def _command(proc: Path, pid: int) -> str:
    try:
        with Path(f"{proc}/{pid}/comm").open("rb") as file:
            return os.fsdecode(file.read(_COMMAND_BYTES)).rstrip("\n")
    except OSError:  # it ended since it was listed
        return ""


def _first_table(proc: Path, pids: list[int]) -> bytes | None:
    return next((data for pid in pids if (data := _table(proc, pid)) is not None), None)


def _table(proc: Path, pid: int) -> bytes | None:
    try:
        with Path(f"{proc}/{pid}/mountinfo").open("rb") as file:
            return file.read(TABLE_BYTES) or None
    except OSError:  # it ended since it was listed
        return None
