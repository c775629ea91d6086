"""A thousand readings of a containerd that works: each is one transaction of it, and it does not notice."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from collector.check import run_check
from collector.links import LinkKind, Survey
from collector.stores.containerd import Containerd as Driver
from linktrail.clock import SystemClock
from linktrail.errors import StoreUnstableError
from tests.live.containerd import Containerd, running
from tests.needs import need

READINGS = 1000
_META = "io.containerd.metadata.v1.bolt/meta.db"
_SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs/metadata.db"
_LOAD = """
set -e
turn=0
while [ ! -e {stop} ]; do
  turn=$((turn + 1))
  {ctr} snapshots label base first=$turn second=$turn third=$turn
  {ctr} snapshots prepare step-$turn base
  {ctr} snapshots commit done-$turn step-$turn
  {ctr} snapshots rm done-$turn
  echo $turn
done
"""


@contextmanager
def load(engine: Containerd) -> Iterator[subprocess.Popen[bytes]]:
    """Let ctr change snapshots without a pause; in the end it must not have failed once."""
    stop = engine.home / "stop"
    script = _LOAD.format(stop=stop, ctr=" ".join(engine.command()))
    with (engine.home / "turns").open("wb") as turns, (engine.home / "failures").open("wb") as failures:
        process = subprocess.Popen(["sh", "-c", script], stdout=turns, stderr=failures)
        try:
            yield process
        finally:
            stop.touch()
            code = process.wait(60)
    assert code == 0, (engine.home / "failures").read_text(encoding="utf-8")


def turns_of(engine: Containerd) -> int:
    """Return how many rounds of load have ended."""
    return sum(1 for line in (engine.home / "turns").read_text(encoding="ascii").splitlines() if line.isdecimal())


def locks_in(root: Path) -> dict[str, set[int]]:
    """Return who (pid) holds or waits for a lock on which file below ``root``; -1 is nobody who can be named."""
    files = {}
    for place, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                facts = os.lstat(Path(place, name))
                files[f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"] = f"{place}/{name}"
    held: dict[str, set[int]] = {}
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        pid, file = re.findall(r" (-?\d+) ([0-9a-f]+:[0-9a-f]+:\d+) ", line)[0]
        if file in files:
            held.setdefault(os.path.relpath(files[file], root), set()).add(int(pid))
    return held


def whole(survey: Survey) -> int:
    """Assert that a survey is one transaction of meta.db, by what one transaction always writes together; return its turn."""
    base = next(link for link in survey.of_kind(LinkKind.LAYER_RECORD) if link.path == _META and link.detail["name"] == "base")
    labels = base.detail.get("labels", {})
    assert labels.get("first") == labels.get("second") == labels.get("third"), labels
    parents = {(link.target, link.subject) for link in survey.of_kind(LinkKind.PARENT_POINTER) if link.path == _META}
    children = {(link.subject, link.target) for link in survey.of_kind(LinkKind.CHILD_POINTER) if link.path.startswith(_META)}
    assert parents == children
    stored = {(link.target, link.subject) for link in survey.of_kind(LinkKind.PARENT_POINTER) if link.path != _META}
    index = {(link.subject, link.target) for link in survey.of_kind(LinkKind.CHILD_POINTER) if not link.path.startswith(_META)}
    assert stored == index
    return int(labels.get("first", 0))


def test_a_thousand_readings_under_load() -> None:
    """No finding in a busy store, no torn reading, turns never go back, the daemon loses nothing, and only it holds a lock."""
    need("containerd")
    with running() as engine:
        engine.run("snapshots", "prepare", "base-work")
        engine.run("snapshots", "commit", "base", "base-work")
        driver = Driver()
        databases = {str(path.relative_to(engine.root)) for path in engine.root.rglob("*.db")}
        assert {_META, _SNAPSHOTS} <= databases
        seen = [0]
        unstable = 0
        with load(engine) as process:
            for _ in range(3):
                report = run_check([engine.root], clock=SystemClock())
                assert report.exit_code == 0, [finding for _, finding in report.findings]
            while len(seen) <= READINGS:
                assert process.poll() is None, (engine.home / "failures").read_text(encoding="utf-8")
                # every tenth reading parses everything, the others only what changed
                reader = driver if len(seen) % 10 else Driver()
                try:
                    survey = reader.survey(engine.root, clock=SystemClock())
                except StoreUnstableError:
                    unstable += 1
                    continue
                assert survey.problems == ()
                seen.append(whole(survey))
                if len(seen) % 50 == 0:
                    assert locks_in(engine.root) == {database: {engine.pid} for database in databases}, "the daemon alone, as ever"
                    time.sleep(0.05)  # let the load get on where there are few processors
        assert seen == sorted(seen), "what was read once is not unread later"
        assert len(set(seen)) >= 5, "the load went on while it was read"
        assert unstable < READINGS / 10
        assert turns_of(engine) >= seen[-1]
        survey = driver.survey(engine.root, clock=SystemClock())
        names = {link.subject for link in survey.of_kind(LinkKind.LAYER_NAME)}
        assert names == engine.listed("snapshots")
        assert "level=error" not in engine.log.read_text(encoding="utf-8")
