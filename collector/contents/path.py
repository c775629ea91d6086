"""What one path is in each layer of a chain, and what of it a container sees.

A layer that has a directory where one below it has a symbolic link (or the reverse) is legal, and common: the upper one hides the lower one
with all that can be reached through it. But programs that unpack layers one over the other stumble there, and what "vanished" from a
container is often just hidden so. So it is an answer and no finding.

Only the names on the way are looked at, one step at a time, through open directories; nothing is followed. What is read is kept as the tree
of the names met, so that the merged view comes from the same rules as everywhere (``collector.contents.merged``).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from collector.contents.expected import OPAQUE_NAME, WHITEOUT_PREFIX
from collector.contents.merged import LINK_LIMIT, STEP_LIMIT, MergedFolder, Part, Seen, look_up
from collector.contents.tree import Actual, Folder, Leaf, look_at, marked
from collector.safe import Directory, words

ABSENT: Final = "absent"
UNREAD: Final = "unread"
_NOTHING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class Standing(NamedTuple):
    """What one layer has: a ``kind`` of ``Actual``, ``absent`` or ``unread``.

    ``at`` is the path, or the first name on the way to it that is no directory. ``opaque``: the directory hides what is in the layers below
    it. ``changed_ns``: when the inode last changed.
    """

    kind: str
    at: str
    target: str | None = None
    opaque: bool = False
    changed_ns: int | None = None
    error: str | None = None


class Change(NamedTuple):
    """``path`` is of one kind in layer ``upper`` and of another in layer ``lower``, the next below that has it (places in the chain)."""

    path: str
    upper: int
    lower: int


class View(NamedTuple):
    """What a container sees at the path: ``kind`` (``absent`` and ``loop`` too), where that really is, and the layer that decides."""

    kind: str
    real: str
    layer: int | None = None


@dataclass(slots=True)
class LayerFiles:
    """The files of one layer, as far as they were looked at; ``root`` and ``steps`` lead there. ``lost``: they cannot be read at all."""

    root: Directory
    steps: tuple[str, ...]
    top: Folder = field(default_factory=Folder)
    lost: str | None = None
    _actual: dict[tuple[str, ...], Actual | str] = field(default_factory=dict)  # a text says why it could not be read
    _looked: set[tuple[str, ...]] = field(default_factory=set)

    def look(self, way: tuple[str, ...]) -> None:
        """Read the last name of ``way`` into the tree, if the directory that it stands in is there."""
        if way in self._looked or self.lost is not None:
            return
        self._looked.add(way)
        folder = self._folder(way[:-1])
        if folder is None:
            return
        try:
            with self.root.directory(*self.steps, *way[:-1]) as directory:
                if len(way) == 1:
                    folder.opaque = _has(directory, OPAQUE_NAME)
                node = self._read(directory, way)
        except OSError as error:
            if error.errno not in _NOTHING:
                self._actual[way] = words(error)
            elif len(way) == 1 and error.errno == errno.ENOENT:
                self.lost = words(error)
            return
        if node is not None:
            folder.nodes[way[-1]] = node

    def _read(self, directory: Directory, way: tuple[str, ...]) -> Folder | Leaf | str | None:
        name = way[-1]
        try:
            actual = look_at(directory, name)
        except FileNotFoundError:
            return Leaf.WHITEOUT if _has(directory, f"{WHITEOUT_PREFIX}{name}") else None
        self._actual[way] = actual
        if actual.kind == "symlink":
            return actual.target
        if actual.kind != "directory":
            return Leaf.WHITEOUT if actual.kind == "whiteout" else Leaf.FILE
        below = Folder()
        with directory.directory(name) as inside:
            below.opaque = marked(directory, name, "opaque") == b"y" or _has(inside, OPAQUE_NAME)
        below.redirected = marked(directory, name, "redirect") is not None
        return below

    def _folder(self, way: Sequence[str]) -> Folder | None:
        folder = self.top
        for name in way:
            below = folder.nodes.get(name)
            if not isinstance(below, Folder):
                return None
            folder = below
        return folder

    def standing(self, way: tuple[str, ...]) -> Standing:
        """Return what the layer by itself has at ``way``."""
        for length in range(1, len(way) + 1):
            step = way[:length]
            self.look(step)
            at = "/".join(step)
            if self.lost is not None:
                return Standing(UNREAD, "", error=self.lost)
            actual = self._actual.get(step)
            if isinstance(actual, str):
                return Standing(UNREAD, at, error=actual)
            folder = self._folder(step[:-1])
            node = folder.nodes.get(step[-1]) if folder is not None else None
            if actual is None:
                return Standing("whiteout" if node is Leaf.WHITEOUT else ABSENT, at)
            if length == len(way) or not isinstance(node, Folder):
                opaque = isinstance(node, Folder) and node.opaque
                return Standing(actual.kind, at, actual.target or None, opaque, actual.changed_ns)
        return Standing("directory", "")  # the root of the layer


def steps_of(path: str) -> tuple[str, ...]:
    """Return the names of a path in a container; ``..`` and ``.`` are taken as written (there are no links in what a person names)."""
    way: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del way[-1:]
        elif name not in ("", "."):
            way.append(name)
    return tuple(way)


def changes(chain: Sequence[LayerFiles], way: tuple[str, ...]) -> list[Change]:
    """Return where the path, or a name on its way, is of another kind than in the next layer below that has it; ``chain`` from the top.

    What a whiteout removed on purpose is not compared with what came after it.
    """
    found: list[Change] = []
    for length in range(1, len(way) + 1):
        step = way[:length]
        path = "/".join(step)
        last: tuple[int, str] | None = None
        for number, layer in enumerate(chain):
            standing = layer.standing(step)
            if standing.at != path or standing.kind in (ABSENT, UNREAD):
                continue
            if standing.kind == "whiteout":
                last = None
                continue
            if last is not None and last[1] != standing.kind:
                found.append(Change(path, last[0], number))
            last = number, standing.kind
    return found


def view(chain: Sequence[LayerFiles], way: tuple[str, ...]) -> View:
    """Return what a container sees at ``way``: links on the way are followed in the merged layers; the last name is not."""
    todo, real, links = list(reversed(way)), [("", _merged(chain))], 0
    for _ in range(STEP_LIMIT):
        if not todo:
            break
        name = todo.pop()
        if name == "..":
            del real[max(1, len(real) - 1) :]
            continue
        here = tuple(step for step, _ in real[1:])
        seen = _step(chain, real[-1][1], (*here, name))
        at = "/".join((*here, name))
        if seen is None or seen.node is Leaf.WHITEOUT:
            return View(ABSENT, "/".join((at, *reversed(todo))), None if seen is None else seen.layer)
        if isinstance(seen.node, MergedFolder):
            real.append((name, seen.node))
        elif not todo:
            return View(chain[seen.layer].standing((*here, name)).kind, at, seen.layer)
        elif isinstance(seen.node, str):
            links += 1
            if links > LINK_LIMIT:
                return View("loop", at, seen.layer)
            if seen.node.startswith("/"):
                del real[1:]
            todo += [part for part in reversed(seen.node.split("/")) if part not in ("", ".")]
        else:
            return View(ABSENT, "/".join((at, *reversed(todo))), seen.layer)  # a file on the way
    top = real[-1][1].seen
    return View("directory", "/".join(step for step, _ in real[1:]), top[0].layer if len(real) > 1 else None)


def _merged(chain: Sequence[LayerFiles]) -> MergedFolder:
    return MergedFolder(tuple(Part(number, layer.top) for number, layer in enumerate(chain)))


def _step(chain: Sequence[LayerFiles], folder: MergedFolder, way: tuple[str, ...]) -> Seen | None:
    for part in (*folder.seen, *folder.hidden):
        chain[part.layer].look(way)
    return look_up(folder, way[-1])


def _has(directory: Directory, name: str) -> bool:
    try:
        directory.stat(name)
    except OSError:
        return False
    return True
