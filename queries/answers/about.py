"""Questions of the catalog about one thing: its name is looked up first, and the rows are shortened for eyes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from linktrail.clock import Clock
from linktrail.errors import UnknownSubjectError
from linktrail.output import Sheet
from queries.answer import Answer, Coming, ask, coming, engine_of, sheet_of
from queries.answers.eyes import brief, present
from queries.catalog import Question, question_named
from queries.engine import Engine
from queries.subjects import find_object, only_place

_RECORDED: Final = "SELECT DISTINCT cluster, node, store_kind, store_root FROM lake.recorded_runs"
_FIRST_NODES: Final = 8  # are asked for first, because they are waited for
_MORE_NODES: Final = 32


def asked(lake: Path | Engine, question: str, values: Mapping[str, object], *, clock: Clock | None = None) -> Answer:
    """Ask ``question`` with ``values`` (instants in ns UTC; what is left out is as the question says)."""
    with engine_of(lake) as engine:
        return asking(engine, question, values, clock=clock).whole()


def asking(engine: Engine, question: str, values: Mapping[str, object], *, in_parts: bool = False, clock: Clock | None = None) -> Coming:
    """Do the same without waiting for the answer.

    ``in_parts``: rows that stand node by node come as soon as those of some nodes are known.
    """
    now = present(clock)
    known = question_named(question)
    filled = _filled(known, values, now)
    parts = _node_by_node if in_parts and known.by_node and filled.get("node") is None else _at_once
    return coming(engine, known, filled, now, parts(engine, known, filled))


def _at_once(engine: Engine, question: Question, values: Mapping[str, object]) -> Iterator[Sheet]:
    yield _for_eyes(sheet_of(engine, question, values))


def _node_by_node(engine: Engine, question: Question, values: Mapping[str, object]) -> Iterator[Sheet]:
    """Yield the rows of some nodes after the others; what tells them apart in any of them is in all."""
    recorded = engine.query(_RECORDED)
    nodes = sorted(set(recorded.column("node").to_pylist()))
    kept = {name for name in recorded.column_names if len(recorded.column(name).unique()) > 1}
    starts = nodes[_FIRST_NODES::_MORE_NODES]
    for first, below in pairwise([None, *starts, None]):
        with engine.of_nodes(question.sql, first, below):
            sheet = _for_eyes(sheet_of(engine, question, values), kept)
        if sheet.shown.num_rows:
            kept.update(sheet.shown.column_names)
        yield sheet


def asked_about(lake: Path | Engine, question: str, subject: str, values: Mapping[str, object], *, clock: Clock | None = None) -> Answer:
    """Ask ``question`` about what ``subject`` means: an id, 6 characters of one, a name, or a path.

    Raises ``UnknownSubjectError``, ``AmbiguousSubjectError``, ``UsageError``.
    """
    now = present(clock)
    known = question_named(question)
    with engine_of(lake) as engine:
        meant = find_object(engine, subject)
        if meant.id is None:
            raise UnknownSubjectError(name=subject)
        narrowed = only_place(engine, meant.id, _name(values.get("cluster")), _name(values.get("node")))
        answer = ask(engine, known, _filled(known, {**values, "id": meant.id}, now), now, narrowed=narrowed)
    notes = () if meant.id == subject else (f"{subject} is {meant.id}.",)
    return replace(answer, sheets=[_for_eyes(sheet) for sheet in answer.sheets], notes=notes)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _filled(question: Question, values: Mapping[str, object], now: int) -> dict[str, object]:
    """Return ``values`` with the defaults of all other parameters."""
    given = {name: value for name, value in values.items() if value is not None}
    return {**question.defaults(now), **given}


def _for_eyes(sheet: Sheet, kept: Collection[str] = ()) -> Sheet:
    return replace(sheet, brief=brief(sheet.shown, kept))
