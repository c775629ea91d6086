"""Writing an answer: rows to standard output, what is said of them to standard error (json holds all)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linktrail.output import Format, write_output
from linktrail.text import printable

if TYPE_CHECKING:
    from queries.answer import Answer, Coming
    from queries.engine import Engine


def give(answer: Answer, form: Format, *, as_json: bool) -> int:
    """Write an answer and return its exit code."""
    chosen = Format.JSON if as_json else form
    write_output(answer.sheets, chosen, answer.document())
    if chosen is not Format.JSON:
        say(answer.lines())
    return answer.exit_code


def give_asked(lake: Path, question: str, values: Mapping[str, object], form: Format, *, as_json: bool) -> int:
    """Ask ``question`` of the catalog, write the answer, and return its exit code."""
    from queries.answers.about import asking  # noqa: PLC0415 - --help must not wait for it

    return give_coming(lake, lambda engine: asking(engine, question, values, in_parts=_comes(form, as_json=as_json)), form, as_json=as_json)


def give_coming(lake: Path, ask: Callable[[Engine], Coming], form: Format, *, as_json: bool) -> int:
    """Write the answer to ``ask`` as it comes, then what is to be said of the record, and return the exit code.

    json and parquet say that before the rows.
    """
    from queries.engine import open_lake  # noqa: PLC0415 - --help must not wait for it

    with open_lake(lake) as engine:
        coming = ask(engine)
        if not _comes(form, as_json=as_json):
            return give(coming.whole(), form, as_json=as_json)
        write_output(coming.sheets, form, {})
        said = coming.completeness()
    say(said.lines())
    return said.exit_code


def _comes(form: Format, *, as_json: bool) -> bool:
    """Tell whether rows in this form can be written before all are known."""
    return not as_json and form not in {Format.JSON, Format.PARQUET}


def say(lines: Sequence[str]) -> None:
    """Write lines for a person to standard error."""
    sys.stdout.flush()
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
