"""SIGHUP on the real collector: what can change is in force, what cannot is told, and a wrong file changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.recorder.playground import Playground
from tests.recorder.support import spool_rows


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def beats(state: Path) -> int:
    """Return how many heartbeats are recorded."""
    return sum(table == "coverage" and row["kind"] == "heartbeat" for table, row in spool_rows(state / "spool"))


def test_a_running_collector_takes_up_what_can_change(tmp_path: Path) -> None:
    """The heartbeat becomes faster at once; a new name of the cluster waits; a wrong file is told and changes nothing."""
    store = Playground.filled(tmp_path / "store")
    state, file, log = tmp_path / "state", tmp_path / "linktrail.toml", tmp_path / "log"

    def text(cluster: str, heartbeat: str, quiet: str) -> str:
        head = f'state = "{state}"\ncluster = "{cluster}"\n[collect]\nroots = ["{store.root}"]\n'
        return f'{head}heartbeat = "{heartbeat}"\nquiet = "{quiet}"\nmax_delay = "60s"\n'

    file.write_text(text("one", "1h", "50s"))
    command = [sys.executable, "-m", "linktrail", "collect", "--config", str(file), "--quiet", "0.1", "--max-delay", "0.5"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("LINKTRAIL_")}
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said, env=environment) as process:
        try:
            until((state / "status.json").exists)
            assert beats(state) == 0
            file.write_text("[collect]\nheartbeet = 1\n")
            process.send_signal(signal.SIGHUP)
            until(lambda: "did you mean collect.heartbeat?" in log.read_text())
            assert "the one in force stays" in log.read_text()
            file.write_text(text("two", "0.2", "40s"))
            process.send_signal(signal.SIGHUP)
            until(lambda: beats(state) > 2)
            told = log.read_text()
            assert "collect.heartbeat is now 0.2 (was 1h); it is in force" in told
            assert "cluster is now two (was one); it needs a restart" in told
            assert "collect.quiet" not in told, "the flag goes over it"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert {row["cluster"] for _, row in spool_rows(state / "spool")} == {"one"}
