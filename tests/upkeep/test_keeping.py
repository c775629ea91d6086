"""Upkeep as people start it, and what happens to it when things go wrong."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from linktrail.clock import SystemClock
from linktrail.command import main
from linktrail.durable import LocalFileSystem
from linktrail.errors import FencedError, LakeError, LakeFullError
from linktrail.testing.clock import START, FakeClock
from processor.lake import Lake
from processor.upkeep.keeper import UpkeepPolicy, maintain
from processor.upkeep.retain import LEAST_DAYS
from queries.answers.verify import verify
from tests.faults.filesystems import FailingFileSystem, PowerLossFileSystem, PowerLostError, QuickFileSystem
from tests.faults.rows import DAY, MAKERS, NUMBER_COLUMN
from tests.processor.scene import Scene
from tests.upkeep.test_compact import commit, opened, rows

LONG_AGO = 30 * DAY
TIDY = UpkeepPolicy(keep_days=LEAST_DAYS, grace_hours=0, most_small=2)
BUSY = replace(TIDY, grace_hours=1)  # without a grace, vacuum takes what others are about to commit
NOW = FakeClock(START + LONG_AGO)
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["processor.upkeep.keeper", "tests.upkeep.test_compact"])


def fill(path: Path, *, days: int = 3, since: int = START) -> Lake:
    """Make a lake whose days, but for a young one, are beyond the horizon of ``NOW``; its rows all still hold, but for heartbeats."""
    lake = opened(path)
    number = 0
    for table in MAKERS:
        for day in (*range(days), LONG_AGO // DAY - 1):
            for _ in range(2):
                number += 1
                commit(lake, rows(number, moment=since + day * DAY, first_seq=number, table=table), table=table)
    return lake


def standing(path: Path) -> dict[str, list[int]]:
    """Return the numbers of all rows but heartbeats, which go."""
    lake = Lake.open(path)
    names = [name for name in MAKERS if name != "coverage"]
    return {name: sorted(lake.read(name).column(NUMBER_COLUMN[name]).to_pylist()) for name in names}


def test_the_verb_maintains_a_lake_and_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``process --maintain`` runs once; a horizon that the processor's memory needs is refused."""
    fill(tmp_path / "lake")
    before = standing(tmp_path / "lake")
    assert main(["process", "--maintain", "--lake", str(tmp_path / "lake"), "--keep", "10d"]) == 0
    assert "files merged into" in capsys.readouterr().err
    assert standing(tmp_path / "lake") == before
    assert main(["process", "--maintain", "--lake", str(tmp_path / "lake"), "--keep", "3d"]) == 2
    assert "9d or more" in capsys.readouterr().err
    assert main(["process", "--maintain-every", "0", "--lake", str(tmp_path / "lake"), "--state", str(tmp_path)]) == 2


def test_a_running_processor_maintains_its_lake(tmp_path: Path) -> None:
    """``--maintain-every`` works beside it, and both end on SIGTERM."""
    fill(tmp_path / "lake", since=START - 1000 * DAY)
    before = standing(tmp_path / "lake")
    command = [sys.executable, "-m", "linktrail", "process", "--state", str(tmp_path), "--maintain-every", "1s", "--keep", "forever"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        said = next(line for line in child.stderr if "upkeep of the lake" in line)
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
        child.stderr.close()
    assert "0 rows beyond the horizon gone" in said
    assert standing(tmp_path / "lake") == before
    assert len(Lake.open(tmp_path / "lake").files("links")) == 4  # a file a day


def test_retention_carries_what_holds(tmp_path: Path) -> None:
    """All old days become one partition, row by row as they were; heartbeats and samples of nothing new are gone with them."""
    lake = fill(tmp_path / "lake")
    before = {name: {str(row) for row in lake.read(name).to_pylist()} for name in MAKERS}
    done = maintain(tmp_path / "lake", filesystem=QuickFileSystem(), clock=NOW, policy=TIDY)
    after = Lake.open(tmp_path / "lake")
    for name in MAKERS:
        kept = {str(row) for row in after.read(name).to_pylist()}
        assert kept <= before[name]
        assert (kept == before[name]) is (name != "coverage")
        assert [Path(file).parent.name for file in after.files(name)][:-1] == ["day=1970-01-01"]
    assert done.retained["links"] == (0, 6)
    again = maintain(tmp_path / "lake", filesystem=QuickFileSystem(), clock=NOW, policy=TIDY)
    assert (again.retained, again.merged) == ({}, 0)


def test_a_lake_whose_old_days_went_is_still_whole(tmp_path: Path) -> None:
    """``verify`` judges what is kept: batches of before the horizon, of which single rows were carried over, break nothing."""
    scene = Scene(tmp_path)
    for number in range(1, 20):
        for table, maker in MAKERS.items():
            scene.record_rows(table, [maker(number, scene.clock.now().wall)])
        scene.clock.advance(86_400)
        scene.processor().drain()
    before = verify(scene.lake_path, clock=scene.clock)
    maintain(scene.lake_path, filesystem=QuickFileSystem(), clock=scene.clock, policy=TIDY)
    after = verify(scene.lake_path, clock=scene.clock)
    assert before.rows.column("verdict").to_pylist() == after.rows.column("verdict").to_pylist() == ["whole"]
    assert 0 < after.rows.column("rows_found").to_pylist()[0] < before.rows.column("rows_found").to_pylist()[0] == 19 * 4
    assert len(Lake.open(scene.lake_path).tables["links"].days()) == LEAST_DAYS + 1  # today has none yet; the carried ones are one


def test_any_failing_call_leaves_a_lake_that_the_next_run_finishes(tmp_path: Path) -> None:
    """The n-th change or fsync fails, for every n until none does: an error with a name, no row lost or doubled, at any point."""
    fill(tmp_path / "made", days=1)
    expected = standing(tmp_path / "made")
    failed = 0
    for number in range(1, 400, 7):
        path = tmp_path / f"lake{number}"
        subprocess.run(["cp", "-r", str(tmp_path / "made"), str(path)], check=True)
        filesystem = FailingFileSystem(number, code=28 if number % 2 else 5)
        error = failure_of(path, filesystem)
        assert standing(path) == expected
        if not filesystem.failed:
            break
        failed += error is not None
        assert error is None or isinstance(error, LakeFullError) is bool(number % 2)
        maintain(path, filesystem=QuickFileSystem(), clock=NOW, policy=TIDY)
        assert standing(path) == expected
    assert failed > 5


def failure_of(path: Path, filesystem: FailingFileSystem) -> LakeError | None:
    """Maintain the lake; a checkpoint that cannot be written is no failure, because the next commit writes one."""
    try:
        maintain(path, filesystem=filesystem, clock=NOW, policy=TIDY)
    except LakeError as error:
        return error
    return None


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(6, 200))])
def test_power_loss_anywhere_loses_nothing(tmp_path: Path, seed: int) -> None:
    """The machine goes down in upkeep, also right after files were removed: what was committed before is there afterwards, once."""
    chance = random.Random(seed)
    fill(tmp_path / "lake", days=2)
    expected = standing(tmp_path / "lake")
    filesystem = PowerLossFileSystem(tmp_path)
    for _ in range(4):
        filesystem.dies_at = chance.randrange(1, 90)
        with contextlib.suppress(PowerLostError):
            maintain(tmp_path / "lake", filesystem=filesystem, clock=NOW, policy=TIDY)
        filesystem.dies_at = 0
        filesystem.lose_power(chance)
        Lake.open_for_writing(tmp_path / "lake", filesystem=filesystem)
        assert standing(tmp_path / "lake") == expected
    maintain(tmp_path / "lake", filesystem=filesystem, clock=NOW, policy=TIDY)
    assert standing(tmp_path / "lake") == expected


def keep_on(path: Path) -> None:
    """Maintain for ever, as a process to be killed; of two, one is refused now and then."""
    while True:
        try:
            maintain(path, filesystem=LocalFileSystem(), clock=NOW, policy=BUSY)
        except FencedError:
            time.sleep(0.001)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [12, pytest.param(500, marks=pytest.mark.soak)])
def test_maintainers_are_killed_beside_a_processor_and_a_reader(tmp_path: Path, kills: int) -> None:
    """Two maintainers at once, each killed with -9 anywhere, while rows are committed and read: every row once, at every look."""
    chance = random.Random()
    seed = chance.randrange(1 << 32)
    print("seed", seed)
    chance.seed(seed)
    lake = fill(tmp_path / "lake")
    expected = standing(tmp_path / "lake")["links"]
    number = 1000

    def maintainer() -> multiprocessing.process.BaseProcess:
        process = _PROCESSES.Process(target=keep_on, args=(tmp_path / "lake",), daemon=True)
        process.start()
        return process

    two = [maintainer(), maintainer()]
    try:
        for _ in range(kills):
            until = time.monotonic() + chance.uniform(0.05, 0.8)
            while time.monotonic() < until:
                number += 1
                try:
                    commit(lake, rows(number, moment=START + chance.randrange(3) * DAY, first_seq=number))
                except FencedError:  # retention took days away between its reading and its commit: read again, as a processor does
                    lake.resume()
                else:
                    expected.append(number)
            victim = chance.randrange(2)
            assert two[victim].is_alive(), "it ended by itself"
            two[victim].kill()
            two[victim].join()
            two[victim] = maintainer()
            assert standing(tmp_path / "lake")["links"] == sorted(expected)
    finally:
        for process in two:
            process.kill()
            process.join()
    maintain(tmp_path / "lake", filesystem=LocalFileSystem(), clock=NOW, policy=TIDY)
    assert standing(tmp_path / "lake")["links"] == sorted(expected)
    left = {str(file) for file in (tmp_path / "lake" / "links").rglob("*.parquet") if "_delta_log" not in str(file)}
    assert left == set(Lake.open(tmp_path / "lake").files("links"))


def test_a_writer_that_slept_gives_its_files_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was suspended between a file and its commit: vacuum may have taken the file, so the commit is refused."""
    lake = opened(tmp_path / "lake")
    moments = iter([time.time(), time.time() + 3 * 86_400])
    monkeypatch.setattr("processor.lake_table.time.time", lambda: next(moments))
    with pytest.raises(FencedError):
        commit(lake, rows(1))
    assert not list((tmp_path / "lake" / "links").rglob("*.parquet"))


def test_a_checkpoint_forgets_no_replaced_file(tmp_path: Path) -> None:
    """Vacuum knows when a file was replaced also after the log was folded: its grace counts from then, not from its writing."""
    lake = opened(tmp_path / "lake")
    commit(lake, *(rows(number, first_seq=number) for number in range(30)))
    old = [Path(file) for file in lake.files("links")]
    for file in old:
        os.utime(file, (1, 1))
    clock = FakeClock(SystemClock().now().wall + 2 * DAY)
    for _ in range(2):
        assert maintain(tmp_path / "lake", filesystem=QuickFileSystem(), clock=clock).vacuumed == 0
    assert (tmp_path / "lake" / "links" / "_delta_log" / "_last_checkpoint").exists()
    assert all(file.exists() for file in old)
