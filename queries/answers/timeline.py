"""What happened to one thing, or to everything about one instant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from linktrail.clock import Clock
from linktrail.output import Sheet
from linktrail.schema import TEXT
from queries.answer import Answer, engine_of, spelled
from queries.answers.eyes import brief_table, present, shorten, span
from queries.catalog import question_named
from queries.completeness import Scope, completeness
from queries.engine import Engine
from queries.subjects import find_subject, named_by
from queries.words import happened

_SIZES_THEN: Final = "Sizes are here as they were measured then; what grew until it was measured later: linktrail growth."


def happened_to(
    lake: Path | Engine,
    subject: str,
    *,
    after: int | None = None,
    before: int | None = None,
    cluster: str | None = None,
    node: str | None = None,
    clock: Clock | None = None,
) -> Answer:
    """Return all that happened to ``subject`` (an id, 6 characters of one, a name, or a path) between ``after`` and ``before``.

    Raises ``UnknownSubjectError``, ``AmbiguousSubjectError``, ``UsageError``, ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    with engine_of(lake) as engine:
        meant = find_subject(engine, subject)
        path = meant.path if meant.id in (None, meant.path) else None
        title: tuple[str, ...] = () if meant.id is None or meant.id == subject else (f"{subject} is {meant.id}.",)
        title += tuple(
            f"{meant.id} is a name of {named}: linktrail timeline {named} tells what happened to that."
            for named in named_by(engine, meant.id)
        )
        values = {"id": meant.id, "path": path, "since": after, "until": before, "cluster": cluster, "node": node}
        return _told(engine, values, title, present(clock))


def happened_around(
    lake: Path | Engine,
    *,
    after: int,
    before: int,
    cluster: str | None = None,
    node: str | None = None,
    clock: Clock | None = None,
) -> Answer:
    """Return all that happened to anything between ``after`` and ``before``; of sizes, those that were measured then.

    What grew between two measurements may have grown at any time between them: on a fleet that is a line for every running container, and
    ``growth`` says it better. A note says so.
    """
    values = {"id": None, "path": None, "since": after, "until": before, "cluster": cluster, "node": node}
    with engine_of(lake) as engine:
        return _told(engine, values, (_SIZES_THEN,), present(clock))


def _told(engine: Engine, values: Mapping[str, object], title: tuple[str, ...], now: int) -> Answer:
    question = question_named("timeline")
    values = {**values, "until": now if values["until"] is None else values["until"]}
    rows = engine.query(question.sql, question.bound(values))
    named = values["node"]
    found = {named} if isinstance(named, str) else set(rows.column("node").to_pylist())
    cluster = values["cluster"]
    scope = Scope(frozenset({cluster}) if isinstance(cluster, str) else None, frozenset(found) or None)
    said = completeness(engine, question.window_of(values, now), now=now, scope=scope)
    events = rows.to_pylist()
    words = [happened(event, of_many=values["id"] is None and values["path"] is None) for event in events]
    rows = rows.append_column("happened", pa.array(words, TEXT))
    several = len(found) > 1
    names = ("after", "before", *(("node",) if several else ()), "origin", "what happened")
    brief = brief_table(names, (_brief_event(event, text, several=several) for event, text in zip(events, words, strict=True)))
    return Answer(question.name, spelled(question, values), (Sheet("rows", rows, brief),), said, title)


def _brief_event(event: Mapping[str, Any], text: str, *, several: bool) -> tuple[object, ...]:
    ends = (span(event["after"], event["after"]), span(event["before"], event["before"]))
    return (*ends, *((event["node"],) if several else ()), event["origin"], shorten(text))
