"""Asking a program's endpoint, and starting the programs that have one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

Scraped = dict[str, dict[tuple[tuple[str, str], ...], float]]


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def get(address: str, path: str) -> tuple[int, str]:
    """Return status and body."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(address: str) -> Scraped:
    """Return what ``/metrics`` says, by name of sample and labels."""
    status, text = get(address, "/metrics")
    assert status == 200
    found: Scraped = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def until(condition: Callable[[], bool], seconds: float = 40.0, what: str = "") -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def ready(address: str) -> bool:
    """Tell whether the program at ``address`` is there and ready."""
    with contextlib.suppress(OSError):
        return get(address, "/readyz")[0] == 200
    return False


@contextlib.contextmanager
def program(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``linktrail WORDS`` meanwhile; what it says goes to ``log``; it ends with SIGTERM and code 0."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("LINKTRAIL_")} | {"LINKTRAIL_CONFIG": ""}
    command = [sys.executable, "-m", "linktrail", *words]
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()
            code = process.wait(40)
    assert code == 0, log.read_text()
