"""Where the writable layers of each engine are: the real collector in deep mode beside a store of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.links import INSIDE
from collector.watch.probe import FANOTIFY, probe
from linktrail.events import Row
from tests.containerd.build import Store as Containerd
from tests.docker_store.build import Small
from tests.recorder.child import run
from tests.recorder.support import spool_rows
from tests.recorder.test_kill import FORKS

SECONDS = 30
Made = tuple[Path, Path, Path]


def docker(root: Path) -> Made:
    """Make a data root; return it, the contents of its container's layer and those of a layer of an image."""
    store = Small(root)
    store.save_names()
    return root, store.overlay / store.writable / "diff", store.place(store.top) / "diff"


def containerd(root: Path) -> Made:
    """Make a containerd root; return it, the contents of its container's snapshot and those of a committed one."""
    store = Containerd(root)
    base = store.snapshot("base")
    number = store.container("c1", "docker.io/lab/app:1", "base")
    store.commit()
    store.close()
    return root, store.directory(number) / "fs", store.directory(base) / "fs"


@pytest.mark.parametrize("make", [docker, containerd])
def test_links_in_writable_layers_are_recorded_and_those_in_images_are_not(make: Callable[[Path], Made], tmp_path: Path) -> None:
    """One that stood there before, one that is made, and nothing of what an image was unpacked with."""
    refused = next(found.refused for found in probe([tmp_path]) if found.name == FANOTIFY)
    if refused:
        pytest.skip(f"fanotify: {refused}")
    root, writable, image = make(tmp_path / "store")
    (image / "of-image").symlink_to("x")
    (writable / "etc").mkdir()
    (writable / "etc/before").symlink_to("one")
    process = FORKS.Process(target=run, args=(str(root), str(tmp_path / "state"), FANOTIFY))
    process.start()
    try:
        spool = tmp_path / "state/spool"

        def rows(subject: str) -> list[Row]:
            found = [row for table, row in spool_rows(spool) if table == "links"] if spool.is_dir() else []
            return [row for row in found if row["link_kind"] in INSIDE and row["subject"] == subject]

        def until(subject: str) -> Row:
            end = time.monotonic() + SECONDS
            while not rows(subject):
                assert process.is_alive()
                assert time.monotonic() < end, subject
                time.sleep(0.05)
            return rows(subject)[-1]

        before = until("/etc/before")
        assert (before["link_kind"], before["action"], before["target"]) == ("symlink", "observed", "one")
        (image / "later").symlink_to("x")
        (writable / "etc/after").symlink_to("two")
        after = until("/etc/after")
        assert (after["link_kind"], after["action"], after["target"], after["origin"]) == ("symlink", "created", "two", "watch")
        assert after["file_path"] == str((writable / "etc/after").relative_to(root))
        assert after["layer_id"] == before["layer_id"] is not None
        assert not rows("/of-image")
        assert not rows("/later")
    finally:
        process.terminate()
        process.join(SECONDS)
    assert process.exitcode == 0
