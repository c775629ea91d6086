"""Surveying a data root of Docker with 2,000 layers, warm and without contents, beside ``find`` over the same files.

The store has 100 images of 18 layers and 100 containers with a writable and an init layer each: beside the directories Docker keeps five
small files a layer and three a container, which ``find`` lists and a survey reads. Rounds alternate, after one that warms the caches.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from collector.links import LinkKind
from collector.stores.docker import DRIVER
from linktrail.clock import SystemClock
from tests.benchmarks.bench_survey import ROUNDS, find_all, row
from tests.docker_store.build import Store

IMAGES = 100
LAYERS_OF_IMAGE = 18


def run() -> list[dict[str, object]]:
    """Return the row of the benchmark."""
    with tempfile.TemporaryDirectory() as where:
        root = _store(Path(where) / "docker")
        clock = SystemClock()
        survey = DRIVER.survey(root, clock=clock)
        assert sum(1 for _ in survey.of_kind(LinkKind.LAYER_DIRECTORY)) == IMAGES * (LAYERS_OF_IMAGE + 2)
        found: list[float] = []
        read: list[float] = []
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            find_all(root)
            between = time.perf_counter()
            DRIVER.survey(root, clock=clock)
            found.append(between - began)
            read.append(time.perf_counter() - between)
    return [row("survey-docker", statistics.median(read[1:]), statistics.median(found[1:]))]


def _store(root: Path) -> Path:
    made = Store(root)
    for number in range(IMAGES):
        diffs = [f"{number}-{place}" for place in range(LAYERS_OF_IMAGE)]
        image = made.image(f"registry/image{number}:1", *diffs)
        chain = None
        for diff in diffs:
            chain = made.layer(diff, chain)
        made.container(f"c{number}", image, chain)
    return root
