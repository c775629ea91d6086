"""Real overlays of a store, in a mount namespace of their own, and processes that hold what was deleted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from collector.links import Link, LinkKind
from collector.mounts.machine import OFF, Machine
from collector.stores.containers_storage import DRIVER
from linktrail.clock import SystemClock
from tests.mounts.spaces import Running, Shell, check, codes, held, quoted
from tests.needs import need

MEBIBYTE = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> Running:
    """A store with one container."""
    need("root")
    return Running(tmp_path / "cs")


def links_of(store: Running, kind: LinkKind, machine: Machine | None = None) -> list[Link]:
    """Return the links of one kind that the kernel adds to the store's survey."""
    clock = SystemClock()
    seen = (machine or Machine(Path("/proc"), clock)).look(DRIVER.survey(store.root, clock=clock))
    assert seen.off is None
    return [link for link in seen.links if link.kind is kind]


def test_a_running_container_is_healthy(store: Running) -> None:
    """Its mount is a link to its layers, with who has it; nothing is found."""
    with Shell() as shell:
        store.mount(shell)
        (link,) = links_of(store, LinkKind.MOUNT)
        assert (link.subject, link.target) == (str(store.merged), store.writable)
        assert link.detail["lower"] == store.chain_ids[::-1]
        assert link.owner.container_name == "one"
        (space,) = link.facts["namespaces"]
        assert shell.pid in space["processes"]
        assert space["namespace"] == str(Path(f"/proc/{shell.pid}/ns/mnt").readlink())
        report = check(store.root)
        assert codes(report) == []
        (document,) = report.document()["stores"]
        assert document["mounts"]["read"] is True
        assert document["mounts"]["namespaces"] >= 2
    assert links_of(store, LinkKind.MOUNT) == []


def test_absolute_layers_and_an_image_mounted_alone(store: Running, tmp_path: Path) -> None:
    """Paths of diff directories mean layers as well; an image's own mount has no upper layer."""
    point = tmp_path / "look"
    point.mkdir()
    with Shell() as shell:
        lower = ":".join(str(store.overlay / layer / "diff") for layer in store.chain_ids[::-1])
        shell.overlay(point, lower)
        (link,) = links_of(store, LinkKind.MOUNT)
        assert (link.target, link.detail["lower"], link.detail["upper"]) == (store.chain_ids[-1], store.chain_ids[::-1], False)
        assert codes(check(store.root)) == []


def test_a_mount_that_nobody_needs(store: Running) -> None:
    """The container lost its record: its mount is an orphan, once it is old enough."""
    with Shell() as shell:
        store.mount(shell)
        store.containers.clear()
        store.save()
        report = check(store.root)
        assert ("orphan-mount", str(store.merged)) in codes(report)
        (finding,) = [finding for _, finding in report.findings if finding.code == "orphan-mount"]
        assert store.writable in finding.related
        assert shell.pid in finding.evidence["namespaces"][0]["processes"]
        assert f"nsenter --target {shell.pid} --mount umount" in finding.advice
        assert "orphan-mount" not in dict(codes(check(store.root, min_age=None)))


def test_a_layer_removed_while_it_is_mounted(store: Running, tmp_path: Path) -> None:
    """No grace is needed for that, and a mount point with a hostile name is printable in the words."""
    point = tmp_path / "tool\nbox \x1b[31m"
    point.mkdir()
    with Shell() as shell:
        store.mount(shell, point)
        store.forget_container()
        (store.overlay / "l" / (store.overlay / store.writable / "link").read_text()).unlink()
        shutil.rmtree(store.overlay / store.writable)
        (store.root / "overlay-layers" / f"{store.writable}.tar-split.gz").unlink()
        report = check(store.root, min_age=None)
        assert codes(report) == [("orphan-mount", str(point))]
        ((_, finding),) = report.findings
        assert finding.evidence["layers_gone"] == [store.writable]
        assert "\x1b" not in finding.message + finding.advice


def test_deleted_files_of_a_running_container(store: Running) -> None:
    """Small ones are what programs do; from a mebibyte on they are told, with bytes, holder and container."""
    with Shell() as shell:
        store.mount(shell)
        with held(shell, store.merged / "small", 65536):
            shell.run(f"rm {quoted(store.merged / 'small')}")
            assert codes(check(store.root)) == []
        with held(shell, store.merged / "log \x1b[1m", 3 * MEBIBYTE) as pid:
            assert codes(check(store.root)) == []
            shell.run(f"rm {quoted(store.merged / 'log')}*")
            report = check(store.root)
            assert codes(report) == [("deleted-open-file", store.writable)]
            ((_, finding),) = report.findings
            assert finding.bytes == 3 * MEBIBYTE
            assert finding.owner.container_name == "one"
            (holder,) = finding.evidence["holders"]
            assert (holder["process"], holder["command"], holder["files"]) == (pid, "sleep", 1)
            assert "\x1b" not in finding.message
            assert codes(check(store.root, min_age=None)) == [], "a file deleted just now may be closed in a moment"
        assert codes(check(store.root)) == []


def test_deleted_files_of_the_backing_filesystem(store: Running) -> None:
    """Files opened below the layer itself, not through a mount, belong to that layer too."""
    with Shell() as shell:
        path = store.upper / "direct"
        with held(shell, path, 2 * MEBIBYTE):
            path.unlink()
            assert codes(check(store.root)) == [("deleted-open-file", store.writable)]
        beside = store.root / "tmp/GetImageBlob1"
        beside.parent.mkdir()
        with held(shell, beside, 2 * MEBIBYTE) as pid:
            beside.unlink()
            report = check(store.root)
            assert codes(report) == [("deleted-open-file", "tmp")]
            ((_, finding),) = report.findings
            assert (finding.subject_kind, finding.bytes) == ("directory", 2 * MEBIBYTE)
            assert f"1 deleted file of directory tmp, beside the layers, is still open in sleep ({pid}) and holds" in finding.message
            assert finding.evidence["holders"][0]["paths"] == [str(beside)]
        other = store.root.parent / "elsewhere"
        with held(shell, other, 2 * MEBIBYTE):
            other.unlink()
            assert codes(check(store.root)) == [], "not in this store"


def test_files_of_a_removed_container_are_remembered(store: Running) -> None:
    """Removed under a lazy unmount, no table names the overlay any more; who saw it before knows the layer."""
    machine = Machine(Path("/proc"), SystemClock(), keep=True)
    with Shell() as shell:
        store.mount(shell)
        assert links_of(store, LinkKind.OPEN_FILE, machine) == []
        with held(shell, store.merged / "big", 2 * MEBIBYTE) as pid:
            shell.run(f"umount --lazy {quoted(store.merged)}")
            store.forget_container()
            shutil.rmtree(store.overlay / store.writable)
            machine.forget_tables()
            (link,) = links_of(store, LinkKind.OPEN_FILE, machine)
            assert (link.subject, link.target, link.facts["bytes"]) == (store.writable, store.writable, 2 * MEBIBYTE)
            assert link.detail["detached"] is True
            assert [holder["process"] for holder in link.facts["holders"]] == [pid]


def test_a_store_under_another_name(store: Running, tmp_path: Path) -> None:
    """The engine sees the store elsewhere (a bind mount in its namespace) and writes those paths; they mean the same layers."""
    other = tmp_path / "engine's view"
    other.mkdir()
    with Shell() as shell:
        shell.run(f"mount --bind {quoted(store.root)} {quoted(other)}")
        home = other / "overlay"
        lower = ":".join(str(home / layer / "diff") for layer in store.chain_ids[::-1])
        shell.overlay(home / store.writable / "merged", lower, home / store.writable / "diff")
        (link,) = links_of(store, LinkKind.MOUNT)
        assert link.target == store.writable
        assert link.detail["lower"] == store.chain_ids[::-1]
        assert codes(check(store.root)) == []


def test_other_stores_are_no_business_of_this_one(store: Running, tmp_path: Path) -> None:
    """Two stores with the same layers: each has its own mounts alone."""
    other = Running(tmp_path / "other")
    with Shell() as shell:
        other.mount(shell)
        assert links_of(store, LinkKind.MOUNT) == []
        assert [link.subject for link in links_of(other, LinkKind.MOUNT)] == [str(other.merged)]


def test_a_dead_disk(store: Running, tmp_path: Path) -> None:
    """A store on a filesystem that is mounted read-only: the check says that it looked at no mounts, and finds it healthy."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with Shell() as shell:
        shell.run(f"mount --bind -o ro {quoted(store.root)} {quoted(disk)}")
        words = f"cd {quoted(Path.cwd())}; {quoted(sys.executable)} -m linktrail check {quoted(disk)}"
        (document,) = json.loads(shell.run(f"{words} --json"))["stores"]
        assert document["mounts"] == {
            "read": False,
            "why": "its filesystem is mounted read-only, so no engine of this machine writes to it",
        }
        assert f"mounts and open files of {disk}: not looked at" in shell.run(words)


def test_off_is_said(store: Running, tmp_path: Path) -> None:
    """Switched off, no /proc there, or a disk that is mounted read-only: nothing is looked at, and the document says why."""
    empty = tmp_path / "proc"
    empty.mkdir()
    for proc, why in ((OFF, "switched off"), (empty, "cannot be read"), (tmp_path / "none", "cannot be read")):
        (document,) = check(store.root, proc=proc).document()["stores"]
        assert document["mounts"]["read"] is False
        assert why in document["mounts"]["why"]
