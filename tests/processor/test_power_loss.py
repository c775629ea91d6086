"""Power loss anywhere between sealing a row and acknowledging it: every sealed row is in the lake once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from collector.spool import Spool
from linktrail.testing.clock import FakeClock
from processor.lake import Lake
from processor.pipeline import FlushPolicy, Processor
from processor.spool_intake import SpoolIntake
from tests.faults.filesystems import PowerLossFileSystem, PowerLostError
from tests.faults.rows import MAKERS, NUMBER_COLUMN

EAGER = FlushPolicy(urgent_seconds=0, idle_seconds=0, take=3)
SEEDS = [*range(9), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(9, 300))]


class Machine:
    """One computer with a collector and a processor that both die with it."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        """Start it."""
        self.root = root
        self.chance = chance
        self.filesystem = PowerLossFileSystem(root)
        self.clock = FakeClock()
        self.number = 0
        self.sealed: dict[str, set[int]] = {table: set() for table in MAKERS}
        self.tried: dict[str, set[int]] = {table: set() for table in MAKERS}
        self.spool: Spool | None = None
        self.processor: Processor | None = None

    def start(self) -> None:
        """Start collector and processor."""
        self.spool = Spool.open(self.root / "spool", filesystem=self.filesystem, clock=self.clock, cluster="", node="n", reserve_bytes=0)
        self.spool.begin_run()
        lake = Lake.open_for_writing(self.root / "lake", filesystem=self.filesystem)
        self.processor = Processor(SpoolIntake(self.root / "spool", filesystem=self.filesystem), lake, clock=self.clock, policy=EAGER)

    def work(self) -> None:
        """Record, process, trim."""
        assert self.spool
        assert self.processor
        for _ in range(self.chance.randrange(1, 6)):
            table = self.chance.choice(sorted(MAKERS))
            self.number += 1
            self.tried[table].add(self.number)
            self.spool.append(table, [MAKERS[table](self.number)])
            self.spool.seal()
            self.sealed[table].add(self.number)
            if self.chance.random() < 0.5:
                self.processor.run_once()
            if self.chance.random() < 0.3:
                self.spool.trim(self.spool.acknowledged())

    def crash(self) -> None:
        """Lose power and come up again; or only the processes are killed, and what they left unsynced waits for a later power loss."""
        if self.spool:
            self.spool.close()
        self.filesystem.dies_at = 0
        if self.chance.random() < 0.6:
            self.filesystem.lose_power(self.chance)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_sealed_row_survives_power_loss_once(tmp_path: Path, seed: int) -> None:
    """The machine dies at random calls, also while it starts and while the lake is being made; what was promised is there once."""
    chance = random.Random(seed)
    machine = Machine(tmp_path, chance)
    for _ in range(8):
        machine.filesystem.dies_at = chance.randrange(1, 60)
        try:
            machine.start()
            machine.work()
        except PowerLostError:
            pass
        machine.crash()
    machine.start()
    assert machine.processor
    machine.processor.drain()
    lake = Lake.open(tmp_path / "lake")
    for table, sealed in machine.sealed.items():
        numbers = [number for number in lake.read(table).column(NUMBER_COLUMN[table]).to_pylist() if number is not None]
        assert len(numbers) == len(set(numbers))
        assert sealed <= set(numbers) <= machine.tried[table]
    assert not [row for row in lake.read("coverage").to_pylist() if row["kind"] == "gap"]
