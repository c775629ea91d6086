"""``usage`` sums to what ``df`` says: on a filesystem of its own, with ``du`` beside."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linktrail.testing.containers_storage import finish
from linktrail.values import records
from queries.answers.usage import usage_at
from tests.incidents.made import shop
from tests.incidents.replay import Scene, allocated
from tests.needs import need

ELSEWHERE = "elsewhere on the filesystem: not below a store, or hidden under a mount"


@pytest.fixture
def filesystem(tmp_path: Path) -> Iterator[Path]:
    """A small filesystem, mounted below the test's directory."""
    need("root")
    point = tmp_path / "disk"
    point.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "linktrail-test", str(point)], check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield point
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def used(point: Path) -> int:
    """Return the bytes that ``df`` says are used."""
    out = subprocess.run(["df", "--block-size=1", "--output=used", str(point)], check=True, capture_output=True, text=True).stdout
    return int(out.split()[1])


def du(*places: Path) -> int:
    """Return the bytes that ``du`` says."""
    out = subprocess.run(
        ["du", "--block-size=1", "--one-file-system", "-sc", *map(str, places)], check=True, capture_output=True, text=True
    )
    return int(out.stdout.splitlines()[-1].split()[0])


def parts(scene: Scene) -> list[dict[str, Any]]:
    """Record the store and return the table of its filesystem."""
    scene.record()
    with scene.asking() as questions:
        answer = usage_at(questions.engine, clock=scene.clock)
        sheet = next(sheet for sheet in answer.sheets if sheet.name == "filesystems")
        assert sheet.rows is not None
        return list(records(sheet.rows))


def test_every_byte_of_df_has_a_name(filesystem: Path, tmp_path: Path) -> None:
    """Layers used and unused, writable, leaked and temporary ones, metadata, logs and the rest: they add up, to the byte."""
    scene = Scene(tmp_path)
    scene.root = filesystem / "store"
    made = shop(scene)
    finish(made.builder.write(made.container, "var/log/app", 200_000))
    lost = made.builder.damage.orphan_directory(size=300_000)
    (made.root / "overlay/staging").mkdir()
    (made.root / "libpod").mkdir()
    (made.root / "libpod/db.sql").write_bytes(b"d" * 50_000)
    (filesystem / "elsewhere").write_bytes(b"e" * 1_000_000)
    rows = {row["what"]: row["bytes"] for row in parts(scene)}
    assert rows.pop("used, as df says") == used(filesystem)
    assert sum(rows.values()) == used(filesystem)
    assert rows["image layers that containers use"] == du(*(made.directory(layer) for layer in (made.base, made.middle, made.top)))
    assert rows["image layers that no container uses"] == du(made.directory(made.extra))
    assert rows["writable layer of shop/web-1"] == du(made.directory(made.writable))
    assert rows["leaked layers"] == du(made.directory(lost))
    assert rows["logs of the engine"] == allocated(made.root / "overlay-containers")
    assert rows[ELSEWHERE] == used(filesystem) - du(made.root)
    below_the_store = {name: size for name, size in rows.items() if name != ELSEWHERE}
    assert sum(below_the_store.values()) == du(made.root)


def test_what_is_gone_is_no_longer_counted(filesystem: Path, tmp_path: Path) -> None:
    """A directory beside the layers that was removed, and one that grew: the next table has the new numbers."""
    scene = Scene(tmp_path)
    scene.root = filesystem / "store"
    made = shop(scene)
    (made.root / "libpod").mkdir()
    (made.root / "libpod/db.sql").write_bytes(b"d" * 50_000)
    first = {row["what"]: row["bytes"] for row in parts(scene)}
    (made.root / "libpod/db.sql").unlink()
    (made.root / "libpod").rmdir()
    (made.root / "overlay-containers" / made.container / "userdata/ctr.log").write_bytes(b"l" * 400_000)
    second = {row["what"]: row["bytes"] for row in parts(scene)}
    assert second["logs of the engine"] > first["logs of the engine"] + 390_000
    assert second["metadata of the engine"] <= first["metadata of the engine"] - 49_152
    assert second.pop("used, as df says") == sum(second.values()) == used(filesystem)
