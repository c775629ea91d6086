"""One layer's directory, read once: every entry is shown to a visitor, and what overlayfs makes of the names is kept.

The tree that is kept is small (a name and a word an entry), because links are resolved in it later, over all layers of a chain. It is read
through open directories, one name at a time; nothing is followed. Limits: ``DEPTH_LIMIT`` levels, ``ENTRY_LIMIT`` entries; a part that
cannot be read is named in ``unread``.

How overlayfs (and fuse-overlayfs) marks things:

* whiteout: character device 0:0, or an empty file with the attribute ``overlay.whiteout``, or a file ``.wh.<name>``;
* opaque directory: attribute ``overlay.opaque`` (fuse-overlayfs: ``fuseoverlayfs.opaque``) = y, or a file ``.wh..wh..opq`` in it;
* directory with another name below: attribute ``overlay.redirect`` (what it holds from below is not known here).

References:
    Linux, Documentation/filesystems/overlayfs.rst; fuse-overlayfs(1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from collector.contents.expected import OPAQUE_NAME, WHITEOUT_PREFIX
from collector.safe import Directory, Entry, kind_of, words

ENTRY_LIMIT: Final = 1_000_000
DEPTH_LIMIT: Final = 256
_NAMESPACES: Final = ("trusted.overlay", "user.overlay", "user.fuseoverlayfs")
_MODE: Final = 0o7777


class Leaf(Enum):
    """Whatever is neither directory nor link."""

    FILE = "file"
    WHITEOUT = "whiteout"


Node = "Folder | Leaf | str"
"""A directory, a leaf, or the target of a symbolic link."""


class Folder:
    """A directory of one layer."""

    __slots__ = ("nodes", "opaque", "redirected")

    def __init__(self) -> None:
        """Be empty."""
        self.nodes: dict[str, Folder | Leaf | str] = {}
        self.opaque = False
        self.redirected = False


class Actual(NamedTuple):
    """What stands on disk under one name."""

    kind: str  # file, directory, symlink, fifo, socket, device, whiteout
    mode: int
    uid: int
    gid: int
    size: int
    inode: int
    target: str
    rdev: int
    changed_ns: int = 0  # of the inode: a link that points elsewhere is a new one, made by then


@dataclass(slots=True)
class Tree:
    """A layer's tree. ``unread`` are (path, why) of parts that are not in it."""

    top: Folder = field(default_factory=Folder)
    entries: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)

    def links(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield (path in steps, target) of every symbolic link."""
        waiting: list[tuple[tuple[str, ...], Folder]] = [((), self.top)]
        while waiting:
            prefix, folder = waiting.pop()
            for name, node in folder.nodes.items():
                if isinstance(node, Folder):
                    waiting.append(((*prefix, name), node))
                elif isinstance(node, str):
                    yield (*prefix, name), node

    def hiding(self) -> Iterator[str]:
        """Yield the path of every whiteout and of every opaque directory."""
        waiting = [("", self.top)]
        while waiting:
            path, folder = waiting.pop()
            if folder.opaque:
                yield path
            for name, node in folder.nodes.items():
                below = f"{path}/{name}" if path else name
                if node is Leaf.WHITEOUT:
                    yield below
                elif isinstance(node, Folder):
                    waiting.append((below, node))


Visitor = Callable[[str, Actual, Directory, str], None]
"""Called with (path, what stands there, the open directory it stands in, its name in it)."""


def read_tree(diff: Directory, visit: Visitor) -> Tree:
    """Read the layer in the open directory ``diff``. Raises ``OSError`` only when ``diff`` itself cannot be read."""
    tree = Tree()
    waiting = [_Open("", diff.directory(), tree.top, [])]
    waiting[0].names = waiting[0].directory.entries(ENTRY_LIMIT).entries
    try:
        while waiting:
            here = waiting[-1]
            if not here.names:
                waiting.pop().directory.close()
                continue
            entry = here.names.pop()
            path = f"{here.prefix}{entry.name}"
            tree.entries += 1
            if tree.entries > ENTRY_LIMIT:
                tree.unread.append(("", f"more than {ENTRY_LIMIT} entries"))
                break
            try:
                below = _take(here, entry.name, path, visit)
            except FileNotFoundError:
                continue  # removed since it was listed
            except OSError as error:
                tree.unread.append((path, words(error)))
                continue
            if below is not None and len(waiting) >= DEPTH_LIMIT:
                below.directory.close()
                tree.unread.append((path, f"deeper than {DEPTH_LIMIT} levels"))
            elif below is not None:
                waiting.append(below)
    finally:
        for level in waiting:
            level.directory.close()
    return tree


@dataclass(slots=True)
class _Open:
    """A directory being read; ``names`` are those not looked at yet."""

    prefix: str
    directory: Directory
    folder: Folder
    names: list[Entry]


def _take(here: _Open, name: str, path: str, visit: Visitor) -> _Open | None:
    """Look at one name; return the directory that it is."""
    actual = look_at(here.directory, name)
    folder = here.folder
    if name == OPAQUE_NAME:
        folder.opaque = True
        return None
    if name.startswith(WHITEOUT_PREFIX) and actual.kind in ("file", "whiteout"):
        folder.nodes.setdefault(name[len(WHITEOUT_PREFIX) :], Leaf.WHITEOUT)
        return None
    visit(path, actual, here.directory, name)
    if actual.kind == "symlink":
        folder.nodes[name] = actual.target
    elif actual.kind == "whiteout":
        folder.nodes[name] = Leaf.WHITEOUT
    elif actual.kind != "directory":
        folder.nodes[name] = Leaf.FILE
    else:
        below = Folder()
        below.opaque = marked(here.directory, name, "opaque") == b"y"  # "x" says only that attributes may mark whiteouts in it
        below.redirected = marked(here.directory, name, "redirect") is not None
        folder.nodes[name] = below
        directory = here.directory.directory(name)
        try:
            return _Open(f"{path}/", directory, below, directory.entries(ENTRY_LIMIT).entries)
        except OSError:
            directory.close()
            raise
    return None


def look_at(directory: Directory, name: str) -> Actual:
    """Return what stands under ``name``, following nothing. Raises ``OSError``."""
    facts = directory.stat(name)
    kind = kind_of(facts.st_mode)
    if (kind == "device" and facts.st_rdev == 0) or (
        kind == "file" and facts.st_size == 0 and marked(directory, name, "whiteout") is not None
    ):
        kind = "whiteout"
    target = directory.readlink(name) if kind == "symlink" else ""
    return Actual(
        kind, facts.st_mode & _MODE, facts.st_uid, facts.st_gid, facts.st_size, facts.st_ino, target, facts.st_rdev, facts.st_ctime_ns
    )


def marked(directory: Directory, name: str, mark: str) -> bytes | None:
    """Return the value of an overlay attribute (opaque, redirect, whiteout) of ``name``, ``None`` where it has none."""
    for namespace in _NAMESPACES:
        value = directory.attribute(name, f"{namespace}.{mark}")
        if value is not None:
            return value
    return None
