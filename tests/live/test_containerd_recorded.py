"""A live containerd is recorded while it works: what it made and removed is in the history, with whose it was."""

from __future__ import annotations

import time
from pathlib import Path

from tests.live.containerd import Containerd, running
from tests.live.podman import layer_tar, programs, wait_for, write_image
from tests.live.recording import recording
from tests.needs import need

IMAGE = "localhost/app:1"
_ROWS = """
    SELECT action, subject, target, container_id, container_image_name FROM links
    WHERE link_kind = $kind AND subject = $subject AND action LIKE $action ORDER BY seq
"""


def made(engine: Containerd) -> None:
    """Import an image of two layers."""
    write_image(engine.home / "app.tar", IMAGE, [layer_tar(programs("sh", "sleep")), layer_tar({"etc/app": b"x" * 1000})])
    engine.run("images", "import", str(engine.home / "app.tar"))


def test_a_container_is_known_after_it_is_gone(tmp_path: Path) -> None:
    """Image, container, directory: told when they come and when they go, in intervals that hold the true times, owner and all."""
    need("containerd")
    with running() as engine:
        engine.run("leases", "create", "--id", "first")  # a store is one from its first transaction on
        with recording(engine.root, tmp_path / "state") as recorder:
            made(engine)
            recorder.wait_for(_ROWS, kind="image_name", subject=IMAGE, action="%")
            before = time.time_ns()
            engine.run("containers", "create", IMAGE, "c1")
            after = time.time_ns()
            number = engine.number("c1")
            recorder.wait_for(_ROWS, kind="container_record", subject="c1", action="%")
            recorder.wait_for(_ROWS, kind="layer_directory", subject=number, action="%")
            engine.run("containers", "rm", "c1")
            wait_for(lambda: not (engine.snapshots / number).exists())
            recorder.wait_for(_ROWS, kind="container_record", subject="c1", action="removed")
            recorder.wait_for(_ROWS, kind="layer_directory", subject=number, action="removed")
            recorder.stop()
            rows = [row for row in recorder.links() if row.key == ("container_record", "c1", row.file_path)]
            assert [row.action for row in rows] == ["created", "removed"]
            assert rows[0].meets(before, after)
            assert rows[0].origin == "watch"
            directory = recorder.query(_ROWS, kind="layer_directory", subject=number, action="%")
            assert directory[-1]["action"] == "removed"
            assert {row["container_id"] for row in directory if row["container_id"]} == {"c1"}
            assert {row["container_image_name"] for row in directory if row["container_id"]} == {IMAGE}
            said = recorder.linktrail("whois", number)
            assert {(row["owner_kind"], row["owner"]) for row in said["rows"]} == {("container", "c1"), ("image", IMAGE)}
            assert recorder.gaps() == []


def test_a_phantom_child_opens_a_finding_and_its_healing_closes_it(tmp_path: Path) -> None:
    """The finding comes with the collection that makes it, and goes with the advice that heals it."""
    need("containerd")
    opened = "SELECT * FROM findings WHERE code = 'phantom-child' AND action = $action"
    with running() as engine:
        made(engine)
        top = next(line.split()[0] for line in engine.run("snapshots", "ls").splitlines()[1:] if line.count("sha256:") == 2)
        with recording(engine.root, tmp_path / "state") as recorder:
            engine.run("snapshots", "prepare", "child", top)
            engine.run("snapshots", "label", "child", "containerd.io/gc.root=")
            engine.run("leases", "create", "--id", "tick")
            engine.run("leases", "delete", "--sync", "tick")
            (row,) = recorder.wait_for(opened, action="opened")
            assert row["subject"].endswith(top)
            assert row["container_image_name"] == IMAGE
            engine.run("snapshots", "prepare", "child", top)
            engine.run("snapshots", "rm", "child")
            recorder.wait_for(opened, action="closed")
            recorder.stop()
