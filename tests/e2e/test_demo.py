"""The demo plays to its end by itself, and every sentence of it comes out of the record."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from collector.check import run_check
from linktrail.clock import SystemClock
from linktrail.errors import LinktrailError
from linktrail.state import State
from linktrail.testing.containers_storage import layer_ids
from queries import demo
from queries.demo_store import Images
from queries.engine import open_lake

KILLED = layer_ids(Images.make().big)[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What the demo said, and where."""
    where = tmp_path_factory.mktemp("demo")
    out = io.StringIO()
    began = time.monotonic()
    code = demo.play(out, directory=where)
    return {"code": code, "seconds": time.monotonic() - began, "text": out.getvalue(), "where": where}


def test_it_tells_the_story(told: Mapping[str, Any]) -> None:
    """It ends by itself with 0, says that waiting times are shortened, and tells each part of the incident and of the findings."""
    text = told["text"]
    assert told["code"] == 0
    assert told["seconds"] < 60
    parts = (
        "Shortened for the demo: a leak is reported after 2 s",
        "The store holds the image localhost/shop:1",
        "linktrail records: it read the store once",
        "Ordinary work",
        "INCIDENT: the pull of localhost/big:1 was killed",
        "INCIDENT: the link overlay/l/",
        "INCIDENT: 'web' wrote 10 MB",
        "linktrail: warning incomplete-layer",
        "linktrail: warning unreferenced-layer",
        "linktrail: error short-link-missing",
        "the evidence is gone",
        "What is wrong now",
        "error     short-link-missing  84d3d25700b9",
        "warning   unreferenced-layer  a44f8f749bf8",
        "record of layer dc9f2c438cee appeared (incomplete)",
        "finding incomplete-layer (warning) opened, holding 3.2 MB",
        "directory overlay/dc9f2c438cee removed",
        "The record is complete from",
        "What grew (linktrail usage): the writable layer of 'web'",
        "Look further:",
        f"Remove it all: rm -rf {told['where']}",
    )
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)


def test_what_it_says_is_what_is_there(told: Mapping[str, Any]) -> None:
    """The open findings are those that ``check`` makes of the store as it was left."""
    state = State(told["where"] / "state")
    report = run_check([told["where"] / "store"], min_age=0.0, clock=SystemClock(), configurations=())
    with open_lake(state.lake) as lake:
        recorded = {(row["code"], row["subject"]) for row in lake.rows("FROM findings_at('infinity')")}
    assert recorded == {(finding.code, finding.subject) for _, finding in report.findings}
    assert {code for code, _ in recorded} == {"short-link-missing", "unreferenced-layer"}


def test_the_record_outlives_the_evidence(told: Mapping[str, Any]) -> None:
    """Of the killed pull nothing is on disk any more, and all is in the lake, in order of time."""
    assert KILLED.startswith("dc9f2c438cee")  # on every machine
    assert not (told["where"] / "store/overlay" / KILLED).exists()
    with open_lake(State(told["where"] / "state").lake) as lake:
        rows = lake.rows("SELECT action, occurred_after, occurred_before FROM findings WHERE subject = $id ORDER BY seq", {"id": KILLED})
        assert (rows[0]["action"], rows[-1]["action"]) == ("opened", "closed")
        assert rows[0]["occurred_before"] < rows[-1]["occurred_before"]
        [removed] = lake.rows("FROM links WHERE subject = $id AND link_kind = 'layer_directory' AND action = 'removed'", {"id": KILLED})
        assert rows[0]["occurred_before"] < removed["occurred_after"]
        [grown] = lake.rows("SELECT max(bytes) - min(bytes) AS bytes FROM usage WHERE container_name = 'web'")
    assert 10 << 20 <= grown["bytes"] < 11 << 20


def test_the_record_is_complete(told: Mapping[str, Any]) -> None:
    """The store goes at the pace of the recorder: there is no gap of any cause, however busy the machine is."""
    with open_lake(State(told["where"] / "state").lake) as lake:
        assert lake.rows("FROM coverage WHERE kind = 'gap'") == []


def test_the_questions_it_offers_have_answers(told: Mapping[str, Any]) -> None:
    """Each SQL statement that it prints runs on the record it left and returns something."""
    questions = re.findall(r'linktrail sql "(SELECT .*)"', told["text"])
    assert len(questions) == 2
    with open_lake(State(told["where"] / "state").lake) as lake:
        answers = [lake.rows(question) for question in questions]
    assert all(answers)
    assert any(row["k8s_pod_name"] == "nightly-28" and row["k8s_namespace_name"] == "batch" for row in answers[0])


def test_the_commands_it_offers_work(told: Mapping[str, Any]) -> None:
    """Each command that it prints runs as printed; the one about the past tells what nobody can see any more."""
    state = {"LINKTRAIL_STATE": str(told["where"] / "state")}
    commands = re.findall(r"^  (linktrail (?:findings|timeline|query) .*?)    #", told["text"], re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["findings", "timeline", "query"]
    outputs = []
    for command in commands:
        words = [sys.executable, "-m", *command.split()]
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=os.environ | state, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    assert f"incomplete-layer    {KILLED[:12]}" in outputs[0]
    assert "finding unreferenced-layer (warning) opened" in outputs[1]
    assert "web" in outputs[2]


def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """A demo that cannot record raises one error with a message, and leaves no thread."""
    (tmp_path / "state").write_text("in the way")
    before = threading.active_count()
    with pytest.raises(LinktrailError) as caught:
        demo.play(io.StringIO(), directory=tmp_path)
    assert str(tmp_path / "state") in caught.value.message
    assert threading.active_count() <= before
