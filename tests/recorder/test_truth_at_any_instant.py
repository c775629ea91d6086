"""The whole way, against a model: real changes, the real collector in each watch mode, killed and stopped at will, then the lake.

A writer changes short links without pause and remembers what stood from when to when. Meanwhile the collector is killed, or stopped
(SIGSTOP) until the kernel's queue overflows. Then ``links_at(t)`` is asked about random instants: what it calls certain is what stood;
where it differs, the instant lies in a coverage gap, or within the bounds of a change that the record itself states.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from collector.watch.probe import FANOTIFY, INOTIFY, probe
from linktrail.clock import SystemClock
from linktrail.state import State
from processor.program import drain
from queries.completeness import to_datetime, to_nanoseconds
from queries.engine import Engine, open_lake
from tests.recorder.child import run
from tests.recorder.playground import Playground, short_name
from tests.recorder.test_kill import FORKS, wait_until_settled

NAMES = [short_name(number) for number in range(100, 112)]
QUEUE = 17_000  # more than fs.inotify.max_queued_events, which is 16,384 unless somebody raised it


@dataclass
class Writer(threading.Thread):
    """Changes short links, and remembers (begun, done, target or ``None``) of each step of each name."""

    store: Playground
    chance: random.Random
    history: dict[str, list[tuple[int, int, str | None]]] = field(default_factory=lambda: {name: [] for name in NAMES})
    failure: BaseException | None = None
    burst: int = 0

    def __post_init__(self) -> None:
        threading.Thread.__init__(self, daemon=True)
        self.halt = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Do one thing after another."""
        try:
            while not self.halt.is_set():
                self.step()
                if self.burst > 0:
                    self.burst -= 1
                else:
                    self.halt.wait(self.chance.choice([0, 0.001, 0.005, 0.03]))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.failure = error

    def step(self) -> None:
        """Make, remove or replace a link."""
        name = self.chance.choice(NAMES)
        past = self.history[name]
        stands = past[-1][2] if past else None
        target = None if stands is not None and self.chance.random() < 0.5 else f"../{self.chance.randrange(10**12):064d}/diff"
        begun = time.time_ns()
        if target is None:
            self.store.unlink(name)
        elif stands is None:
            self.store.link(name, target)
        else:
            self.store.retarget(name, target)
        past.append((begun, time.time_ns(), target))

    def at(self, name: str, instant: int) -> tuple[bool, str | None]:
        """Return whether it is known what stood at ``instant``, and what did."""
        stood = None
        for begun, done, target in self.history[name]:
            if done < instant:
                stood = target
            else:
                return begun > instant, stood
        return True, stood


@pytest.fixture(params=[INOTIFY, FANOTIFY])
def mode(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each watch mode that this process may use."""
    wanted = str(request.param)
    refused = next(found.refused for found in probe([tmp_path]) if found.name == wanted)
    if refused:
        pytest.skip(f"{wanted}: {refused}")
    return wanted


class Life:
    """The collector's: started, killed, stopped, and in the end asked to finish."""

    def __init__(self, where: Path, mode: str) -> None:
        self.where, self.mode = where, mode
        self.process = self.start()

    def start(self) -> ForkServerProcess:
        """Start a collector."""
        process = FORKS.Process(target=run, args=(str(self.where / "store"), str(self.where / "state"), self.mode))
        process.start()
        return process

    def kill(self) -> None:
        """Kill it with no chance to say goodbye, and start another."""
        self.process.kill()
        self.process.join()
        self.process = self.start()

    def overflow(self, writer: Writer) -> None:
        """Stop it while more happens than the kernel's queue holds."""
        os.kill(self.process.pid or 0, signal.SIGSTOP)
        try:
            writer.burst = QUEUE
            end = time.monotonic() + 60
            while writer.burst and writer.is_alive():
                assert time.monotonic() < end
                time.sleep(0.02)
        finally:
            os.kill(self.process.pid or 0, signal.SIGCONT)

    def end(self) -> None:
        """Let it tell everything, and end it."""
        wait_until_settled(self.where / "state")
        self.process.terminate()
        self.process.join(30)
        assert self.process.exitcode == 0


@pytest.fixture
def life(tmp_path: Path, mode: str) -> Iterator[tuple[Life, Writer]]:
    """A collector and a writer on one store."""
    writer = Writer(Playground.filled(tmp_path / "store", layers=4), random.Random())
    life = Life(tmp_path, mode)
    yield life, writer
    writer.halt.set()
    life.process.kill()
    life.process.join()


def play(life: Life, writer: Writer, seconds: float, seed: int) -> None:
    """Let both live for a while, with an accident now and then."""
    chance = random.Random(seed)
    writer.chance.seed(seed)
    wait_until_settled(life.where / "state")
    writer.start()
    end = time.monotonic() + seconds
    accidents = ["overflow", "kill"]
    while time.monotonic() < end or accidents:
        time.sleep(chance.choice([0.3, 0.8, 1.5]))
        if (accidents.pop() if accidents else chance.choice(["kill", "overflow", "kill"])) == "kill":
            life.kill()
        else:
            life.overflow(writer)
    time.sleep(1.5)
    writer.halt.set()
    writer.join()
    if writer.failure is not None:
        raise writer.failure
    life.end()


def check(life: Life, writer: Writer, instants: int, seed: int) -> None:
    """Compare the lake with what stood, at random instants and at the end."""
    state = State(life.where / "state")
    drain(state, state.lake)
    chance = random.Random(seed)
    compared = 0
    with open_lake(state.lake) as lake:
        gaps = [
            (to_nanoseconds(row["began"]), to_nanoseconds(row["ended"]))
            for row in lake.rows("SELECT began, ended FROM gaps WHERE began IS NOT NULL")
        ]
        assert any(row["cause"] == "restart" for row in lake.rows("SELECT DISTINCT cause FROM gaps"))
        moments = [*_moments(writer, gaps, instants, chance), SystemClock().now().wall // 1000 * 1000]
        changes = _changes(lake)
        for moment in moments:
            told = _told(lake, moment)
            for name in NAMES:
                known, stood = writer.at(name, moment)
                if not known:
                    continue
                moving = any(after < moment < before for after, before in changes.get(name, ()))
                right = _agrees(told.get(name, []), stood, moving=moving)
                if right:
                    compared += not moving
                    continue
                hint = f"seed {seed}, {name} at {moment}: {stood} stood, told {told.get(name)}, {_around(lake, writer, name, moment)}"
                raise AssertionError(hint)
        assert compared > instants, f"seed {seed}: {compared} comparisons, gaps {gaps}"


def _agrees(told: list[tuple[str | None, str]], stood: str | None, *, moving: bool) -> bool:
    """Tell whether what the lake says of a name (a target that nobody read is ``None``) can be what ``stood``."""
    targets = {target for target, _ in told}
    if moving:
        return stood is None or bool(targets & {stood, None})
    return [certainty for _, certainty in told] == ["certain"] * (stood is not None) and targets <= {stood, None}


def _moments(writer: Writer, gaps: list[tuple[int, int]], count: int, chance: random.Random) -> Iterator[int]:
    """Yield instants (whole microseconds) shortly after something was done, in no gap."""
    steps = [done for history in writer.history.values() for _, done, _ in history]
    clear = [done for done in steps if not any(began <= done <= ended for began, ended in gaps)]
    assert len(clear) > 10, f"nearly all of it is a gap: {gaps}"
    while count:
        moment = (chance.choice(clear) + chance.randrange(5_000_000)) // 1000 * 1000
        if not any(began <= moment <= ended for began, ended in gaps):
            count -= 1
            yield moment


def _changes(lake: Engine) -> dict[str, list[tuple[int, int]]]:
    """Return the bounds of every change of a name; one without a lower bound may have happened at any time before."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row in lake.rows("SELECT subject, occurred_after, occurred_before FROM links WHERE link_kind = 'short_link'"):
        after = 0 if row["occurred_after"] is None else to_nanoseconds(row["occurred_after"])
        found.setdefault(row["subject"], []).append((after, to_nanoseconds(row["occurred_before"])))
    return found


def _around(lake: Engine, writer: Writer, name: str, moment: int) -> str:
    """Return what happened around an instant, and what is recorded of it, in ms."""

    def since(at: int | None) -> float | None:
        return None if at is None else round((at - moment) / 1e6, 3)

    sql = (
        "SELECT action, target, epoch_ns(occurred_after) AS a, epoch_ns(occurred_before) AS b, origin, run, seq "
        "FROM links WHERE subject = $n ORDER BY run, seq"
    )
    rows = [
        (row["action"], (row["target"] or "")[55:-5], since(row["a"]), since(row["b"]), row["origin"], row["run"][-8:], row["seq"])
        for row in lake.rows(sql, {"n": name})
        if abs(row["b"] - moment) < 3e10
    ]
    done = [((target or "")[55:-5], since(begun), since(end)) for begun, end, target in writer.history[name] if abs(begun - moment) < 5e8]
    near = sorted(rows, key=lambda row: min(abs(row[2] or -1e9), abs(row[3] or 1e9)))[:10]
    return f"done {done}, rows {sorted(near, key=lambda row: (row[5], row[6]))}"


def _told(lake: Engine, moment: int) -> dict[str, list[tuple[str | None, str]]]:
    """Return target and certainty of each short link as the lake knows it at an instant."""
    sql = "SELECT subject, target, certainty FROM links_at($moment) WHERE link_kind = 'short_link'"
    found: dict[str, list[tuple[str | None, str]]] = {}
    for row in lake.rows(sql, {"moment": to_datetime(moment)}):
        found.setdefault(row["subject"], []).append((row["target"], row["certainty"]))
    return found


def test_the_lake_is_true_at_any_instant(life: tuple[Life, Writer]) -> None:
    """A few seconds of it, always."""
    seed = random.randrange(2**32)
    play(*life, seconds=3, seed=seed)
    check(*life, instants=60, seed=seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_the_lake_is_true_at_any_instant_for_long(life: tuple[Life, Writer], seed: int) -> None:
    """A minute of it, with many accidents."""
    play(*life, seconds=60, seed=seed)
    check(*life, instants=400, seed=seed)
