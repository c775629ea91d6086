"""Messages beside a check of the stores: is the damage that each means here now, and on what the message names?"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from collector.check import CheckReport, StoreReport
from collector.explain.matching import Match
from collector.explain.naming import Named, name_ids
from collector.findings import Finding, worst_first
from collector.graph import Graph
from linktrail.codes import CODES
from linktrail.text import column_text, printable

DOCUMENT_VERSION: Final = 1
VERDICTS: Final = {
    "named": "The damage is here, on what the message names.",
    "present": "Damage of this kind is here.",
    "absent": "Nothing of this kind is damaged here now: it was repaired meanwhile, or it is another store.",
    "not checked": "No store was checked.",
    "needs contents": "Nothing of this kind is damaged as far as records tell; --contents compares the files too.",
    "no damage": "This message means no damage of a store.",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """One message explained: what its ids stand for, and the findings that it can mean, those on what it names first."""

    match: Match
    verdict: str
    named: tuple[tuple[StoreReport, Named], ...] = ()
    findings: tuple[tuple[StoreReport, Finding], ...] = ()
    root: str | None = None

    @property
    def confirm(self) -> tuple[str, ...]:
        """The commands that confirm it, with the root where it is known."""
        root = shlex.quote(printable(self.root)) if self.root is not None else "ROOT"
        return tuple(command.replace("ROOT", root) for command in self.match.message.confirm)

    def document(self) -> dict[str, Any]:
        """Return the explanation JSON-able."""
        match, message = self.match, self.match.message
        return {
            "message": message.name,
            "engines": message.engines,
            "line": column_text(match.line),
            "line_number": match.number,
            "lines": match.count,
            "meaning": message.meaning,
            "codes": [{"code": code, "severity": CODES[code].severity, "meaning": CODES[code].meaning} for code in message.codes],
            "verdict": self.verdict,
            "ids": [column_text(identifier) for identifier in match.ids],
            "named": [{"store": column_text(store.survey.root), **named.document()} for store, named in self.named],
            "findings": [finding.document(store.survey.root) for store, finding in self.findings],
            "confirm": list(self.confirm),
            "step": message.step,
            "incidents": list(message.incidents),
        }


def explain(matches: Sequence[Match], report: CheckReport | None) -> list[Explanation]:
    """Explain ``matches`` beside ``report`` (``None``: no store was checked)."""
    stores = report.stores if report is not None else []
    graphs = [(store, Graph.of(store.survey)) for store in stores]
    return [_explain(match, graphs, report) for match in matches]


def _explain(match: Match, graphs: Sequence[tuple[StoreReport, Graph]], report: CheckReport | None) -> Explanation:
    named = tuple((store, found) for store, graph in graphs for found in name_ids(graph, match.ids))
    meant = [(store, finding) for store, _ in graphs for finding in store.diagnosis.findings if finding.code in match.message.codes]
    subjects = {found.subject for _, found in named}
    meant.sort(key=lambda pair: (not _concerns(pair[1], match.ids, subjects), *worst_first(pair[1])))
    roots = [store.survey.root for store, _ in graphs]
    root = roots[0] if len(roots) == 1 and match.root not in roots else match.root
    return Explanation(match, _verdict(match, meant, subjects, report), named, tuple(meant), root)


def _verdict(match: Match, meant: Sequence[tuple[StoreReport, Finding]], subjects: set[str], report: CheckReport | None) -> str:
    if not match.message.codes:
        return "no damage"
    if report is None or not report.stores:
        return "not checked"
    if meant:
        return "named" if _concerns(meant[0][1], match.ids, subjects) else "present"
    compared = all(store.contents is not None for store in report.stores)
    hidden = any(CODES[code].family == "contents" for code in match.message.codes)
    return "needs contents" if hidden and not compared else "absent"


def _concerns(finding: Finding, ids: Sequence[str], subjects: set[str]) -> bool:
    """Tell whether a finding is about what the message names."""
    about = {finding.subject, *finding.related}
    if about & subjects:
        return True
    words = f"{finding.subject} {finding.path} {finding.evidence_json()}"
    return any(identifier in words for identifier in ids if not identifier.isdigit())
