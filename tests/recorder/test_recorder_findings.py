"""What the recorder makes of a reading: findings opened and closed, and what is measured when."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from collector.settings import Settings
from tests.recorder.playground import layer_id, short_name
from tests.recorder.support import Rig, number, of_link

# --- findings ------------------------------------------------------------------------------------------------------


def test_a_finding_is_opened_once_and_closed(rig: Rig) -> None:
    """Damage: one row when it is sure, none while it lasts, one when it is over; the name of it stays."""
    name = short_name(1)
    rig.clock.advance(60)
    rig.store.unlink(name)
    bracket = rig.event("removed", f"overlay/l/{name}")
    rig.settle(5)
    [opened] = rig.sealed("findings")
    assert (opened["action"], opened["code"]) == ("opened", "short-link-missing")
    assert number(opened, "since_after") <= bracket[0]
    assert number(opened, "since_before") >= bracket[1]
    rig.settle(310, step=20)
    assert len(rig.sealed("findings")) == 1
    rig.store.link(name, f"../{layer_id(1)}/diff")
    rig.event("created", f"overlay/l/{name}")
    rig.settle(5)
    rows = rig.sealed("findings")
    assert [row["action"] for row in rows] == ["opened", "closed"]
    assert {row["finding_id"] for row in rows} == {opened["finding_id"]}


def test_a_step_of_the_engine_is_no_finding(rig: Rig) -> None:
    """A short link that is missing for half a second while the engine works is nothing to report."""
    name = short_name(1)
    rig.clock.advance(60)
    rig.store.unlink(name)
    rig.event("removed", f"overlay/l/{name}")
    rig.settle(0.8)
    rig.store.link(name, f"../{layer_id(1)}/diff")
    rig.event("created", f"overlay/l/{name}")
    rig.settle(10)
    assert rig.sealed("findings") == []
    assert [row["action"] for row in of_link(rig.sealed("links"), name)] == ["observed", "removed", "created"]


def test_a_grace_period_ends_without_any_change(tmp_path: Path) -> None:
    """An orphan is a leak when it is old enough, and nobody needs to touch the store for that."""
    rig = Rig(tmp_path, settings=Settings(drain=0.0, min_age=120.0))
    directory = rig.store.make_directory(50)
    shutil.rmtree(directory / "work")
    rig.start()
    now = rig.clock.now().wall
    for path in (directory / "diff", directory):
        stamp_at(path, now - 60 * 10**9)
    rig.recorder.step(0)
    assert rig.sealed("findings") == []
    rig.settle(100, step=5)
    codes = {row["code"] for row in rig.sealed("findings") if row["action"] == "opened"}
    assert "unaccounted-layer" in codes


def test_what_a_finding_holds_is_measured(tmp_path: Path) -> None:
    """The bytes of a leak follow as soon as they are known."""
    rig = Rig(tmp_path, settings=Settings(drain=0.0, min_age=0.0))
    directory = rig.store.make_directory(50)
    (directory / "diff/data").write_bytes(b"x" * 100_000)
    rig.start()
    rig.settle(10)
    rows = [row for row in rig.sealed("findings") if row["code"] == "unaccounted-layer"]
    assert number(rows[-1], "bytes") >= 100_000


def stamp_at(path: Path, nanoseconds: int) -> None:
    """Set the modification time of ``path``."""
    os.utime(path, ns=(nanoseconds, nanoseconds))


# --- samples -------------------------------------------------------------------------------------------------------


def test_layers_are_measured_once_and_filesystems_every_minute(rig: Rig) -> None:
    """Image layers do not change; the filesystem does."""
    rig.settle(200, step=5)
    usage = rig.sealed("usage")
    layers = [row["subject"] for row in usage if row["scope"] == "layer"]
    assert len(layers) == len(set(layers))
    assert set(layers) == {layer_id(index) for index in range(3)}
    assert {row["role"] for row in usage if row["scope"] == "layer"} == {"image"}
    filesystems = [row for row in usage if row["scope"] == "filesystem"]
    assert 3 <= len(filesystems) <= 5
    assert all(number(row, "capacity_bytes") > 0 for row in filesystems)
    stores = [row for row in usage if row["scope"] == "store"]
    assert stores
    total = sum(number(row, "bytes") for row in usage if row["scope"] == "layer")
    assert stores[-1]["bytes"] == total


def test_what_grows_is_measured_again(tmp_path: Path) -> None:
    """An orphan may still be written into; equal sizes are not repeated."""
    rig = Rig(tmp_path)
    directory = rig.store.make_directory(50)
    rig.start()
    rig.settle(320, step=10)
    count = len([row for row in rig.sealed("usage") if row["subject"] == layer_id(50)])
    assert count == 1
    (directory / "diff/data").write_bytes(b"x" * 50_000)
    rig.settle(320, step=10)
    rows = [row for row in rig.sealed("usage") if row["subject"] == layer_id(50)]
    assert len(rows) == 2
    assert number(rows[1], "bytes") - number(rows[0], "bytes") >= 50_000
