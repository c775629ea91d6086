"""A really full disk: a small tmpfs under spool and lake (idea: borg's disk_full_test)."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.spool import Spool
from linktrail.batch import decode
from linktrail.durable import LocalFileSystem
from linktrail.errors import LakeFullError, SpoolFullError
from linktrail.testing.clock import FakeClock
from processor.lake import Lake
from processor.pipeline import FlushPolicy, Processor
from processor.spool_intake import SpoolIntake
from tests.faults.rows import MAKERS, NUMBER_COLUMN
from tests.needs import need

EAGER = FlushPolicy(urgent_seconds=0, idle_seconds=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield the mount point of a tmpfs of 2 MiB."""
    need("root")
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def fill(disk: Path, leave: int) -> None:
    """Take all space of ``disk`` but about ``leave`` bytes."""
    facts = os.statvfs(disk)
    size = facts.f_bavail * facts.f_frsize - leave
    if size > 0:
        with (disk / "filler").open("ab", buffering=0) as file:
            file.write(bytes(size))


def test_a_spool_on_a_full_disk_keeps_what_it_has_and_goes_on(small_disk: Path) -> None:
    """Ten rounds of filling at random: a typed error, rows wait in memory, and are sealed once there is room, all numbers in order."""
    spool = Spool.open(small_disk / "spool", filesystem=LocalFileSystem(), clock=FakeClock(), cluster="", node="n", reserve_bytes=0)
    spool.begin_run()
    chance = random.Random(3)
    number = full = 0
    for _ in range(10):
        fill(small_disk, chance.randrange(12_000))
        for _ in range(6):
            number += 1
            spool.append("links", [MAKERS["links"](number)])
            try:
                spool.seal()
            except SpoolFullError:
                full += 1
        (small_disk / "filler").unlink(missing_ok=True)
        spool.seal()
    assert full > 10
    assert not list((small_disk / "spool").glob(".*"))
    found = [decode(data, str(offset)) for offset, data in spool.reader.batches()]
    assert [row for _, rows in found for row in rows.column("file_inode").to_pylist()] == list(range(1, number + 1))
    assert [header.batch for header, _ in found] == list(range(len(found)))
    assert spool.offsets() == list(range(len(found)))


def test_a_lake_on_a_full_disk_acknowledges_nothing_and_goes_on_by_itself(small_disk: Path, tmp_path: Path) -> None:
    """Whatever write of pyarrow's, deltalake's or ours meets the full disk: LakeFullError, and later every row once."""
    spool = Spool.open(tmp_path / "spool", filesystem=LocalFileSystem(), clock=FakeClock(), cluster="", node="n", reserve_bytes=0)
    spool.begin_run()
    lake = Lake.open_for_writing(small_disk / "lake", filesystem=LocalFileSystem())
    processor = Processor(SpoolIntake(tmp_path / "spool", filesystem=LocalFileSystem()), lake, clock=FakeClock(), policy=EAGER)
    number = full = 0
    for leave in range(0, 60_000, 6_000):
        number += 1
        for table, maker in MAKERS.items():
            spool.append(table, [maker(number)])
        spool.seal()
        fill(small_disk, leave)
        before = spool.acknowledged()
        try:
            processor.drain()
        except LakeFullError:
            full += 1
            assert spool.acknowledged() == before
        (small_disk / "filler").unlink()
        if number % 2:
            processor.drain()
            assert spool.acknowledged() == spool.next_offset
    assert full >= 5
    processor.drain()
    for table in MAKERS:
        numbers = [one for one in Lake.open(small_disk / "lake").read(table).column(NUMBER_COLUMN[table]).to_pylist() if one is not None]
        assert sorted(numbers) == list(range(1, number + 1))


def test_starting_on_a_full_disk_is_one_clear_error(small_disk: Path) -> None:
    """Neither a spool nor a lake can be made; both can once there is room."""
    fill(small_disk, 0)
    with pytest.raises(SpoolFullError):
        Spool.open(small_disk / "spool", filesystem=LocalFileSystem(), clock=FakeClock(), cluster="", node="n")
    with pytest.raises(LakeFullError):
        Lake.open_for_writing(small_disk / "lake", filesystem=LocalFileSystem())
    (small_disk / "filler").unlink()
    Spool.open(small_disk / "spool", filesystem=LocalFileSystem(), clock=FakeClock(), cluster="", node="n").close()
    assert Lake.open_for_writing(small_disk / "lake", filesystem=LocalFileSystem()).read("links").num_rows == 0
