"""The driver and the rules together on real files, while an engine (its builder of files) works step by step, and where it was killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from collector.diagnose import examine
from collector.findings import Diagnosis
from collector.stores.containers_storage import DRIVER
from linktrail.clock import NANOSECONDS, SystemClock
from linktrail.testing.clock import FakeClock
from linktrail.testing.containers_storage import Layer, Steps, StoreBuilder, finish, layer_ids, stop_after

MONTH = 30 * 86_400
LAYERS = [Layer({"bin/app": b"x" * 5000, "etc/conf": b"y"}), Layer({"usr/a": b"1"}), Layer({"usr/b": b"2"})]


def looked(root: Path, *, later: float = 0, **options: float) -> Diagnosis:
    """Read the store and diagnose it as of ``later`` seconds from now."""
    survey = DRIVER.survey(root, clock=SystemClock())
    return examine(survey, now=time.time_ns() + round(later * NANOSECONDS), **options)  # type: ignore[arg-type]  # floats all


def silent(root: Path, steps: Steps) -> str:
    """Run an operation and look after every step: nothing must be said. Returns the id that it made."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return str(end.value)
        found = looked(root).findings
        assert not found, f"after {step}: {[finding.message for finding in found]}"


def age(root: Path) -> None:
    """Make every file a month old, as in a store that nobody touched."""
    old = time.time() - MONTH
    for directory, names, files in os.walk(root, topdown=False):
        for name in [*names, *files]:
            os.utime(Path(directory, name), (old, old), follow_symlinks=False)


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> StoreBuilder:
    """Return a store with one image and one container, a month old."""
    builder = StoreBuilder(tmp_path / "store", clock=FakeClock(time.time_ns() - MONTH * NANOSECONDS))
    finish(builder.pull("localhost/base:1", LAYERS))
    finish(builder.create("localhost/base:1", "old"))
    age(builder.root)
    return builder


@pytest.mark.parametrize("lower_layers", [False, True])
def test_a_day_of_an_engine_is_silent(lower_layers: bool, tmp_path: Path) -> None:
    """Pull, create, start, write, commit, tag, stop, remove: no step of it is a finding, and neither is the end."""
    store = StoreBuilder(tmp_path / "store", lower_layers=lower_layers)
    root = store.root
    image = silent(root, store.pull("localhost/app:1", LAYERS))
    kept = silent(root, store.create("localhost/app:1", "kept"))
    for operation in (
        store.start("kept"),
        store.write("kept", "var/log", 3000),
        store.commit("kept", "localhost/saved:1"),
        store.stop("kept"),
    ):
        silent(root, operation)
    silent(root, store.create("localhost/app:1", "web", pod=("shop", "front")))
    volatile = silent(root, store.create("localhost/saved:1", "once", volatile=True))
    silent(root, store.tag(image, "localhost/app:stable"))
    silent(root, store.remove_container(volatile))
    silent(root, store.remove_image("localhost/saved:1"))
    silent(root, store.open_store())
    silent(root, store.recreate_short_links())
    assert not looked(root, later=MONTH, min_age=0, settle=0).findings
    silent(root, store.remove_container(kept))


def test_removing_what_is_old_is_silent(store: StoreBuilder) -> None:
    """Nothing about an old layer is young while it is removed but what the removal itself touches."""
    silent(store.root, store.remove_container("old"))
    age(store.root)
    silent(store.root, store.remove_image("localhost/base:1"))
    assert not looked(store.root, later=MONTH, min_age=0, settle=0).findings


STEPS_OF_A_PULL = {
    "layer-announced": "incomplete-layer",
    "layer-directory": "incomplete-layer",
    "short-link": "incomplete-layer",
    "link-file": "incomplete-layer",
    "layer-plumbing": "incomplete-layer",
    "layer-entry": "incomplete-layer",
    "tar-split": "incomplete-layer",
    "layer-digests": "incomplete-layer",
    "layer-complete": "unreferenced-layer",
}


@pytest.mark.parametrize(("step", "code"), STEPS_OF_A_PULL.items())
def test_a_pull_that_was_killed(step: str, code: str, store: StoreBuilder) -> None:
    """Wherever it stopped: after the grace the half layer and the finished one below it are named, before that nothing is."""
    layers = [Layer({"new/base": b"1"}), Layer({"new/top": b"2"})]
    base, top = layer_ids(layers)
    stop_after(store.pull("localhost/new:1", layers), step, top)
    assert not looked(store.root).findings
    found = {finding.key for finding in looked(store.root, later=2 * 86_400, settle=0).findings}
    assert found == {("unreferenced-layer", base), (code, top)}


STEPS_OF_A_REMOVAL = ["removal-announced", "short-link-removed", "plumbing-removed", "content-removed", "layer-directory-removed"]


@pytest.mark.parametrize("step", STEPS_OF_A_REMOVAL)
def test_a_removal_that_was_killed(step: str, store: StoreBuilder) -> None:
    """The layer that was being removed is named, and those below it that nothing needs any more."""
    finish(store.remove_container("old"))
    image = store.image("localhost/base:1")
    top, middle, base = store.chain(str(image["layer"]))
    stop_after(store.remove_image("localhost/base:1"), step, top)
    found = {finding.key for finding in looked(store.root, later=2 * 86_400, settle=0).findings}
    intact = step in ("removal-announced", "short-link-removed")  # nothing shows yet which way it was going
    assert found == {
        ("incomplete-layer" if intact else "interrupted-removal", top),
        ("unreferenced-layer", middle),
        ("unreferenced-layer", base),
    }
