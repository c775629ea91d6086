"""kill -9 of the real program, again and again, while a store changes: what was promised about crashes, with nothing simulated."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from collector.live import read_status
from collector.stores.containers_storage import DRIVER
from linktrail.clock import SystemClock
from linktrail.events import Row
from tests.recorder.child import run
from tests.recorder.playground import Playground, layer_id, short_name
from tests.recorder.support import bounds, fold, number, plain, spool_rows
from tests.recorder.world import Truth

FORKS = multiprocessing.get_context("forkserver")  # starts in milliseconds, where a new interpreter takes a second
FORKS.set_forkserver_preload(["tests.recorder.child"])
Subject = tuple[str, str]


class Script(threading.Thread):
    """Changes a store without pause, and remembers what it did when."""

    def __init__(self, store: Playground, seed: int) -> None:
        super().__init__(daemon=True)
        self.store = store
        self.truth: dict[Subject, list[Truth]] = {}
        self.operations = 0
        self.failure: BaseException | None = None
        self._chance = random.Random(seed)
        self._halt = threading.Event()

    def run(self) -> None:
        """Do one thing after another."""
        try:
            while not self._halt.is_set():
                self._one()
                self.operations += 1
                self._halt.wait(self._chance.choice([0, 0, 0.001, 0.01, 0.05]))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.failure = error

    def finish(self) -> None:
        """Stop changing the store."""
        self._halt.set()
        self.join()

    def _one(self) -> None:
        number = self._chance.randrange(100, 106)
        name = short_name(number)
        there = (self.store.short_links / name).is_symlink()
        kind = self._chance.random()
        if kind < 0.12:
            self._layer(self._chance.randrange(20, 24))
        elif kind < 0.16:
            self._image()
        elif not there and kind < 0.5:  # a pair in one go: nothing is left of it for a reading
            self._timed(("short_link", name), "created", lambda: self.store.link(name, self._anywhere()))
            self._timed(("short_link", name), "removed", lambda: self.store.unlink(name))
        elif not there:
            self._timed(("short_link", name), "created", lambda: self.store.link(name, self._anywhere()))
        elif kind < 0.6:
            self._timed(("short_link", name), "removed", lambda: self.store.unlink(name))
        else:
            self._timed(("short_link", name), "retargeted", lambda: self.store.retarget(name, self._anywhere()))

    def _layer(self, number: int) -> None:
        layer = layer_id(number)
        if layer in self.store.layers:
            self._timed(("layer_directory", layer), "removed", lambda: self.store.remove_layer(number))
        else:
            self._timed(("layer_directory", layer), "created", lambda: self.store.add_layer(number, parent=2))

    def _image(self) -> None:
        if len(self.store.images) > 1:
            self.store.remove_image("extra")
        else:
            self.store.add_image("extra", 1)

    def _timed(self, subject: Subject, action: str, change: Callable[[], object]) -> None:
        begun = time.time_ns()
        change()
        self.truth.setdefault(subject, []).append((action, begun, time.time_ns()))

    def _anywhere(self) -> str:
        return f"../{self._chance.randrange(10**12):064d}/diff"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], ForkServerProcess]]:
    """Return a function that starts the collector on ``tmp_path/store``; what still runs at the end is killed."""
    running: list[ForkServerProcess] = []

    def begin() -> ForkServerProcess:
        process = FORKS.Process(target=run, args=(str(tmp_path / "store"), str(tmp_path / "state")))
        process.start()
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.join()


@pytest.mark.parametrize("kills", [22])
def test_killed_again_and_again(tmp_path: Path, start: Callable[[], ForkServerProcess], kills: int) -> None:
    """The fold of all rows is the store; no change is told twice; each is told in its time, or lies in a stated gap."""
    store = Playground.filled(tmp_path / "store", layers=6)
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    script = Script(store, seed)
    process = start()
    script.start()
    for _ in range(kills):
        time.sleep(chance.choice([0.05, 0.2, 0.5, 0.8, 1.1]))
        process.kill()
        process.join()
        time.sleep(chance.choice([0, 0, 0.1]))
        process = start()
    wait_until_recording(tmp_path / "state", process.pid)
    time.sleep(1.5)
    script.finish()
    assert script.failure is None, f"seed {seed}"
    wait_until_settled(tmp_path / "state")
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(20)
    assert process.exitcode == 0
    check(tmp_path, store, script, f"seed {seed}, {script.operations} operations")


def wait_until_recording(state: Path, pid: int | None) -> None:
    """Wait until the collector of this process has read the store."""
    for _ in range(600):
        status = read_status(state)
        if status is not None and status.pid == pid and status.stores and status.stores[0].read_at is not None:
            return
        time.sleep(0.05)
    raise AssertionError("the collector never read the store")


def wait_until_settled(state: Path) -> None:
    """Wait for the collector to have told everything (the status is of a run that has read the store since the last change)."""
    finished = time.time_ns()
    for _ in range(400):
        time.sleep(0.1)
        status = read_status(state)
        if status is not None and status.stores and (status.stores[0].read_at or 0) > finished - 10**9 and status.rows_waiting == 0:
            return
    raise AssertionError("the collector never settled")


def check(where: Path, store: Playground, script: Script, hint: str) -> None:
    """Compare the record with the truth."""
    told = spool_rows(where / "state/spool")
    rows = [row for table, row in told if table == "links"]
    survey = DRIVER.survey(store.root, clock=SystemClock())
    assert plain(fold(rows)) == plain(survey.links), hint
    coverage = [row for table, row in told if table == "coverage"]
    gaps = [bounds(row) for row in coverage if row["kind"] == "gap"]
    first_reading = max(number(row, "occurred_before") for row in rows if row["action"] == "observed")
    recorded, told_exactly, seen = times_recorded(told), 0, 0
    for (kind, subject), truth in script.truth.items():
        mine = [row for row in rows if row["subject"] == subject and row["link_kind"] == kind and row["action"] != "observed"]
        known = [row for row in mine if row["occurred_after"] is not None]
        for row in known:
            after, before = bounds(row)
            inside = any(after <= done and begun <= before for _, begun, done in truth)
            assert inside, explain(
                f"{hint}: {subject} {truth}", ("nothing in the interval of", number(row, "occurred_after"), 0), mine, coverage
            )
        for action, begun, done in truth:
            if begun < first_reading:
                continue  # observed, as far as it could still be seen
            exact = any(after <= done and begun <= before for after, before in [bounds(row) for row in known if row["action"] == action])
            watched = any(began <= begun and done <= ended for began, ended in recorded)
            told_exactly += exact and watched
            seen += watched
            in_gap = any(after <= done and begun <= before for after, before in gaps)
            assert exact or in_gap, explain(f"{hint}: {subject}", (action, begun, done), mine, coverage)
    assert told_exactly > seen // 2, f"{hint}: of {seen} changes while it was recorded, {told_exactly} were told: most of it is"
    assert seen > 20, hint
    assert_no_holes(told)


def times_recorded(told: list[tuple[str, Row]]) -> list[tuple[int, int]]:
    """Return for each run that came to read the store since when it records it, and when the last row was made that it could still seal."""
    began: dict[object, int] = {}
    ended: dict[object, int] = {}
    for table, row in told:
        if table == "coverage" and row["kind"] == "start":
            began[row["run"]] = bounds(row)[1]
        ended[row["run"]] = max(number(row, "observed_at"), ended.get(row["run"], 0))
    return [(start, ended[run]) for run, start in began.items()]


def explain(hint: str, missed: Truth, rows: list[Row], coverage: list[Row]) -> str:
    """Return what is known around a change that was missed, in milliseconds before and after it."""

    def line(row: Row) -> str:
        after, before = row["occurred_after"], row["occurred_before"]
        around = [None if not isinstance(at, int) else round((at - missed[1]) / 1e6, 3) for at in (after, before)]
        return f"{row.get('action') or row.get('kind')} {row.get('cause') or ''} {around} {row['origin']} {row['run']} {row['seq']}"

    near = [line(row) for row in [*rows, *coverage] if abs(number(row, "observed_at") - missed[1]) < 5 * 10**9]
    return "\n".join([f"{hint} {missed[0]} took {(missed[2] - missed[1]) / 1e6} ms", *near])


def assert_no_holes(told: list[tuple[str, Row]]) -> None:
    """Sequence numbers have no holes in any run, however it ended."""
    runs: dict[object, list[object]] = {}
    for _, row in told:
        runs.setdefault(row["run"], []).append(row["seq"])
    for numbers in runs.values():
        assert numbers == list(range(len(numbers)))
