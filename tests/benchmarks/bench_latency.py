"""How late the record is, and what watching costs: the whole collector, as its own process, on a store of 2,000 layers.

* ``busy``: for ten seconds a round, 1,000 changes a second in ``overlay/l``, evenly: a short link put over itself by rename, another one
  made, and removed again. The delay of a change is from just before the call that makes it to the change time of the spool file that
  holds its row: that is when the file, already on disk, got its name. Every change must be told, none may be in a gap.
* ``idle``: ten seconds a round without a change, on a store of 1,000 layers that has been read and measured: resident memory, and
  processor time in percent of one core, of the collector and its children.

Both ways of watching are measured where this process may use them, on a filesystem of their own where it may mount one (ext4 in a file):
deep mode hears every change of a filesystem, and those of strangers would count as ours. Nobody else keeps such a record: no peer.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from collector.live import read_status
from collector.measuring import IDLE_SECONDS
from collector.rows import rows_of
from collector.spool_directory import batch_name
from collector.spool_reader import SpoolReader
from collector.watch.probe import FANOTIFY, INOTIFY, probe
from linktrail.batch import decode
from tests.containers_storage.made import Made, short_name

ROUNDS = 5
LAYERS_BUSY = 2_000
LAYERS_IDLE = 1_000
SECONDS = 10.0
RATE = 1_000
CHAIN = 19
_SECOND = 1_000_000_000
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 120.0


@dataclass
class Busy:
    """What the rounds under load came to: delays in seconds, share of a core, changes never told."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    worst: list[float] = field(default_factory=list)
    core: list[float] = field(default_factory=list)
    untold: list[int] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)


@dataclass
class Idle:
    """What the quiet rounds came to: resident bytes, share of a core."""

    resident: list[float] = field(default_factory=list)
    core: list[float] = field(default_factory=list)


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Measure, and return the rows of ``build/bench/latency.json``."""
    modes = [INOTIFY]
    if not next(mode.refused for mode in probe() if mode.name == FANOTIFY):
        modes.append(FANOTIFY)
    rows: list[dict[str, object]] = []
    for mode in modes:
        busy, idle = Busy(), Idle()
        with _collector(LAYERS_BUSY, mode) as (process, store, state):
            for _ in range(rounds):
                _load(process, store, state, busy)
        with _collector(LAYERS_IDLE, mode) as (process, _store, _state):
            time.sleep(IDLE_SECONDS + 2)  # until the processes that measured have ended for want of work
            for _ in range(rounds):
                _rest(process, idle)
        rows += _rows(mode, busy, idle, rounds)
    return rows


def _rows(mode: str, busy: Busy, idle: Idle, rounds: int) -> list[dict[str, object]]:
    of = f"of {round(RATE * SECONDS)}, worst round"
    told = (
        ("delay p50", round(statistics.median(busy.p50), 3), "s", ""),
        ("delay p99", round(statistics.median(busy.p99), 3), "s", "<= 1.5"),
        ("delay worst", round(max(busy.worst), 3), "s, worst round", ""),
        ("busy core", round(100 * statistics.median(busy.core), 1), f"% of a core at {RATE} changes/s, {LAYERS_BUSY} layers", ""),
        ("untold", max(busy.untold), of, "0"),
        ("gaps", max(busy.gaps), of, "0"),
        ("idle core", round(100 * statistics.median(idle.core), 2), f"% of a core, {LAYERS_IDLE} layers", "< 0.5"),
        ("idle resident", round(statistics.median(idle.resident) / 1e6, 1), f"MB, {LAYERS_IDLE} layers", "< 100"),
    )
    empty = {"peer": "", "peer_value": None, "ratio": None}
    return [
        {"name": f"latency {mode} {name}", "value": value, "unit": unit, **empty, "goal": goal, "rounds": rounds}
        for name, value, unit, goal in told
    ]


@contextmanager
def _disk(top: Path) -> Iterator[Path]:
    """Yield a directory on an ext4 filesystem of its own, in a file; where that cannot be mounted, ``top`` itself."""
    image, mount = top / "image", top / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(2 << 30)
    made = shutil.which("mkfs.ext4") and subprocess.run(("mkfs.ext4", "-q", str(image)), check=False).returncode == 0
    if not made or subprocess.run(("mount", "-o", "loop", str(image), str(mount)), check=False, stderr=subprocess.DEVNULL).returncode:
        yield top
        return
    try:
        yield mount
    finally:
        subprocess.run(("umount", str(mount)), check=True)


@contextmanager
def _collector(layers: int, mode: str) -> Iterator[tuple[psutil.Process, Made, Path]]:
    """Yield a collector that has read and measured a store of so many layers."""
    with tempfile.TemporaryDirectory(prefix="linktrail-bench-") as name, _disk(Path(name)) as disk:
        store, state = _store(disk / "store", layers), disk / "state"
        command = [sys.executable, "-m", "linktrail", "collect", str(store.root), "--state", str(state), "--watch", mode]
        with subprocess.Popen(command) as process:
            try:
                _until_measured(state)
                yield psutil.Process(process.pid), store, state
            finally:
                process.terminate()


def _store(root: Path, layers: int) -> Made:
    made = Made(root)
    for number in range(layers // (CHAIN + 1)):
        chain = made.chain(CHAIN)
        made.container(f"c{number}", made.layer(chain[-1]), made.image(f"registry/image{number}:1", chain[-1]))
    made.save()
    return made


def _until_measured(state: Path) -> None:
    """Wait until the store was read and every layer measured."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        status = read_status(state)
        if status is not None and status.stores and status.stores[0].bytes is not None and not status.rows_waiting:
            return
        time.sleep(0.1)
    raise TimeoutError("the collector never measured the store")


# --- under load ---------------------------------------------------------------------------------------------------


def _load(process: psutil.Process, store: Made, state: Path, busy: Busy) -> None:
    spool = SpoolReader(state / "spool")
    first, began, spent = spool.offsets()[-1] + 1, time.monotonic(), _processor(process)
    done = _change(store)
    passed = time.monotonic() - began
    _until_vouched(state)
    busy.core.append((_processor(process) - spent) / passed)
    delays, gaps, left = [], 0, {key: deque(times) for key, times in done.items()}
    for offset in [offset for offset in spool.offsets() if offset >= first]:
        data = spool.read(offset)
        assert data is not None
        sealed = (spool.path / batch_name(offset)).stat().st_ctime_ns
        header, table = decode(data, str(offset))
        for row in rows_of(table):
            gaps += header.table == "coverage" and row["kind"] == "gap"
            waiting = left.get((str(row.get("subject")), str(row.get("action")))) if header.table == "links" else None
            if waiting:
                delays.append((sealed - waiting.popleft()) / _SECOND)
    delays.sort()
    busy.p50.append(delays[len(delays) // 2])
    busy.p99.append(delays[len(delays) * 99 // 100])
    busy.worst.append(delays[-1])
    busy.untold.append(sum(map(len, left.values())))
    busy.gaps.append(gaps)


def _change(store: Made) -> dict[tuple[str, str], list[int]]:
    """Make changes, evenly; return when each was begun (ns UTC), by short name and what the record should say."""
    links, temporary = store.root / "overlay/l", store.root / "overlay-layers/.tmp-link"
    names = sorted(entry.name for entry in links.iterdir())
    targets = {name: os.readlink(links / name) for name in names}  # noqa: PTH115 - text as written
    done: dict[tuple[str, str], list[int]] = defaultdict(list)
    began, total = time.monotonic(), round(RATE * SECONDS)
    fresh = time.time_ns()
    for number in range(total):
        ahead = began + number / RATE - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        kind, turn = number % 3, number // 3
        name = names[turn % len(names)] if kind == 0 else short_name(fresh + turn)
        now = time.time_ns()
        if kind == 0:
            temporary.symlink_to(targets[name])
            temporary.replace(links / name)
        elif kind == 1:
            (links / name).symlink_to(targets[names[0]])
        else:
            (links / name).unlink()
        done[name, ("retargeted", "created", "removed")[kind]].append(now)
    if total % 3 == 2:  # the last one made is still there
        (links / short_name(fresh + total // 3)).unlink()
    return done


def _until_vouched(state: Path) -> None:
    """Wait until the collector says that nothing from before now is missing, and all of it is in the spool."""
    begun, end = time.time_ns(), time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        status = read_status(state)
        if status is not None and (status.stores[0].vouched or 0) > begun and not status.rows_waiting:
            return
        time.sleep(0.05)
    raise TimeoutError("the collector never came to rest")


# --- at rest ------------------------------------------------------------------------------------------------------


def _rest(process: psutil.Process, idle: Idle) -> None:
    spent, began = _processor(process), time.monotonic()
    time.sleep(SECONDS)
    idle.core.append((_processor(process) - spent) / (time.monotonic() - began))
    family = [process, *process.children(recursive=True)]
    idle.resident.append(sum(member.memory_info().rss for member in family))


def _processor(process: psutil.Process) -> float:
    """Return the processor seconds of a process, and of its children that are or were."""
    times = process.cpu_times()
    return times.children_user + times.children_system + sum(map(_scheduled, [process, *process.children(recursive=True)]))


def _scheduled(process: psutil.Process) -> float:
    """Return for how long the threads of a process have run, in seconds: an idle one takes less than a tick of the clock in a round."""
    threads = Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads) / _SECOND
