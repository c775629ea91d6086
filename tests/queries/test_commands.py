from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from linktrail.command import main
from linktrail.schema import TABLES
from tests.queries.lakes import Run, write_lake
from tests.queries.story import LEAKED

AT = "2026-11-23T16:31:40Z"
IN_GAP = "2026-11-23T16:34:00Z"


@pytest.fixture(autouse=True)
def home(story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The story is the lake, and nothing else of this machine is seen."""
    monkeypatch.setenv("LINKTRAIL_LAKE", str(story))
    monkeypatch.setenv("LINKTRAIL_STATE", str(tmp_path / "state"))


Captured = pytest.CaptureFixture[str]


# --- exit codes and streams -------------------------------------------------------------------------------------


def test_rows_go_out_and_words_go_to_stderr(capsys: Captured) -> None:
    """A pipe gets the table alone; a person is told that the record is complete."""
    assert main(["findings", "--at", AT]) == 0
    out, err = capsys.readouterr()
    assert "unaccounted-layer" in out
    assert "complete" not in out
    assert err == f"The record is complete at {AT} (/srv/store on node n1).\n"


GAPPY = [
    ["findings", "--at", IN_GAP],
    ["usage", "--at", IN_GAP],
    ["timeline", LEAKED[:8]],
    ["query", "findings", "--param", f"at={IN_GAP}"],
]


@pytest.mark.parametrize("words", GAPPY)
def test_gaps_are_exit_code_three(words: list[str], capsys: Captured) -> None:
    """Answered, and the gap is named with its cause."""
    assert main(words) == 3
    out, err = capsys.readouterr()
    assert out
    assert "restart: linktrail was not running" in err


def test_an_answer_about_a_time_before_recording_says_so(capsys: Captured) -> None:
    """Nothing is claimed about it."""
    assert main(["findings", "--at", "2026-11-23T15:00:00Z"]) == 3
    out, err = capsys.readouterr()
    assert "unaccounted" not in out
    assert "recording began at 2026-11-23T16:00:00.5Z" in err


def test_json_holds_everything(capsys: Captured) -> None:
    """Rows, what was asked, and the completeness in one document; nothing on standard error."""
    assert main(["findings", "--at", AT, "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["question"] == "findings"
    assert document["completeness"]["complete"] is True
    assert document["rows"][0]["subject"] == LEAKED
    assert document["rows"][0]["related"] == ["b" * 64]
    assert err == ""


@pytest.mark.parametrize("form", ["csv", "jsonl", "md", "parquet"])
def test_every_form_is_only_data_on_stdout(form: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Scripts read standard output; the record's statement is on standard error."""
    assert main(["usage", "--at", AT, "--format", form]) == 0
    out, err = capfdbinary.readouterr()
    assert b"The record is complete" in err
    assert b"The record" not in out
    if form == "parquet":
        assert pq.read_table(io.BytesIO(out)).num_rows == 6


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["findings", "--lake", "/nowhere"], 11, "No lake at /nowhere"),
        (["findings", "--at", "tomorrow"], 2, "--at takes an instant"),
        (["findings", "--at", "2099-01-01"], 2, "future"),
        (["findings", "--family", "leak"], 2, "none of breaks"),
        (["findings", "--code", "leak"], 2, "none of unaccounted-layer"),
        (["findings", "--format", "yaml"], 2, "yaml"),
        (["timeline"], 2, "id or path"),
        (["timeline", "444"], 2, "too short"),
        (["timeline", "not-there-at-all"], 1, "Nothing is recorded about not-there-at-all"),
        (["timeline", LEAKED, "--since", "1h ago", "--until", "2h ago"], 2, "lies after"),
        (["query", "nothing"], 2, "there is no query nothing"),
        (["query", "whois"], 2, "needs --param id="),
        (["query", "whois", "--param", "id"], 2, "NAME=VALUE"),
        (["query", "whois", "--param", "ids=x"], 2, "no parameter ids"),
        (["query", "findings", "--param", "at=never"], 2, "at takes an instant"),
        (["sql"], 2, "needs a statement"),
        (["sql", "SELECT 1", "--memory", "12"], 2, "--memory takes a size"),
        (["sql", "SELECT 1", "--memory", "1M"], 2, "at least 256M"),
        (["sql", "SELECT 1", "--timeout", "0"], 2, "longer than 0"),
        (["sql", "SELECT 1", "--timeout", "soon"], 2, "--timeout takes a duration"),
    ],
)
def test_bad_input_is_one_clear_error(words: list[str], code: int, said: str, capsys: Captured) -> None:
    """What, where and what to do on standard error, the documented exit code, nothing on standard output."""
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_errors_are_json_for_programs(capsys: Captured) -> None:
    """``--json`` also for what went wrong."""
    assert main(["findings", "--lake", "/nowhere", "--json"]) == 11
    error = json.loads(capsys.readouterr().err)
    assert error["error"] == "LakeMissingError"
    assert error["exit_code"] == 11


def test_the_lake_of_the_state_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """What ``linktrail up`` recorded is asked without naming it."""
    monkeypatch.delenv("LINKTRAIL_LAKE")
    assert main(["findings"]) == 11
    assert str(tmp_path / "state" / "lake") in capsys.readouterr().err
    run = Run()
    run.finding("opened", "unaccounted-layer", "layer1", (1, 2))
    write_lake(tmp_path / "state" / "lake", [run])
    assert main(["findings"]) == 3
    assert "layer1" in capsys.readouterr().out


# --- the catalog, sql -------------------------------------------------------------------------------------------


def test_the_catalog_lists_itself(capsys: Captured) -> None:
    """Every query with its question; one query with its parameters and columns."""
    assert main(["query", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "whois" in listed
    assert "coverage_gaps" in listed
    assert main(["query"]) == 0
    assert capsys.readouterr().out == listed
    assert main(["query", "whois", "--list"]) == 0
    described = capsys.readouterr().out
    assert "text, required" in described
    assert "owner_kind" in described


def test_sql_answers(capsys: Captured) -> None:
    """A question of one's own, in any form; gaps are stated, and the exit code is 0."""
    assert main(["sql", "SELECT code, count(*) AS n FROM findings GROUP BY code", "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert out == "code,n\nunaccounted-layer,3\n"
    assert "The record has" in err


def test_sql_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """``-`` is standard input; json says which guards held."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 42 AS answer;\n"))
    assert main(["sql", "-", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == [{"answer": 42}]
    assert document["guards"]


def test_sql_that_asks_for_more_is_refused(capsys: Captured) -> None:
    """Exit code 2, as for any wrong use."""
    assert main(["sql", "DROP VIEW links"]) == 2
    assert "Refused" in capsys.readouterr().err


def test_sql_lists_its_views(capsys: Captured) -> None:
    """What can be asked, without a lake."""
    assert main(["sql", "--views"]) == 0
    out = capsys.readouterr().out
    assert "findings_at(t)" in out
    assert all(name in out for name in TABLES)


# --- as people start it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["findings", "usage", "timeline", "query", "sql"])
def test_help_names_examples(verb: str, capsys: Captured) -> None:
    """Every verb says how it is used, and what exit code 3 means or why there is none."""
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Examples: linktrail" in out
    assert "xit code" in out


def test_the_program_answers_soon_and_plain(story: Path) -> None:
    """From a cold start as a process: within two seconds of its own time, without colour where there is no terminal."""
    command = [sys.executable, "-m", "linktrail", "findings", "--at", AT, "--lake", str(story)]
    before = os.times()
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "FORCE_COLOR": ""})
    spent = os.times().children_user + os.times().children_system - before.children_user - before.children_system
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert min(spent, time.monotonic() - started) < 2.0


def test_a_reader_that_leaves_is_no_error(story: Path) -> None:
    """``| head`` ends the output, not with a traceback."""
    program = f"{sys.executable} -m linktrail sql --format jsonl --lake {story} -"
    done = subprocess.run(
        ["sh", "-c", f"{program} | head -n 1"], input="FROM range(200000)", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == '{"range":0}\n'
    assert "Traceback" not in done.stderr
