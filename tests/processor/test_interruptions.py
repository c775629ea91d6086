"""Processors that are killed, fail or race: every row once all the same."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from linktrail.errors import FencedError, LakeFullError, LinktrailError
from processor.lake import Lake
from processor.lake_table import LakeTable
from processor.pipeline import FlushPolicy
from tests.faults.filesystems import FailingFileSystem
from tests.processor.scene import TABLES, KilledError, Scene, fill


@pytest.mark.parametrize("killed_after", range(1, 9))
def test_killed_between_any_two_commits(tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next processor reads the records again and leaves out, table by table, what is committed."""
    scene = Scene(tmp_path)
    commits = 0
    commit = LakeTable.commit

    def fatal(self: LakeTable, *arguments: Any) -> None:
        nonlocal commits
        if commits == killed_after:
            raise KilledError
        commits += 1
        commit(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, "commit", fatal)
        processor = scene.processor()
        with pytest.raises(KilledError):  # noqa: PT012 - the kill may come in either round
            for number in (1, 2, 3):
                fill(scene, number)
                processor.drain()
    fill(scene, 4)
    scene.processor().drain()
    assert [scene.numbers(table) for table in TABLES] == [[*range(1, scene.spool.next_offset // 4), 4]] * 4
    assert scene.kinds()["batch"] == scene.spool.next_offset
    assert not scene.gaps()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_committing_with_the_nth_call_failing(tmp_path: Path, code: int) -> None:
    """Whichever call fails: one typed error, nothing acknowledged that is not committed, and all rows once after going on."""
    Lake.open_for_writing(tmp_path / "empty", filesystem=FailingFileSystem())
    for number in count(1):
        scene = Scene(tmp_path / str(number))
        shutil.copytree(tmp_path / "empty", scene.lake_path)
        scene.record("links", 1)
        scene.record("findings", 1)
        filesystem = FailingFileSystem()
        processor = scene.processor(filesystem)
        filesystem.calls, filesystem.fail_at, filesystem.code = 0, number, code
        try:
            processor.drain()
        except LinktrailError as error:
            passing = "Full" in type(error).__name__
            assert passing == (code == errno.ENOSPC), error  # noqa: PT017 - the class depends on the call that failed
            assert scene.spool.acknowledged() <= (Lake.open(scene.lake_path).transaction_version(f"spool/{scene.spool.id}") or 0)
            (processor if passing else scene.processor()).drain()
        assert scene.numbers("links") == scene.numbers("findings") == [1]
        assert scene.kinds() == {"batch": 2}
        assert scene.spool.acknowledged() == 2
        if not filesystem.failed:
            assert number > 20
            return


def test_two_processors_race_and_no_row_is_doubled(tmp_path: Path) -> None:
    """Both read the same spool into the same lake; one is fenced again and again, and between them every row arrives once."""
    scene = Scene(tmp_path, policy=FlushPolicy(take=3, urgent_seconds=0.0, idle_seconds=0.0))
    fenced: list[int] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def process() -> None:
        try:
            processor = scene.processor()
            while not done.is_set() or processor.position < scene.spool.next_offset:
                try:
                    processor.run_once()
                except FencedError:
                    fenced.append(processor.position)
        except BaseException as error:  # noqa: BLE001 - a thread must tell what happened to it
            failures.append(error)

    threads = [threading.Thread(target=process) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(12):
        fill(scene, number)
        time.sleep(0.03)
    done.set()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert fenced
    assert [scene.numbers(table) for table in TABLES] == [list(range(12))] * 4
    assert scene.kinds() == {"batch": 48, "heartbeat": 12}


def test_the_loop_waits_out_a_full_disk_and_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space: said once, nothing acknowledged; space again: everything is there, and nothing is left waiting at the stop."""
    scene = Scene(tmp_path, policy=FlushPolicy(poll_seconds=0.01))
    fill(scene, 1)
    processor = scene.processor()
    full = threading.Event()
    full.set()
    commit = LakeTable.commit

    def fill_up(self: LakeTable, *arguments: Any) -> None:
        if full.is_set() and self.name == "findings":
            raise LakeFullError(path=self.path, what="writing a data file")
        commit(self, *arguments)

    monkeypatch.setattr(LakeTable, "commit", fill_up)
    stop = threading.Event()
    thread = threading.Thread(target=processor.run, args=(stop,))
    thread.start()
    _wait_for(lambda: isinstance(processor.trouble, LakeFullError))
    assert scene.spool.acknowledged() == 0
    full.clear()
    _wait_for(lambda: scene.spool.acknowledged() == 4)
    fill(scene, 2)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert processor.trouble is None
    assert [scene.numbers(table) for table in TABLES] == [[1, 2]] * 4
    assert scene.spool.acknowledged() == 8


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
