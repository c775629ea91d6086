"""Reading a store for diagnosis while its engine works: a finding made in the middle of a change is looked at twice.

A survey is consistent in itself, but an engine changes a store in steps, and each step is a state that a survey may show (the files of
a container are removed before its record is). So after the first look, where something was found, the metadata files and directories are
asked whether they changed; if they did, or if what was found is too fresh (``settling``), a second survey follows ``SETTLE_SECONDS``
later, and only what both saw is kept. A dead disk is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.diagnose import SETTLE_SECONDS, examine
from collector.findings import Diagnosis, Finding, Withheld
from collector.graph import LAYER_HOME
from collector.links import LinkKind, Survey
from collector.measure import Size, measure
from collector.safe import open_root
from collector.stores.protocol import Progress
from linktrail.clock import NANOSECONDS, Clock

PAUSE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Looked:
    """What looking at one store gave: the survey that the diagnosis rests on, and the diagnosis."""

    survey: Survey
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Terms:
    """How to look: the surveys of the additional stores, ``min_age`` in seconds (``None``: as the code says), clock, progress."""

    additional: Sequence[Survey]
    min_age: float | None
    clock: Clock
    progress: Progress


def look(read: Callable[[], Survey], terms: Terms) -> Looked:
    """Read a store (``read``), diagnose it, and look again where needed. Raises what ``read`` raises."""
    survey = read()
    first = _diagnose(survey, terms, frozenset())
    if not first.settling and not (first.findings and moves(survey, terms.clock)):
        return Looked(survey, first)
    terms.clock.sleep(SETTLE_SECONDS)
    survey = read()
    seen = first.settling | {finding.key for finding in first.findings}
    second = _diagnose(survey, terms, seen)
    return Looked(survey, _confirmed(second, seen))


def _diagnose(survey: Survey, terms: Terms, seen: frozenset[tuple[str, str]]) -> Diagnosis:
    """Diagnose, measure what the findings hold, and diagnose again: a leak that somebody still writes into is none."""

    def examined(sizes: Mapping[str, Size]) -> Diagnosis:
        now = terms.clock.now().wall
        return examine(survey, now=now, additional=terms.additional, sizes=sizes, min_age=terms.min_age, confirmed=seen)

    diagnosis = examined({})
    sizes = _sizes(survey, diagnosis.findings, terms)
    return examined(sizes) if sizes else diagnosis


def _confirmed(diagnosis: Diagnosis, seen: frozenset[tuple[str, str]]) -> Diagnosis:
    """Hold back what only the second look saw."""
    kept: list[Finding] = []
    withheld: list[Withheld] = list(diagnosis.withheld)
    for finding in diagnosis.findings:
        if finding.key not in seen:
            withheld.append(Withheld(finding.code, finding.subject, "settling", None))
        else:
            kept.append(finding)
    return Diagnosis(tuple(kept), tuple(withheld))


def moves(survey: Survey, clock: Clock) -> bool:
    """Tell whether somebody changes the store: since shortly before the survey, or during a short pause now."""
    clock.sleep(PAUSE_SECONDS)
    since = survey.started - round(SETTLE_SECONDS * NANOSECONDS)
    return any(since < when for when in _changes(survey) if when <= clock.now().wall)


def _changes(survey: Survey) -> list[int]:
    """Return when the metadata files and the directories around them were changed (ns UTC)."""
    files = {link.path for link in survey.of_kind(LinkKind.METADATA_FILE)}
    home = LAYER_HOME[survey.kind]
    paths = {*files, *(path.rpartition("/")[0] for path in files), home, f"{home}/l"}
    found: list[int] = []
    with open_root(Path(survey.root)) as root:
        for path in paths:
            parent, _, name = path.rpartition("/")
            try:
                with root.directory(*(parent.split("/") if parent else ())) as directory:
                    found.append(directory.stat(name).st_mtime_ns)
            except OSError:  # gone or unreadable: the survey says so, and its time is no evidence
                continue
    return found


def _sizes(survey: Survey, findings: Sequence[Finding], terms: Terms) -> Mapping[str, Size]:
    """Measure what the findings hold. What cannot be measured is left out: its bytes stay unknown."""
    paths = sorted({path for finding in findings for path in finding.held})
    sizes: dict[str, Size] = {}
    if not paths:
        return sizes
    with open_root(Path(survey.root)) as root:
        for done, path in enumerate(paths):
            terms.progress("sizes", done, len(paths))
            parent, _, name = path.rpartition("/")
            try:
                with root.directory(*(parent.split("/") if parent else ())) as directory:
                    sizes[path] = measure(name, directory=directory.fd, not_after=terms.clock.now().wall)
            except OSError:
                continue
    return sizes
