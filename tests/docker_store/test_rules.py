"""Every damage of a data root by itself: exactly the finding it is, and nothing that follows from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from collector.check import run_check
from linktrail.clock import NANOSECONDS, SystemClock
from linktrail.testing.clock import FakeClock
from tests.docker_store.build import Small, Store, build_id, check, digest, found
from tests.docker_store.damages import (
    DAMAGES,
    Damage,
    cache_id_of_a_top_empty,
    cache_nobody_holds,
    dead,
    ghost,
    ghost_of_a_build,
    no_record,
    removing,
    temporary,
    unreached,
    write_set,
    write_set_with_a_layer,
)


@pytest.fixture
def store(tmp_path: Path) -> Small:
    return Small(tmp_path / "docker")


def test_a_healthy_store_is_silent(store: Small) -> None:
    """With every grace period over, and with all of them off."""
    assert found(check(store.root)) == found(check(store.root, min_age=0)) == set()


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_damage_is_one_finding(store: Small, damage: Damage) -> None:
    """With what a person must do about it, in Docker's words."""
    expected = damage(store)
    report = check(store.root)
    assert found(report) == expected
    assert report.errors == []
    for _, finding in report.findings:
        assert "Next: " in finding.advice or "Remove nothing" in finding.advice
        assert not {"podman", "buildah", "containers-storage", "crictl"} & set(finding.advice.replace("(", " ").split())
        json.dumps(finding.document(""))


@pytest.mark.parametrize(
    "damage", [no_record, unreached, write_set, write_set_with_a_layer, removing, dead, ghost, ghost_of_a_build, temporary]
)
def test_work_in_progress_is_no_leak(store: Small, damage: Damage) -> None:
    """The same things a moment old are what a pull, a build or a removal in progress looks like."""
    expected = damage(store)
    report = run_check([store.root], clock=SystemClock())
    assert found(report) == set()
    assert {(item.code, item.subject) for item in report.withheld} >= expected


def test_a_step_of_a_build_may_take_hours(store: Small) -> None:
    """BuildKit's views of a layer have no container while a step runs: a ghost only after a day, a container's after ten minutes."""
    (build,) = ghost_of_a_build(store)
    (container,) = ghost(store)
    made = (store.layerdb / "mounts" / build_id("view")).stat().st_mtime_ns
    for seconds, expected in ((300, set()), (3600, {container}), (90_000, {container, build})):
        assert found(run_check([store.root], clock=FakeClock(made + seconds * NANOSECONDS))) == expected


def test_a_ghost_says_what_it_pins(store: Small) -> None:
    """What only it needs: not what an image, a container or the build cache needs too."""
    image = store.image("lab/gone:1", "base", "only here", "and here")
    lower = store.layer("only here", store.base)
    chain = store.layer("and here", lower)
    container = store.container("c9", image, chain)
    store.forget(container)
    (store.imagedb / "content/sha256" / image.removeprefix("sha256:")).unlink()
    shutil.rmtree(store.imagedb / "metadata/sha256" / image.removeprefix("sha256:"))
    del store.names["lab/gone"]
    store.save_names()
    ((_, finding),) = check(store.root).findings
    assert (finding.code, finding.subject) == ("ghost-reference", container)
    assert finding.evidence["pinned_layers"] == sorted([lower, chain])
    assert "pins 2 layers" in finding.message
    assert set(finding.held) >= {f"overlay2/{store.place(chain).name}", f"overlay2/{digest(f'mount {container}')}"}


def test_a_record_that_cannot_be_read_names_what_it_may_mean(store: Small) -> None:
    """Nobody is sent to delete the directory whose record lost its cache id."""
    cache_id_of_a_top_empty(store)
    store.directory(digest("stray"))
    by_code = {finding.code: finding for _, finding in check(store.root).findings}
    assert set(by_code) == {"metadata-unreadable", "unaccounted-layer"}
    assert by_code["metadata-unreadable"].evidence["may_be"] == [store.place(store.another).name]
    assert {store.another, store.other} <= set(by_code["metadata-unreadable"].related)
    assert by_code["unaccounted-layer"].subject == digest("stray")


def test_containers_of_another_storage_driver_are_left_alone(store: Small) -> None:
    """Of a host that moved to containerd's image store: neither layers nor images of those are in overlay2."""
    home = store.root / "containers" / digest("elsewhere")
    home.mkdir()
    config: dict[str, Any] = {
        "ID": home.name,
        "Name": "/elsewhere",
        "Driver": "overlayfs",
        "Image": f"sha256:{digest('unknown')}",
        "State": {},
    }
    (home / "config.v2.json").write_text(json.dumps(config))
    assert found(check(store.root)) == set()


def test_without_leases_the_whole_build_cache_is_held(store: Small) -> None:
    """Docker up to 19.03 had none."""
    cache_nobody_holds(store)
    (store.root / "buildkit/containerdmeta.db").unlink()
    assert found(check(store.root)) == set()


def test_what_the_cache_records_is_held_too(store: Small) -> None:
    """By its own name, by the snapshot it names, and by the mutable one that equals it."""
    for name in ("one", "two", "three"):
        store.snapshot(build_id(name), held=False)
    store.cached(build_id("one"), {"cache.description": "mount / from exec /bin/make"})
    store.cached(build_id("x"), {"cache.snapshot": build_id("two"), "cache.equalMutable": build_id("three")})
    store.commit()
    assert found(check(store.root)) == set()


def test_a_fresh_data_root_is_silent(tmp_path: Path) -> None:
    """Nothing was pulled yet: what does not exist yet is not missing."""
    assert found(check(Store(tmp_path / "docker").root, min_age=0)) == set()
