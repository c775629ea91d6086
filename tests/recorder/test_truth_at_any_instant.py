"""The whole way, against a model: real changes, the real collector in each watch mode, killed and stopped at will, then the lake.

A writer changes short links, layers, images and (deep mode) what is inside a layer, through its real overlay mount, without pause, and
remembers what stood from when to when. Meanwhile the collector is killed, or stopped (SIGSTOP) until the queue of the kernel overflows, and
the store is unmounted and mounted again. Then ``links_at(t)`` is asked about random instants: what it calls certain is what stood; where it
differs, the instant lies in a coverage gap, or within the bounds of a change that the record itself states.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from collector.links import INSIDE
from collector.live import read_status
from collector.watch.probe import FANOTIFY, INOTIFY, probe
from linktrail.clock import SystemClock
from linktrail.state import State
from processor.program import drain
from queries.completeness import to_datetime, to_nanoseconds
from queries.engine import Engine, open_lake
from tests.mounts.spaces import Shell
from tests.needs import need
from tests.recorder.child import run
from tests.recorder.test_kill import FORKS
from tests.recorder.truth_writer import PRESENT, Key, World, Writer
from tests.watch.tools import mounted
from tests.watch.tools import run as command

QUEUE = 17_000  # more than fs.inotify.max_queued_events, which is 16,384 unless somebody raised it
SETTLED_SECONDS = 60
EVERYTHING = ["short_link", "layer_directory", "image_name", *sorted(INSIDE)]


@pytest.fixture(params=[INOTIFY, FANOTIFY])
def mode(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each watch mode that this process may use."""
    need("root")
    wanted = str(request.param)
    refused = next(found.refused for found in probe([tmp_path]) if found.name == wanted)
    if refused:
        pytest.skip(f"{wanted}: {refused}")
    return wanted


class Life:
    """The collector's: started, killed, stopped, its store unmounted, and in the end asked to finish."""

    def __init__(self, disk: Path, root: Path, mode: str) -> None:
        self.disk, self.root, self.mode = disk, root, mode
        self.process = self.start()

    @property
    def state(self) -> Path:
        """The collector's state directory, on the filesystem of the store."""
        return self.disk / "state"

    def start(self) -> ForkServerProcess:
        """Start a collector, ahead of others on a busy machine: the writer knows no mercy."""
        process = FORKS.Process(target=run, args=(str(self.root), str(self.state), self.mode))
        process.start()
        os.setpriority(os.PRIO_PROCESS, process.pid or 0, -10)
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

    def remount(self) -> None:
        """Take the store away for a moment; the writer goes on where it really lies."""
        command("umount", "-l", str(self.root))
        time.sleep(0.5)
        command("mount", "--bind", str(self.disk / "store"), str(self.root))

    def settle(self) -> None:
        """Wait until it has read the store since now, where it can read it, and written all that there was to say."""
        last, end = self.disk / "store/overlay/l" / "settled", time.monotonic() + SETTLED_SECONDS
        last.symlink_to("nowhere")  # something to read the store for, where nobody else changes it any more
        last.unlink()
        now = time.time_ns()
        while time.monotonic() < end:
            time.sleep(0.1)
            assert self.process.is_alive(), f"the collector ended: {self.process.exitcode}"
            status = read_status(self.state)
            store = status.stores[0] if status is not None and status.stores else None
            if store is None or status is None or store.down is not None or status.rows_waiting:
                continue
            if (store.read_at or 0) > now:
                return
        raise AssertionError(f"the collector never settled: {read_status(self.state)}")

    def end(self) -> None:
        """Let it tell everything, and end it."""
        self.settle()
        self.process.terminate()
        self.process.join(30)
        assert self.process.exitcode == 0


@pytest.fixture
def life(tmp_path: Path, mode: str) -> Iterator[tuple[Life, Writer]]:
    """A collector and a writer on one store."""
    disk, root = tmp_path / "disk", tmp_path / "root"
    disk.mkdir()
    root.mkdir()
    with mounted(disk, "-o", "size=256m"), Shell() as shell:
        world = World(disk / "store", shell)
        command("mount", "--bind", str(disk / "store"), str(root))
        writer = Writer(world, random.Random(), deep=mode == FANOTIFY)
        life = Life(disk, root, mode)
        try:
            yield life, writer
        finally:
            writer.halt.set()
            life.process.kill()
            life.process.join()
            subprocess.run(("umount", "-l", str(root)), capture_output=True, check=False)


def play(life: Life, writer: Writer, seconds: float, seed: int) -> None:
    """Let both live for a while, with an accident now and then."""
    chance = random.Random(seed)
    writer.chance.seed(seed)
    life.settle()
    writer.start()
    end = time.monotonic() + seconds
    accidents = ["remount", "overflow", "kill"]
    while time.monotonic() < end or accidents:
        time.sleep(chance.choice([0.5, 0.8, 1.5]))
        accident = accidents.pop() if accidents else chance.choice(["kill", "overflow", "kill", "remount"])
        if accident == "kill":
            life.kill()
        elif accident == "overflow":
            life.overflow(writer)
        else:
            life.remount()
        if writer.failure is not None:
            raise writer.failure
    life.settle()  # what follows is heard, in no gap
    time.sleep(1.5)
    writer.halt.set()
    writer.join()
    if writer.failure is not None:
        raise writer.failure
    life.end()


def check(life: Life, writer: Writer, instants: int, seed: int) -> None:
    """Compare the lake with what stood, at random instants and at the end."""
    state = State(life.state)
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
            for key in writer.history:
                known, stood = writer.at(key, moment)
                if not known:
                    continue
                moving = any(after < moment < before for after, before in changes.get(key, ()))
                if _agrees(told.get(key, []), stood, moving=moving):
                    compared += not moving
                    continue
                hint = f"seed {seed}, {key} at {moment}: {stood} stood, told {told.get(key)}, {_around(lake, writer, key, moment)}"
                raise AssertionError(hint)
        assert compared > instants, f"seed {seed}: {compared} comparisons, gaps {gaps}"


def _agrees(told: list[tuple[str | None, str]], stood: str | None, *, moving: bool) -> bool:
    """Tell whether what the lake says of a name (a target that nobody read is ``None``) can be what ``stood``."""
    fits = [stood in (PRESENT, what) or what is None or (stood == "hardlink:*" and what.startswith("hardlink:")) for what, _ in told]
    if moving:
        return stood is None or any(fits)
    return [certainty for _, certainty in told] == ["certain"] * (stood is not None) and all(fits)


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


def _key(kind: str, subject: str) -> Key:
    if kind == "image_name":
        return "image_record", subject.removeprefix("localhost/").removesuffix(":1")
    return ("inside" if kind in INSIDE else kind), subject


def _changes(lake: Engine) -> dict[Key, list[tuple[int, int]]]:
    """Return the bounds of every change of a name; one without a lower bound may have happened at any time before."""
    found: dict[Key, list[tuple[int, int]]] = {}
    for row in lake.rows(
        "SELECT link_kind, subject, occurred_after, occurred_before FROM links WHERE list_contains($kinds, link_kind)",
        {"kinds": EVERYTHING},
    ):
        after = 0 if row["occurred_after"] is None else to_nanoseconds(row["occurred_after"])
        found.setdefault(_key(row["link_kind"], row["subject"]), []).append((after, to_nanoseconds(row["occurred_before"])))
    return found


def _around(lake: Engine, writer: Writer, key: Key, moment: int) -> str:
    """Return what happened around an instant, and what is recorded of it, in ms."""

    def since(at: int | None) -> float | None:
        return None if at is None else round((at - moment) / 1e6, 3)

    sql = (
        "SELECT link_kind, subject, action, target, epoch_ns(occurred_after) AS a, epoch_ns(occurred_before) AS b, origin, run, seq "
        "FROM links WHERE list_contains($kinds, link_kind) ORDER BY run, seq"
    )
    rows = [
        (row["link_kind"], row["action"], row["target"], since(row["a"]), since(row["b"]), row["origin"], row["run"][-8:], row["seq"])
        for row in lake.rows(sql, {"kinds": EVERYTHING})
        if _key(row["link_kind"], row["subject"]) == key and abs(row["b"] - moment) < 3e10
    ]
    done = [(what, since(begun), since(end)) for begun, end, what in writer.history[key] if abs(begun - moment) < 1e10]
    near = sorted(rows, key=lambda row: min(abs(row[3] or -1e9), abs(row[4] or 1e9)))[:10]
    gaps = [
        (row["cause"], row["message"], since(to_nanoseconds(row["began"])), since(to_nanoseconds(row["ended"])))
        for row in lake.rows("SELECT cause, message, began, ended FROM gaps WHERE began IS NOT NULL ORDER BY began")
    ]
    return f"done {done}, rows {sorted(near, key=lambda row: (row[6], row[7]))}, gaps {gaps}"


def _told(lake: Engine, moment: int) -> dict[Key, list[tuple[str | None, str]]]:
    """Return what stands and with which certainty, as the lake knows it at an instant."""
    sql = "SELECT link_kind, subject, target, certainty FROM links_at($moment) WHERE list_contains($kinds, link_kind)"
    found: dict[Key, list[tuple[str | None, str]]] = {}
    for row in lake.rows(sql, {"moment": to_datetime(moment), "kinds": EVERYTHING}):
        kind, what = row["link_kind"], row["target"]
        if kind in INSIDE:
            what = None if kind == "unread_name" else f"{kind}:{what or ''}"
        found.setdefault(_key(kind, row["subject"]), []).append((what, row["certainty"]))
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
