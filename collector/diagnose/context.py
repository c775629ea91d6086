"""What every rule of diagnosis shares: the graph, the sizes, the time, and the decision whether a finding is made yet.

A rule states a ``Case``: code, subject, words, and the times that show when somebody last worked on it. ``Examination.report``
then decides. Two things hold a case back:

* **Grace** (leaks): a thing whose newest evidence is younger than the grace of its code may still be in the making. Without any
  evidence it counts as young, unless the grace is 0. Times in the future are no evidence.
* **Settling** (everything that compares two things): an engine changes a store in several steps (``layers.json``, a directory,
  a short link, ``containers.json``), and a reader may look between two of them. Where something that a case rests on changed less than
  ``SETTLE_SECONDS`` before the look, the case waits for a second survey to say the same (``confirmed``). ``min_age`` 0 asks for
  leaks as they stand, so it waits only for breaks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from collector.diagnose.cases import ANYTHING, Case
from collector.diagnose.engines import advice_for
from collector.diagnose.knowledge import Knowledge
from collector.findings import Finding, Withheld
from collector.graph import Graph
from collector.graph_nodes import Layer, Place, created
from collector.links import NOBODY, LinkKey
from collector.measure import Size
from linktrail.clock import NANOSECONDS, iso
from linktrail.codes import CODES, GRACE_SECONDS, Severity
from linktrail.events import Interval, last_of

SETTLE_SECONDS: Final = 2.0
RELATED_LIMIT: Final = 100


class Past(Protocol):
    """The history of links, as a recorder keeps it."""

    def history(self, key: LinkKey) -> Interval | None:
        """Return since when a link stands as it stands now (or is gone, for one that is not in the survey)."""

    def unheld(self, name: str) -> Interval | None:
        """Return when the last holder of a layer or image went that is gone."""

    def unrecorded(self, name: str) -> Interval | None:
        """Return when the record of a layer, a directory, an image or a container went."""


class Examination(Knowledge):
    """One look at one survey."""

    def __init__(
        self,
        graph: Graph,
        *,
        now: int,
        sizes: Mapping[str, Size],
        min_age: float | None,
        settle: float,
        past: Past | None,
        confirmed: Collection[tuple[str, str]],
    ) -> None:
        """Prepare to look at ``graph`` at ``now`` (ns UTC); see ``collector.diagnose.examine`` for the rest."""
        super().__init__(graph)
        self.now = now
        self.sizes = sizes
        self.min_age = min_age
        self.settle = round(settle * NANOSECONDS)
        self.past = past
        self.confirmed = frozenset(confirmed)
        self.read_only = graph.survey.read_only
        self.looked = max(now, graph.survey.finished)
        self.advice = advice_for(graph.survey.kind, graph.survey.root)
        self.found: dict[tuple[str, str], Finding] = {}
        self.withheld: dict[tuple[str, str], Withheld] = {}
        self.spoken_for: set[str] = set()  # places that another finding speaks of: nobody is sent to delete one
        self.stand_ins: dict[str, str] = {}  # layer whose record is lost -> the place that was its own, as far as other links tell

    def report(self, case: Case) -> bool:
        """Make ``case`` a finding, or hold it back; tell whether it was made."""
        key = (case.code, case.subject)
        if key in self.found:
            self.found[key] = _merged(self.found[key], case)
            return True
        code = CODES[case.code]
        histories = [known for known in map(self.past.history, case.keys) if known] if self.past else []
        times = self._evidence(case, histories)
        newest = max(times.items(), key=lambda item: item[1], default=None)
        waits = self._waits(case, newest[1] if newest else None)
        if waits is not None:
            self.withheld[key] = waits
            return False
        evidence = dict(case.evidence)
        if code.family == "leaks" and newest is not None:
            evidence["newest_change"] = {"what": newest[0], "at": iso(newest[1])}
        self.found[key] = Finding(
            code=case.code,
            severity=case.severity or code.severity,
            subject_kind=case.subject_kind,
            subject=case.subject,
            path=case.path,
            message=case.message,
            advice=self._defused(case),
            bytes=self.held_bytes(case.held) if case.bytes is None else case.bytes,
            related=_related(case.related, case.subject),
            read_only=self.read_only,
            since=self._since(case, histories),
            evidence=evidence,
            owner=case.owner,
            held=case.held,
        )
        self.withheld.pop(key, None)
        return True

    def _defused(self, case: Case) -> str:
        traps = self.traps if case.removes is ANYTHING else self.traps & frozenset(case.removes)
        return f"{self.advice.traps(traps)} {case.advice}" if traps and case.code != "link-file-empty" else case.advice

    def held_bytes(self, paths: tuple[str, ...]) -> int | None:
        """Return what ``paths`` take together, ``None`` unless every one was measured."""
        sizes = [self.size(path) for path in paths]
        known = [size.bytes for size in sizes if size is not None]
        return sum(known) if paths and len(known) == len(paths) else None

    def size(self, path: str) -> Size | None:
        """Return the measured size of ``path``: given by path, or by its last name (a layer id)."""
        return self.sizes.get(path) or self.sizes.get(path.rpartition("/")[2])

    def _waits(self, case: Case, newest: int | None) -> Withheld | None:
        kind = case.grace or CODES[case.code].grace
        grace = GRACE_SECONDS[kind] if self.min_age is None or kind == "none" else self.min_age
        if grace > 0 and (newest is None or self.now - newest < grace * NANOSECONDS):
            until = None if newest is None else newest + round(grace * NANOSECONDS)
            return Withheld(case.code, case.subject, "grace", until)
        if (case.code, case.subject) in self.confirmed or (kind != "none" and self.min_age == 0):
            return None
        changes = [self.changed(path) for path in case.compared]
        if kind == "none":
            changes.append(newest)
        freshest = max((change for change in changes if change is not None and self._fresh(change)), default=None)
        return None if freshest is None else Withheld(case.code, case.subject, "settling", freshest + self.settle)

    def _evidence(self, case: Case, histories: list[Interval]) -> dict[str, int]:
        times = {name: when for name, when in case.times.items() if when is not None}
        for path in case.held:
            if (size := self.size(path)) and size.newest_ns > 0:
                times["newest file in it"] = max(size.newest_ns, times.get("newest file in it", 0))
        witnessed = [history.before for history in histories if history.after is not None or not times]
        if witnessed:
            times["last change on record"] = max(witnessed)
        return {name: when for name, when in times.items() if when <= self.looked}

    def changed(self, path: str) -> int | None:
        """Return when a metadata file, or the table of files that it stands in, was written last (ns UTC), if known."""
        link = self.graph.metadata.get(path)
        while link is None and "/" in path:
            path = path.rpartition("/")[0]
            link = self.graph.metadata.get(path)
        when = link.facts.get("mtime_ns") if link is not None else None
        return when if isinstance(when, int) else None

    def _fresh(self, when: int) -> bool:
        started = self.graph.survey.started
        return (min(self.now, started) if started > 0 else self.now) - self.settle < when <= self.looked

    def _since(self, case: Case, histories: Sequence[Interval]) -> Interval | None:
        """Return when the damage began: when what it rests on came to stand, and the last of what held it was gone."""
        if not histories or self.past is None:
            return self._interval(case.began)
        known = [
            *map(self.past.history, case.needs),
            *map(self.past.unheld, case.unheld),
            *map(self.past.unrecorded, case.unrecorded),
            *(Interval(when, when) for when in case.ended if when <= self.looked),
        ]
        return last_of([histories[0], *(interval for interval in known if interval is not None)])

    def _interval(self, began: int | None) -> Interval | None:
        return Interval(began, self.looked) if began is not None and began <= self.looked else None

    def report_layer(
        self,
        code: str,
        place: Place,
        layer: Layer | None,
        message: str,
        advice: str,
        *,
        path: str | None = None,
        related: Collection[str] = (),
        evidence: Mapping[str, Any] | None = None,
        keys: Collection[LinkKey] = (),
        severity: Severity | None = None,
        removes: Collection[str] = (),
    ) -> None:
        """Report damage of one layer's links; who needs the layer is added to ``related``."""
        images, containers = self.used_by(layer.id) if layer is not None else ([], [])
        self.report(
            Case(
                code,
                "layer",
                layer.id if layer is not None else place.name,
                path or self.graph.path_of(place.name),
                message,
                advice,
                related=[*related, *images, *containers],
                evidence=evidence or {},
                times=self.layer_times(layer, place),
                compared=[record.path for record in layer.records] if layer is not None else (),
                keys=keys,
                began=created(layer.record) if layer is not None else None,
                severity=severity,
                removes=removes,
                owner=layer.record.owner if layer is not None else NOBODY,
            )
        )


def _related(names: Collection[str], subject: str) -> tuple[str, ...]:
    kept = [name for name in dict.fromkeys(names) if name and name != subject]
    return tuple(kept[:RELATED_LIMIT])


def _merged(finding: Finding, case: Case) -> Finding:
    """Two cases of one code and subject are one finding that names what both concern."""
    return replace(finding, related=_related((*finding.related, *case.related), case.subject))
