"""What was found open at an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from linktrail.clock import Clock
from linktrail.output import Sheet
from queries.answer import Answer, ask, engine_of
from queries.answers.eyes import brief_table, owner, places, present, shorten, span
from queries.catalog import question_named
from queries.engine import Engine


def findings_at(
    lake: Path | Engine,
    *,
    at: int | None = None,
    cluster: str | None = None,
    node: str | None = None,
    store: str | None = None,
    family: str | None = None,
    code: str | None = None,
    clock: Clock | None = None,
) -> Answer:
    """Return the findings that were open at ``at`` (default: now), the worst first.

    Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    now = present(clock)
    values = {"at": now if at is None else at, "cluster": cluster, "node": node, "store": store, "family": family, "code": code}
    with engine_of(lake) as engine:
        answer = ask(engine, question_named("findings"), values, now)
    rows = answer.rows.to_pylist()
    where = places(rows)
    names = ("severity", "code", "subject", "bytes", "since", "owner", *where)
    brief = brief_table(names, ((*_brief_finding(row), *(row[name] for name in where)) for row in rows), {"bytes": pa.int64()})
    told = ((f"{row['code']} {shorten(row['subject'])}", row["message"], row["advice"]) for row in rows)
    advice = brief_table(("finding", "what", "next"), told)
    sheets = (replace(answer.sheets[0], brief=brief), Sheet("advice", None, advice))
    return replace(answer, sheets=sheets, notes=() if rows else ("No finding is on record for that instant.",))


def _brief_finding(row: Mapping[str, Any]) -> tuple[object, ...]:
    known = row["since_before"] is not None
    since = span(row["since_after"], row["since_before"]) if known else span(row["opened_after"], row["opened_before"])
    doubt = "" if row["certainty"] == "certain" else " (possibly open)"
    return row["severity"], row["code"], shorten(row["subject"]) + doubt, row["bytes"], since, owner(row)
