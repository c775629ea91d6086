"""linktrail itself, recording a live store: the collector as its own program, and the lake read as people read it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.live import STATUS_FILE
from collector.statements import UNREAD_VERSION
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from linktrail.errors import EXIT_GAPS, EXIT_OK
from linktrail.state import State
from processor.lake import Lake
from processor.pipeline import Processor
from processor.spool_intake import SpoolIntake
from queries.engine import open_lake

_CLOCK_TICK_NS = 20_000_000  # the kernel stamps files with the time of its last tick
_INSTANT_NS = 250_000_000
_UNREAD = re.compile(r"(\d+) of (\d+) (?:versions|transactions) of \S+\.(?:json|db) were replaced before they were read; .*")
_LINKS = """
    SELECT run, seq, link_kind, action, subject, target, layer_id, file_path, link_state, detail, origin, container_name,
        epoch_ns(occurred_after) AS after, epoch_ns(occurred_before) AS before
    FROM links ORDER BY run, seq
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of ``links``; ``after`` and ``before`` in ns UTC."""

    run: str
    seq: int
    link_kind: str
    action: str
    subject: str
    target: str | None
    layer_id: str | None
    file_path: str
    link_state: str
    detail: str | None
    origin: str
    container_name: str | None
    after: int | None
    before: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same link at another time."""
        return self.link_kind, self.subject, self.file_path

    def holds(self, instant: int) -> bool:
        """Tell whether the claimed interval contains ``instant`` (ns UTC), give or take a tick of the kernel's clock."""
        return (self.after is None or self.after - _CLOCK_TICK_NS <= instant) and instant <= self.before + _CLOCK_TICK_NS

    def meets(self, before: int, after: int) -> bool:
        """Tell whether the claimed interval has an instant in common with the time between ``before`` and ``after`` (ns UTC)."""
        return (self.after is None or self.after <= after) and before <= self.before


class Recording:
    """The collector on one store. Not to be used after ``stop`` but to read."""

    def __init__(self, root: Path, state: Path, *options: str) -> None:
        """Start to record ``root`` into ``state`` and wait until the store was read once."""
        self.state = State(state)
        state.mkdir(exist_ok=True)
        (state / STATUS_FILE).unlink(missing_ok=True)
        with self.state.log("collect").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "linktrail", "collect", str(root), "--state", str(state), *options], stdout=log, stderr=log
            )
        self._processor: Processor | None = None
        self._wait_until_read()

    def _wait_until_read(self, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not any(store["read_at"] for store in self.status().get("stores", [])):
            assert self.process.poll() is None, self.state.log("collect").read_text()
            assert time.monotonic() < deadline, "the collector did not read the store"
            time.sleep(0.05)

    def status(self) -> Mapping[str, Any]:
        """Return what the collector says of itself."""
        try:
            found: dict[str, Any] = json.loads((self.state.path / STATUS_FILE).read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def process_batches(self) -> bool:
        """Bring everything sealed so far into the lake; tell whether there was anything."""
        if self._processor is None:
            filesystem = LocalFileSystem()
            lake = Lake.open_for_writing(self.state.lake, filesystem=filesystem)
            self._processor = Processor(SpoolIntake(self.state.spool, filesystem=filesystem), lake, clock=SystemClock())
        return self._processor.drain().taken > 0

    def query(self, sql: str, **parameters: object) -> Sequence[dict[str, Any]]:
        """Return the rows of ``sql`` over all that is sealed."""
        self.process_batches()
        with open_lake(self.state.lake) as engine:
            return engine.rows(sql, parameters)

    def links(self) -> list[Recorded]:
        """Return every link change, in order."""
        return [Recorded(**row) for row in self.query(_LINKS)]

    def wait_for(self, sql: str, *, seconds: float = 30.0, **parameters: object) -> Sequence[dict[str, Any]]:
        """Return the rows of ``sql`` as soon as there are any; raises ``AssertionError`` when there are none in time."""
        deadline = time.monotonic() + seconds
        while not (rows := self.query(sql, **parameters)):
            while not self.process_batches():
                assert self.process.poll() is None, self.state.log("collect").read_text()
                assert time.monotonic() < deadline, f"not recorded in {seconds} s: {sql} {parameters}"
                time.sleep(0.1)
        return rows

    def kill(self) -> None:
        """Kill the collector with no chance to say goodbye."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop the collector and bring everything into the lake."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.state.log("collect").read_text()
        self.process_batches()

    def gaps(self) -> Sequence[dict[str, Any]]:
        """Return the gaps, but for versions of a file that a busy machine left no time to read.

        Of those it returns each that does not say how many of how many versions of which file it is about, and that is neither an
        instant (``_INSTANT_NS``) nor about a part of them only: at least half are read where a file changes for longer.
        """
        sql = "SELECT cause, message, epoch_ns(began) AS began, epoch_ns(ended) AS ended FROM gaps"
        return [gap for gap in self.query(sql) if gap["cause"] != UNREAD_VERSION or not _explained(gap)]

    def linktrail(self, *words: str) -> dict[str, Any]:
        """Return what a ``linktrail`` command with ``--json`` says; it must know of no gap but those that ``gaps`` leaves out."""
        done = subprocess.run(
            [sys.executable, "-m", "linktrail", *words, "--json"],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"LINKTRAIL_STATE": str(self.state.path)},
            timeout=60,
        )
        assert done.returncode in (EXIT_OK, EXIT_GAPS), done.stdout + done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        stated = {gap["cause"] for gap in said["completeness"]["gaps"]}
        assert stated <= {UNREAD_VERSION}, done.stdout
        assert self.gaps() == []
        assert bool(stated) == (done.returncode == EXIT_GAPS)
        return said


def _explained(gap: Mapping[str, Any]) -> bool:
    found = _UNREAD.fullmatch(gap["message"])
    if found is None:
        return False
    unread, of = int(found[1]), int(found[2])
    return 0 < unread <= of and (gap["ended"] - gap["began"] <= _INSTANT_NS or 2 * unread <= of)


@contextmanager
def recording(root: Path, state: Path, *options: str) -> Iterator[Recording]:
    """Record ``root`` while inside."""
    recorder = Recording(root, state, *options)
    try:
        yield recorder
    finally:
        if recorder.process.poll() is None:
            recorder.kill()
