"""An answer: its rows, and whether the record was complete in the time it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from linktrail.clock import iso
from linktrail.output import Sheet
from queries.catalog import Question
from queries.completeness import Completeness, Scope, completeness
from queries.engine import Engine, open_lake

JSON_COLUMNS: Final = frozenset({"related", "evidence", "detail"})


@dataclass(frozen=True, slots=True)
class Answer:
    """``sheets`` (the first holds the rows), what was ``asked``, and the ``completeness`` of the record in the asked time."""

    question: str
    asked: Mapping[str, object]
    sheets: Sequence[Sheet]
    completeness: Completeness
    notes: Sequence[str] = field(default=())

    @property
    def rows(self) -> pa.Table:
        """The rows, as Arrow."""
        parts = [sheet.rows for sheet in self.sheets if sheet.name == self.sheets[0].name and sheet.rows is not None]
        return pa.concat_tables(parts) if parts else pa.table({})

    @property
    def columns(self) -> list[str]:
        """The names of the columns of ``rows``."""
        names: list[str] = self.rows.column_names
        return names

    @property
    def exit_code(self) -> int:
        """0, or 3 where the asked time has gaps."""
        return self.completeness.exit_code

    def document(self) -> dict[str, object]:
        """Return what json says besides the rows."""
        return {
            "question": self.question,
            "asked": dict(self.asked),
            "completeness": self.completeness.document(),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return what is said to a person besides the rows."""
        return [*self.notes, *self.completeness.lines()]


@dataclass(frozen=True, slots=True)
class Coming:
    """An answer that is still being looked for, so that its first rows can be written before the last are known.

    ``sheets`` can be gone through once. Both they and ``completeness`` need the engine that was asked; they raise what it raises.
    """

    question: str
    asked: Mapping[str, object]
    sheets: Iterable[Sheet]
    completeness: Callable[[], Completeness]

    def whole(self) -> Answer:
        """Return the answer once it is there."""
        return Answer(self.question, self.asked, tuple(self.sheets), self.completeness())


def ask(
    engine: Engine, question: Question, values: Mapping[str, object], now: int, *, narrowed: Mapping[str, object] | None = None
) -> Answer:
    """Ask a question of the catalog; ``values`` as ``Question.values`` gives them. Raises ``QueryError``, ``LakeError``.

    ``narrowed`` are values that give the same rows sooner; what is said of the record is about ``values``.
    """
    return coming(engine, question, values, now, [sheet_of(engine, question, {**values, **(narrowed or {})})]).whole()


def coming(engine: Engine, question: Question, values: Mapping[str, object], now: int, sheets: Iterable[Sheet]) -> Coming:
    """Return ``sheets`` as the answer to ``question`` with ``values``, and what is to be said of the record then."""
    scope = Scope(_one(values.get("cluster")), _one(values.get("node")), _text(values.get("store")))

    def said() -> Completeness:
        return completeness(engine, question.window_of(values, now), now=now, scope=scope, state=question.window == "at")

    return Coming(question.name, spelled(question, values), sheets, said)


def sheet_of(engine: Engine, question: Question, values: Mapping[str, object]) -> Sheet:
    """Return the rows of ``question``. Raises ``QueryError``, ``LakeError``."""
    rows = engine.query(question.sql, question.bound(values))
    return Sheet("rows", rows, nested=frozenset(rows.column_names) & JSON_COLUMNS)


def spelled(question: Question, values: Mapping[str, object]) -> dict[str, object]:
    """Return the values that were given, instants as ISO 8601."""
    instants = {parameter.name for parameter in question.parameters if parameter.kind == "timestamp"}
    given = {name: value for name, value in values.items() if value is not None}
    return {name: iso(value) if name in instants and isinstance(value, int) else value for name, value in given.items()}


@contextmanager
def engine_of(lake: Path | Engine) -> Iterator[Engine]:
    """Yield an engine over ``lake``; one that was made here is closed. Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``."""
    if isinstance(lake, Engine):
        yield lake
        return
    with open_lake(lake) as engine:
        yield engine


def _one(name: object) -> frozenset[str] | None:
    return frozenset({name}) if isinstance(name, str) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
