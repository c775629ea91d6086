"""What an engine would have said of one container, image or layer at an instant: every link of it, resolved, with since when.

One row a fact: ``field`` (as ``crictl inspect`` and its like call it, as near as the records of the store go), ``value``, the interval
since when it is so, and the file that says it. Paths are absolute on the node. What only a running engine knows (exit codes, process
ids) is not in a store, and not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from collector.graph import Graph
from collector.links import Link, LinkKind
from linktrail.clock import Clock
from linktrail.errors import UnknownSubjectError
from linktrail.output import Sheet
from linktrail.schema import TEXT, TIME
from linktrail.sizes import human_bytes
from queries.answer import Answer, engine_of
from queries.answers.eyes import brief, present, sentences
from queries.completeness import Scope, Window, completeness, to_datetime
from queries.engine import Engine
from queries.past import PastStore, stores_at
from queries.subjects import find_subject, only_place

_COLUMNS: Final = ("field", "value", "since_after", "since_before", "file_path", "cluster", "node", "store_root")
_CHAIN_LIMIT: Final = 500
_SINCE: Final = """
SELECT cluster, node, store_root, link_kind, subject, file_path, occurred_after, occurred_before FROM links_at($at)
WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
"""
_SIZES: Final = """
SELECT cluster, node, store_root, subject, bytes FROM usage_at($at)
WHERE scope = 'layer' AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
"""
_FINDINGS: Final = """
SELECT cluster, node, store_root, code, message, advice, opened_after, opened_before FROM findings_at($at)
WHERE subject = $id AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) ORDER BY code
"""
_CONTENT: Final = {"overlay": "diff", "overlay2": "diff"}
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One row: ``link`` is what says it."""

    field: str
    value: str
    link: Link | None = None
    since: tuple[object, object] = (None, None)


def inspect(
    lake: Path | Engine, subject: str, *, at: int, cluster: str | None = None, node: str | None = None, clock: Clock | None = None
) -> Answer:
    """Return every fact of ``subject`` at ``at`` (ns UTC). Raises ``UnknownSubjectError``, ``AmbiguousSubjectError``, ``UsageError``."""
    now = present(clock)
    with engine_of(lake) as engine:
        meant = find_subject(engine, subject)
        if meant.id is None:
            raise UnknownSubjectError(name=subject)
        place_of = only_place(engine, meant.id, cluster, node)
        values = {"at": to_datetime(at), "id": meant.id, **place_of}
        since: dict[Key, tuple[object, object]] = {}
        for row in engine.rows(_SINCE, values):
            since[tuple(list(row.values())[:6])] = (row["occurred_after"], row["occurred_before"])
        sizes = {tuple(list(row.values())[:4]): row["bytes"] for row in engine.rows(_SIZES, values)}
        findings = engine.rows(_FINDINGS, values)
        rows: list[dict[str, object]] = []
        for store in stores_at(engine, at, **place_of):
            place = (store.cluster, store.node, store.root)
            facts = list(_Inspection(store, {key[3]: size for key, size in sizes.items() if key[:3] == place}).facts(meant.id))
            open_ones = [row for row in findings if (row["cluster"], row["node"], row["store_root"]) == place]
            facts += [
                Fact(f"finding {row['code']}", sentences(row["message"], row["advice"]), since=(row["opened_after"], row["opened_before"]))
                for row in open_ones
            ]
            rows += [_row(fact, place, since) for fact in facts]
        nodes = frozenset(str(row["node"]) for row in rows) or None
        said = completeness(engine, Window(at, at), now=now, scope=Scope(nodes=nodes), state=True)
    kinds = {name: TIME if name.startswith("since") else TEXT for name in _COLUMNS}
    table = pa.table({name: pa.array([row[name] for row in rows], kinds[name]) for name in _COLUMNS})
    notes = [] if meant.id == subject else [f"{subject} is {meant.id}."]
    if not rows:
        notes.append("It was not there at that instant.")
    asked = {name: value for name, value in {"id": meant.id, "at": at, "cluster": cluster, "node": node}.items() if value is not None}
    return Answer("inspect", asked, (Sheet("rows", table, brief(table)),), said, notes)


def _row(fact: Fact, place: tuple[str, str, str], since: Mapping[Key, tuple[object, object]]) -> dict[str, object]:
    link = fact.link
    ends = fact.since if link is None else since.get((*place, link.kind.value, link.subject, link.path), (None, None))
    path = None if link is None else link.path
    return dict(zip(_COLUMNS, (fact.field, fact.value, *ends, path, *place), strict=True))


class _Inspection:
    """One store at an instant."""

    def __init__(self, store: PastStore, sizes: Mapping[object, Any]) -> None:
        self.store = store
        self.graph: Graph = store.graph
        self.sizes = sizes

    def facts(self, identifier: str) -> Iterator[Fact]:
        """Yield what is known of ``identifier``: as a container, an image, a layer or a directory; nothing where it is none of these."""
        if identifier in self.graph.containers:
            yield from self._container(identifier)
        if identifier in self.graph.images:
            yield from self._image(identifier)
        place = self.graph.places.get(identifier)
        if identifier in self.graph.layers:
            yield from self._layer(identifier)
        elif place is not None and place.directory is not None:
            yield from self._directory("directory", identifier)

    def _container(self, identifier: str) -> Iterator[Fact]:
        container = self.graph.containers[identifier]
        yield Fact("type", "container", container.record)
        yield Fact("id", identifier, container.record)
        yield from self._record(container.record)
        yield from self._owner(container.record)
        if container.image is not None:
            image = self.graph.images.get(container.image)
            link = self._link(LinkKind.CONTAINER_IMAGE, identifier)
            yield Fact("image", container.image, link)
            yield from (Fact("image name", name, self._link(LinkKind.IMAGE_NAME, name)) for name in (image.names if image else []))
        if container.layer is not None:
            yield Fact("writable layer", container.layer, self._link(LinkKind.CONTAINER_LAYER, identifier))
            yield from self._chain(container.layer)

    def _image(self, identifier: str) -> Iterator[Fact]:
        image = self.graph.images[identifier]
        yield Fact("type", "image", image.record)
        yield Fact("id", identifier, image.record)
        yield from (Fact("name", name, self._link(LinkKind.IMAGE_NAME, name)) for name in image.names)
        yield from self._record(image.record)
        for top in image.layers:
            yield Fact("top layer", top, self._link(LinkKind.IMAGE_LAYER, identifier))
            yield from self._chain(top)
        users = sorted(container.id for container in self.graph.containers.values() if container.image == identifier)
        yield from (Fact("used by container", user, self._link(LinkKind.CONTAINER_IMAGE, user)) for user in users)

    def _layer(self, identifier: str) -> Iterator[Fact]:
        layer = self.graph.layers[identifier]
        yield Fact("type", "layer", layer.record)
        yield Fact("id", identifier, layer.record)
        yield from (Fact("name", name, self._link(LinkKind.LAYER_NAME, name)) for name in layer.names)
        yield from self._record(layer.record)
        yield from self._owner(layer.record)
        place = self.graph.places.get(layer.place)
        if place is not None:
            yield from self._plumbing(place.name)
        yield from self._chain(identifier)
        yield from (
            Fact("child", child, self._link(LinkKind.PARENT_POINTER, child)) for child in sorted(self.graph.children.get(identifier, []))
        )

    def _chain(self, top: str) -> Iterator[Fact]:
        """Yield a layer and what lies below it, with directory, size and mount point of each."""
        for depth, layer_id in enumerate((top, *islice(self.graph.ancestors(top), _CHAIN_LIMIT))):
            layer = self.graph.layers.get(layer_id)
            name = "layer" if depth == 0 else f"lower layer {depth}"
            if layer is None:
                yield Fact(name, f"{layer_id} has no record")
            yield from self._directory(f"{name} directory", layer.place if layer else layer_id)
            size = self.sizes.get(layer_id)
            if size is not None:
                yield Fact(f"{name} size", human_bytes(size))
            if depth == 0:
                mounts = [link for link in self.graph.survey.of_kind(LinkKind.MOUNT) if layer_id in (link.target, link.layer_id)]
                yield from (Fact("mount point", link.subject, link) for link in mounts)

    def _directory(self, field: str, place_name: str) -> Iterator[Fact]:
        place = self.graph.places.get(place_name)
        directory = place.directory if place is not None else None
        if directory is None:
            yield Fact(field, f"{place_name} is gone")
            return
        content = _CONTENT.get(self.graph.home, "fs")
        yield Fact(field, f"{self.store.root}/{directory.path}/{content}", directory)

    def _plumbing(self, place_name: str) -> Iterator[Fact]:
        place = self.graph.places[place_name]
        if place.link_file is not None:
            yield Fact("link file", place.link_file.target or f"({place.link_file.state})", place.link_file)
        yield from (Fact("short link", link.subject, link) for link in place.short_links)
        yield from (Fact(name, link.target or f"({link.state})", link) for name, link in sorted(place.lowers.items()))

    def _record(self, record: Link) -> Iterator[Fact]:
        for name, value in sorted(record.detail.items()):
            if isinstance(value, str | int | float | bool) and value != "":
                yield Fact(name.replace("_", " "), str(value), record)
            elif isinstance(value, list) and value and all(isinstance(part, str) for part in value):
                yield Fact(name.replace("_", " "), ", ".join(value), record)

    @staticmethod
    def _owner(record: Link) -> Iterator[Fact]:
        for item in fields(record.owner):
            value = getattr(record.owner, item.name)
            if value:
                yield Fact(item.name, str(value), record)

    def _link(self, kind: LinkKind, subject: str) -> Link | None:
        return next((link for link in self.graph.survey.of_kind(kind) if link.subject == subject), None)
