"""``linktrail shell``: the terminal around ``queries.shell``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linktrail.state import default_state
from queries.verbs.options import Lake, lake_path

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from queries.shell import Shell

_HISTORY = "shell_history"


def shell(
    *,
    lake: Lake = None,
    history: Annotated[bool, typer.Option("--history/--no-history", help="Keep what is typed for the next time.")] = True,
) -> int:
    """SQL over the history, statement after statement, with completion and history; each runs read-only in a process of its own.

    Reads standard input where that is no terminal. .tables and .schema say what there is, .help the rest, Ctrl-D leaves.

    Examples: linktrail shell
              linktrail shell < questions.sql
    """
    from queries.shell import Shell  # noqa: PLC0415 - --help must not wait for it
    from queries.snapshot import read_lake  # noqa: PLC0415 - likewise

    path = lake_path(lake)
    read_lake(path)  # that there is none is said at once
    running = Shell(path, sys.stdout, sys.stderr)
    if sys.stdin.isatty():
        _talk(running, _session(history))
        return 0
    for line in sys.stdin:
        running.line(line.rstrip("\n"))
        if running.ended or running.failed:
            return running.failed
    running.finish()
    return running.failed


def _session(history: bool) -> PromptSession[str]:
    from prompt_toolkit import PromptSession  # noqa: PLC0415 - only where there is a terminal
    from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415 - likewise
    from prompt_toolkit.history import FileHistory, InMemoryHistory  # noqa: PLC0415 - likewise

    from queries.shell import words  # noqa: PLC0415 - likewise

    file = _history_file() if history else None
    kept = InMemoryHistory() if file is None else FileHistory(str(file))
    return PromptSession(history=kept, completer=WordCompleter(words(), WORD=True, ignore_case=True), complete_while_typing=False)


def _history_file() -> Path | None:
    """Return the file for what is typed, private to this user; ``None`` where there can be none."""
    file = default_state() / _HISTORY
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except OSError:
        sys.stderr.write(f"What is typed is not kept: {file} cannot be written.\n")
        return None
    return file


def _talk(running: Shell, session: PromptSession[str]) -> None:
    sys.stderr.write("SQL up to a semicolon; .help says what else. Ctrl-D leaves.\n")
    while not running.ended:
        try:
            running.line(session.prompt("      ...> " if running.continues else "linktrail> "))
        except KeyboardInterrupt:
            running.forget()
        except EOFError:
            running.finish()
            return
