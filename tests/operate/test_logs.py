from __future__ import annotations

import io
import json
import logging
import threading
import unicodedata

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from linktrail.errors import LakeMissingError, UsageError
from linktrail.logs import Limiter, logging_to, running

log = logging.getLogger("linktrail.test")


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_names_are_inert(name: str) -> None:
    """Whatever a name holds, a record is one line; JSON is ASCII; no control character comes out."""
    for form in ("console", "json"):
        stream = io.StringIO()
        with logging_to(stream, "collect", level="info", form=form):
            log.warning("layer %s is broken", name)
        text = stream.getvalue()
        assert text.count("\n") == 1
        assert text.endswith("\n")
        assert not {unicodedata.category(letter) for letter in text[:-1]} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        if form == "json":
            assert text.isascii()
            assert json.loads(text)["level"] == "warning"


def test_no_storms() -> None:
    """Of one message, ten a minute are written, and then how many were not; another message is not held up."""
    stream, now = io.StringIO(), [0.0]
    with logging_to(stream, "collect", level="info", form="json", limiter=Limiter(now=lambda: now[0])):
        for number in range(1000):
            log.warning("batch %d is gone", number)
        log.info("another")
        now[0] = 61.0
        log.warning("batch %d is gone", 1000)
        for number in range(50):
            log.error("again %d", number)
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    gone = [one for one in records if "gone" in one["message"]]
    assert [one["message"] for one in gone] == [*(f"batch {number} is gone" for number in range(10)), "batch 1000 is gone"]
    assert [one.get("repeated") for one in gone] == [None] * 10 + [990]
    assert [one["message"] for one in records if one["logger"] == "linktrail.test" and "another" in one["message"]] == ["another"]
    again = [one for one in records if "again" in one["message"]]
    assert (len(again), again[-1]["message"], again[-1]["repeated"]) == (11, "again 49", 39)


def test_what_ends_a_thread_is_one_record_with_its_trace() -> None:
    """A defect in any thread."""
    stream = io.StringIO()

    def fails() -> None:
        raise ValueError("bad\nname\x1b[2J")

    with logging_to(stream, "process", level="info", form="console"):
        thread = threading.Thread(target=fails, name="worker")
        thread.start()
        thread.join()
    [line] = stream.getvalue().splitlines()
    assert "CRITICAL linktrail.logs: thread worker died" in line
    assert "ValueError: bad\\x0aname\\x1b[2J at " in line
    assert "test_logs.py" in line


def test_what_ends_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, one record with the exit code; for people, what is known is left to the one who shows it with its advice."""
    with pytest.raises(typer.Exit) as known, running("process", level="info", form="json"):
        raise LakeMissingError(path="/x")
    assert known.value.exit_code == 11
    [record] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (record["error"], record["exit_code"], record["level"]) == ("LakeMissingError", 11, "critical")
    with pytest.raises(LakeMissingError), running("process", level="info", form="console"):
        raise LakeMissingError(path="/x")
    for form in ("json", "console"):
        with pytest.raises(typer.Exit) as unknown, running("collect", level="info", form=form):
            raise RuntimeError("boom")
        assert unknown.value.exit_code == 1
        [line] = capsys.readouterr().err.splitlines()
        assert "RuntimeError: boom at " in line


def test_levels() -> None:
    """Below the level nothing is written; a level that there is not is refused."""
    stream = io.StringIO()
    with logging_to(stream, "collect", level="error", form="console"):
        log.warning("no")
    assert stream.getvalue() == ""
    with pytest.raises(UsageError, match="--log-level"), logging_to(stream, "collect", level="loud", form="console"):
        pass
