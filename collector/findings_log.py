"""Findings as events: opened, changed, closed, against the open ones of the ledger.

Pure but for what it remembers between two diagnoses of one store. A finding enters the log when it is sure, and leaves it when its
absence is:

* an engine changes a store in steps, and a survey may show one of them. A break that appears while the store moves is opened when a second
  survey, at least ``SETTLE_SECONDS`` later, still shows it (``confirmed``); what diagnosis itself holds back as settling, likewise
* an open finding is closed when a survey that read everything does not show it. While a part of the store is unread nothing is
  closed that could lie there, and what diagnosis merely holds back as settling stays open
* ``changed`` means another severity, path, message, evidence, relation or advice, or bytes that differ by more than a tenth

``finding_id`` names store, code and subject, so damage that comes back has its old name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collector.diagnose import SETTLE_SECONDS
from collector.differ import Unread
from collector.findings import Diagnosis, Finding
from collector.links import LinkKind, LinkState, Survey
from collector.mounts.links import MOUNTS, OPEN_FILES
from collector.rows import finding_columns
from linktrail.clock import NANOSECONDS, Instant
from linktrail.events import Interval, Row, last_of
from linktrail.text import encode

_ID_LENGTH: Final = 32
_TENTH: Final = 10
_SETTLE_NS: Final = round(SETTLE_SECONDS * NANOSECONDS)
_DECLARED: Final = ("severity", "file_path", "message", "evidence", "related", "advice", "read_only")

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FindingEvent:
    """A finding was opened, changed or closed; ``columns`` is how it stands (closed: how it last stood)."""

    action: str
    columns: Row
    since: Interval | None


def finding_id(root: str, code: str, subject: str) -> str:
    """Return the stable name of a finding: a digest of store root, code and subject."""
    text = b"\0".join(encode(part) for part in (root, code, subject))
    return hashlib.sha256(text).hexdigest()[:_ID_LENGTH]


class FindingsLog:
    """The findings of one store, between diagnoses."""

    def __init__(self, root: str) -> None:
        """Begin for the store at ``root``; which findings are open is the ledger's to know."""
        self._root = root
        self._doubted: dict[Key, Instant] = {}  # seen, not sure yet: since when

    @property
    def second_look(self) -> int | None:
        """When a second survey can confirm what is doubted (monotonic ns), ``None`` when nothing is."""
        return min((seen.monotonic + _SETTLE_NS for seen in self._doubted.values()), default=None)

    def confirmed(self, open_findings: Mapping[str, Row], started: Instant) -> frozenset[Key]:
        """Return what a survey begun at ``started`` may take as seen before: open, or doubted for long enough."""
        opened = {(str(row["code"]), str(row["subject"])) for row in open_findings.values()}
        return frozenset(opened | {key for key, seen in self._doubted.items() if seen.monotonic + _SETTLE_NS <= started.monotonic})

    def unknown(self, open_findings: Mapping[str, Row], diagnosis: Diagnosis) -> list[Finding]:
        """Return the findings of ``diagnosis`` that are not open."""
        return [finding for finding in diagnosis.findings if finding_id(self._root, finding.code, finding.subject) not in open_findings]

    def events(
        self,
        open_findings: Mapping[str, Row],
        diagnosis: Diagnosis,
        survey: Survey,
        *,
        confirmed: frozenset[Key],
        moving: bool,
        looked: Instant,
    ) -> list[FindingEvent]:
        """Return what changed against ``open_findings``; ``looked`` is when the survey ended, ``moving`` whether the store changes now."""
        events: list[FindingEvent] = []
        doubted = set(diagnosis.settling)
        shown: set[str] = set()
        for finding in diagnosis.findings:
            name = finding_id(self._root, finding.code, finding.subject)
            columns = finding_columns(name, finding)
            known = open_findings.get(name)
            if known is None and moving and finding.family == "breaks" and finding.key not in confirmed:
                doubted.add(finding.key)
            elif known is None:
                events.append(FindingEvent("opened", columns, finding.since))
            elif differs(known, columns):
                events.append(FindingEvent("changed", columns, _later(finding.since, _since(known))))
            shown.add(name)
        shown |= {finding_id(self._root, *key) for key in diagnosis.settling}
        gone = {name: row for name, row in open_findings.items() if name not in shown}
        events += [FindingEvent("closed", row, _since(row)) for row in _sure(gone, survey).values()]
        self._doubted = {key: self._doubted.get(key, looked) for key in doubted}
        return events


def differs(known: Row, columns: Row) -> bool:
    """Tell whether a finding changed in a way worth a row."""
    if any(known.get(name) != columns.get(name) for name in _DECLARED):
        return True
    before, now = known.get("bytes"), columns.get("bytes")
    if not isinstance(before, int) or not isinstance(now, int):
        return before != now
    return abs(now - before) * _TENTH > before


_HELD: Final = {"orphan-mount": MOUNTS, "deleted-open-file": OPEN_FILES}
"""What the kernel holds has no path in the store; it is unknown when that could not be looked at."""


def _sure(gone: Mapping[str, Row], survey: Survey) -> Mapping[str, Row]:
    """Return those of ``gone`` whose absence this survey proves."""
    if not gone or not survey.problems:
        return gone
    blind = {link.path for link in survey.of_kind(LinkKind.METADATA_FILE) if link.state is not LinkState.PRESENT}
    unread = Unread(survey.unread)
    if unread.hides("") or blind & set(survey.unread):
        return {}
    return {name: row for name, row in gone.items() if not unread.hides(str(row.get("file_path") or _HELD.get(str(row.get("code")), "")))}


def _later(now: Interval | None, known: Interval | None) -> Interval | None:
    """Return since when a known finding stands: what its beginning rests on may have been forgotten since it was told."""
    found = [interval for interval in (now, known) if interval is not None]
    return last_of(found) if found else None


def _since(row: Row) -> Interval | None:
    before, after = row.get("since_before"), row.get("since_after")
    return Interval(after if isinstance(after, int) else None, before) if isinstance(before, int) else None
