"""A live podman: its mounts become links with history, and what is removed while somebody holds it is found (storage-formats C5)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.podman import Podman, layer_tar, own_directory, programs, wait_for, write_image
from tests.live.recording import recording
from tests.mounts.spaces import Shell, quoted, wait_until_open
from tests.needs import need

HELD = 3 << 20
WRITE = f"dd if=/dev/zero of=/grown bs=1024 count={HELD // 1024} 2>/dev/null; sleep 1000"


@pytest.fixture
def podman() -> Iterator[Podman]:
    """A podman whose store is on a small filesystem of its own: nothing else on the machine can be taken for its files."""
    need("podman", "containers-storage")
    with own_directory() as home:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,nr_inodes=54321,mode=0700", "linktrail-test", str(home)], check=True)
        engine = Podman(home)
        write_image(home / "app.tar", "localhost/app:1", [layer_tar(programs("sh", "sleep", "dd"))])
        engine.load(home / "app.tar")
        try:
            yield engine
        finally:
            engine.stop_all()


def running(podman: Podman) -> tuple[str, str, Path]:
    """Start a container that writes a file; return its id, its writable layer, and where its root is mounted."""
    container = podman.create("localhost/app:1", "one", "/bin/sh", "-c", WRITE).output
    podman.run("start", "one")
    [inspected] = podman.told("container", "inspect", "one")
    layer = Path(inspected["GraphDriver"]["Data"]["UpperDir"]).parent.name
    merged = podman.root / "overlay" / layer / "merged"
    wait_for(lambda: (merged / "grown").exists() and (merged / "grown").stat().st_size == HELD)
    return container, layer, merged


def holder(shell: Shell, merged: Path) -> int:
    """Let a process outside of the container hold the file."""
    pid = int(shell.run(f"sleep 1000 < {quoted(merged / 'grown')} > /dev/null & echo $!"))
    wait_until_open(pid)
    return pid


def checked(root: Path) -> dict[str, Any]:
    """Return the document of ``linktrail check`` without grace."""
    words = [sys.executable, "-m", "linktrail", "check", str(root), "--min-age", "0", "--json"]
    document: dict[str, Any] = json.loads(subprocess.run(words, check=False, capture_output=True, text=True).stdout)
    return document


def test_removed_while_held(podman: Podman) -> None:
    """Podman removes the container without a word; its space is used on, and both the recorder and a check say by whom."""
    container, layer, merged = running(podman)
    with Shell() as shell, recording(podman.root, podman.home / "state", "--min-age", "0") as recorder:
        recorder.wait_for("FROM links WHERE link_kind = 'mount' AND action IN ('observed', 'created') AND layer_id = $layer", layer=layer)
        assert checked(podman.root)["findings"] == [], "a running container"
        shell.run("umount --lazy " + quoted(merged))  # the copy of a namespace that was made before would keep the mount itself
        pid = host_holder(merged)
        try:
            podman.run("rm", "--force", "--time", "0", "one")
            assert not merged.parent.exists()
            [finding] = recorder.wait_for("FROM findings WHERE code = 'deleted-open-file' AND action = 'opened'")
            assert (finding["subject"], finding["bytes"]) == (layer, HELD)
            assert json.loads(finding["evidence"])["holders"][0]["process"] == pid.pid
            [found] = [item for item in checked(podman.root)["findings"] if item["code"] == "deleted-open-file"]
            assert found["bytes"] == HELD, "a check knows no history, so it names the overlay that is mounted nowhere"
            assert found["evidence"]["detached"] is True
        finally:
            pid.kill()
            pid.wait()
        recorder.stop()
        [row] = recorder.query("FROM links WHERE link_kind = 'mount' AND action = 'removed' AND layer_id = $layer", layer=layer)
        assert row["container_name"] == "one"
    assert container not in json.dumps(checked(podman.root))


def host_holder(merged: Path) -> subprocess.Popen[bytes]:
    """Let a process of the host hold the file."""
    with (merged / "grown").open("rb") as file:
        process = subprocess.Popen(["sleep", "1000"], stdin=file)
    time.sleep(0.05)
    return process
