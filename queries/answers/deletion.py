"""Can it be deleted? A verdict for each store that has it, with every reason and what would break.

``no``: something living needs it, or deleting it would damage something else. ``wait``: it may be work in progress, or nobody knows (the
record ends before that instant). ``yes``: nothing on record holds it; how to remove it is the advice of its finding, where one was open.
The verdict is about the record, and says so: a person looks at mounts on the node before removing anything by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from collector.diagnose.cases import is_trap
from collector.links import LinkKind, LinkState
from linktrail.clock import NANOSECONDS, Clock
from linktrail.codes import CODES
from linktrail.errors import UnknownSubjectError
from linktrail.output import Sheet
from linktrail.schema import INTEGER, TEXT
from queries.answer import Answer, engine_of
from queries.answers.about import asked_about
from queries.answers.eyes import brief, present, sentences
from queries.completeness import Scope, Window, completeness, to_datetime
from queries.engine import Engine
from queries.past import PastStore, stores_at
from queries.subjects import find_object, only_place

_YOUNG_SECONDS: Final = 600
_NAMES: Final = ("verdict", "reason", "detail", "frees_bytes", "cluster", "node", "store_root")
_FREED: Final = """
SELECT cluster, node, store_root, bytes - coalesce(shared_bytes, 0) AS bytes FROM usage_at($at)
WHERE subject = $id AND scope = 'layer' AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
"""
_FINDINGS: Final = """
SELECT cluster, node, store_root, code, message, advice FROM findings_at($at)
WHERE subject = $id AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) ORDER BY code
"""
_CHANGED: Final = """
SELECT cluster, node, store_root, max(occurred_before) AS last
FROM (FROM links WHERE subject = $id UNION ALL FROM links WHERE layer_id = $id)
WHERE occurred_before <= $at AND origin <> 'baseline' GROUP BY ALL
"""
_REMOVED: Final = """
SELECT cluster, node, store_root, max(occurred_before) AS last
FROM (FROM links WHERE subject = $id UNION ALL FROM links WHERE layer_id = $id)
WHERE occurred_before <= $at AND action = 'removed' GROUP BY ALL
"""
Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for a verdict (``no``, ``wait`` or ``yes``)."""

    verdict: str
    reason: str
    detail: str


def can_delete(
    lake: Path | Engine, subject: str, *, at: int, cluster: str | None = None, node: str | None = None, clock: Clock | None = None
) -> Answer:
    """Say whether ``subject`` could be deleted at ``at`` (ns UTC); rows are (verdict, reason, detail, frees_bytes, place).

    Raises ``UnknownSubjectError``, ``AmbiguousSubjectError``, ``UsageError``.
    """
    now = present(clock)
    with engine_of(lake) as engine:
        meant = find_object(engine, subject)
        if meant.id is None:
            raise UnknownSubjectError(name=subject)
        where = only_place(engine, meant.id, cluster, node)
        look = _Look(engine, meant.id, at, where)
        holders = _by_place(
            asked_about(engine, "why", meant.id, {"at": at, "cluster": cluster, "node": node}, clock=clock).rows.to_pylist()
        )
        rows: list[dict[str, Any]] = []
        for store in stores_at(engine, at, **where):
            place = (store.cluster, store.node, store.root)
            reasons = sorted(look.reasons(store, holders.get(place, [])), key=lambda reason: ("no", "wait", "yes").index(reason.verdict))
            for reason in reasons:
                values = (reasons[0].verdict, reason.reason, reason.detail, look.freed.get(place), *place)
                rows.append(dict(zip(_NAMES, values, strict=True)))
        nodes = frozenset(row["node"] for row in rows) or None
        said = completeness(engine, Window(at, at), now=now, scope=Scope(nodes=nodes), state=True)
    table = pa.table({name: pa.array([row[name] for row in rows], INTEGER if name == "frees_bytes" else TEXT) for name in _NAMES})
    notes = [] if meant.id == subject else [f"{subject} is {meant.id}."]
    if not rows:
        notes.append("It was not there at that instant.")
    asked = {"id": meant.id, "at": at, "cluster": cluster, "node": node}
    return Answer(
        "can-delete",
        {name: value for name, value in asked.items() if value is not None},
        (Sheet("rows", table, brief(table)),),
        said,
        notes,
    )


class _Look:
    """What the record says about one id at an instant, in all stores, or those of the cluster and node of ``where``."""

    def __init__(self, engine: Engine, identifier: str, at: int, where: Mapping[str, str | None]) -> None:
        self.id = identifier
        self.at = at
        values = {"id": identifier, "at": to_datetime(at), **where}
        self.freed = {_place(row): row["bytes"] for row in engine.rows(_FREED, values)}
        self.findings = _by_place(engine.rows(_FINDINGS, values))
        self.changed = {_place(row): row["last"] for row in engine.rows(_CHANGED, values)}
        self.removed = {_place(row): row["last"] for row in engine.rows(_REMOVED, values)}

    def reasons(self, store: PastStore, holders: list[dict[str, Any]]) -> Iterator[Reason]:
        """Yield the reasons for and against deleting it in one store; nothing where it was not there."""
        graph, place = store.graph, (store.cluster, store.node, store.root)
        layer = graph.layers.get(self.id)
        spot = graph.places.get(layer.place if layer else self.id)
        there = (
            layer is not None or (spot is not None and spot.directory is not None) or self.id in graph.images or self.id in graph.containers
        )
        if not there and not any(link.subject == self.id for link in graph.survey.links.values()):
            return
        pinned = {finding["code"].removeprefix("pinned-by-") for finding in self.findings.get(place, [])}
        for holder in holders:
            name = holder["holder_name"] or holder["holder"]
            what = "mounted" if holder["held_by"] == "mount" else "needed"
            verdict = "wait" if holder["held_by"] in pinned else "no"  # only a pin that a finding is about: its advice says when it may go
            yield Reason(verdict, what, f"{holder['held_by']} {name} holds it: {' -> '.join(holder['path'])}")
        yield from self._hidden_users(store)
        if children := sorted(graph.children.get(self.id, [])):
            yield Reason("no", "children", f"{len(children)} layer(s) stand on it and must go first: {', '.join(children[:3])}")
        if self.id in graph.containers:
            yield Reason("no", "owner", "it is a container that its engine knows; removing it deletes its writable layer")
        if spot is not None and is_trap(spot):
            yield Reason(
                "no", "trap", "its link file is empty: an engine that deletes it erases all short links; repair the link file first"
            )
        if layer is not None and layer.incomplete and self._young(place):
            yield Reason("wait", "in progress", "its record is marked incomplete and it changed in the last 10 minutes")
        elif self._young(place) and not holders:
            yield Reason("wait", "in progress", "it changed in the last 10 minutes: a pull, build or removal may be at work on it")
        for finding in self.findings.get(place, []):
            safe = finding["advice"].startswith("Safe to remove")
            family = CODES[finding["code"]].family if finding["code"] in CODES else "breaks"
            yield Reason("yes" if safe and family == "leaks" else "wait", finding["code"], sentences(finding["message"], finding["advice"]))
        if not holders and not self.findings.get(place):
            yield Reason("yes", "unheld", "nothing on record holds it; that nothing has it mounted must be seen on the node")

    def _hidden_users(self, store: PastStore) -> Iterator[Reason]:
        """What only lower files say: a lost record must not make a layer look free."""
        graph = store.graph
        above = set(graph.reach(graph.roots()))
        recorded = {layer for root in graph.roots() for layer in (root, *graph.ancestors(root))}
        if self.id in above and self.id not in recorded:
            yield Reason("no", "lower file", "the lower file of a layer that is in use names it, though no recorded parent does")
        for link in graph.survey.of_kind(LinkKind.SHORT_LINK):
            if link.subject == self.id and link.state is LinkState.PRESENT and link.layer_id in graph.layers:
                yield Reason("no", "short link", f"it is the short link of layer {link.layer_id}")

    def _young(self, place: Place) -> bool:
        last = self.changed.get(place)
        return last is not None and self.at - round(last.timestamp() * NANOSECONDS) < _YOUNG_SECONDS * NANOSECONDS


def _place(row: dict[str, Any]) -> Place:
    return row["cluster"], row["node"], row["store_root"]


def _by_place(rows: Any) -> dict[Place, list[dict[str, Any]]]:  # noqa: ANN401 - rows of any question
    found: dict[Place, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(_place(row), []).append(row)
    return found
