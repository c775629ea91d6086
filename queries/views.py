"""The views and table macros that people query: the four base views, and those of views.sql with what its comments say of them.

A base view hides rows that are stored twice: the same (cluster, node, run, seq) is the same row. Looking for them in every query would cost
a sort of the whole table, so they are looked for once, and only in days that upkeep has not put in order yet (``queries.snapshot``):
within a day the rows of a run are numbered without holes, so their count, sum and sum of squares tell in one cheap pass where a closer
look is needed (or that rows have aged out), and only those days are compared row by row.

In views.sql a statement ends with a semicolon at the end of a line; the comment directly above a statement is its documentation
(first line: name and parameters, then what a row is). Statements without such a comment are helpers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from linktrail.schema import TABLES, Table

REPEATED: Final = "SELECT * FROM lake.repeated LIMIT 1"
_DEFINED: Final = re.compile(r"CREATE (?:VIEW|TABLE|MACRO) ([\w.]+)")
LOOKING_AROUND: Final = "SHOW ALL TABLES"
_LOOKING_AROUND: Final = re.compile(r"\b(show|describe|duckdb_\w+|information_schema|pg_catalog|query|query_table)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class View:
    """One documented view or macro: ``signature`` as it is written in a query, ``meaning`` in sentences."""

    signature: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Definition:
    """One statement of views.sql, and the ``name`` that it defines."""

    name: str
    sql: str

    def named_in(self, text: str) -> bool:
        """Tell whether ``text`` may use it."""
        return re.search(rf"\b{re.escape(self.name.rpartition('.')[2])}\b", text, re.IGNORECASE) is not None


# --- the base views ---------------------------------------------------------------------------------------------


def repeated_statements(numbered: str | None) -> list[str]:
    """Return the statements that list the rows that are stored more than once in ``lake.repeated``.

    ``numbered`` is a query for cluster, node, run, day and seq of the rows, of all tables, of every day that is looked through (``None``:
    there is none).
    """
    if numbered is None:
        return ["CREATE TABLE lake.repeated (cluster VARCHAR, node VARCHAR, run VARCHAR, seq BIGINT)"]
    squares = "({0}::HUGEINT * ({0} + 1) * (2 * {0} + 1) // 6)"  # the sum of the squares of 0..n
    suspect = " OR ".join(
        (
            "count(*) <> max(seq) - min(seq) + 1",
            "2 * sum(seq) <> count(*) * (min(seq) + max(seq))",
            f"sum(seq::HUGEINT * seq) <> {squares.format('max(seq)')} - {squares.format('(min(seq) - 1)')}",
        )
    )
    doubtful = f"SELECT cluster, node, run, day FROM lake.numbered GROUP BY ALL HAVING {suspect}"  # noqa: S608 - own names
    compared = "FROM lake.numbered SEMI JOIN lake.suspect_days USING (cluster, node, run, day)"
    return [
        f"CREATE VIEW lake.numbered AS {numbered}",
        f"CREATE TABLE lake.suspect_days AS {doubtful}",
        f"CREATE TABLE lake.repeated AS SELECT cluster, node, run, seq {compared} GROUP BY ALL HAVING count(*) > 1",
        "DROP VIEW lake.numbered",
    ]


def base_views(names: Sequence[str] = tuple(TABLES), *, once: bool, condition: str = "true") -> list[str]:
    """Return the statements that make the base views ``names`` (anew), of the rows that meet ``condition``.

    ``once``: where rows are stored more than once.
    """
    rows = (_once(TABLES[name]) if once else f"SELECT * FROM lake.{name}" for name in names)  # noqa: S608 - own names
    return [f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM ({of_it}) WHERE {condition}" for name, of_it in zip(names, rows, strict=True)]  # noqa: S608 - own names


def _once(table: Table) -> str:
    stored = f"SELECT * FROM lake.{table.name} AS r WHERE"  # noqa: S608 - own names
    repeated = "EXISTS (FROM lake.repeated AS d WHERE d.cluster = r.cluster AND d.node = r.node AND d.run = r.run AND d.seq = r.seq)"
    once = "QUALIFY row_number() OVER (PARTITION BY cluster, node, run, seq) = 1"
    return f"{stored} NOT {repeated} UNION ALL ({stored} {repeated} {once})"


# --- views.sql --------------------------------------------------------------------------------------------------


@cache
def _text() -> str:
    return files("queries").joinpath("views.sql").read_text(encoding="utf-8")


@cache
def definitions() -> tuple[Definition, ...]:
    """Return the statements of views.sql in order, without comments."""
    lines = (line for line in _text().splitlines() if line.strip() and not line.lstrip().startswith("--"))
    statements = (statement.strip().removesuffix(";") for statement in "\n".join(lines).split(";\n"))
    return tuple(Definition(match[1], statement) for statement in statements if (match := _DEFINED.match(statement)))


def wanted(sql: str, known: Sequence[Definition]) -> list[Definition]:
    """Return those of ``known`` that ``sql`` may need, in order; all of them where it may ask what there is."""
    if _LOOKING_AROUND.search(sql):
        return list(known)
    needed: list[Definition] = []
    for definition in reversed(known):  # a definition uses only those before it
        if definition.named_in(sql) or any(definition.named_in(user.sql) for user in needed):
            needed.append(definition)
    return needed[::-1]


def tables_of(sql: str, needed: Sequence[Definition]) -> list[str]:
    """Return the recorded tables that ``sql`` and the views and macros ``needed`` for it may use; all where it may ask what there is."""
    if _LOOKING_AROUND.search(sql):
        return list(TABLES)
    text = "\n".join([sql, *(definition.sql for definition in needed)])
    return [name for name in TABLES if re.search(rf"\b{name}\b", text, re.IGNORECASE)]


@cache
def documented_views() -> tuple[View, ...]:
    """Return the documented views and macros, in the order of views.sql."""
    found = [View(table.name, f"{table.row}.") for table in TABLES.values()]
    comment: list[str] = []
    for line in _text().splitlines():
        if line.startswith("-- "):
            comment.append(line.removeprefix("-- ").strip())
            continue
        if line.startswith("CREATE") and comment and ":" in comment[0]:
            signature, first = comment[0].split(":", 1)
            found.append(View(signature.strip(), " ".join([first.strip(), *comment[1:]])))
        comment = []
    return tuple(found)
