"""One layer's directory against what its archive says: names, types, sizes, modes, owners, targets of links, hard links.

Silent, because healthy stores have it: modes of symbolic links, times, owners shifted as a whole (``collector.contents.owners``), modes and
owners that force_mask moved into an attribute, device nodes that an unprivileged engine could not make, whiteouts more or less, the root
directory itself, directories on the way to an entry, and the empty places that engines make for their mounts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from collector.contents.expected import Expected, Headers
from collector.contents.owners import Owners
from collector.contents.tree import Actual, Tree, read_tree
from collector.safe import Directory

_OVERRIDES: Final = ("user.containers.override_stat", "user.fuseoverlayfs.override_stat")
_OVERRIDE: Final = re.compile(rb"(\d{1,10}):(\d{1,10}):0?([0-7]{1,6})(?::(.*))?", re.DOTALL)
_NEVER_LINKED: Final = frozenset({"directory", "whiteout"})
_PLACEHOLDERS: Final = frozenset(
    {
        *("dev", "dev/console", "dev/pts", "dev/shm", "dev/mqueue", "proc", "sys", "run", "run/.containerenv", "run/secrets", "run/lock"),
        *(".dockerenv", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"),
    }
)


class Changed(NamedTuple):
    """An entry that is not as recorded: what differs (type, size, mode, owner, hard link), and both values in words."""

    path: str
    what: str
    recorded: str
    found: str


@dataclass(slots=True)
class Difference:
    """How a layer differs; all paths relative to its top."""

    added: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    emptied_bytes: int = 0  # what the record gives those files
    retargeted: list[tuple[str, str, str]] = field(default_factory=list)
    retargeted_by: int | None = None  # the first of them, ns UTC


def compare(diff: Directory, headers: Headers) -> tuple[Difference, Tree]:
    """Return how the layer in the open directory ``diff`` differs from ``headers``, and its tree. Raises ``OSError``."""
    comparison = _Comparison(headers)
    tree = read_tree(diff, comparison.visit)
    return comparison.finish({path for path, _ in tree.unread}), tree


class _Comparison:
    def __init__(self, headers: Headers) -> None:
        expected = self._expected = headers.entries
        self._sorted = sorted([*expected, *(f"{path}/" for path in headers.opaque)])
        self._found = Difference()
        self._seen: set[str] = set()
        self._inodes: dict[str, int] = {}
        self._linked = {path: entry for path, entry in expected.items() if entry.kind == "hardlink"}
        self._named_again = {entry.target.strip("/").removeprefix("./") for entry in self._linked.values()}
        self._users, self._groups = Owners(), Owners()
        self._owners: list[tuple[str, Expected, Actual]] = []  # those whose owner is another number than recorded

    def visit(self, path: str, actual: Actual, directory: Directory, name: str) -> None:
        """Take one entry."""
        expected = self._expected.get(path)
        if expected is None:
            if path in self._named_again:  # a second name of a file of the layer below: the file came along
                self._inodes[path] = actual.inode
            elif not self._explained(path, actual):
                self._found.added.append(path)
            return
        self._seen.add(path)
        if path in self._linked or path in self._named_again:
            self._inodes[path] = actual.inode
        as_made = _as_made(actual, directory, name) if actual.kind != expected.kind or _differs(expected, actual) else actual
        self._compare(path, expected, as_made)

    def finish(self, unread: set[str]) -> Difference:
        """Say what is missing, and judge what needs the whole layer."""
        found = self._found
        for path, entry in self._expected.items():
            if path not in self._seen and entry.kind not in ("whiteout", "device") and not _below(path, unread):
                found.missing.append(path)
        found.missing.sort()
        for path, entry in self._linked.items():
            inode, other = self._inodes.get(path), self._inodes.get(entry.target.strip("/").removeprefix("./"))
            if inode is not None and other is not None and inode != other:
                found.changed.append(Changed(path, "hard link", f"the same file as {entry.target}", "a file of its own"))
        users, groups = self._users.departed(), self._groups.departed()
        for path, entry, actual in self._owners:
            if (entry.uid, actual.uid) in users or (entry.gid, actual.gid) in groups:
                found.changed.append(Changed(path, "owner", f"{entry.uid}:{entry.gid}", f"{actual.uid}:{actual.gid}"))
        return found

    def _compare(self, path: str, expected: Expected, actual: Actual) -> None:
        found = self._found
        if expected.kind == "hardlink":
            if actual.kind in _NEVER_LINKED:
                found.changed.append(Changed(path, "type", "hard link", actual.kind))
            return
        if actual.kind != expected.kind:
            if expected.kind != "whiteout" or not self._explained(path, actual):
                found.changed.append(Changed(path, "type", expected.kind, actual.kind))
            return
        if expected.kind == "whiteout":
            return
        self._count_owner(path, expected, actual)
        if expected.kind == "symlink":
            if actual.target != expected.target:
                found.retargeted.append((path, expected.target, actual.target))
                found.retargeted_by = min(actual.changed_ns, found.retargeted_by or actual.changed_ns)
            return
        if expected.size is not None and actual.size != expected.size:
            if actual.size == 0:
                found.emptied.append(path)
                found.emptied_bytes += expected.size
            else:
                found.changed.append(Changed(path, "size", str(expected.size), str(actual.size)))
        if actual.mode != expected.mode and path not in self._named_again:  # the last of several names decides on the mode
            found.changed.append(Changed(path, "mode", f"{expected.mode:04o}", f"{actual.mode:04o}"))

    def _count_owner(self, path: str, expected: Expected, actual: Actual) -> None:
        if path in self._named_again:
            return
        self._users.add(expected.uid, actual.uid)
        self._groups.add(expected.gid, actual.gid)
        if (expected.uid, expected.gid) != (actual.uid, actual.gid):
            self._owners.append((path, expected, actual))

    def _explained(self, path: str, actual: Actual) -> bool:
        """Tell whether an entry that the archive does not name belongs there all the same."""
        if actual.kind == "whiteout":
            return True
        if actual.kind == "directory":
            return path in _PLACEHOLDERS or self._leads_on(path)
        return path in _PLACEHOLDERS and (actual.size == 0 or (actual.kind == "symlink" and actual.target == "/proc/mounts"))

    def _leads_on(self, path: str) -> bool:
        """Tell whether ``path`` is a directory on the way to an entry."""
        place = bisect_left(self._sorted, f"{path}/")
        return place < len(self._sorted) and self._sorted[place].startswith(f"{path}/")


def _differs(expected: Expected, actual: Actual) -> bool:
    return (expected.mode, expected.uid, expected.gid) != (actual.mode, actual.uid, actual.gid)


def _as_made(actual: Actual, directory: Directory, name: str) -> Actual:
    """Return ``actual`` with the owner, mode and type that an engine without the privilege to set them wrote into an attribute."""
    if actual.kind not in ("file", "directory"):
        return actual
    for attribute in _OVERRIDES:
        match = _OVERRIDE.fullmatch(directory.attribute(name, attribute) or b"")
        if match:
            uid, gid, mode, kind = match.groups()
            special = "device" if kind and kind.split(b"-")[0] in (b"block", b"char") else "fifo" if kind == b"pipe" else actual.kind
            return actual._replace(uid=int(uid), gid=int(gid), mode=int(mode, 8) & 0o7777, kind=special)
    return actual


def _below(path: str, tops: set[str]) -> bool:
    if not tops:
        return False
    steps = path.split("/")
    return "" in tops or any("/".join(steps[:count]) in tops for count in range(1, len(steps) + 1))
