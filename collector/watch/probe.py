"""Which ways of watching this process may use, and what each leaves uncovered.

The kernel is asked by doing: a queue is opened and the filesystem of each root marked, for a moment. ``choose`` takes the wanted mode or
falls back to the next one that works, and states in one sentence what is in use and what is no longer covered.

| mode | call | needs |
| --- | --- | --- |
| inotify | inotify_init1, inotify_add_watch | reading the directories: CAP_DAC_READ_SEARCH for a store of root |
| fanotify | fanotify_init(FAN_UNLIMITED_QUEUE), fanotify_mark(FAN_MARK_FILESYSTEM) | CAP_SYS_ADMIN in the initial user namespace |
| fanotify | open_by_handle_at | CAP_DAC_READ_SEARCH in the initial user namespace |
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.unwatched import Unwatched
from collector.watch.deep import FanotifyWatcher
from collector.watch.fanotify import Fanotify, fsid_of, handle_of, open_handle
from collector.watch.inotify import Inotify
from collector.watch.interface import Watcher
from collector.watch.plain import InotifyWatcher
from linktrail.clock import Clock
from linktrail.errors import UsageError, WatchError

INOTIFY: Final = InotifyWatcher.mode
FANOTIFY: Final = FanotifyWatcher.mode
SURVEY_ONLY: Final = Unwatched.mode
MODES: Final = (INOTIFY, FANOTIFY, SURVEY_ONLY)
AUTO: Final = "auto"
"""The deepest mode that this process may use."""

_INSIDE: Final = (
    "changes inside the layers",
    "the number of links of files whose other name lies elsewhere",
    "a new directory before its watch is set",
    "who made a change",
)
_ALL: Final = ("whatever begins and ends between two surveys", "when a change happened, closer than two surveys")
NOT_COVERED: Final[dict[str, tuple[str, ...]]] = {FANOTIFY: (), INOTIFY: _INSIDE, SURVEY_ONLY: (*_INSIDE, *_ALL)}
"""What a mode does not see, compared with fanotify."""

_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "glusterfs", "lustre", "afs", "fuse", "virtiofs"})
_READ: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_WHY: Final = {
    errno.EPERM: "it needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH",
    errno.EINVAL: "it needs Linux 5.17 or newer",
    errno.ENOSYS: "this kernel is built without it",
    errno.EOPNOTSUPP: "this filesystem has no handles (an overlay mount: name the storage below it)",
    errno.EXDEV: "this filesystem has no handle of its own (a btrfs subvolume)",
    errno.ENODEV: "this filesystem has no identity",
    errno.EMFILE: "fs.inotify.max_user_instances, fs.fanotify.max_user_groups or open files are used up",
}


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of watching: ``refused`` is empty when this process may use it, else the reason."""

    name: str
    refused: str

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What it does not see."""
        return NOT_COVERED[self.name]


@dataclass(frozen=True, slots=True)
class Choice:
    """The watcher in use, and what to say about it. ``complete``: nothing that was wanted is left uncovered."""

    watcher: Watcher
    statement: str
    complete: bool


def probe(roots: Iterable[Path] = ()) -> tuple[Mode, ...]:
    """Ask the kernel for every mode, deepest first. Never raises; a root that is not there is asked nothing."""
    found = tuple(roots)
    return (Mode(FANOTIFY, _try_fanotify(found)), Mode(INOTIFY, _try_inotify()), Mode(SURVEY_ONLY, ""))


def choose(wanted: str, roots: Sequence[Path], *, clock: Clock) -> Choice:
    """Return a watcher of the ``wanted`` mode for ``roots``, or of the next one that works.

    ``wanted`` is one of ``MODES``, or ``auto``; fanotify falls back to inotify, inotify to surveys only. Raises ``UsageError`` for another
    word.
    """
    require_mode(wanted)
    modes = {mode.name: mode for mode in probe(roots)}
    reasons = []
    for name in _from(wanted):
        if not modes[name].refused:
            try:
                watcher = _open(name, clock)
            except WatchError as error:
                reasons.append(f"{name} refused: {error.message}")
                continue
            return Choice(watcher, _statement(modes[name], reasons, roots), complete=wanted in (name, AUTO))
        reasons.append(f"{name} refused: {modes[name].refused}")
    raise AssertionError("surveys are always possible")


def require_mode(wanted: str) -> None:
    """Raise ``UsageError`` unless ``wanted`` is a word for a watch mode."""
    if wanted not in (*MODES, AUTO):
        raise UsageError(what=f"unknown watch mode '{wanted}': one of {', '.join((*MODES, AUTO))}")


def _from(wanted: str) -> tuple[str, ...]:
    order = (FANOTIFY, INOTIFY, SURVEY_ONLY)
    return order if wanted == AUTO else order[order.index(wanted) :]


def _open(name: str, clock: Clock) -> Watcher:
    if name == FANOTIFY:
        return FanotifyWatcher(clock=clock)
    return InotifyWatcher(clock=clock) if name == INOTIFY else Unwatched(clock)


def _statement(mode: Mode, reasons: Sequence[str], roots: Sequence[Path]) -> str:
    parts = [f"watching with {mode.name}", *reasons]
    if mode.not_covered:
        parts.append(f"not covered: {', '.join(mode.not_covered)}")
    for root in roots:
        kind = filesystem_type(root)
        if kind in _REMOTE or (kind or "").startswith("fuse."):
            parts.append(f"{root} is on {kind}: what other hosts change there, the kernel does not tell")
        elif kind == "overlay":
            parts.append(f"{root} is on an overlay: what is changed in its upper directory beside it, the kernel does not tell")
    return "; ".join(parts)


def filesystem_type(path: Path, table: Path = _MOUNTINFO) -> str | None:
    """Return the type of the filesystem that holds ``path`` (ext4, nfs4, overlay, ...), where the mount table knows it."""
    try:
        device = path.stat().st_dev
        lines = table.read_bytes().splitlines()
    except OSError:
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    for line in lines:
        mount, _, filesystem = line.partition(b" - ")
        if mount.split(b" ")[2:3] == [wanted]:
            return os.fsdecode(filesystem.split(b" ")[0])
    return None


def _try_inotify() -> str:
    try:
        Inotify().close()
    except OSError as error:
        return _words(error)
    return ""


def _try_fanotify(roots: Iterable[Path]) -> str:
    try:
        group = Fanotify()
    except OSError as error:
        return _words(error)
    try:
        for root in roots:
            _try_root(group, root)
    except OSError as error:
        return f"{root}: {_words(error)}"
    finally:
        group.close()
    return ""


def _try_root(group: Fanotify, root: Path) -> None:
    """Mark the filesystem of ``root``, and open it by its handle. Raises ``OSError``."""
    try:
        directory = os.open(root, _READ)
    except FileNotFoundError:
        return
    try:
        group.mark_filesystem(directory)
        os.close(open_handle(directory, handle_of(directory, fsid_of(directory))))
    finally:
        os.close(directory)


def _words(error: OSError) -> str:
    return _WHY.get(error.errno or 0) or os.strerror(error.errno or 0)
