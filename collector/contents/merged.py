"""A chain of layers as overlayfs merges them, and how a symbolic link resolves in it: as the container sees it, from names alone.

Every step is one name in the merged directory. ``..`` at the root stays there (and is remembered: the link climbs out), an absolute target
starts at the container's root, more than 40 links are a loop. Nothing of the host is ever looked at.

References:
    Linux, Documentation/filesystems/overlayfs.rst (whiteouts and opaque directories), path_resolution(7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from collector.contents.tree import Folder, Leaf

LINK_LIMIT: Final = 40
STEP_LIMIT: Final = 10_000
RUNTIME: Final = frozenset({"proc", "sys", "dev", "run"})  # mounted by every runtime


class Outcome(Enum):
    """How resolving a link ended."""

    THERE = "there"
    ABSENT = "nothing is there"
    HIDDEN = "a whiteout hides it"
    NO_DIRECTORY = "a part of the way is no directory"
    LOOP = "the links go round in a circle"
    RUNTIME = "the runtime provides it"
    UNKNOWN = "not known from here"


class Resolution(NamedTuple):
    """Where a link leads: ``path`` is the first name that decided, ``layer`` (a place in the chain) what hides it."""

    outcome: Outcome
    path: str
    layer: int | None = None
    climbs: bool = False


class Part(NamedTuple):
    """What one layer gives to a merged directory; ``layer`` is its place in the chain, 0 the topmost."""

    layer: int
    folder: Folder


@dataclass(frozen=True, slots=True)
class MergedFolder:
    """A directory of the merged chain: the parts that are seen, topmost first, and those that an opaque directory hides."""

    seen: tuple[Part, ...]
    hidden: tuple[Part, ...] = ()

    @property
    def redirected(self) -> bool:
        """Tell whether a part shows more from below than its name says."""
        return any(part.folder.redirected for part in self.seen)


class Seen(NamedTuple):
    """A name in a merged directory: a merged directory, the target of a link, or a leaf (a whiteout: hidden); ``layer`` gives it."""

    node: MergedFolder | Leaf | str
    layer: int


class Chain:
    """The layers of one image, topmost first."""

    def __init__(self, tops: Sequence[Folder], provided: frozenset[str] = frozenset()) -> None:
        """Merge the layers whose top directories are ``tops``; ``provided`` are paths where a container has something mounted."""
        self._provided = provided
        self.root = MergedFolder(tuple(Part(number, top) for number, top in enumerate(tops)))

    def links(self) -> Iterator[tuple[tuple[str, ...], str, int]]:
        """Yield (path in steps, target, layer) of every link that is seen."""
        waiting: list[tuple[tuple[str, ...], MergedFolder]] = [((), self.root)]
        while waiting:
            prefix, folder = waiting.pop()
            done: set[str] = set()
            for part in folder.seen:
                for name, below in part.folder.nodes.items():
                    if name in done or below is Leaf.FILE:
                        continue
                    done.add(name)
                    seen = look_up(folder, name)
                    if seen is None:
                        continue
                    if isinstance(seen.node, MergedFolder):
                        waiting.append(((*prefix, name), seen.node))
                    elif isinstance(seen.node, str):
                        yield (*prefix, name), seen.node, seen.layer

    def real(self, path: str) -> str:
        """Return ``path`` with every link on the way to its last name resolved; as it is where that leads nowhere."""
        parent, slash, name = path.rpartition("/")
        if not slash:
            return path
        end = _Walk(self.root, self._provided).run((), f"/{parent}")
        return f"{end.path}/{name}".lstrip("/") if end.outcome is Outcome.THERE else path

    def resolve(self, path: Sequence[str], target: str) -> Resolution:
        """Say where the link at ``path`` with this ``target`` leads."""
        return _Walk(self.root, self._provided).run(path[:-1], target)


def look_up(folder: MergedFolder, name: str) -> Seen | None:
    """Find ``name`` in a merged directory."""
    parts: list[Part] = []
    hidden: list[Part] = []
    for part in folder.seen:
        node = part.folder.nodes.get(name)
        if node is None:
            continue
        if not isinstance(node, Folder):
            if parts:
                break
            if node is Leaf.WHITEOUT and not any(name in below.folder.nodes for below in folder.seen if below.layer > part.layer):
                return None  # it hides nothing
            return Seen(node, part.layer)
        (hidden if parts and parts[-1].folder.opaque else parts).append(Part(part.layer, node))
    if parts:
        return Seen(MergedFolder(tuple(parts), tuple(hidden)), parts[0].layer)
    if any(name in part.folder.nodes for part in folder.hidden):
        return Seen(Leaf.WHITEOUT, folder.seen[0].layer)
    return None


class _Walk:
    """One resolution."""

    def __init__(self, root: MergedFolder, mounted: frozenset[str]) -> None:
        self._mounted = mounted
        self._way: list[tuple[str, MergedFolder]] = [("", root)]
        self._links = 0
        self._climbs = False

    def run(self, start: Sequence[str], target: str) -> Resolution:
        for name in start:
            seen = look_up(self._way[-1][1], name)
            if seen is None or not isinstance(seen.node, MergedFolder):
                return self._end(Outcome.UNKNOWN, name)
            self._way.append((name, seen.node))
        steps = self._steps(target)
        for _ in range(STEP_LIMIT):
            if not steps:
                return self._end(Outcome.THERE, "")
            ended = self._step(steps.pop(), steps)
            if ended is not None:
                return ended
        return self._end(Outcome.LOOP, "")

    def _step(self, name: str, steps: list[str]) -> Resolution | None:
        """Take one step; tell how it ended, if it did."""
        if name == ".":
            return None
        if name == "..":
            self._climbs |= len(self._way) == 1
            del self._way[max(1, len(self._way) - 1) :]
            return None
        seen = look_up(self._way[-1][1], name)
        if seen is None or seen.node is Leaf.WHITEOUT:
            return self._nothing(name, None if seen is None else seen.layer)
        if isinstance(seen.node, MergedFolder):
            self._way.append((name, seen.node))
        elif isinstance(seen.node, str):
            self._links += 1
            if self._links >= LINK_LIMIT:  # the link itself was the first
                return self._end(Outcome.LOOP, name)
            steps += self._steps(seen.node)
        elif steps:
            return self._end(Outcome.RUNTIME if self._provided(name) else Outcome.NO_DIRECTORY, name)
        return None

    def _nothing(self, name: str, layer: int | None) -> Resolution:
        """End where there is nothing; ``layer`` hides it."""
        if self._provided(name):
            return self._end(Outcome.RUNTIME, name)
        if self._way[-1][1].redirected:
            return self._end(Outcome.UNKNOWN, name)
        return self._end(Outcome.ABSENT if layer is None else Outcome.HIDDEN, name, layer)

    def _steps(self, target: str) -> list[str]:
        """Return the steps of ``target``, the next one last; an absolute one starts at the root, a final slash asks for a directory."""
        if target.startswith("/"):
            del self._way[1:]
        steps = [part for part in reversed(target.split("/")) if part]
        return [".", *steps] if target.endswith("/") else steps

    def _provided(self, name: str) -> bool:
        if (self._way[1][0] if len(self._way) > 1 else name) in RUNTIME:
            return True
        path = "/".join([*(step for step, _ in self._way[1:]), name])
        return any(path == point or path.startswith(f"{point}/") for point in self._mounted)

    def _end(self, outcome: Outcome, name: str, layer: int | None = None) -> Resolution:
        steps = [step for step, _ in self._way[1:]]
        return Resolution(outcome, "/".join([*steps, name] if name else steps), layer, self._climbs)
