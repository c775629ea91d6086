"""``linktrail sql``: SQL of people, in the sandbox."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from linktrail.clock import SystemClock
from linktrail.durations import parse_duration
from linktrail.errors import UsageError
from linktrail.output import Format, Sheet, write_output
from queries.verbs.giving import say
from queries.verbs.options import AsJson, Form, Lake, lake_path


def sql(
    statement: Annotated[str | None, typer.Argument(metavar="SQL", help="One SELECT in DuckDB's SQL; - reads standard input.")] = None,
    *,
    views: Annotated[bool, typer.Option("--views", help="List the views and table macros instead.")] = False,
    lake: Lake = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Stop the query after that time.")] = "60s",
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="Memory it may use: 512M, 2G.")] = "2G",
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Run SQL of your own over the lake: read-only, in a process of its own, with limits.

    Views: links, findings, usage, coverage (the tables of the record), leaks, owners, gaps; and as of an instant: links_at(t),
    layers_at(t), findings_at(t), usage_at(t). linktrail sql --views says what each of them is.

    Examples: linktrail sql "SELECT code, count(*) FROM findings_at('2026-11-23 16:00') GROUP BY code"
              linktrail sql - --format csv < question.sql

    The exit code is 0 also where the record has gaps, because SQL does not say what time it asks about; the gaps are stated.
    """
    from queries.completeness import Window, completeness  # noqa: PLC0415 - --help must not wait for it
    from queries.engine import Engine  # noqa: PLC0415 - likewise
    from queries.sandbox import Limits, run_sql  # noqa: PLC0415 - likewise
    from queries.snapshot import read_lake  # noqa: PLC0415 - likewise

    if views:
        _list_views(Format.JSON if as_json else form)
        return 0
    limits = Limits(_seconds(timeout), _memory(memory))
    text = _statement(statement)
    files = read_lake(lake_path(lake))
    outcome = run_sql(files, text, limits)
    now = SystemClock().now().wall
    with Engine(files.only("coverage")) as engine:
        said = completeness(engine, Window(None, now), now=now)
    document = {"question": "sql", "asked": {"sql": text}, "completeness": said.document(), "guards": list(outcome.guards)}
    chosen = Format.JSON if as_json else form
    write_output((Sheet("rows", outcome.rows),), chosen, document)
    if chosen is not Format.JSON:
        say(said.lines())
    return 0


def _seconds(text: str) -> float:
    seconds = parse_duration(text, "--timeout")
    if seconds <= 0:
        raise UsageError(what="--timeout must be longer than 0")
    return seconds


def _memory(text: str) -> int:
    from queries.sandbox import LEAST_MEMORY, MIB  # noqa: PLC0415 - --help must not wait for it

    number, unit = text[:-1], text[-1:].upper()
    sizes = {"M": MIB, "G": MIB << 10}
    if unit not in sizes or not number.isascii() or not number.isdecimal() or len(number) > 6:  # noqa: PLR2004 - a million GiB is enough
        raise UsageError(what=f"--memory takes a size such as 512M or 2G, not '{text}'")
    size = int(number) * sizes[unit]
    if size < LEAST_MEMORY:
        raise UsageError(what=f"--memory must be at least {LEAST_MEMORY // MIB}M")
    return size


def _statement(text: str | None) -> str:
    if text is None:
        raise UsageError(what="linktrail sql needs a statement, or - to read one from standard input")
    if text != "-":
        return text
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(what="the statement on standard input is not UTF-8") from error


def _list_views(form: Format) -> None:
    import pyarrow as pa  # noqa: PLC0415 - --help must not wait for it

    from queries.views import documented_views  # noqa: PLC0415 - likewise

    views = documented_views()
    listed = pa.table({"view": [view.signature for view in views], "row": [view.meaning for view in views]})
    write_output((Sheet("rows", listed),), form, {})
