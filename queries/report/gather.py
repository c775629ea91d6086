"""What a report is made of: the rows of a dozen questions about one time, how each was asked, and the hashes of the files behind them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from linktrail.clock import NANOSECONDS, iso
from linktrail.errors import LakeError
from queries.answer import Answer, ask
from queries.answers.about import asked
from queries.answers.findings import findings_at
from queries.answers.timeline import happened_around
from queries.catalog import question_named
from queries.completeness import Completeness
from queries.engine import Engine

Rows = Sequence[Mapping[str, Any]]
TIMELINE_LIMIT: Final = 400
_WORTH_TELLING: Final = frozenset({"finding", "record"})


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """One question as it was asked."""

    name: str
    question: str
    sql: str
    values: Mapping[str, object]
    rows: int


@dataclass(frozen=True, slots=True)
class Input:
    """One data file that the answers rest on; ``path`` is relative to the lake."""

    path: str
    size: int
    sha256: str


@dataclass(slots=True)
class Gathered:
    """Everything in a report. ``after`` and ``before`` are ns UTC."""

    after: int
    before: int
    cluster: str | None
    node: str | None
    written_at: int
    completeness: Completeness
    findings: Rows = ()
    findings_before: Rows = ()
    history: Rows = ()
    held: Rows = ()
    sizes: Rows = ()
    churn: Rows = ()
    filesystems: Rows = ()
    growth: Rows = ()
    pods: Rows = ()
    fleet: Rows = ()
    layers_before: Rows = ()
    layers_after: Rows = ()
    timeline: Rows = ()
    timeline_left_out: int = 0
    asked: list[AskedQuestion] = field(default_factory=list)
    inputs: Sequence[Input] = ()

    @property
    def seconds(self) -> float:
        """Length of the time."""
        return (self.before - self.after) / NANOSECONDS

    @property
    def nodes(self) -> list[str]:
        """Nodes on which something was found."""
        return sorted({row["node"] for row in (*self.history, *self.findings)})

    @property
    def affected_pods(self) -> list[str]:
        """Pods that own what was found, as far as known."""
        named = (row for row in self.findings if row["k8s_pod_name"])
        return sorted({f"{row['k8s_namespace_name'] or '?'}/{row['k8s_pod_name']}" for row in named})

    @property
    def peak_bytes(self) -> int:
        """The most that findings held together at any instant of the time."""
        now: Counter[str] = Counter()
        peak = 0
        for row in self.held:
            now[row["code"]] = row["bytes"]
            peak = max(peak, now.total())
        return peak

    @property
    def end_bytes(self) -> int:
        """What findings held together at the end of the time."""
        return sum(row["bytes"] or 0 for row in self.findings)

    @property
    def first(self) -> Mapping[str, Any] | None:
        """The finding whose damage is known to have begun first in the time."""
        opened = [row for row in self.history if row["opened_before"] is not None]
        return min(opened, key=lambda row: row["opened_before"], default=None)


def gather(engine: Engine, after: int, before: int, *, cluster: str | None = None, node: str | None = None, now: int) -> Gathered:
    """Ask everything about the time between ``after`` and ``before`` (ns UTC). Raises ``LakeError``, ``QueryError``."""
    place: dict[str, object] = {"cluster": cluster, "node": node}
    between = {"since": after, "until": before, **place}
    timeline = happened_around(engine, after=after, before=before, cluster=cluster, node=node)
    found = Gathered(after, before, cluster, node, now, timeline.completeness)
    _Asking(engine, found, now).run(between, place)
    events = timeline.rows.to_pylist()
    found.timeline, found.timeline_left_out = _shortened(events, _concerned(found))
    _note(found, "timeline", timeline)
    found.inputs = hashed(engine)
    return found


class _Asking:
    """Asks one question after the other, and keeps how."""

    def __init__(self, engine: Engine, found: Gathered, now: int) -> None:
        self.engine = engine
        self.found = found
        self.now = now

    def run(self, between: Mapping[str, object], place: Mapping[str, object]) -> None:
        found, end, begin = self.found, {"at": self.found.before, **place}, {"at": self.found.after, **place}
        found.findings = self._findings(found.before)
        found.findings_before = self._findings(found.after)
        found.history = self._ask("findings_history", between)
        found.held = self._ask("held_over_time", between)
        found.sizes = self._ask("size_over_time", between)
        found.churn = self._ask("churn", between)
        found.filesystems = self._ask("forecast", between)
        found.growth = self._ask("growth", {**between, "by": "layer"})
        found.pods = self._ask("growth", {**between, "by": "pod"})
        found.fleet = self._ask("fleet", end)
        found.layers_before = self._ask("layers", begin)
        found.layers_after = self._ask("layers", end)

    def _ask(self, name: str, values: Mapping[str, object]) -> Rows:
        answer = asked(self.engine, name, values)
        _note(self.found, name, answer)
        rows: Rows = answer.rows.to_pylist()
        return rows

    def _findings(self, at: int) -> Rows:
        answer = findings_at(self.engine, at=at, cluster=self.found.cluster, node=self.found.node)
        _note(self.found, "findings", answer)
        rows: Rows = answer.rows.to_pylist()
        return rows


def _note(found: Gathered, name: str, answer: Answer) -> None:
    question = question_named(name)
    found.asked.append(AskedQuestion(name, question.question, question.sql, answer.asked, answer.rows.num_rows))


def _concerned(found: Gathered) -> set[str]:
    """Return the ids that findings of the time are about."""
    return {row["subject"] for row in (*found.history, *found.findings)}


def _shortened(events: Sequence[Mapping[str, Any]], concerned: set[str]) -> tuple[Rows, int]:
    """Keep what findings and the record say and what happened to the ids concerned; the rest only as far as there is room."""
    if len(events) <= TIMELINE_LIMIT:
        return events, 0
    worth = [event for event in events if event["about"] in _WORTH_TELLING or {event["subject"], event["target"]} & concerned]
    kept = worth[:TIMELINE_LIMIT]
    return kept, len(events) - len(kept)


def hashed(engine: Engine) -> list[Input]:
    """Return every data file that ``engine`` reads, with its SHA-256. Raises ``LakeError`` when one cannot be read."""
    lake = Path(engine.lake.path)
    found: list[Input] = []
    for name in sorted(engine.lake.files):
        path = Path(name)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(Input(str(path.relative_to(lake)), path.stat().st_size, digest))
        except OSError as error:
            raise LakeError(path=name, what=error.strerror or error) from error
    return found


def spoken(values: Mapping[str, object]) -> str:
    """Return how a question was asked, as ``linktrail query`` takes it."""
    texts = {name: iso(value) if name in ("at", "since", "until") and isinstance(value, int) else value for name, value in values.items()}
    return " ".join(f"--param {name}={value}" for name, value in texts.items() if value is not None)


def moment_of(row: Mapping[str, Any], name: str) -> datetime | None:
    """Return an instant of a row, if it is known."""
    value = row[name]
    return value if isinstance(value, datetime) else None


__all__ = ["AskedQuestion", "Gathered", "Input", "ask", "gather", "hashed", "moment_of", "spoken"]
