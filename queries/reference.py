"""Reference pages written from what is asked with: every question of the catalog, every view, and every verb's own help.

``python -m queries.reference docs`` writes them; a test fails when one of them is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

from typer.main import get_command

from linktrail.command import VERBS, app, load
from queries.catalog import Parameter, questions
from queries.views import documented_views

_WIDTH = 100


def questions_page() -> str:
    """Return the page of the catalog and of the views."""
    lines = [
        "# Questions and views",
        "",
        "Each question is one SQL file in `queries/sql/`; this page is made from their headers. `linktrail query NAME --param A=B` asks",
        "one, the verbs of the command use them, and `linktrail.open(lake).query(NAME, ...)` asks from Python. Instants are `now`,",
        "`2h ago`, ISO 8601 (UTC) or unix seconds. Every answer says whether the record was complete in its time.",
        "",
    ]
    for name, question in questions().items():
        lines += [f"## `{name}`: {question.title}", "", question.question, "", "| parameter | kind | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{one.name}` | {_kind(one)} | {one.meaning} |" for one in question.parameters]
        lines += ["", "| column | meaning |", "| --- | --- |"]
        lines += [f"| `{column}` | {meaning} |" for column, meaning in question.columns]
        lines.append("")
    lines += [
        "## Views and table macros",
        "",
        "For `linktrail sql`, `linktrail shell` and Python.",
        "",
        "| view | a row is |",
        "| --- | --- |",
    ]
    lines += [f"| `{view.signature}` | {view.meaning} |" for view in documented_views()]
    return "\n".join([*lines, ""])


def _kind(parameter: Parameter) -> str:
    if parameter.required:
        return f"{parameter.kind}, required"
    return f"{parameter.kind}, default {parameter.default}" if parameter.default else parameter.kind


def commands_page() -> str:
    """Return the page of every verb's help, as the program prints it."""
    lines = ["# Commands", "", "What `linktrail --help` and `linktrail VERB --help` print.", "", "```", _help([]), "```", ""]
    for verb in VERBS:
        lines += [f"## `linktrail {verb.name}`", "", "```", _help([verb.name]), "```", ""]
    return "\n".join(lines)


def _help(words: list[str]) -> str:
    """Return the help of the program, or of one verb."""
    command = load(next(verb for verb in VERBS if verb.name == words[0])) if words else get_command(app)
    name = " ".join(["linktrail", *words])
    context = command.make_context(name, ["--help"], resilient_parsing=True, terminal_width=_WIDTH, max_content_width=_WIDTH)
    return str(command.get_help(context)).strip()


PAGES = {"questions.md": questions_page, "commands.md": commands_page}


def main(directory: Path) -> None:
    """Write every page below ``directory``."""
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
