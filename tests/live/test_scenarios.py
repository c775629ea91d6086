"""The walkthroughs of docs/scenarios, on live engines: what the documents show is what is printed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.containerd import Containerd, running
from tests.live.podman import Podman, ids_of, layer_tar, own_directory, programs, wait_for, write_image
from tests.live.recording import recording
from tests.live.scenario import SCENARIOS, walk
from tests.live.test_containerd import collect, top_of
from tests.live.test_contents import tar_of
from tests.needs import need
from tests.queries.recorded import again

IMAGE = "localhost/app:1"


@pytest.fixture
def podman() -> Iterator[Podman]:
    """A podman with an empty store of its own."""
    need("podman")
    with own_directory() as home:
        engine = Podman(home)
        engine.run("info")
        try:
            yield engine
        finally:
            engine.stop_all()


@pytest.fixture
def containerd() -> Iterator[Containerd]:
    """A containerd with one image of three layers."""
    need("containerd")
    with running() as engine:
        layers = [layer_tar(programs("sh", "sleep")), layer_tar({"etc/app": b"x" * 1000}), layer_tar({"data/y": b"z" * 200_000})]
        write_image(engine.home / "app.tar", IMAGE, layers)
        engine.run("images", "import", str(engine.home / "app.tar"))
        yield engine


def test_the_documents_are_all_here() -> None:
    """So that none stands there unread."""
    assert {path.name for path in SCENARIOS.glob("*.md")} == {"no-such-file.md", "disk-filling.md", "moved-root.md"}


def test_no_such_file_or_directory(podman: Podman) -> None:
    """A link in a lower layer is re-pointed on disk; the container that needs it no longer starts."""
    link = {"type": tarfile.SYMTYPE, "linkname": "app.conf.v1", "mode": 0o777}
    layers = [layer_tar(programs("cat")), tar_of((("etc/app.conf.v1", {"mode": 0o644}, b"v1\n"), ("etc/app.conf", link, b"")))]
    write_image(podman.home / "app.tar", IMAGE, layers, ("/bin/cat", "/etc/app.conf"))
    layer = ids_of(layers)[1]
    place = podman.root / "overlay" / layer / "diff/etc/app.conf"
    with recording(podman.root, podman.home / "state", "--watch", "fanotify") as recorder:
        podman.load(podman.home / "app.tar")
        podman.create(IMAGE, "web")
        assert podman.run("start", "--attach", "web").output == "v1"
        place.unlink()
        place.symlink_to("app.conf.v2")
        with pytest.raises(AssertionError, match="No such file or directory"):
            podman.run("start", "--attach", "web")
        recorder.stop()
    known = {"/var/lib/containers/storage": str(podman.root), "<layer>": layer}
    assert walk("no-such-file.md", recorder.state.lake, known) == 4


def test_a_disk_filling(containerd: Containerd) -> None:
    """A view is collected, its name stays in its parent's index, and the image's removal cannot free the layers."""
    collect(containerd)
    with recording(containerd.root, containerd.home / "state", "--min-age", "0s") as recorder:
        containerd.run("snapshots", "prepare", "work", top_of(containerd))
        (containerd.snapshots / containerd.number("work") / "fs/data").write_bytes(b"d" * 3_000_000)
        containerd.run("snapshots", "commit", "copied", "work")
        containerd.run("snapshots", "view", "scan", "copied")
        recorder.wait_for("SELECT 1 FROM links WHERE link_kind = 'layer_record' AND subject LIKE '%/scan'")
        containerd.run("snapshots", "label", "scan", "containerd.io/gc.root=")
        collect(containerd)
        wait_for(lambda: "scan" not in containerd.listed("snapshots"))
        containerd.run("images", "rm", "--sync", IMAGE)
        refused = containerd.attempt("snapshots", "rm", "copied")
        assert "cannot remove snapshot with child" in refused.stderr
        recorder.wait_for("SELECT 1 FROM findings WHERE code = 'phantom-child'")
        recorder.stop()
    assert walk("disk-filling.md", recorder.state.lake, {}) == 5


def test_a_moved_root(podman: Podman, tmp_path: Path) -> None:
    """The store is moved to another filesystem, and a link put in its place: the engine goes on, and so does the record."""
    layers = [layer_tar(programs("cat")), layer_tar({"etc/app": b"x" * 1000})]
    write_image(podman.home / "app.tar", IMAGE, layers)
    podman.load(podman.home / "app.tar")
    again(podman.root, tmp_path)
    disk = podman.home / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "scenario", str(disk)], check=True)
    shutil.copytree(podman.root, disk / "cs", symlinks=True)
    subprocess.run(["umount", "--lazy", str(podman.root / "overlay")], check=False, capture_output=True)
    podman.root.rename(podman.home / "old")
    podman.root.symlink_to(disk / "cs")
    again(podman.root, tmp_path)
    known = {"/var/lib/containers/storage": str(podman.root), "/mnt/disk2": str(disk)}
    assert walk("moved-root.md", tmp_path / "lake", known) == 3
