"""kill -9, many times, of a collector and a processor that run together; then everything promised is in the lake, once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from collector.spool_reader import SpoolReader
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from processor.lake import Lake
from processor.pipeline import Processor
from processor.spool_intake import SpoolIntake
from tests.faults.lives import Life
from tests.faults.rows import MAKERS, NUMBER_COLUMN
from tests.processor.workers import collect, process

_BLOCK = 1_000_000


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [50, pytest.param(1500, marks=pytest.mark.soak)])
def test_everything_promised_arrives_once_whatever_is_killed(tmp_path: Path, kills: int) -> None:
    """Kills at random points of sealing, starting, making the lake, committing and acknowledging."""
    chance = random.Random()
    seed = chance.randrange(1 << 32)
    print("seed", seed)
    chance.seed(seed)
    promised: dict[int, int] = {}
    lives = 0

    def collector() -> Life:
        nonlocal lives
        lives += 1
        return Life(collect, tmp_path, lives * _BLOCK)

    recording = collector()
    recording.hear(2)
    committing = Life(process, tmp_path)
    for _ in range(kills):
        victim = chance.choice(["collector", "processor", "processor"])
        (recording if victim == "collector" else committing).hear(chance.uniform(0.01, 0.4))
        if victim == "collector":
            promised[lives] = recording.kill() or lives * _BLOCK
            recording = collector()
        else:
            committing.kill()
            committing = Life(process, tmp_path)
    promised[lives] = recording.kill() or lives * _BLOCK
    committing.kill()

    filesystem = LocalFileSystem()
    lake = Lake.open_for_writing(tmp_path / "lake", filesystem=filesystem)
    assert lake.read("coverage").num_rows > 0, "no processor lived long enough to commit anything"
    Processor(SpoolIntake(tmp_path / "spool", filesystem=filesystem), lake, clock=SystemClock()).drain()
    expected = {number for life, upto in promised.items() for number in range(life * _BLOCK, upto)}
    assert len(expected) > kills
    for table in MAKERS:
        numbers = [number for number in lake.read(table).column(NUMBER_COLUMN[table]).to_pylist() if number is not None]
        assert len(numbers) == len(set(numbers))
        assert not expected - set(numbers)
        # Of what was being sealed when a collector was killed, the part that got there may be there too.
        assert all(promised[number // _BLOCK] <= number < promised[number // _BLOCK] + 3 for number in set(numbers) - expected)
    coverage = lake.read("coverage").to_pylist()
    assert not [row for row in coverage if row["kind"] == "gap"]
    batches = [(row["run"], row["batch"]) for row in coverage if row["kind"] == "batch"]
    assert len(batches) == len(set(batches)) == (lake.transaction_version(f"spool/{SpoolReader(tmp_path / 'spool').identity().id}") or 0)
