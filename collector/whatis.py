"""``linktrail whatis PATH``: what a path is in each layer of the images and containers of a store, and what of it they see.

One look, no history, nothing changed. Layers of images do not change once they are complete, so the answer about them holds since each was
made (``created``, as the engine's record says). Chains in which the path stands alike are told once, with all that use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from collector.check import CONFIGURATIONS, configured_for, driver_at
from collector.contents.merged import RUNTIME
from collector.contents.path import ABSENT, UNREAD, Change, LayerFiles, Standing, View, changes, steps_of, view
from collector.contents.provided import provided
from collector.contents.sources import composed, files_of
from collector.graph import Graph
from collector.graph_nodes import Container, Image, created
from collector.links import Survey
from collector.safe import Directory, open_root, words
from linktrail.clock import Clock, iso
from linktrail.errors import EXIT_OK, LinktrailError, NotThereError, UsageError
from linktrail.text import column_text

DOCUMENT_VERSION: Final = 1
LEAST: Final = 6  # characters of an id
_KINDS: Final = {"directory": "a directory", "file": "a file", "symlink": "a symbolic link"}


@dataclass(frozen=True, slots=True)
class Row:
    """What stands in one layer; ``number`` counts from the base (1), ``directory`` is where its files are, relative to the root."""

    layer: str
    number: int
    directory: str
    standing: Standing
    created: int | None

    def document(self) -> dict[str, Any]:
        """Return it JSON-able."""
        standing = self.standing
        return {
            "layer": column_text(self.layer),
            "number": self.number,
            "directory": column_text(self.directory),
            "kind": standing.kind,
            "at": column_text(standing.at),
            "target": None if standing.target is None else column_text(standing.target),
            "opaque": standing.opaque,
            "changed": iso(standing.changed_ns),
            "created": iso(self.created),
            **({"error": standing.error} if standing.error is not None else {}),
        }


@dataclass(slots=True)
class Told:
    """One chain, or several that are alike: rows from the top, what is seen, where the kind changes, and who uses them.

    ``mounted`` is a place at or above the path where containers have something mounted, so that nothing of the layers is seen there.
    """

    rows: tuple[Row, ...]
    seen: View
    by: str | None  # the layer that decides what is seen
    mounted: str | None
    changes: tuple[tuple[str, Row, Row], ...]
    images: dict[str, Image] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it JSON-able."""
        return {
            "images": [
                {"id": column_text(name), "names": [column_text(tag) for tag in sorted(image.names)]} for name, image in self.images.items()
            ],
            "containers": [
                {
                    "id": column_text(name),
                    **{key: column_text(value) for key, value in container.record.owner.known().items() if key != "container_id"},
                }
                for name, container in self.containers.items()
            ],
            "layers": [row.document() for row in self.rows],
            "seen": {
                "kind": self.seen.kind,
                "path": column_text(self.seen.real),
                "layer": None if self.by is None else column_text(self.by),
            },
            "mounted": None if self.mounted is None else column_text(self.mounted),
            "changes": [
                {
                    "path": column_text(path),
                    "upper": upper.document(),
                    "lower": lower.document(),
                    "message": column_text(changed(path, upper, lower)),
                }
                for path, upper, lower in self.changes
            ],
        }


@dataclass(slots=True)
class WhatReport:
    """The answer: ``path`` as it was understood, (survey, what is told of its chains) of each store, and what could not be read."""

    path: str
    stores: list[tuple[Survey, list[Told]]] = field(default_factory=list)

    @property
    def unread(self) -> list[Row]:
        """The layers that could not be looked into, or not as far as the path."""
        rows = [row for _, told in self.stores for chain in told for row in chain.rows if row.standing.kind == UNREAD]
        return list({(row.layer, row.standing.at): row for row in rows}.values())

    @property
    def exit_code(self) -> int:
        """1: something could not be read; 0: answered, also where no layer has the path."""
        return LinktrailError.exit_code if self.unread else EXIT_OK

    def document(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "schema": DOCUMENT_VERSION,
            "path": column_text(self.path),
            "stores": [
                {
                    "kind": survey.kind.value,
                    "root": column_text(survey.root),
                    "chains": [chain.document() for chain in told],
                    "read_at": iso(survey.finished),
                }
                for survey, told in self.stores
            ],
        }


def changed(path: str, upper: Row, lower: Row) -> str:
    """Say in one sentence that a path is of another kind in the upper of two layers."""
    above, below = upper.standing, lower.standing
    hidden = ""
    if below.kind == "symlink" and above.kind == "directory":
        hidden = f", so what it leads to is not seen at {path}"
    elif below.kind == "directory":
        hidden = ", with all that the layers below have in it"
    what, hides = _what(above), "symbolic link" if above.kind == "symlink" else above.kind
    hid = "symbolic link" if below.kind == "symlink" else below.kind
    return (
        f"{path} is {_what(below)} in layer {lower.layer} (number {lower.number}) and {what} in layer {upper.layer} "
        f"(number {upper.number}) above it: the {hides} hides the {hid}{hidden}."
    )


def _what(standing: Standing) -> str:
    return f"{_KINDS.get(standing.kind, f'a {standing.kind}')}{f' (to {standing.target})' if standing.target is not None else ''}"


def what_is(
    path: str,
    roots: Sequence[Path],
    *,
    inside: str | None = None,
    additional_stores: Sequence[Path] = (),
    clock: Clock,
    configurations: Sequence[Path] = CONFIGURATIONS,
) -> WhatReport:
    """Say what ``path`` (as a container names it) is in the chains of the stores at ``roots``.

    ``inside`` asks of one image, container, pod or layer: a name (of a pod: ``namespace/name``), or an id, of which the first ``LEAST``
    characters are enough. Raises ``UsageError`` for a path that names nothing, ``NotThereError`` where no store has what ``inside`` names,
    ``NoStoreError``, ``StoreUnreadableError`` and ``StoreUnstableError``.
    """
    way = steps_of(path)
    if not way or "\0" in path:
        raise UsageError(what="name a path below the root of a container, such as /usr/lib")
    if inside is not None and len(inside) < LEAST:
        raise UsageError(what=f"--in {inside}: name at least {LEAST} characters")
    report, found = WhatReport("/".join(way)), False
    for root in roots:
        survey = driver_at(root).survey(root, clock=clock)
        others = [driver_at(other).survey(other, clock=clock) for other in (*additional_stores, *configured_for(root, configurations))]
        with ExitStack() as opened:
            store = _Store(Graph.of(survey, others), opened)
            tops = list(store.tops(inside))
            found |= bool(tops)
            report.stores.append((survey, store.tell(tops, way)))
    if inside is not None and not found:
        raise NotThereError(name=inside, roots=", ".join(str(root) for root in roots))
    return report


class _Store:
    """One store that is asked."""

    def __init__(self, graph: Graph, opened: ExitStack) -> None:
        self._graph = graph
        self._opened = opened
        self._files: dict[str, LayerFiles] = {}
        self._roots: dict[str, Directory] = {}

    def tops(self, inside: str | None) -> Iterator[str]:
        """Yield the top layer of every chain that is meant, each once."""
        images, containers = self._graph.tops()
        if inside is None:
            yield from sorted({*images, *containers})
            return
        met: set[str] = set()
        for image in self._graph.images.values():
            if inside in image.names or _begins(image.id, inside):
                met.update(image.layers)
        for container in self._graph.containers.values():
            named = inside in (
                container.record.owner.container_name,
                f"{container.record.owner.k8s_namespace_name}/{container.record.owner.k8s_pod_name}",
            )
            if container.layer is not None and (named or _begins(container.id, inside)):
                met.add(container.layer)
        met.update(
            layer.id
            for layer in self._graph.layers.values()
            if inside in layer.names or _begins(layer.id, inside) or _begins(layer.place, inside)
        )
        yield from sorted(met)

    def tell(self, tops: Sequence[str], way: tuple[str, ...]) -> list[Told]:
        """Return what is to be told of the chains below ``tops`` that have the path, or something on its way."""
        images, containers = self._graph.tops()
        alike: dict[object, Told] = {}
        for top in tops:
            names = [top, *self._graph.ancestors(top)]
            chain = [self._files_of(name) for name in names]
            seen = view(chain, way)
            ways = dict.fromkeys([way, steps_of(seen.real)])
            rows = {number: self._rows(names, chain, number, ways) for number in range(len(names))}
            told = tuple(row for number in rows for row in rows[number] if row.standing.kind != ABSENT)
            if not told:
                continue
            by = None if seen.layer is None else names[seen.layer]
            mounted = self._mounted(containers.get(top, []), seen.real)
            key = (told, seen.kind, seen.real, by, mounted)
            if key not in alike:
                alike[key] = Told(told, seen, by, mounted, tuple(self._change(names, chain, change) for change in changes(chain, way)))
            alike[key].images.update((name, self._graph.images[name]) for name in images.get(top, []))
            alike[key].containers.update((name, self._graph.containers[name]) for name in containers.get(top, []))
        return list(alike.values())

    def _mounted(self, containers: Sequence[str], path: str) -> str | None:
        """Return where something is mounted over ``path``: by every runtime, or in the containers of a writable layer."""
        first = path.partition("/")[0]
        root = self._root(self._graph.survey.root)
        kind = self._graph.survey.kind
        points = frozenset[str]().union(*(provided(root, kind, container) for container in containers))
        above = sorted(point for point in points if path == point or path.startswith(f"{point}/"))
        return above[0] if above else first if first in RUNTIME else None

    def _rows(self, names: Sequence[str], chain: Sequence[LayerFiles], number: int, ways: dict[tuple[str, ...], None]) -> list[Row]:
        return list(dict.fromkeys(self._row(names, chain, number, chain[number].standing(way)) for way in ways))

    def _row(self, names: Sequence[str], chain: Sequence[LayerFiles], number: int, standing: Standing) -> Row:
        layer = self._graph.layer(names[number])
        made = None if layer is None else created(layer.record)
        return Row(names[number], len(names) - number, "/".join(chain[number].steps), standing, made)

    def _change(self, names: Sequence[str], chain: Sequence[LayerFiles], change: Change) -> tuple[str, Row, Row]:
        way = steps_of(change.path)
        upper, lower = (self._row(names, chain, number, chain[number].standing(way)) for number in (change.upper, change.lower))
        return change.path, upper, lower

    def _files_of(self, name: str) -> LayerFiles:
        if name not in self._files:
            self._files[name] = self._open(name)
        return self._files[name]

    def _open(self, name: str) -> LayerFiles:
        layer = self._graph.layer(name)
        root = self._root(self._graph.survey.root)
        if layer is None:
            return LayerFiles(root, (), lost="no record of it")
        for graph in (self._graph, *self._graph.additional):
            steps = files_of(graph, layer) if layer.id in graph.layers else None
            if steps is None:
                continue
            root = self._root(graph.survey.root)
            try:
                return LayerFiles(root, steps, lost="its files stand under their digests (composefs)" if composed(root, steps) else None)
            except OSError as error:
                return LayerFiles(root, steps, lost=words(error))
        return LayerFiles(root, (), lost="it is no layer of an overlay")

    def _root(self, path: str) -> Directory:
        if path not in self._roots:
            self._roots[path] = self._opened.enter_context(open_root(Path(path)))
        return self._roots[path]


def _begins(name: str, beginning: str) -> bool:
    """Tell whether an id, or what follows its ``sha256:`` or its last ``/``, begins so."""
    return name.startswith(beginning) or name.rpartition("/")[2].removeprefix("sha256:").startswith(beginning)
