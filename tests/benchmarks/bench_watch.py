"""Watching at full speed: our emitters beside inotifywait and the stock emitter of watchdog.

Two measurements, each reader in a process of its own, the readers taking turns, medians of the rounds:

* ``live``: another process makes and removes 200,000 links at full speed in 16 directories. Rate: changes delivered, divided by the
  time from the first operation to the last delivery. Whatever was not delivered is counted, and for us, whether a loss covers it.
* ``drain``: 16,000 operations wait in the kernel's queue while the reader is stopped. Rate: changes delivered, divided by the time from its
  continuation to the last delivery. Here no writer is the bottleneck. The goals are the same: a row that misses its goal stays a miss.

The stock emitter is asked twice: as its documentation shows it (``watchdog``), and with an ``event_filter`` that spares it the events
that nobody counts here (``watchdog-filtered``). Processor time (user and system) is per delivered change.

A change counts as delivered when it is a ``Change`` in our hands, an event in watchdog's handler, a line in inotifywait's output
file. Once the writer has ended, a file called ``end...`` is made; when the reader tells it, it has told all it will.
The writer is compiled where there is a C compiler, else it is Python (and then slower than the readers). It makes and removes hard
links of one file, which costs the kernel less than making an object for each: a slow writer would hide the differences of the readers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from collector.interpreter import set_for_recording
from collector.stores.protocol import Purpose, WatchItem, WatchPlan
from collector.watch.deep import FanotifyWatcher
from collector.watch.interface import Loss, Report, WatchBatch, Watcher
from collector.watch.plain import InotifyWatcher
from collector.watch.probe import FANOTIFY, probe
from linktrail.clock import SystemClock

LIVE = 200_000
QUEUED = 16_000
DIRECTORIES = 16
ROUNDS = 5
OURS = ("inotify", "fanotify")
PEERS = (("inotifywait", ">= 0.7"), ("watchdog", ">= 8"), ("watchdog-filtered", ""))
_PATIENCE = 120.0
_MARK_SECONDS = 2.0
_END = "end"
_ORIGINAL = "original"
_COUNTED = ("created", "removed")
_SECOND = 1_000_000_000

_WRITER_C = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int count = atoi(argv[1]), directories = argc - 2, at[64];
    struct timespec began;
    for (int i = 0; i < directories; i++) at[i] = open(argv[i + 2], O_PATH);
    clock_gettime(CLOCK_REALTIME, &began);
    for (int i = 0; i < count / 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "n%d", i);
        if (linkat(at[0], "original", at[i % directories], name, 0) || unlinkat(at[i % directories], name, 0)) return 1;
    }
    printf("%lld\n", began.tv_sec * 1000000000LL + began.tv_nsec);
    return 0;
}
"""
_WRITER_PYTHON = """
import os, sys, time
count, at = int(sys.argv[1]), [os.open(name, os.O_PATH) for name in sys.argv[2:]]
began = time.time_ns()
for number in range(count // 2):
    os.link("original", f"n{number}", src_dir_fd=at[0], dst_dir_fd=at[number % len(at)])
    os.unlink(f"n{number}", dir_fd=at[number % len(at)])
print(began)
"""


@dataclass
class Result:
    """What one reader delivered in one run: how much, until when (ns UTC), and whether it stated losses; its processor time in seconds."""

    delivered: int
    last: int
    losses: int = 0
    processor: float = 0.0


@dataclass
class Series:
    """The runs of one reader."""

    rates: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    unaccounted: list[int] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Measure, and return the rows of ``build/bench/watch.json``."""
    readers = ["inotify", "watchdog", "watchdog-filtered"]
    if shutil.which("inotifywait"):
        readers.append("inotifywait")
    if not next(mode.refused for mode in probe() if mode.name == FANOTIFY):
        readers.append("fanotify")
    live: dict[str, Series] = {reader: Series() for reader in readers}
    drain: dict[str, Series] = {reader: Series() for reader in readers}
    with tempfile.TemporaryDirectory(prefix="linktrail-bench-", dir=_memory()) as name:
        writer = _writer(Path(name))
        for turn in range(rounds):
            for reader in readers[turn % len(readers) :] + readers[: turn % len(readers)]:
                _measure(reader, live[reader], writer, Path(name), LIVE, stopped=False)
                _measure(reader, drain[reader], writer, Path(name), QUEUED, stopped=True)
    return _rows(live, drain, rounds)


def _rows(live: dict[str, Series], drain: dict[str, Series], rounds: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for kind, measured in (("live", live), ("drain", drain)):
        for own in [reader for reader in OURS if reader in measured]:
            for peer, goal in PEERS:
                if peer in measured:
                    value, other = statistics.median(measured[own].rates), statistics.median(measured[peer].rates)
                    row = {
                        "name": f"watch {kind} {own}",
                        "value": round(value),
                        "unit": "changes/s",
                        "peer": peer,
                        "peer_value": round(other),
                    }
                    rows.append(
                        {
                            **row,
                            "ratio": round(value / other, 3),
                            "goal": goal if own == "inotify" else "",
                            "rounds": rounds,
                        }
                    )
    rows += _costs(live, rounds)
    of = f"of {LIVE}, worst round"
    for name, series in live.items():
        told = {"peer": "", "peer_value": None, "ratio": None, "rounds": rounds}
        rows.append({"name": f"watch lost {name}", "value": max(series.missing), "unit": of, "goal": "0" * (name == FANOTIFY), **told})
        if name in OURS:
            rows.append({"name": f"watch unaccounted {name}", "value": max(series.unaccounted), "unit": of, "goal": "0", **told})
    return rows


def _costs(live: dict[str, Series], rounds: int) -> list[dict[str, object]]:
    """Return what a change costs us, and how many times as much it costs the peers."""
    rows: list[dict[str, object]] = []
    for own in [reader for reader in OURS if reader in live]:
        for peer, goal in PEERS:
            if peer in live:
                value, other = statistics.median(live[own].cost), statistics.median(live[peer].cost)
                row = {"name": f"watch processor {own}", "value": round(value, 2), "unit": "us/change", "peer": peer}
                row |= {"peer_value": round(other, 2), "ratio": round(other / value, 3)}
                rows.append({**row, "goal": goal if own == "inotify" else "", "rounds": rounds})
    return rows


# --- one run ------------------------------------------------------------------------------------------------------


def _measure(reader: str, series: Series, writer: tuple[str, ...], base: Path, operations: int, *, stopped: bool) -> None:
    with tempfile.TemporaryDirectory(dir=base) as name:
        directories = [Path(name) / f"d{number}" for number in range(DIRECTORIES)]
        for directory in directories:
            directory.mkdir()
        (directories[0] / _ORIGINAL).touch()
        with _reader(reader, directories, Path(name) / "out") as (process, finish):
            if stopped:
                process.send_signal(signal.SIGSTOP)
            done = subprocess.run((*writer, str(operations), *map(str, directories)), capture_output=True, text=True, check=True)
            began = int(done.stdout)
            if stopped:
                time.sleep(0.1)
                began = time.time_ns()
                process.send_signal(signal.SIGCONT)
            result = _finished(finish, directories[0])
    missing = operations - result.delivered
    series.rates.append(result.delivered / max(result.last - began, 1) * _SECOND)
    series.missing.append(missing)
    series.unaccounted.append(0 if result.losses else missing)
    if result.processor and result.delivered:
        series.cost.append(result.processor / result.delivered * 1e6)


@contextmanager
def _reader(reader: str, directories: list[Path], out: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], Result | None]]]:
    """Start a reader that watches already when this returns; the function tells what it delivered, once it has told the end."""
    if reader == "inotifywait":
        command = ["inotifywait", "-m", "-q", "-o", str(out), "--format", "%e %f", "-e", "create", "-e", "delete", *map(str, directories)]
    else:
        command = [sys.executable, "-m", "tests.benchmarks.bench_watch", reader, *map(str, directories)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            answers = process.stdout
            if reader == "inotifywait":
                _until_watching(process.pid)
                spent = _processor(process.pid)
                yield process, lambda: _lines(out, process.pid, spent)
            else:
                assert answers.readline() == "ready\n"
                yield process, lambda: _told(answers)
        finally:
            process.kill()


def _finished(finish: Callable[[], Result | None], directory: Path) -> Result:
    """Make ends until the reader has told one: the first of them may fall into an overflow."""
    deadline, number = time.monotonic() + _PATIENCE, 0
    while time.monotonic() < deadline:
        (directory / f"{_END}{number}").symlink_to("target")
        number += 1
        result = finish()
        if result is not None:
            return result
    raise TimeoutError("the reader never told the end")


def _told(answers: IO[str]) -> Result | None:
    ready, _, _ = select.select([answers], [], [], _MARK_SECONDS)
    return Result(**json.loads(answers.readline())) if ready else None


def _processor(pid: int) -> float:
    """Return the processor time (user and system) that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _lines(out: Path, pid: int, spent: float) -> Result | None:
    """Return how many events inotifywait wrote, and when it wrote the last of them (the end included)."""
    deadline = time.monotonic() + _MARK_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.02)
        with out.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 100))
            ended = f"CREATE {_END}".encode() in file.read()
        if ended:
            lines = out.read_bytes().splitlines()
            told = sum(1 for line in lines if line.startswith((b"CREATE n", b"DELETE n")))
            return Result(told, out.stat().st_mtime_ns, processor=_processor(pid) - spent)
    return None


def _until_watching(pid: int) -> None:
    """Wait until the process holds its watches; it says nothing when quiet."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for info in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                if info.read_text(encoding="ascii").count("inotify wd:") >= DIRECTORIES:
                    return
        time.sleep(0.01)
    raise TimeoutError("inotifywait does not watch")


def _writer(base: Path) -> tuple[str, ...]:
    compiler = shutil.which("cc")
    if compiler is None:
        return (sys.executable, "-c", _WRITER_PYTHON)
    (base / "writer.c").write_text(_WRITER_C, encoding="ascii")
    subprocess.run((compiler, "-O2", "-o", str(base / "writer"), str(base / "writer.c")), check=True)
    return (str(base / "writer"),)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


# --- the readers, in their own processes --------------------------------------------------------------------------


def _read(watcher: Watcher, directories: list[Path]) -> Result:
    root = directories[0].parent
    watcher.cover(WatchPlan(root, tuple(WatchItem(directory, Purpose.PLUMBING) for directory in directories)))
    watcher.start()
    watcher.take(0)
    print("ready", flush=True)
    began = time.process_time()
    taken: list[tuple[int, list[Report]]] = []  # counted afterwards, as the lines of inotifywait are
    while not taken or not any(isinstance(report, WatchBatch) and report.changes[-1].name.startswith(_END) for report in taken[-1][1]):
        reports = watcher.take(0.1)
        taken.append((time.time_ns(), reports))
    processor = time.process_time() - began
    watcher.stop()
    result = Result(0, 0, processor=processor)
    for at, reports in taken:
        result.losses += sum(isinstance(report, Loss) for report in reports)
        changes = [change for report in reports if isinstance(report, WatchBatch) for change in report.changes]
        told = sum(change.name[:1] == "n" and change.action in _COUNTED for change in changes)
        result.delivered += told
        result.last = at if told else result.last
    return result


def _stock(directories: list[Path], *, filtered: bool) -> Result:
    from watchdog.events import FileCreatedEvent, FileDeletedEvent, FileSystemEvent, FileSystemEventHandler  # noqa: PLC0415 - the peer only
    from watchdog.observers import Observer  # noqa: PLC0415 - the peer only

    result, ended = Result(0, time.time_ns()), threading.Event()

    class Counter(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if not isinstance(event, FileCreatedEvent | FileDeletedEvent):
                return
            if os.fsdecode(event.src_path).rpartition("/")[2].startswith(_END):
                ended.set()
            else:
                result.delivered += 1
                result.last = time.time_ns()

    observer = Observer()
    wanted: list[type[FileSystemEvent]] | None = [FileCreatedEvent, FileDeletedEvent] if filtered else None
    observer.schedule(Counter(), str(directories[0].parent), recursive=True, event_filter=wanted)
    observer.start()
    print("ready", flush=True)
    began = time.process_time()
    ended.wait()
    result.processor = time.process_time() - began
    observer.stop()
    return result


def _main(reader: str, directories: list[Path]) -> None:
    if reader.startswith("watchdog"):
        logging.disable()  # it logs each overflow; what it lost is counted here
        result = _stock(directories, filtered=reader != "watchdog")
    else:
        set_for_recording()
        watchers = {"inotify": InotifyWatcher, "fanotify": FanotifyWatcher}
        result = _read(watchers[reader](clock=SystemClock()), directories)
    print(json.dumps(vars(result)), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], [Path(name) for name in sys.argv[2:]])
