"""One thing as its engine would have described it, from real stores; and when a filesystem is full, from made samples."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from linktrail.testing.clock import FakeClock
from queries.answers.about import asked
from queries.answers.inspect import inspect
from queries.engine import Engine
from tests.needs import need
from tests.queries.lakes import Run, at, write_lake
from tests.queries.recorded import record
from tests.queries.story import CRASHED, LEAKED, SERVER
from tests.stores import archive

LATER = 4_000_000_000 * 10**9
DAY = 86_400


def facts(lake: Path | Engine, subject: str, when: int = LATER) -> list[tuple[str, str]]:
    """Return (field, value) of every fact."""
    rows: list[dict[str, Any]] = inspect(lake, subject, at=when, clock=FakeClock(LATER)).rows.to_pylist()
    return [(row["field"], row["value"]) for row in rows]


def test_podman_says_the_same(tmp_path: Path) -> None:
    """Image, name, writable layer and the root filesystem's directories of every container, against podman's own inspect."""
    need("fixtures")
    root, lake = record("cs-podman54-healthy", tmp_path)
    truth = json.loads(archive("cs-podman54-healthy").with_name("cs-podman54-healthy.truth.json").read_text(encoding="utf-8"))
    containers = (
        json.loads((root / "overlay-containers" / "containers.json").read_text()) if "containers" not in truth else truth["containers"]
    )
    assert containers
    with_chain = 0
    for container in containers:
        identifier = container.get("id") or container.get("Id") or container.get("ID")
        said = facts(lake, identifier)
        fields = dict(said)
        assert fields["type"] == "container"
        assert fields["writable layer"]
        chain = [value for field, value in said if field.startswith("lower layer") and field.endswith("directory")]
        lower = (root / "overlay" / fields["writable layer"] / "lower").read_text().split(":")
        assert chain == [str((root / "overlay" / part).resolve()) for part in lower], "nearest parent first, as the mount has it"
        with_chain += bool(chain)
    assert with_chain


def test_a_containerd_directory_is_inspected_by_its_path(tmp_path: Path) -> None:
    """The path that people find on a full disk leads to key, chain, image and container."""
    need("fixtures")
    root, lake = record("containerd16-healthy", tmp_path)
    directories = sorted((root / "io.containerd.snapshotter.v1.overlayfs" / "snapshots").iterdir(), key=lambda path: int(path.name))
    for directory in directories:
        said = facts(lake, f"{directory}/fs")
        fields = dict(said)
        assert fields["layer directory"] == f"{directory}/fs"
        assert fields["type"] == "layer"
        assert any(field in {"container_id", "container_image_name"} for field, _ in said), said
    assert directories


def test_what_stood_then_and_not_now(engine: Engine) -> None:
    """While the container was there it had a layer; later only the leaked directory with its finding is told."""
    assert ("layer directory", f"/srv/store/overlay/{LEAKED}/diff") in facts(engine, LEAKED, at(700))
    later = facts(engine, LEAKED, at(1900))
    assert later[0] == ("directory", f"/srv/store/overlay/{LEAKED}/diff")
    assert later[1][0] == "finding unaccounted-layer"
    assert facts(engine, CRASHED, at(1900)) == []
    assert facts(engine, SERVER, at(1900)) == [], "the story records no container, only its layer"


# --- forecast ---------------------------------------------------------------------------------------------------


def filling(path: Path, hourly: list[float], *, noise: float = 0.0) -> Path:
    """A filesystem of 200 GB at 100 GB, sampled every 5 minutes; ``hourly`` is the growth in each of equal parts of a day."""
    run = Run()
    used, chance = 100e9, random.Random(7)
    for step in range(288):
        used += hourly[step * len(hourly) // 288] / 12
        size = round(used + chance.gauss(0, noise))
        sizes = {"capacity_bytes": 200_000_000_000, "available_bytes": 200_000_000_000 - size, "capacity_inodes": 0, "available_inodes": 0}
        run.usage("filesystem", "/srv", (step * 300.0, step * 300.0 + 1), size, **sizes)
    run.start(0.5)
    return write_lake(path, [run])


def forecast(lake: Path) -> dict[str, Any]:
    """Return the one row of the forecast at the end of the day."""
    [row] = asked(lake, "forecast", {"since": at(0), "until": at(DAY)}, clock=FakeClock(LATER)).rows.to_pylist()
    return dict(row)


def test_a_steady_filesystem_is_full_when_arithmetic_says(tmp_path: Path) -> None:
    """1 GB an hour with 76 GB left: in 76 hours, in a narrow interval, and the slope never changed."""
    row = forecast(filling(tmp_path / "lake", [1e9]))
    hours = (row["full_at"] - row["last_sampled"]).total_seconds() / 3600
    assert hours == pytest.approx(76, rel=0.001)
    assert (row["full_latest"] - row["full_earliest"]).total_seconds() < 60
    assert (row["slope_changed"], row["hourly_before"], row["hourly"]) == (False, None, 1_000_000_000)


def test_the_change_of_slope_is_found(tmp_path: Path) -> None:
    """Flat for half a day, then 500 MB an hour, with noise: the forecast goes by the new slope and says since when."""
    row = forecast(filling(tmp_path / "lake", [0, 5e8], noise=2e6))
    assert row["slope_changed"]
    assert abs((row["slope_since"].timestamp() * 1e9 - at(DAY / 2)) / 1e9) < 1800
    assert row["hourly"] == pytest.approx(5e8, rel=0.02)
    assert abs(row["hourly_before"]) < 2e7
    true = (row["free"] / 5e8) * 3600
    assert (row["full_earliest"] - row["last_sampled"]).total_seconds() <= true * 1.03
    assert (row["full_latest"] - row["last_sampled"]).total_seconds() >= true * 0.97


def test_what_does_not_grow_is_never_full(tmp_path: Path) -> None:
    """A shrinking filesystem has no date, and a flat one with noise none that is likely before years."""
    assert forecast(filling(tmp_path / "down", [-1e9]))["full_at"] is None
    noisy = forecast(filling(tmp_path / "flat", [0], noise=1e6))
    assert not noisy["slope_changed"]
    assert noisy["full_at"] is None or (noisy["full_at"] - noisy["last_sampled"]).days > 365
    assert noisy["full_latest"] is None
