"""How to repair just this: the open findings that concern it, as steps in order, with what each loses. Nothing is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from linktrail.clock import Clock
from linktrail.errors import UnknownSubjectError
from linktrail.output import Sheet
from linktrail.schema import INTEGER, TEXT
from queries.answer import Answer, engine_of
from queries.answers.eyes import brief, present
from queries.completeness import Scope, Window, completeness, to_datetime
from queries.engine import Engine
from queries.repair_steps import REPAIR_STEPS, RepairStep
from queries.subjects import find_object

_COLUMNS: Final = {
    "step": INTEGER,
    "finding": TEXT,
    "subject": TEXT,
    "what": TEXT,
    "safe": TEXT,
    "do": TEXT,
    "loses": TEXT,
    "bytes": INTEGER,
    "cluster": TEXT,
    "node": TEXT,
    "store_root": TEXT,
}
_FINDINGS: Final = """
SELECT code, subject, message, advice, bytes, cluster, node, store_root
FROM findings_at($at)
WHERE (subject = $id OR file_path = $path OR list_contains(coalesce(from_json(related, '["VARCHAR"]'), []), $id))
  AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
"""
_NEXT: Final = " Next: "
_UNKNOWN: Final = RepairStep(6, "unknown: this linktrail does not know the finding")


def repair_plan(
    lake: Path | Engine, subject: str, *, at: int, cluster: str | None = None, node: str | None = None, clock: Clock | None = None
) -> Answer:
    """Return the steps that repair what was open at ``at`` (ns UTC) and concerns ``subject``, in order, store by store.

    Raises ``UnknownSubjectError``, ``AmbiguousSubjectError``, ``UsageError``.
    """
    now = present(clock)
    with engine_of(lake) as engine:
        meant = find_object(engine, subject)
        if meant.id is None and meant.path is None:
            raise UnknownSubjectError(name=subject)
        values = {"id": meant.id, "path": meant.path, "at": to_datetime(at), "cluster": cluster, "node": node}
        found = engine.rows(_FINDINGS, values)
        nodes = frozenset(row["node"] for row in found) or (frozenset({node}) if node else None)
        said = completeness(engine, Window(at, at), now=now, scope=Scope(nodes=nodes), state=True)
    ordered = sorted(found, key=lambda row: (row["node"], row["store_root"] or "", _step(row).order, row["code"], row["subject"]))
    steps: list[dict[str, Any]] = []
    for row in ordered:
        place = {name: row[name] for name in ("cluster", "node", "store_root")}
        number = 1 + sum(all(step[name] == value for name, value in place.items()) for step in steps)
        safe, _, do = row["advice"].partition(_NEXT)
        steps.append(
            {
                "step": number,
                "finding": row["code"],
                "subject": row["subject"],
                "what": row["message"],
                "safe": safe.strip(),
                "do": do.strip() or None,
                "loses": _step(row).loses,
                "bytes": row["bytes"],
                **place,
            }
        )
    table = pa.table({name: pa.array([step[name] for step in steps], kind) for name, kind in _COLUMNS.items()})
    notes = [] if meant.id in (None, subject) else [f"{subject} is {meant.id}."]
    notes.append(
        "linktrail runs none of these. Do them in order, one store at a time, and look again (linktrail check) after each."
        if steps
        else "No finding that concerns it was open at that instant: there is nothing to repair."
    )
    asked = {
        name: value for name, value in {"id": meant.id, "path": meant.path, "at": at, "cluster": cluster, "node": node}.items() if value
    }
    return Answer("repair-plan", asked, (Sheet("rows", table, brief(table)),), said, notes)


def _step(row: dict[str, Any]) -> RepairStep:
    return REPAIR_STEPS.get(row["code"], _UNKNOWN)
