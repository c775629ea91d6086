"""Writing an answer: rows to standard output, what is said of them to standard error (json holds all)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from linktrail.output import Format, write_output
from linktrail.text import printable

if TYPE_CHECKING:
    from queries.answer import Answer


def give(answer: Answer, form: Format, *, as_json: bool) -> int:
    """Write an answer and return its exit code."""
    chosen = Format.JSON if as_json else form
    write_output(answer.sheets, chosen, answer.document())
    if chosen is not Format.JSON:
        say(answer.lines())
    return answer.exit_code


def say(lines: Sequence[str]) -> None:
    """Write lines for a person to standard error."""
    sys.stdout.flush()
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
