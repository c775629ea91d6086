"""Surveying 2,000 layers, warm and without contents, beside ``find`` over the same files.

The store has 100 images of 19 layers and 100 containers. ``find -printf`` lists and asks the status of every name that a survey looks at
(it leaves out the content of layers), and reads no file; a survey also reads ``link``, ``lower`` and the metadata, parses, attributes and
makes links of it. Each round surveys and finds once in turn, after a round that warms the caches.

* ``survey``: a driver that remembers nothing, as ``linktrail check`` runs it; the goal is 2 s
* ``survey-again``: one that was here before, as the recorder runs it
* ``mounts``: what the mount tables and open files of this machine add to a survey
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from collector.links import LinkKind
from collector.mounts.machine import Machine, usual_proc
from collector.stores.containers_storage import ContainersStorage
from linktrail.clock import SystemClock
from tests.containers_storage.made import Made

IMAGES = 100
LAYERS_OF_IMAGE = 19
ROUNDS = 7
GOAL_SECONDS = 2.0


def run() -> list[dict[str, object]]:
    """Return the rows of the benchmark."""
    with tempfile.TemporaryDirectory() as where:
        root = _store(Path(where) / "store")
        clock, kept = SystemClock(), ContainersStorage()
        machine = Machine(usual_proc(), clock)
        survey = kept.survey(root, clock=clock)
        assert sum(1 for _ in survey.of_kind(LinkKind.LAYER_DIRECTORY)) == IMAGES * (LAYERS_OF_IMAGE + 1)
        readers: dict[str, Callable[[], object]] = {
            "find": lambda: find_all(root),
            "survey": lambda: ContainersStorage().survey(root, clock=clock),
            "survey-again": lambda: kept.survey(root, clock=clock),
            "mounts": lambda: machine.look(survey),
        }
        times: dict[str, list[float]] = {name: [] for name in readers}
        for number in range(ROUNDS + 1):
            for name, read in readers.items():
                began = time.perf_counter()
                read()
                if number > 0:
                    times[name].append(time.perf_counter() - began)
    peer = statistics.median(times.pop("find"))
    return [row(name, statistics.median(found), peer) for name, found in times.items()]


def row(name: str, seconds: float, peer: float) -> dict[str, object]:
    """Return one row of the answer; times in seconds."""
    return {
        "name": name,
        "value": round(seconds, 3),
        "unit": "s",
        "peer": "find -printf",
        "peer_value": round(peer, 3),
        "ratio": round(seconds / peer, 2),
        "goal": f"< {GOAL_SECONDS:g} s" if name.startswith("survey") else "",
        "rounds": ROUNDS,
    }


def _store(root: Path) -> Path:
    made = Made(root)
    for number in range(IMAGES):
        chain = made.chain(LAYERS_OF_IMAGE)
        image = made.image(f"registry/image{number}:1", chain[-1])
        made.container(f"c{number}", made.layer(chain[-1]), image)
    made.save()
    return root


def find_all(root: Path) -> None:
    content = ["-path", "*/diff/*", "-prune", "-o"]
    command = ["find", str(root), *content, "-printf", "%p %y %i %n %s %T@ %C@ %l\\n"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
