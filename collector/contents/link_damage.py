"""Symbolic links of a chain that lead nowhere or out of the root, and which of them are damage.

Images are shipped with links that dangle, climb out, or point to what a later layer of theirs deletes, and run well; containers make more.
So a link is a finding only with evidence that it was not so when its image was pulled:

* ``dangling-symlink``: what it points to is in a layer's record, but gone from disk; or a whiteout or opaque directory hides it that the
  record of its layer does not know;
* ``escaping-symlink``: it climbs above the root, and it is not as recorded (added, or pointing elsewhere than it did), or it
  stands in a writable layer, which has no record (info).

A link that is not as recorded and dangles is told once, by ``layer-symlink-retargeted`` or ``layer-content-modified``. What a container
deletes in its own writable layer is its own affair, and what lies below /proc, /sys, /dev and /run comes with the runtime. With
``everything`` all other links that resolve to nothing or climb out are named too, as info.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from collector.contents.compare import Difference
from collector.contents.expected import Headers
from collector.contents.merged import Chain, Outcome, Resolution
from collector.contents.tree import Tree
from linktrail.codes import Severity

_NOWHERE: Final = frozenset({Outcome.ABSENT, Outcome.HIDDEN, Outcome.NO_DIRECTORY, Outcome.LOOP})
_CLIMBS: Final = "it climbs above the root"


class BadLink(NamedTuple):
    """One link that is named. ``layer`` holds it, ``by`` are the layers that broke it."""

    code: str
    severity: Severity
    layer: str
    path: str
    target: str
    ends: str
    why: str
    by: tuple[str, ...] = ()


@dataclass(slots=True)
class Suspicions:
    """What comparing a layer with its record says of links.

    ``strange`` are links not as recorded, ``missing`` (sorted) recorded entries that are gone, ``hiding`` whiteouts and opaque directories
    that the record does not know.
    """

    strange: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    hiding: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, found: Difference, tree: Tree, headers: Headers) -> Suspicions:
        """Take what matters from a comparison."""
        strange = {path for path, _, _ in found.retargeted}
        if found.added or found.changed:
            links = {"/".join(path) for path, _ in tree.links()}
            strange |= links & ({*found.added} | {entry.path for entry in found.changed if entry.what == "type"})
        hiding = {
            path
            for path in tree.hiding()
            if not any(
                above in headers.opaque or ((entry := headers.entries.get(above)) is not None and entry.kind == "whiteout")
                for above in _upwards(path)
            )
        }
        return cls(strange, found.missing, hiding)

    def __bool__(self) -> bool:
        """Tell whether there is anything to suspect."""
        return bool(self.strange or self.missing or self.hiding)

    def lost(self, path: str) -> bool:
        """Tell whether ``path``, or something below it, is recorded here and gone."""
        place = bisect_left(self.missing, path)
        if place < len(self.missing) and self.missing[place] == path:
            return True
        below = bisect_left(self.missing, f"{path}/")
        return below < len(self.missing) and self.missing[below].startswith(f"{path}/")

    def hides(self, path: str) -> bool:
        """Tell whether ``path`` is hidden here without the record's knowledge."""
        return any(above in self.hiding for above in _upwards(path))


def bad_links(
    layers: Sequence[str],
    trees: Sequence[Tree],
    suspicions: Sequence[Suspicions],
    *,
    everything: bool = False,
    provided: frozenset[str] = frozenset(),
) -> Iterator[BadLink]:
    """Yield the links to name in a chain, topmost layer first in all three; ``provided`` is where a container has mounts."""
    if not everything and not any(suspicions):
        return  # all is as recorded: whatever dangles was shipped so
    chain = Chain([tree.top for tree in trees], provided)
    for steps, target, number in chain.links():
        path = "/".join(steps)
        end = chain.resolve(steps, target)
        strange = path in suspicions[number].strange
        if end.climbs and (strange or everything):
            yield BadLink("escaping-symlink", "warning" if strange else "info", layers[number], path, target, end.path, _CLIMBS)
        if end.outcome not in _NOWHERE:
            continue
        by, why = _breakers(layers, suspicions, end)
        if by and not strange:
            yield BadLink("dangling-symlink", "warning", layers[number], path, target, end.path, why, by)
        elif everything:
            hider = (layers[end.layer],) if end.layer is not None else ()
            yield BadLink("dangling-symlink", "info", layers[number], path, target, end.path, end.outcome.value, hider)


def climbing_links(layer: str, trees: Sequence[Tree]) -> Iterator[BadLink]:
    """Yield the links of a writable layer (the first of ``trees``, those below it follow) that climb above the root."""
    candidates = {path: target for path, target in trees[0].links() if ".." in target.split("/")}
    if not candidates:
        return
    chain = Chain([tree.top for tree in trees])
    for path, target in candidates.items():
        end = chain.resolve(path, target)
        if end.climbs:
            yield BadLink("escaping-symlink", "info", layer, "/".join(path), target, end.path, _CLIMBS)


def _breakers(layers: Sequence[str], suspicions: Sequence[Suspicions], end: Resolution) -> tuple[tuple[str, ...], str]:
    """Return the layers whose damage makes a link end where it does, and why."""
    if end.outcome is Outcome.HIDDEN and end.layer is not None:
        return (
            (layers[end.layer],) if suspicions[end.layer].hides(end.path) else ()
        ), "a whiteout that its layer was not made with hides it"
    losers = tuple(layer for layer, suspicion in zip(layers, suspicions, strict=True) if suspicion.lost(end.path))
    return losers, "it is recorded, but gone from disk"


def _upwards(path: str) -> Iterator[str]:
    """Yield ``path`` and every directory on the way to it, the root (``""``) last."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""
