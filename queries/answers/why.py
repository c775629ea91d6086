"""What holds something, all the way up; and if nothing does, that, and what is known to be wrong with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from linktrail.clock import Clock
from queries.answer import Answer, engine_of
from queries.answers.about import asked_about
from queries.answers.eyes import sentences
from queries.catalog import question_named
from queries.engine import Engine

_FINDINGS: Final = """
SELECT code, message, advice FROM findings_at($at)
WHERE subject = $id OR list_contains(from_json(related, '["VARCHAR"]'), $id) ORDER BY code, message
"""


def held(
    lake: Path | Engine,
    subject: str,
    *,
    at: int,
    cluster: str | None = None,
    node: str | None = None,
    clock: Clock | None = None,
) -> Answer:
    """Return each path of links by which something living holds ``subject`` at ``at`` (ns UTC).

    Raises ``UnknownSubjectError``, ``AmbiguousSubjectError``, ``UsageError``.
    """
    with engine_of(lake) as engine:
        answer = asked_about(engine, "why", subject, {"at": at, "cluster": cluster, "node": node}, clock=clock)
        values = question_named("why").bound({"at": at, "id": answer.asked["id"]})
        findings = engine.rows(_FINDINGS, values)
    notes = list(answer.notes)
    if not answer.rows.num_rows:
        notes.append("Nothing on record held it at that instant: no image, container, lease, label, mount or child.")
    notes += [f"{found['code']}: {sentences(found['message'], found['advice'])}" for found in findings]
    return replace(answer, notes=notes)
