"""What diagnosis says: findings, what it holds back for now, and the two forms in which both leave the collector.

A ``Finding`` is one damage or one leak: a code of ``linktrail.codes``, a subject, the evidence, and what to do. Pairs of
(code, subject) are unique in one diagnosis, so they name a finding while it lasts (``linktrail.schema``, ``finding_id``).
Nothing that takes part in comparison depends on the moment of looking (no ages, only times), so an unchanged store gives equal
findings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from collector.links import NOBODY, Attribution, Problem
from linktrail.clock import iso
from linktrail.codes import CODES, SEVERITIES, Severity
from linktrail.events import Interval
from linktrail.text import column_text

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    """Return the one empty mapping (a dataclass of Python 3.11 takes it only from a factory)."""
    return _NOTHING


Why = Literal["grace", "settling"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One leak or break of one store.

    ``subject`` is the id as the engine writes it, ``path`` relative to the store root, ``bytes`` what the subject holds
    (allocated; ``None``: not measured), ``related`` the other ids concerned, ``since`` when it began as far as known.
    ``held`` lists the paths (relative to the root) whose sizes add up to ``bytes``.
    """

    code: str
    severity: Severity
    subject_kind: str
    subject: str
    path: str | None
    message: str
    advice: str
    bytes: int | None = None
    related: tuple[str, ...] = ()
    read_only: bool = False
    since: Interval | None = field(default=None, compare=False)
    evidence: Mapping[str, Any] = field(default_factory=_nothing, hash=False)
    owner: Attribution = NOBODY
    held: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same finding at another time."""
        return (self.code, self.subject)

    @property
    def family(self) -> str:
        """Leaks, breaks, contents or growth."""
        return CODES[self.code].family

    def document(self, store: str) -> dict[str, Any]:
        """Return the finding as ``linktrail check --json`` prints it; names that are not UTF-8 are escaped."""
        return {
            "code": self.code,
            "family": self.family,
            "severity": self.severity,
            "store": column_text(store),
            "subject_kind": self.subject_kind,
            "subject": column_text(self.subject),
            "path": None if self.path is None else column_text(self.path),
            "bytes": self.bytes,
            "related": [column_text(name) for name in self.related],
            "read_only": self.read_only,
            "since": None if self.since is None else {"after": iso(self.since.after), "before": iso(self.since.before)},
            "owner": {name: column_text(value) for name, value in self.attribution().items()},
            "message": self.message,
            "evidence": _clean(self.evidence),
            "advice": self.advice,
        }

    def attribution(self) -> dict[str, str]:
        """Return what is known of the owner, by column name."""
        return self.owner.known()

    def evidence_json(self) -> str:
        """Return the evidence as the one canonical JSON object that stands in the lake."""
        return json.dumps(_clean(self.evidence), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Withheld:
    """A finding not made yet.

    ``why`` is ``grace`` (too young to be called a leak) or ``settling`` (what it rests on changed a moment ago, as it
    does in the middle of normal work). ``until`` is when to look again (ns UTC; ``None``: no evidence of age at all).
    """

    code: str
    subject: str
    why: Why
    until: int | None

    @property
    def key(self) -> tuple[str, str]:
        """The finding it would be."""
        return (self.code, self.subject)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything one look at one survey gave: findings, worst first, and what was held back."""

    findings: tuple[Finding, ...]
    withheld: tuple[Withheld, ...]

    @property
    def settling(self) -> frozenset[tuple[str, str]]:
        """The findings to confirm with a second survey: pass them on as ``confirmed``."""
        return frozenset(item.key for item in self.withheld if item.why == "settling")

    @property
    def due(self) -> int | None:
        """When the next held-back finding may become one (ns UTC); ``None``: nothing is waiting for time to pass."""
        return min((item.until for item in self.withheld if item.until is not None), default=None)


@dataclass(frozen=True, slots=True)
class Contents:
    """What comparing the contents of a store gave: findings, how much was compared (JSON-able), and what could not be read."""

    findings: tuple[Finding, ...]
    coverage: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()


def worst_first(finding: Finding) -> tuple[int, str, str]:
    """Sort key: severity, then code, then subject."""
    return (-SEVERITIES.index(finding.severity), finding.code, finding.subject)


def _clean(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return ``value`` with only what JSON can carry: text valid, tuples as lists."""
    if isinstance(value, str):
        return column_text(value)
    if isinstance(value, Mapping):
        return {column_text(str(name)): _clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner) for inner in value]
    return value
