"""Reading a containerd root again, and a warm survey of a full one.

* ``reread``: a node whose meta.db has more than 64 MB; after one transaction in it, the new graph beside a first reading of the same file.
  Both in every round, each first reading by a driver that knows nothing.
* ``survey``: a root with 2,000 snapshots on disk, read by a driver that knows nothing (files warm in the page cache, as on a node that
  works), beside ``find`` over the same files and directories. ``survey again`` is the same with nothing changed since.

Seconds on the wall, medians of the rounds.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from collector.stores.containerd import Containerd
from linktrail.clock import SystemClock
from tests.containerd.large import large_node, one_transaction

ROUNDS = 7
IMAGES, PODS = 360, 200  # 5 layers each, and one snapshot a pod: 2,000
_CLOCK = SystemClock()


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Measure, and return the rows of ``build/bench/reread.json``."""
    with tempfile.TemporaryDirectory(prefix="linktrail-bench-") as name:
        return [*_reread(Path(name) / "large", rounds), *_survey(Path(name) / "full", rounds)]


def _reread(root: Path, rounds: int) -> list[dict[str, object]]:
    store = large_node(root)
    size = store.meta_path.stat().st_size
    if size <= 64 << 20:
        raise AssertionError(f"meta.db has only {size} bytes")
    driver = Containerd()
    driver.survey(root, clock=_CLOCK)
    first, again = [], []
    for turn in range(rounds):
        first.append(_seconds(lambda: Containerd().survey(root, clock=_CLOCK)))
        one_transaction(store, turn)
        again.append(_seconds(lambda: driver.survey(root, clock=_CLOCK)))
    store.close()
    return [_row(f"reread {size >> 20} MB meta.db", again, "first reading", first, "< 0.1")]


def _survey(root: Path, rounds: int) -> list[dict[str, object]]:
    store = large_node(root, images=IMAGES, pods=PODS, files=True)
    find = ["find", str(root), "-printf", "%p %s %T@ %i\\n"]
    fresh: list[float] = []
    again: list[float] = []
    peer: list[float] = []
    for turn in range(rounds + 1):
        driver = Containerd()
        measured = (
            _seconds(lambda: subprocess.run(find, check=True, stdout=subprocess.DEVNULL)),
            _seconds(lambda: driver.survey(root, clock=_CLOCK)),  # noqa: B023 - called at once
            _seconds(lambda: driver.survey(root, clock=_CLOCK)),  # noqa: B023 - called at once
        )
        if turn:  # the first only warms
            for series, seconds in zip((peer, fresh, again), measured, strict=True):
                series.append(seconds)
    store.close()
    count = IMAGES * 5 + PODS
    return [
        _row(f"survey {count} snapshots", fresh, "find", peer, "< 2 s"),
        _row(f"survey {count} snapshots again", again, "find", peer, ""),
    ]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _row(name: str, own: list[float], peer: str, other: list[float], goal: str) -> dict[str, object]:
    value, beside = statistics.median(own), statistics.median(other)
    return {
        "name": name,
        "value": round(value, 4),
        "unit": "s",
        "peer": peer,
        "peer_value": round(beside, 4),
        "ratio": round(value / beside, 3),
        "goal": goal,
        "rounds": len(own),
    }
