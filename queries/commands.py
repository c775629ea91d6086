"""The verbs that ask the lake: ``linktrail findings``, ``timeline``, ``usage``, ``query`` and ``sql``.

Rows go to standard output, everything else to standard error. Exit code 3: answered, but the record has gaps in the asked time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linktrail.clock import SystemClock
from linktrail.durations import parse_duration
from linktrail.errors import UsageError
from linktrail.output import Format, Sheet, write_output
from linktrail.state import default_state
from linktrail.text import printable

if TYPE_CHECKING:
    from queries.answer import Answer
    from queries.catalog import Parameter

Lake = Annotated[
    Path | None, typer.Option("--lake", metavar="DIR", envvar="LINKTRAIL_LAKE", help="The lake (default: lake/ in the state directory).")
]
At = Annotated[str, typer.Option("--at", metavar="INSTANT", help="now, '2h ago', ISO 8601 (UTC), or unix seconds.")]
Since = Annotated[str | None, typer.Option("--since", metavar="INSTANT", help="Only from then on; written as --at.")]
Until = Annotated[str, typer.Option("--until", metavar="INSTANT", help="Only up to then; written as --at.")]
Node = Annotated[str | None, typer.Option("--node", help="Only this node.")]
Store = Annotated[str | None, typer.Option("--store", metavar="ROOT", help="Only the store with this root.")]
Form = Annotated[Format, typer.Option("--format", help="How rows are written.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


def findings(
    *,
    lake: Lake = None,
    at: At = "now",
    node: Node = None,
    store: Store = None,
    family: Annotated[str | None, typer.Option("--family", help="Only leaks, breaks, contents or growth.")] = None,
    code: Annotated[str | None, typer.Option("--code", help="Only this finding code.")] = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """What leaked, was broken or grew at an instant: since when, how large, whose, and what to do.

    Examples: linktrail findings
              linktrail findings --at '2h ago' --family leaks
              linktrail findings --at 2026-11-23T16:02:07Z --json

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from linktrail.codes import CODES  # noqa: PLC0415 - --help must not wait for it
    from queries import answers  # noqa: PLC0415 - likewise

    _require_one("--family", family, sorted({known.family for known in CODES.values()}))
    _require_one("--code", code, list(CODES))
    answer = answers.findings(_lake(lake), at=_instant(at, "--at"), node=node, store=store, family=family, code=code)
    return _give(answer, form, as_json=as_json)


def usage(
    *,
    lake: Lake = None,
    at: At = "now",
    node: Node = None,
    store: Store = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """What took the space at an instant: layers by role and owner, stores, filesystems, and totals.

    Examples: linktrail usage
              linktrail usage --at 2026-11-23T16:02:07Z --format csv

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from queries import answers  # noqa: PLC0415 - --help must not wait for it

    return _give(answers.usage(_lake(lake), at=_instant(at, "--at"), node=node, store=store), form, as_json=as_json)


def timeline(
    subject: Annotated[str, typer.Argument(metavar="ID|PATH", help="An id, 6 or more characters of one, a name, or a path in a store.")],
    *,
    lake: Lake = None,
    since: Since = None,
    until: Until = "now",
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Everything that happened to a layer, image, container, short link or path, on one axis of time.

    Its links in both directions, its findings and sizes, and the gaps of the record. Every change has an interval: it happened after
    one instant and before the other.

    Examples: linktrail timeline 4f1c0a9be2d7
              linktrail timeline /var/lib/containers/storage/overlay/4f1c0a9be2d7.../diff/etc --since '2 days ago'

    Exit code 3: answered, but the record has gaps in that time.
    """
    from queries import answers  # noqa: PLC0415 - --help must not wait for it

    first, last = (None if since is None else _instant(since, "--since")), _instant(until, "--until")
    if first is not None and first > last:
        raise UsageError(what=f"--since {since} lies after --until {until}")
    return _give(answers.timeline(_lake(lake), subject, since=first, until=last, node=node), form, as_json=as_json)


def query(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A query of the catalog.")] = None,
    *,
    listed: Annotated[bool, typer.Option("--list", help="List the catalog; with a name, that query's parameters and columns.")] = False,
    parameters: Annotated[list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="A parameter; repeatable.")] = None,
    lake: Lake = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Ask a question of the catalog.

    Examples: linktrail query --list
              linktrail query --list whois
              linktrail query whois --param id=4f1c0a9be2d7

    Exit code 3: answered, but the record has gaps in the asked time.
    """
    from queries import catalog  # noqa: PLC0415 - --help must not wait for it
    from queries.answer import ask  # noqa: PLC0415 - likewise
    from queries.engine import open_lake  # noqa: PLC0415 - likewise

    if listed or name is None:
        _list(name, Format.JSON if as_json else form)
        return 0
    question = catalog.question_named(name)
    now = SystemClock().now().wall
    values = question.values(_pairs(parameters or []), now)
    with open_lake(_lake(lake)) as engine:
        answer = ask(engine, question, values, now)
    return _give(answer, form, as_json=as_json)


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
    files = read_lake(_lake(lake))
    outcome = run_sql(files, text, limits)
    now = SystemClock().now().wall
    with Engine(files.only("coverage")) as engine:
        said = completeness(engine, Window(None, now), now=now)
    document = {"question": "sql", "asked": {"sql": text}, "completeness": said.document(), "guards": list(outcome.guards)}
    chosen = Format.JSON if as_json else form
    write_output((Sheet("rows", outcome.rows),), chosen, document)
    if chosen is not Format.JSON:
        _say(said.lines())
    return 0


# --- reading the command line -----------------------------------------------------------------------------------


def _lake(path: Path | None) -> Path:
    return path or default_state() / "lake"


def _instant(text: str, option: str) -> int:
    from queries.times import parse_past  # noqa: PLC0415 - --help must not wait for it

    return parse_past(text, option, SystemClock().now().wall)


def _require_one(option: str, value: str | None, known: list[str]) -> None:
    if value is not None and value not in known:
        raise UsageError(what=f"{option} {value} is none of {', '.join(known)}")


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(what=f"--param takes NAME=VALUE, not '{text}'")
        pairs[name] = value
    return pairs


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


# --- writing ----------------------------------------------------------------------------------------------------


def _give(answer: Answer, form: Format, *, as_json: bool) -> int:
    """Write an answer: rows to standard output, the rest to standard error (json holds all)."""
    chosen = Format.JSON if as_json else form
    write_output(answer.sheets, chosen, answer.document())
    if chosen is not Format.JSON:
        _say(answer.lines())
    return answer.exit_code


def _say(lines: list[str]) -> None:
    sys.stdout.flush()
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))


def _list(name: str | None, form: Format) -> None:
    import pyarrow as pa  # noqa: PLC0415 - --help must not wait for it

    from queries import catalog  # noqa: PLC0415 - likewise

    if name is None:
        found = catalog.questions().values()
        listed = pa.table({"name": [one.name for one in found], "question": [one.question for one in found]})
    else:
        one = catalog.question_named(name)
        rows = [("parameter", item.name, _described(item), item.meaning) for item in one.parameters]
        rows += [("column", column, "", meaning) for column, meaning in one.columns]
        listed = pa.table(dict(zip(("what", "name", "kind", "meaning"), map(list, zip(*rows, strict=True)), strict=True)))
    write_output((Sheet("rows", listed),), form, {})


def _described(parameter: Parameter) -> str:
    if parameter.required:
        return f"{parameter.kind}, required"
    return f"{parameter.kind}, default {parameter.default}" if parameter.default else parameter.kind


def _list_views(form: Format) -> None:
    import pyarrow as pa  # noqa: PLC0415 - --help must not wait for it

    from queries.views import documented_views  # noqa: PLC0415 - likewise

    views = documented_views()
    listed = pa.table({"view": [view.signature for view in views], "row": [view.meaning for view in views]})
    write_output((Sheet("rows", listed),), form, {})
