"""The views and table macros that people query: the four base views, and those of views.sql with what its comments say of them.

A base view hides rows that are stored twice: the same (node, run, seq) is the same row. Looking for them in every query would cost
a sort of the whole table, so they are looked for once: within a day the rows of a run are numbered without holes, so their count, sum
and sum of squares tell in one cheap pass where a closer look is needed (or that rows have aged out), and only those days are compared
row by row.

In views.sql a statement ends with a semicolon at the end of a line; the comment directly above a statement is its documentation
(first line: name and parameters, then what a row is). Statements without such a comment are helpers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from linktrail.schema import TABLES, Table


@dataclass(frozen=True, slots=True)
class View:
    """One documented view or macro: ``signature`` as it is written in a query, ``meaning`` in sentences."""

    signature: str
    meaning: str


@cache
def _text() -> str:
    return files("queries").joinpath("views.sql").read_text(encoding="utf-8")


def view_statements() -> tuple[str, ...]:
    """Return every statement, in order, that makes the views over the tables of schema ``lake``, which hold what is stored."""
    return (*_repeated_statements(), *(_base_view(table) for table in TABLES.values()), *_written_statements())


def _repeated_statements() -> tuple[str, str]:
    parts = [f"SELECT node, run, day, seq FROM lake.{name} WHERE seq IS NOT NULL" for name in TABLES]  # noqa: S608 - own names
    numbered = " UNION ALL ".join(parts)
    squares = "({0}::HUGEINT * ({0} + 1) * (2 * {0} + 1) // 6)"  # the sum of the squares of 0..n
    suspect = " OR ".join(
        (
            "count(*) <> max(seq) - min(seq) + 1",
            "2 * sum(seq) <> count(*) * (min(seq) + max(seq))",
            f"sum(seq::HUGEINT * seq) <> {squares.format('max(seq)')} - {squares.format('(min(seq) - 1)')}",
        )
    )
    doubtful = f"SELECT node, run, day FROM ({numbered}) GROUP BY ALL HAVING {suspect}"  # noqa: S608 - own names
    compared = f"FROM ({numbered}) SEMI JOIN lake.suspect_days USING (node, run, day)"
    return (
        f"CREATE TABLE lake.suspect_days AS {doubtful}",
        f"CREATE TABLE lake.repeated AS SELECT node, run, seq {compared} GROUP BY ALL HAVING count(*) > 1",
    )


def _base_view(table: Table) -> str:
    stored = f"SELECT * FROM lake.{table.name} AS r WHERE"  # noqa: S608 - own names
    repeated = "EXISTS (FROM lake.repeated AS d WHERE d.node = r.node AND d.run = r.run AND d.seq = r.seq)"
    once = "QUALIFY row_number() OVER (PARTITION BY node, run, seq) = 1"
    return f"CREATE VIEW {table.name} AS {stored} NOT {repeated} UNION ALL ({stored} {repeated} {once})"


@cache
def _written_statements() -> tuple[str, ...]:
    lines = (line for line in _text().splitlines() if line.strip() and not line.lstrip().startswith("--"))
    statements = "\n".join(lines).split(";\n")
    return tuple(statement.strip().removesuffix(";") for statement in statements if statement.strip())


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
