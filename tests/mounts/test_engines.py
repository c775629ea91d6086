"""Mounts of Docker's and containerd's own stores, made as those engines make them, from stores that they wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from collector.links import Link, LinkKind
from collector.mounts.machine import Machine
from collector.stores import driver_for
from linktrail.clock import SystemClock
from tests.mounts.spaces import Shell, check, codes, held
from tests.needs import need
from tests.stores import unpack

SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs/snapshots"


def mounts_of(root: Path) -> list[Link]:
    """Return the mounts of the store at ``root``."""
    driver, clock = driver_for(root), SystemClock()
    assert driver is not None
    seen = Machine(Path("/proc"), clock).look(driver.survey(root, clock=clock))
    return [link for link in seen.links if link.kind is LinkKind.MOUNT]


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A data root of dockerd 20.10 with two containers."""
    need("root", "fixtures")
    return unpack("docker20-healthy", tmp_path)


@pytest.fixture
def containerd(tmp_path: Path) -> Path:
    """A root of containerd 1.6 with two containers."""
    need("root", "fixtures")
    return unpack("containerd16-healthy", tmp_path)


def test_docker(docker: Path) -> None:
    """Short links from overlay2/, the init layer below the container's own; without its container the mount is an orphan."""
    (mounted, *_) = sorted((docker / "image/overlay2/layerdb/mounts").iterdir())
    place = (mounted / "mount-id").read_text()
    directory = docker / "overlay2" / place
    (directory / "merged").mkdir(exist_ok=True)
    with Shell() as shell:
        shell.overlay(directory / "merged", (directory / "lower").read_text(), directory / "diff", at=docker / "overlay2")
        (link,) = mounts_of(docker)
        assert (link.subject, link.target) == (str(directory / "merged"), place)
        assert link.detail["lower"][0] == f"{place}-init"
        assert [layer.partition(":")[0] for layer in link.detail["lower"][1:]] == ["sha256"] * (len(link.detail["lower"]) - 1)
        assert "gone" not in link.detail
        assert link.owner.container_id == mounted.name
        assert codes(check(docker)) == []
        with held(shell, directory / "merged/log", 2 << 20):
            (directory / "diff/log").unlink()
            assert codes(check(docker)) == [("deleted-open-file", place)]
        shutil.rmtree(docker / "containers" / mounted.name)
        shutil.rmtree(mounted)
        assert ("orphan-mount", str(directory / "merged")) in codes(check(docker))


def test_containerd(containerd: Path, tmp_path: Path) -> None:
    """Relative lower directories by number; a snapshot that is removed under its mount is told by its number."""
    home, point = containerd / SNAPSHOTS, tmp_path / "rootfs"
    point.mkdir()
    with Shell() as shell:
        shell.overlay(point, "3/fs:2/fs:1/fs", home / "6/fs", at=home)
        (link,) = mounts_of(containerd)
        assert (link.subject, link.target) == (str(point), "default/9/k1")
        assert [key.partition("/sha256:")[0] for key in link.detail["lower"]] == ["default/6", "default/4", "default/2"]
        assert link.owner.container_id == "k1"
        assert codes(check(containerd)) == []
    for name in ("fs", "work"):
        (home / "999" / name).mkdir(parents=True)
    with Shell() as shell:
        shell.overlay(point, "3/fs:2/fs:1/fs", home / "999/fs", at=home)
        shutil.rmtree(home / "999")
        assert codes(check(containerd)) == [("orphan-mount", str(point))]
