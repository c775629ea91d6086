"""``linktrail query``: the questions of the catalog by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from linktrail.clock import SystemClock
from linktrail.errors import UsageError
from linktrail.output import Format, Sheet, write_output
from queries.verbs.giving import give
from queries.verbs.options import AsJson, Form, Lake, lake_path

if TYPE_CHECKING:
    from queries.catalog import Parameter


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
    with open_lake(lake_path(lake)) as engine:
        answer = ask(engine, question, values, now)
    return give(answer, form, as_json=as_json)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(what=f"--param takes NAME=VALUE, not '{text}'")
        pairs[name] = value
    return pairs


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
