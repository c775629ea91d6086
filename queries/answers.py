"""Answers with a form of their own: findings, timeline and usage, as functions; every other question of the catalog is ``answer.ask``.

Each takes a lake (its path, or an engine that is open already) and instants in ns UTC, and returns an ``Answer``: rows for programs, the
same rows shorter for eyes, and whether the record was complete in the asked time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from linktrail.clock import Clock, SystemClock
from linktrail.output import Sheet, moment, trim_fraction
from linktrail.schema import TEXT
from queries.answer import Answer, ask, engine_of, spelled
from queries.catalog import question_named
from queries.completeness import Scope, completeness
from queries.engine import Engine
from queries.subjects import find_subject
from queries.words import happened

_ID_CHARACTERS: Final = frozenset("0123456789abcdef")
_WHOLE_ID: Final = 64
_SHORT_ID: Final = 12
_LONG_ID: Final = re.compile(r"(?<![0-9a-f])([0-9a-f]{12})[0-9a-f]{52}(?![0-9a-f])")
_TOTALS: Final = """
SELECT node, store_root, coalesce(role, scope) AS role, count(*) AS layers, sum(bytes)::BIGINT AS bytes,
    sum(recorded_bytes)::BIGINT AS recorded_bytes, sum(inodes)::BIGINT AS inodes
FROM ({0}) WHERE scope = 'layer' GROUP BY ALL ORDER BY node, store_root, bytes DESC NULLS LAST, role
"""


def findings(
    lake: Path | Engine,
    *,
    at: int | None = None,
    node: str | None = None,
    store: str | None = None,
    family: str | None = None,
    code: str | None = None,
    clock: Clock | None = None,
) -> Answer:
    """Return the findings that were open at ``at`` (default: now), the worst first.

    Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    now = _now(clock)
    values = {"at": now if at is None else at, "node": node, "store": store, "family": family, "code": code}
    with engine_of(lake) as engine:
        answer = ask(engine, question_named("findings"), values, now)
    rows = answer.rows.to_pylist()
    where = _places(rows)
    names = ("severity", "code", "subject", "bytes", "since", "owner", *where)
    brief = _table(names, ((*_brief_finding(row), *(row[name] for name in where)) for row in rows), {"bytes": pa.int64()})
    told = ((f"{row['code']} {short(row['subject'])}", row["message"], row["advice"]) for row in rows)
    advice = _table(("finding", "what", "next"), told)
    sheets = (replace(answer.sheets[0], brief=brief), Sheet("advice", None, advice))
    return replace(answer, sheets=sheets, notes=() if rows else ("No finding is on record for that instant.",))


def usage(
    lake: Path | Engine, *, at: int | None = None, node: str | None = None, store: str | None = None, clock: Clock | None = None
) -> Answer:
    """Return the newest size sample of everything at ``at`` (default: now), and totals by role.

    Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    now = _now(clock)
    question = question_named("usage")
    values = {"at": now if at is None else at, "node": node, "store": store}
    with engine_of(lake) as engine:
        answer = ask(engine, question, values, now)
        totals = engine.query(_TOTALS.format(question.sql), question.bound(values))
    rows = answer.rows.to_pylist()
    where = _places(rows)
    names = ("scope", "subject", "role", "owner", "bytes", "recorded_bytes", "capacity_bytes", "available_bytes", "sampled", *where)
    sizes = {name: pa.int64() for name in names if name.endswith("bytes")}
    brief = _table(names, ((*_brief_sample(row), *(row[name] for name in where)) for row in rows), sizes)
    return replace(answer, sheets=(replace(answer.sheets[0], brief=brief), Sheet("totals", totals)))


def timeline(
    lake: Path | Engine,
    subject: str,
    *,
    since: int | None = None,
    until: int | None = None,
    node: str | None = None,
    clock: Clock | None = None,
) -> Answer:
    """Return all that happened to ``subject`` (an id, 6 characters of one, a name, or a path) between ``since`` and ``until``.

    Raises ``UnknownSubjectError``, ``AmbiguousSubjectError``, ``UsageError``, ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    now = _now(clock)
    question = question_named("timeline")
    with engine_of(lake) as engine:
        meant = find_subject(engine, subject)
        path = meant.path if meant.id is None else None
        values = {"id": meant.id, "path": path, "since": since, "until": now if until is None else until, "node": node}
        rows = engine.query(question.sql, question.bound(values))
        nodes = frozenset({node} if node else rows.column("node").to_pylist())
        said = completeness(engine, question.window_of(values, now), now=now, scope=Scope(nodes or None))
    events = rows.to_pylist()
    words = [happened(event) for event in events]
    rows = rows.append_column("happened", pa.array(words, TEXT))
    several = len(nodes) > 1
    names = ("after", "before", *(("node",) if several else ()), "origin", "what happened")
    brief = _table(names, (_brief_event(event, text, several=several) for event, text in zip(events, words, strict=True)))
    sheets = (Sheet("rows", rows, brief),)
    title = () if meant.id is None or meant.id == subject else (f"{subject} is {meant.id}.",)
    return Answer(question.name, spelled(question, values), sheets, said, title)


# --- for eyes ---------------------------------------------------------------------------------------------------


def short(name: str) -> str:
    """Return the first 12 characters of an id of 64 hexadecimal digits (also after ``sha256:``), as engines do; other names whole."""
    digits = name.removeprefix("sha256:")
    return digits[:_SHORT_ID] if len(digits) == _WHOLE_ID and set(digits) <= _ID_CHARACTERS else name


def span(after: datetime | None, before: datetime | None) -> str:
    """Return an interval for a person; what is not known is a question mark."""
    ends = ["?" if end is None else trim_fraction(moment(end)) for end in (after, before)]
    return ends[0] if ends[0] == ends[1] else " .. ".join(ends)


def owner(row: Mapping[str, Any]) -> str:
    """Return who owns a row: the pod, else the container, else the image."""
    if row["k8s_pod_name"]:
        return "/".join(part for part in (row["k8s_namespace_name"], row["k8s_pod_name"], row["container_name"]) if part)
    named = row["container_name"] or short(row["container_id"] or "")
    return named or row["container_image_name"] or short(row["container_image_id"] or "")


def _places(rows: Collection[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns that tell where a row is from, as far as rows differ in them."""
    return tuple(name for name in ("node", "store_root") if len({row[name] for row in rows}) > 1)


def _brief_finding(row: Mapping[str, Any]) -> tuple[object, ...]:
    known = row["since_before"] is not None
    since = span(row["since_after"], row["since_before"]) if known else span(row["opened_after"], row["opened_before"])
    doubt = "" if row["certainty"] == "certain" else " (possibly open)"
    return row["severity"], row["code"], short(row["subject"]) + doubt, row["bytes"], since, owner(row)


def _brief_sample(row: Mapping[str, Any]) -> tuple[object, ...]:
    sampled = span(row["sampled_before"], row["sampled_before"])
    sizes = (row["bytes"], row["recorded_bytes"], row["capacity_bytes"], row["available_bytes"])
    return row["scope"], short(row["subject"]), row["role"], owner(row), *sizes, sampled


def _brief_event(event: Mapping[str, Any], text: str, *, several: bool) -> tuple[object, ...]:
    ends = (span(event["after"], event["after"]), span(event["before"], event["before"]))
    return (*ends, *((event["node"],) if several else ()), event["origin"], _LONG_ID.sub(r"\1", text))


def _table(names: tuple[str, ...], rows: Iterable[tuple[object, ...]], kinds: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    types = [(kinds or {}).get(name, TEXT) for name in names]
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, types, strict=True)})


def _now(clock: Clock | None) -> int:
    return (clock or SystemClock()).now().wall
