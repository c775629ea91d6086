"""The shell: statements over many lines, its own commands, refusals, a pipe, and a real terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linktrail.errors import QueryRefusedError
from queries.shell import COMMANDS, Shell, words
from tests.queries.story import LEAKED


@pytest.fixture
def shell(story: Path) -> Shell:
    """A shell over the story."""
    return Shell(story, io.StringIO(), io.StringIO())


def said(shell: Shell, *lines: str) -> tuple[str, str]:
    """Type ``lines`` and return what came of them: rows, and words."""
    for line in lines:
        shell.line(line)
    out, error = shell.out, shell.error
    assert isinstance(out, io.StringIO)
    assert isinstance(error, io.StringIO)
    return out.getvalue(), error.getvalue()


def test_a_statement_takes_many_lines_and_ends_with_a_semicolon(shell: Shell) -> None:
    """Nothing runs before the semicolon; one inside quotes ends nothing; two on a line are two."""
    assert said(shell, "SELECT 'a;", "b' AS", "text")[0] == ""
    assert shell.continues
    out, words_said = said(shell, ";")
    assert "a;" in out
    assert words_said == "1 row\n"
    out, _ = said(shell, ".format csv", "SELECT 1 AS one; SELECT 2 AS two;")
    assert out.endswith("one\n1\ntwo\n2\n")


def test_rows_are_those_of_the_record(shell: Shell) -> None:
    """Views and macros of the lake, whole ids."""
    out, _ = said(shell, ".format jsonl", "SELECT DISTINCT subject FROM leaks_before;", "SELECT DISTINCT subject FROM findings;")
    assert out == f'{{"subject":"{LEAKED}"}}\n'
    assert shell.failed, "the first named no view"


@pytest.mark.parametrize(
    "statement",
    [
        "COPY links TO '/nowhere/x';",
        "ATTACH '/nowhere/x';",
        "DROP VIEW links;",
        "WITH x AS (COPY (SELECT 1) TO '/nowhere/y') SELECT 1;",
        "SET threads = 1;",
    ],
)
def test_it_only_asks(shell: Shell, statement: str) -> None:
    """Whatever is no question is refused, and the shell goes on."""
    out, complaint = said(shell, statement)
    assert out == ""
    assert complaint
    assert shell.failed
    assert "1" in said(shell, "SELECT 1;")[0]


def test_commands(shell: Shell) -> None:
    """Each command does what its help says; an unknown one and a wrong argument are said."""
    assert "links_at(t)" in said(shell, ".tables")[0]
    assert "occurred_before" in said(shell, ".schema links")[0]
    assert "growth_bytes" in said(shell, ".schema growth")[0]
    assert "certainty" in said(shell, ".schema links_at")[0]
    assert re.search(r"\d\.\d\d s", said(shell, ".timing on", "SELECT 1;")[1])
    assert "there is no view nothing" in said(shell, ".schema nothing")[1]
    assert "there is no command .nothing" in said(shell, ".nothing")[1]
    assert ".format takes" in said(shell, ".format parquet")[1]
    assert ".timeout takes" in said(shell, ".timeout soon")[1]
    assert all(name in said(shell, ".help")[0] for name in COMMANDS)
    said(shell, ".quit")
    assert shell.ended


def test_a_statement_that_runs_too_long_is_stopped(shell: Shell) -> None:
    """The deadline is the shell's own to choose."""
    _, complaint = said(shell, ".timeout 1", "SELECT count(*) FROM range(100000000000) a, range(1000000) b;")
    assert "ran longer than 1 s" in complaint


def test_what_completes() -> None:
    """Views, macros, columns and commands."""
    assert {"links", "links_at", "leaks", "growth", "owners", "occurred_before", ".tables"} <= set(words())


def run(story: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Pipe ``text`` into the program."""
    command = [sys.executable, "-m", "linktrail", "shell", "--lake", str(story), *options]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)


def test_a_pipe_is_read_to_its_end_or_its_first_error(story: Path) -> None:
    """Rows on standard output; the last statement needs no semicolon; an error ends with its own exit code."""
    done = run(story, ".format csv\nSELECT count(*) AS n\nFROM findings")
    assert (done.returncode, done.stdout) == (0, "n\n3\n")
    failed = run(story, ".format csv\nDROP TABLE x;\nSELECT 1 AS one;\n")
    assert failed.returncode == QueryRefusedError.exit_code
    assert failed.stdout == ""
    assert failed.stderr.startswith("Refused")


def test_a_person_at_a_terminal(story: Path, tmp_path: Path) -> None:
    """Prompt, completion by tab, an answer, Ctrl-C drops a half statement, Ctrl-D leaves; the history is private to the user."""
    command = [sys.executable, "-m", "linktrail", "shell", "--lake", str(story)]
    terminal, far_end = pty.openpty()
    environment = os.environ | {"LINKTRAIL_STATE": str(tmp_path / "state"), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(command, stdin=far_end, stdout=far_end, stderr=far_end, env=environment, start_new_session=True) as process:
        os.close(far_end)
        try:
            wait_for(terminal, "linktrail>")
            os.write(terminal, b"SELECT nonsense\r")
            wait_for(terminal, "...>")
            os.write(terminal, b"\x03")
            wait_for(terminal, "linktrail>")
            os.write(terminal, b"SELECT count(*) * 0 + 3007 AS n FROM owner\t")
            wait_for(terminal, "FROM owners")
            os.write(terminal, b";\r")
            wait_for(terminal, "1 row", "linktrail>")  # a key that comes before the prompt is lost
            os.write(terminal, b"\x04")
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(terminal)
    history = tmp_path / "state" / "shell_history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "SELECT count(*) * 0 + 3007 AS n FROM owners;" in history.read_text(encoding="utf-8")


def wait_for(terminal: int, *texts: str, seconds: float = 30.0) -> None:
    """Read the terminal until ``texts`` were shown, one after the other."""
    shown = ""
    wanted = re.compile(".*".join(map(re.escape, texts)), re.DOTALL)
    deadline = time.monotonic() + seconds
    while not wanted.search(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)):
        assert time.monotonic() < deadline, f"{texts} were not shown in {shown!r}"
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
