"""Hostile names on disk reach neither the metrics nor, as they are, the log of a running collector."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from linktrail.state import State
from tests.kafka.broker import free_port
from tests.recorder.playground import Playground

EVIL = 'evil\n\x1b[31mlinktrail_up{x="1"} 1\r\n{"level": "critical"}\x00\u202e'


@pytest.mark.timeout(120)
def test_names_from_a_store_are_inert(tmp_path: Path) -> None:
    """Names of an image, a layer's directory and a short link that are terminal escapes, lines of metrics and records of a log."""
    store = Playground.filled(tmp_path / "store")
    store.add_image(EVIL, 2)
    name = EVIL.replace("\x00", "").replace("/", "_")
    (store.root / "overlay" / name / "diff").mkdir(parents=True)
    store.link(name, "../nowhere/diff")
    port = free_port()
    words = [sys.executable, "-m", "linktrail", "collect", str(store.root), "--state", str(tmp_path / "state"), "--min-age", "0"]
    words += ["--proc", "off", "--metrics", f"127.0.0.1:{port}", "--log-format", "json", "--log-level", "debug"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            served = _metrics(port)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, (tmp_path / "log").read_text(errors="replace")
    assert 'linktrail_findings{reason="unaccounted-layer"' in served, "the hostile directory was found"
    assert "evil" not in served
    assert "linktrail_up" not in served
    said = [tmp_path / "log", State(tmp_path / "state").log("collector")]
    for line in b"".join(path.read_bytes() for path in said if path.exists()).splitlines():
        assert not set(line) & (set(range(0x20)) | {0x7F}), line
        assert "\u202e" not in line.decode()
        assert json.loads(line)["level"] != "critical"


def _metrics(port: int) -> str:
    """Return /metrics once findings are in it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text: str = answer.read().decode()
        except URLError:
            text = ""
        if "unaccounted-layer" in text:
            return text
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
