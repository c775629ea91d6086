"""What a node costs: ``python -m tests.deploy.sizing [CYCLES]`` runs both programs on a store with scripted churn, and prints numbers.

A cycle is a layer made and an image on it, then both removed, in the engine's order of steps. Bytes are of the spool (as sent to Kafka)
and of the lake before and after upkeep; processor time and memory are those of the collector and the children it waited for.
docs/sizing.md has the numbers of one run, and what was scaled from them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from queries.engine import open_lake
from tests.recorder.playground import Playground

LAYERS = 100
PACE_SECONDS = 0.25
IDLE_SECONDS = (20.0, 260.0)  # their difference is what being idle costs, without start and stop


def size(path: Path) -> int:
    """Return the bytes of all files below ``path``."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def linktrail(*words: str | Path) -> None:
    """Run a verb to its end."""
    subprocess.run([sys.executable, "-m", "linktrail", *map(str, words)], check=True, capture_output=True)


def record(store: Playground, state: Path, cycles: int, idle: float = 0.0) -> tuple[float, float, float]:
    """Collect meanwhile; return seconds, processor seconds and peak MiB of the collector."""
    words = [sys.executable, "-m", "linktrail", "collect", str(store.root), "--state", str(state), "--proc", "off"]
    began = time.monotonic()
    with (state / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        time.sleep(5)
        for number in range(LAYERS, LAYERS + cycles):
            store.add_layer(number, parent=number % LAYERS)
            store.add_image(f"i{number}", number)
            time.sleep(PACE_SECONDS)
            store.remove_image(f"i{number}")
            store.remove_layer(number)
            time.sleep(PACE_SECONDS)
        time.sleep(idle)
        process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main(cycles: int) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        store = Playground.filled(where / "store", LAYERS)
        state = where / "state"
        state.mkdir()
        linktrail("collect", store.root, "--state", state, "--once", "--proc", "off")
        baseline = size(state / "spool")
        for name, count, idle in (*(("idle", 0, seconds) for seconds in IDLE_SECONDS), ("churn", cycles, 0.0)):
            before = size(state / "spool")
            seconds, processor, memory = record(store, state, count, idle)
            grown = size(state / "spool") - before
            print(f"{name}: {seconds:.0f} s, {count} cycles, spool +{grown} bytes, processor {processor:.2f} s, peak {memory:.0f} MiB")
        linktrail("process", "--state", state, "--drain")
        lake = size(state / "lake")
        with open_lake(state / "lake") as engine:
            rows = engine.rows("SELECT count(*) AS n FROM links")[0]["n"]
        linktrail("process", "--state", state, "--maintain")
        print(f"baseline of {LAYERS} layers: {baseline} bytes in the spool")
        print(f"lake: {rows} links, {lake} bytes, {size(state / 'lake')} after upkeep")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 200))
