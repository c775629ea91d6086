from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.needs import need
from tests.stores import unpack

PATIENCE = 60.0


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    return subprocess.run([sys.executable, "-m", "linktrail", *map(str, words)], capture_output=True, text=True, check=False, timeout=120)


def tree(root: Path) -> list[tuple[str, int, int, int, int, int, int]]:
    """Return everything that a write below ``root`` would change, access times included."""
    paths = [root, *sorted(root.rglob("*"))]
    facts = [(str(path), path.lstat()) for path in paths]
    return [
        (name, st.st_mode, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns, 0 if stat.S_ISLNK(st.st_mode) else st.st_atime_ns)
        for name, st in facts
    ]


@contextmanager
def recording(root: Path, state: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``linktrail up`` while inside, and end it with Ctrl-C."""
    words = [sys.executable, "-m", "linktrail", "up", str(root), "--state", str(state), "--min-age", "0", "--json"]
    with output.open("wb") as file, subprocess.Popen(words, stdout=file, stderr=file) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def wait_for(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def statuses(output: Path) -> list[dict[str, Any]]:
    found = []
    for line in output.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # the line that is just being written
    return found


def status(state: Path) -> dict[str, Any]:
    path = state / "status.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return unpack("e00_healthy", tmp_path)


def test_once_records_and_tells(tmp_path: Path) -> None:
    """A real damaged store is recorded and its damage named in one command, and nothing below its root is touched."""
    need("fixtures", "root")
    root = unpack("cs-podman43-leaky", tmp_path)
    before = tree(root)
    done = run("up", "--once", "--json", "--min-age", "0", "--state", tmp_path / "state", root)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["recorded_links"] > 100
    assert {finding["code"] for finding in document["findings"]} >= {"layer-missing", "link-file-empty", "unreferenced-layer"}
    assert tree(root) == before
    again = json.loads(run("up", "--once", "--json", "--min-age", "0", "--state", tmp_path / "state", root).stdout)
    assert again["recorded_links"] == document["recorded_links"]


def test_a_change_is_recorded_while_it_runs(store: Path, tmp_path: Path) -> None:
    """A short link that is lost while recording becomes a finding within seconds; Ctrl-C ends it with exit code 0."""
    state, output = tmp_path / "state", tmp_path / "out"
    with recording(store, state, output) as process:
        wait_for("the baseline in the lake", lambda: any(entry.get("recorded_links", 0) > 30 for entry in statuses(output)))
        lost = next((store / "overlay" / "l").iterdir())
        lost.unlink()
        wait_for("the finding in the lake", lambda: any(entry.get("findings") == 1 for entry in statuses(output)))
    assert process.returncode == 0
    last = statuses(output)[-1]
    assert [finding["code"] for finding in last["findings"]] == ["short-link-missing"]
    assert status(state)["state"] == "stopped"


def test_a_dead_collector_is_started_again(store: Path, tmp_path: Path) -> None:
    """After kill -9 of the collector it is said, it is started again, and what changed meanwhile is recorded with a gap."""
    state, output = tmp_path / "state", tmp_path / "out"
    with recording(store, state, output):
        wait_for("the collector", lambda: status(state).get("pid") is not None and any(e.get("recorded_links") for e in statuses(output)))
        first = status(state)["pid"]
        time.sleep(5.5)  # a program that ends sooner has something to say and is not started again
        os.kill(first, signal.SIGKILL)
        wait_for("another collector", lambda: status(state).get("pid") not in {None, first})
        wait_for("the gap", lambda: status(state)["stores"][0]["gaps"] >= 1)
    assert any("collect died" in message for entry in statuses(output) for message in entry.get("messages", []))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["up", "{nothing}", "--state", "{state}"], 10, "No container store"),
        (["up", "--once", "{nothing}", "--state", "{state}"], 10, "No container store"),
        (["up", "--once", "{store}", "--state", "{store}/state"], 2, "inside the store"),
        (["check", "{nothing}"], 10, "No container store"),
        (["check", "{store}", "--min-age", "soon"], 2, "--min-age takes a duration"),
        (["check", "{store}", "--no-such-option"], 2, "--no-such-option"),
        (["no-such-verb"], 2, "no-such-verb"),
    ],
)
def test_bad_input_is_one_clear_error(words: list[str], code: int, message: str, store: Path, tmp_path: Path) -> None:
    """What, where, what to do, and the documented exit code; never a traceback."""
    names = {"nothing": tmp_path / "nothing", "store": store, "state": tmp_path / "state"}
    done = run(*(word.format(**names) for word in words))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (store / "state").exists()


def test_check_says_healthy(store: Path) -> None:
    """A healthy store: exit code 0 and no finding; with the document of the design."""
    done = run("check", "--json", store)
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    assert document["findings"] == []
    assert document["stores"][0]["kind"] == "containers_storage"


def test_a_second_collector_is_refused(store: Path, tmp_path: Path) -> None:
    """Two collectors on one spool would break its order: the second ends with who holds it."""
    state, output = tmp_path / "state", tmp_path / "out"
    with recording(store, state, output) as process:
        wait_for("the collector", lambda: status(state).get("pid") is not None)
        done = run("collect", "--once", "--state", state, store)
        assert process.poll() is None
    assert done.returncode == 1
    assert "in use by another collector" in done.stderr
