"""``linktrail shell``: SQL from people, statement after statement, each in the sandbox of ``linktrail sql``.

A statement ends with a semicolon and may take many lines. What begins with a dot is a command of the shell itself (``.help`` lists
them). Every statement sees the lake as it is at that moment. This module knows no terminal: it takes lines and gives text, so that the
same shell reads a person's keys and a pipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TextIO

import pyarrow as pa

from linktrail.errors import LinktrailError, UsageError
from linktrail.output import Format, Sheet, write_output
from linktrail.schema import TABLES
from linktrail.text import printable
from queries.sandbox import Limits, run_sql
from queries.snapshot import read_lake
from queries.views import documented_views

_UNFINISHED: Final = ("unterminated", "syntax error at end of input")
_SHOWN: Final = (Format.TABLE, Format.JSON, Format.JSONL, Format.CSV, Format.MD)


@dataclass(slots=True)
class Shell:
    """One sitting. ``failed`` is the exit code of the last statement that failed, 0 when none did."""

    lake: Path
    out: TextIO
    error: TextIO
    limits: Limits = field(default_factory=Limits)
    form: Format = Format.TABLE
    timing: bool = False
    failed: int = 0
    ended: bool = False
    _waiting: str = ""

    @property
    def continues(self) -> bool:
        """Whether the statement so far is not finished."""
        return bool(self._waiting.strip())

    def line(self, text: str) -> None:
        """Take one line: part of a statement, or a command."""
        if not self.continues and text.lstrip().startswith("."):
            self._command(text.strip())
            return
        self._waiting += text + "\n"
        if text.rstrip().endswith(";"):
            self._run_waiting()

    def finish(self) -> None:
        """Take the end of the input: what waits is a statement even without its semicolon."""
        if self.continues:
            self._waiting += ";"
            self._run_waiting(whole=True)

    def forget(self) -> None:
        """Drop the statement so far (Ctrl-C)."""
        self._waiting = ""

    def _run_waiting(self, *, whole: bool = False) -> None:
        statements = _statements(self._waiting)
        if statements is None and not whole:
            return  # inside a quoted text or a comment: the semicolon did not end it
        text, self._waiting = self._waiting, ""
        for statement in statements or [text]:
            if not self._run(statement):
                return

    def _run(self, statement: str) -> bool:
        began = time.monotonic()
        try:
            rows = run_sql(read_lake(self.lake), statement, self.limits).rows
        except LinktrailError as error:
            self.failed = error.exit_code
            self.error.write(f"{printable(error.message)}\n")
            if error.advice:
                self.error.write(f"  {printable(error.advice)}\n")
            return False
        except KeyboardInterrupt:
            self.error.write("Stopped.\n")
            return False
        write_output((Sheet("rows", rows),), self.form, {}, stream=self.out)
        if self.form is Format.TABLE:
            self.error.write(f"{rows.num_rows} row{'' if rows.num_rows == 1 else 's'}\n")
        if self.timing:
            self.error.write(f"{time.monotonic() - began:.2f} s\n")
        self.out.flush()
        return True

    # --- commands -------------------------------------------------------------------------------------------------

    def _command(self, text: str) -> None:
        name, _, argument = text.partition(" ")
        known = COMMANDS.get(name)
        try:
            if known is None:
                raise UsageError(what=f"there is no command {name}; .help lists them")
            known.run(self, argument.strip())
        except LinktrailError as error:
            self.failed = error.exit_code
            self.error.write(f"{printable(error.message)}\n")

    def tables(self, argument: str) -> None:
        """List views and macros."""
        del argument
        views = documented_views()
        listed = pa.table({"view": [view.signature for view in views], "row": [view.meaning for view in views]})
        write_output((Sheet("views", listed),), self.form, {}, stream=self.out)

    def schema(self, argument: str) -> None:
        """Describe the columns of one view, or of every table."""
        names = [argument] if argument else list(TABLES)
        known = {view.signature.partition("(")[0]: view.signature for view in documented_views()}
        for name in names:
            if name in TABLES:
                columns = TABLES[name].columns
                listed = pa.table(
                    {
                        name: [one.name for one in columns],
                        "type": [str(one.type) for one in columns],
                        "meaning": [one.meaning for one in columns],
                    }
                )
                write_output((Sheet("columns", listed),), self.form, {}, stream=self.out)
            elif name in known:
                call = known[name].replace("(t)", "(now())")
                self._run(f"SELECT column_name, column_type FROM (DESCRIBE FROM {call})")  # noqa: S608 - a name from our own list
            else:
                raise UsageError(what=f"there is no view {name}; .tables lists them")

    def set_timing(self, argument: str) -> None:
        """Turn timing on or off."""
        if argument not in ("on", "off", ""):
            raise UsageError(what=f".timing takes on or off, not '{argument}'")
        self.timing = not self.timing if not argument else argument == "on"
        self.error.write(f"timing is {'on' if self.timing else 'off'}\n")

    def set_form(self, argument: str) -> None:
        """Choose how rows are written."""
        names = [form.value for form in _SHOWN]
        if argument not in names:
            raise UsageError(what=f".format takes {', '.join(names)}, not '{argument}'")
        self.form = Format(argument)

    def set_timeout(self, argument: str) -> None:
        """Choose after how many seconds a statement is stopped."""
        if not argument.isascii() or not argument.isdecimal() or not int(argument):
            raise UsageError(what=f".timeout takes a number of seconds, not '{argument}'")
        self.limits = replace(self.limits, seconds=float(argument))

    def help(self, argument: str) -> None:
        """Say what there is."""
        del argument
        width = max(len(command.usage) for command in COMMANDS.values())
        self.out.writelines(f"{command.usage:<{width}}  {command.purpose}\n" for command in COMMANDS.values())
        self.out.write("Anything else is SQL, up to a semicolon. It is read-only. Times are UTC: links_at('2026-11-23 16:00').\n")

    def end(self, argument: str) -> None:
        """Leave."""
        del argument
        self.ended = True


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the shell."""

    usage: str
    purpose: str
    run: Callable[[Shell, str], None]


COMMANDS: Final[Mapping[str, Command]] = {
    ".tables": Command(".tables", "views and macros, and what a row of each is", Shell.tables),
    ".schema": Command(".schema [VIEW]", "columns of a view, or of every table", Shell.schema),
    ".format": Command(".format FORM", "write rows as table, json, jsonl, csv or md", Shell.set_form),
    ".timing": Command(".timing [on|off]", "say how long each statement took", Shell.set_timing),
    ".timeout": Command(".timeout SECONDS", "stop a statement after that time", Shell.set_timeout),
    ".help": Command(".help", "this", Shell.help),
    ".quit": Command(".quit", "leave (also .exit, or the end of the input)", Shell.end),
    ".exit": Command(".exit", "leave", Shell.end),
}


def words() -> list[str]:
    """Return what can be completed: views, macros, columns and commands."""
    views = [view.signature.partition("(")[0] for view in documented_views()]
    columns = {column.name for table in TABLES.values() for column in table.columns}
    return [*COMMANDS, *views, *sorted(columns)]


def _statements(text: str) -> list[str] | None:
    """Return the statements in ``text``; ``None`` where the last of them is not finished. What cannot be parsed is one statement."""
    import duckdb  # noqa: PLC0415 - 0.2 s that the prompt need not wait for

    try:
        found = [statement.query for statement in duckdb.extract_statements(text)]
    except (duckdb.Error, ValueError) as error:
        return None if any(words in str(error).lower() for words in _UNFINISHED) else [text]
    return [one for one in found if one.strip().strip(";").strip()]
