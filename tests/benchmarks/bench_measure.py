"""Accounting a tree of a million entries: sharing it among processes beside du, and reading its names again.

The tree, on the disk where temporary files are: 50,000 directories with 20 names each (a symbolic link, files, every fourth directory a
further hard link), in three levels. Everything is warm: each reader has had one pass that does not count. The readers take turns; wall
time and processor time (all processes, the start of ours included) are medians of the rounds.

* ``full``: every entry asked with lstat, hard links once. Ours in two processes, and in one; ``du -s`` does the same in one.
  Processes that measure run at the lowest priority (nice 19), so ``du`` does too: on a busy machine both get what is left.
* ``again``: names alone, after one directory of the 50,000 has changed, beside our own first full pass in one process: what
  ``collector.watch.nametree`` reads again is asked by the ctime of directories. It knows names and hard links, no sizes.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from collector.measure import Size, measure
from collector.measuring import Workers
from collector.watch.nametree import NameTree

ROUNDS = 5
DIRECTORIES = 50_000
NAMES = 20
_FOREVER = (1 << 63) - 1
_WIDE, _DEEP = 40, 50
_SETTLE_SECONDS = 0.05


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Measure, and return the rows of ``build/bench/measure.json``."""
    with tempfile.TemporaryDirectory(prefix="linktrail-bench-") as name:
        top = Path(name) / "tree"
        _plant(top)
        names = NameTree(top)
        readers: dict[str, Callable[[], int]] = {
            "two": lambda: _shared(Path(name), 2),
            "one": lambda: measure(top).bytes,
            "du": lambda: _du(top),
            "again": lambda: _again(names),
        }
        for read in readers.values():
            read()
        wall: dict[str, list[float]] = {reader: [] for reader in readers}
        processor: dict[str, list[float]] = {reader: [] for reader in readers}
        for turn in range(rounds):
            found = {}
            for reader in [*readers][turn % len(readers) :] + [*readers][: turn % len(readers)]:
                if reader == "again":
                    _change(top)
                began, spent = time.monotonic(), _processor()
                found[reader] = readers[reader]()
                wall[reader].append(time.monotonic() - began)
                processor[reader].append(_processor() - spent)
            assert found["two"] == found["one"] == found["du"], found
            assert found["again"] == 1, found
        entries = measure(top).inodes
    return _rows(entries, wall, processor, rounds)


def _rows(entries: int, wall: dict[str, list[float]], processor: dict[str, list[float]], rounds: int) -> list[dict[str, object]]:
    took = {reader: statistics.median(times) for reader, times in wall.items()}
    spent = {reader: statistics.median(times) for reader, times in processor.items()}
    rows: list[dict[str, object]] = []
    for reader, words, goal in (("two", "two processes", ">= 1"), ("one", "one process", "")):
        row = {"name": f"measure full, {words}", "value": round(entries / took[reader]), "unit": "entries/s", "peer": "du"}
        row |= {"peer_value": round(entries / took["du"]), "ratio": round(took["du"] / took[reader], 3), "goal": goal, "rounds": rounds}
        rows.append(row)
        row = {"name": f"measure processor, {words}", "value": round(spent[reader] / entries * 1e6, 2), "unit": "us/entry", "peer": "du"}
        row |= {"peer_value": round(spent["du"] / entries * 1e6, 2), "ratio": round(spent["du"] / spent[reader], 3), "goal": ""}
        rows.append({**row, "rounds": rounds})
    first = "own first full pass, one process"
    row = {"name": "measure names again, one changed directory", "value": round(took["again"], 3), "unit": "s", "peer": first}
    row |= {"peer_value": round(took["one"], 3), "ratio": round(took["one"] / took["again"], 1), "goal": ">= 20", "rounds": rounds}
    return [*rows, row]


def _plant(top: Path) -> None:
    """Make the tree."""
    for number in range(DIRECTORIES):
        directory = top / str(number % _WIDE) / str(number // _WIDE % _DEEP) / str(number)
        directory.mkdir(parents=True)
        (directory / "link").symlink_to("target")
        files = NAMES - 2 if number % 4 == 0 else NAMES - 1
        for file in range(files):
            os.close(os.open(directory / f"file{file}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        if files < NAMES - 1:
            (directory / "hard").hardlink_to(directory / "file0")


def _shared(parent: Path, processes: int) -> int:
    """Return the bytes of the tree, measured by processes that are started for it and ended after."""
    workers = Workers(entries_per_second=0, most=processes)
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        measurement = workers.begin(directory, "tree", not_after=_FOREVER)
        while (found := measurement.outcome()) is None:
            workers.attend(1.0)
    finally:
        os.close(directory)
        workers.close()
    assert isinstance(found, Size), found
    return found.bytes


def _du(top: Path) -> int:
    return int(
        subprocess.run(("nice", "-n", "19", "du", "-s", "-B1", str(top)), capture_output=True, text=True, check=True).stdout.split()[0]
    )


def _again(names: NameTree) -> int:
    """Read the names again; return how many directories were listed."""
    names.read()
    return names.listed


def _change(top: Path) -> None:
    """Change the names in one directory, long enough ago for its ctime to be trusted."""
    changed = top / "1/1" / str(_WIDE + 1)
    (changed / "new").touch()
    (changed / "new").unlink()
    time.sleep(_SETTLE_SECONDS)


def _processor() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
