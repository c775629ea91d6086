"""Deleted files that processes keep open: their space is used until the last descriptor is closed, and no directory shows it.

Every descriptor of every process is asked for its number of names (0: deleted; also where an engine removed a container's files
below the mount that the process holds, which the kernel does not mark). Only regular files count; files that are merely mapped are not
looked for. What a process calls itself and its files is hostile text. Bounded: ``DESCRIPTOR_LIMIT`` descriptors.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from collector.mounts.kernel import FileSystem, Status, statfs, statx
from collector.mounts.namespaces import PROCESS_LIMIT, processes
from collector.safe import words

DESCRIPTOR_LIMIT: Final = 5_000_000
_SMALL_FILE: Final = 4096
_DELETED: Final = " (deleted)"
_CONTAINER: Final = re.compile(r"(?:[/:-]|\A)([0-9a-f]{64})(?:\.scope|/|\Z)", re.MULTILINE)


class OpenFile(NamedTuple):
    """A deleted file that a process keeps open; ``path`` as that process sees it, ``filesystem`` unknown where it cannot be asked."""

    pid: int
    descriptor: int
    path: str
    status: Status
    filesystem: FileSystem | None

    @property
    def name(self) -> tuple[str, int]:
        """What makes it the same file in another process: device and inode."""
        return (self.status.device, self.status.inode)

    @property
    def written_since(self) -> bool:
        """Whether it was written after it was deleted: unlinking sets the time of change alone, writing sets both."""
        return self.status.modified == self.status.changed


class Process(NamedTuple):
    """Who holds: the command name, the container id in its control group (if any), and when it started (ns UTC, ``None``: unknown)."""

    command: str
    container: str | None
    started: int | None


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """All of them, and the processes that hold them. ``unread`` says what is missing."""

    files: tuple[OpenFile, ...] = ()
    processes: tuple[tuple[int, Process], ...] = ()
    unread: str | None = None


def read_open_files(proc: Path) -> OpenFiles:
    """Look at every descriptor below ``proc``. Never raises."""
    try:
        living = processes(proc)[:PROCESS_LIMIT]
    except OSError as error:
        return OpenFiles(unread=words(error))
    own = os.getpid()
    boot = _boot_time(proc)
    found: list[OpenFile] = []
    refused, left = 0, DESCRIPTOR_LIMIT
    for pid in living:
        if pid == own:
            continue
        try:
            names = os.listdir(f"{proc}/{pid}/fd")  # noqa: PTH208 - names, of which there may be 100,000
        except PermissionError:
            refused += 1
            continue
        except OSError:  # it ended
            continue
        left -= len(names)
        found += _deleted(proc, pid, names)
        if left <= 0:
            break
    holders = tuple((pid, _process(proc, pid, boot)) for pid in sorted({file.pid for file in found}))
    unread = f"the files of {refused} processes cannot be seen" if refused else None
    return OpenFiles(tuple(found), holders, unread if left > 0 else f"more than {DESCRIPTOR_LIMIT} open files")


def _deleted(proc: Path, pid: int, names: list[str]) -> Iterator[OpenFile]:
    for name in names:
        path = f"{proc}/{pid}/fd/{name}"
        try:
            status = statx(path)
            if status.nlink > 0 or not stat.S_ISREG(status.mode):
                continue
            target = str(Path(path).readlink())
        except OSError:  # closed meanwhile, or of a filesystem that does not answer
            continue
        if not target.startswith("/") or target.startswith("/memfd:"):
            continue
        try:
            filesystem = statfs(path)
        except OSError:
            filesystem = None
        yield OpenFile(pid, int(name), target.removesuffix(_DELETED), status, filesystem)


def _process(proc: Path, pid: int, boot: int | None) -> Process:
    groups = _small(f"{proc}/{pid}/cgroup")
    ids = _CONTAINER.findall(groups)
    return Process(_small(f"{proc}/{pid}/comm").rstrip("\n"), ids[-1] if ids else None, _started(proc, pid, boot))


def _started(proc: Path, pid: int, boot: int | None) -> int | None:
    fields = _small(f"{proc}/{pid}/stat").rpartition(")")[2].split()
    ticks = fields[19] if len(fields) > 19 else ""  # noqa: PLR2004 - starttime, field 22 of proc_pid_stat(5), counted after the name
    if boot is None or not (ticks.isascii() and ticks.isdigit()):
        return None
    return boot + int(ticks) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _boot_time(proc: Path) -> int | None:
    for line in _small(f"{proc}/stat", 1 << 20).splitlines():
        name, _, value = line.partition(" ")
        if name == "btime" and value.isascii() and value.isdigit():
            return int(value) * 1_000_000_000
    return None


def _small(path: str, limit: int = _SMALL_FILE) -> str:
    try:
        with Path(path).open("rb") as file:
            return os.fsdecode(file.read(limit))
    except OSError:  # it ended
        return ""
