"""What took the space at an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from linktrail.clock import Clock
from linktrail.output import Sheet
from queries.answer import Answer, ask, engine_of
from queries.answers.eyes import brief_table, owner, places, present, short, span
from queries.catalog import question_named
from queries.engine import Engine

_TOTALS: Final = """
SELECT node, store_root, coalesce(role, scope) AS role, count(*) AS layers, sum(bytes)::BIGINT AS bytes,
    sum(recorded_bytes)::BIGINT AS recorded_bytes, sum(inodes)::BIGINT AS inodes
FROM ({0}) WHERE scope = 'layer' GROUP BY ALL ORDER BY node, store_root, bytes DESC NULLS LAST, role
"""


def usage_at(
    lake: Path | Engine,
    *,
    at: int | None = None,
    cluster: str | None = None,
    node: str | None = None,
    store: str | None = None,
    clock: Clock | None = None,
) -> Answer:
    """Return the newest size sample of everything at ``at`` (default: now), and totals by role.

    Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    now = present(clock)
    question = question_named("usage")
    values = {"at": now if at is None else at, "cluster": cluster, "node": node, "store": store}
    with engine_of(lake) as engine:
        answer = ask(engine, question, values, now)
        totals = engine.query(_TOTALS.format(question.sql), question.bound(values))
    rows = answer.rows.to_pylist()
    where = places(rows)
    names = ("scope", "subject", "role", "owner", "bytes", "recorded_bytes", "capacity_bytes", "available_bytes", "sampled", *where)
    sizes = {name: pa.int64() for name in names if name.endswith("bytes")}
    brief = brief_table(names, ((*_brief_sample(row), *(row[name] for name in where)) for row in rows), sizes)
    return replace(answer, sheets=(replace(answer.sheets[0], brief=brief), Sheet("totals", totals)))


def _brief_sample(row: Mapping[str, Any]) -> tuple[object, ...]:
    sampled = span(row["sampled_before"], row["sampled_before"])
    sizes = (row["bytes"], row["recorded_bytes"], row["capacity_bytes"], row["available_bytes"])
    return row["scope"], short(row["subject"]), row["role"], owner(row), *sizes, sampled
