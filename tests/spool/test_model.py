"""The spool against a model, on a disk that forgets what was not fsynced (models: SQLite's crash tests, Vector's disk buffer)."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from collector.spool import Sealed, Spool
from linktrail import batch
from linktrail.batch import Header, decode, digest
from linktrail.errors import SpoolError, SpoolFullError
from linktrail.testing.clock import FakeClock
from processor.spool_intake import SpoolIntake
from tests.faults.filesystems import PowerLossFileSystem
from tests.faults.rows import MAKERS, NUMBER_COLUMN

SEEDS = st.integers(0, 2**32)


class SpoolMachine(RuleBasedStateMachine):
    """A collector, a processor that commits elsewhere, and everything that can happen to them.

    The model: which rows wait, which batches ``seal`` has promised, and which the processor has committed by offset.
    """

    def __init__(self) -> None:
        """Start on an empty disk."""
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="linktrail-"))
        self.filesystem = PowerLossFileSystem(self.root)
        self.clock = FakeClock()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(batch, "MAX_ROWS", 3)  # so that one seal makes several batches of a table
        self.number = 0
        self.waiting: list[tuple[str, int]] = []
        self.promised: dict[int, Sealed] = {}
        self.committed: dict[int, str] = {}  # offset -> digest, durable in the "lake" whatever happens here
        self.position = 0
        self.trimmed = 0
        self.spool_id = ""

    def teardown(self) -> None:
        """Leave nothing."""
        self.spool.close()
        self.patch.undo()
        shutil.rmtree(self.root)

    @initialize()
    def start(self) -> None:
        """Open the spool for the first time."""
        self.open()

    def open(self) -> None:
        """Begin as a new process does."""
        self.clock.advance(1)
        self.spool = Spool.open(self.root / "spool", filesystem=self.filesystem, clock=self.clock, cluster="", node="n", reserve_bytes=0)
        self.spool.begin_run()
        self.waiting.clear()
        assert self.spool_id in ("", self.spool.id)
        self.spool_id = self.spool.id
        self.intake = SpoolIntake(self.root / "spool", filesystem=self.filesystem)
        self.intake.seek(self.position)

    # --- the collector --------------------------------------------------------------------------------------------

    @rule(table=st.sampled_from(sorted(MAKERS)), count=st.integers(1, 4))
    def append(self, table: str, count: int) -> None:
        """Buffer some rows."""
        for _ in range(count):
            self.number += 1
            self.spool.append(table, [MAKERS[table](self.number)])
            self.waiting.append((table, self.number))

    @rule()
    def seal(self) -> None:
        """Everything that waited is durable and numbered."""
        for sealed in self.spool.seal():
            assert sealed.offset not in self.promised
            self.promised[sealed.offset] = sealed
        self.waiting.clear()

    @rule()
    def seal_beside(self) -> None:
        """All but the last batch is durable and numbered, and that one waits."""
        for sealed in self.spool.seal_beside():
            assert sealed.offset not in self.promised
            self.promised[sealed.offset] = sealed
        assert self.spool.buffered_rows == 0
        assert self.spool.pending_rows <= 3
        del self.waiting[: len(self.waiting) - self.spool.pending_rows]

    @precondition(lambda self: self.waiting)
    @rule(room=st.integers(0, 3))
    def seal_on_a_full_disk(self, room: int) -> None:
        """After ``room`` batches nothing more is written; nothing is lost, and what was written is reported by the next seal."""
        before = self.spool.next_offset
        self.filesystem.room = room
        try:
            self.seal()
        except SpoolFullError:
            assert self.spool.next_offset == before + room
            assert self.spool.pending_rows <= len(self.waiting)
        self.filesystem.room = None

    @precondition(lambda self: self.waiting)
    @rule(seed=SEEDS, power=st.booleans(), what=st.sampled_from(["content", "names"]), limit=st.integers(0, 3))
    def seal_with_a_failing_fsync(self, seed: int, power: bool, what: str, limit: int) -> None:
        """The spool takes nothing more; what a processor got to see meanwhile keeps its offset through the restart."""
        self.filesystem.broken = what
        with pytest.raises(SpoolError):
            self.spool.seal()
        self.filesystem.broken = ""
        for refused in (self.spool.seal, self.spool.begin_run, lambda: self.spool.append("links", [MAKERS["links"](0)])):
            with pytest.raises(SpoolError):
                refused()
        self.process(limit, acknowledge=False)
        self.restart(seed, power=power)

    @rule(seed=SEEDS, power=st.booleans())
    def restart(self, seed: int, power: bool) -> None:
        """The process is killed, or the whole machine; a new collector starts."""
        self.spool.close()
        if power:
            self.filesystem.lose_power(random.Random(seed))
        self.open()

    @rule()
    def trim(self) -> None:
        """Only what the processor acknowledged goes."""
        upto = self.spool.acknowledged()
        assert upto <= self.position
        self.spool.trim(upto)
        self.trimmed = max(self.trimmed, upto)

    # --- the processor --------------------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 5), acknowledge=st.booleans())
    def process(self, limit: int, acknowledge: bool) -> None:
        """Commit what comes, by offset, in a place that survives everything."""
        for record in self.intake.take(limit):
            assert record.missing == 0
            assert record.offset == self.position
            assert self.committed.setdefault(record.offset, digest(record.data)) == digest(record.data)
            self.position = record.offset + 1
        if acknowledge:
            self.intake.acknowledge(self.position)

    # --- what must always hold --------------------------------------------------------------------------------------

    @invariant()
    def promises_hold(self) -> None:
        """Every promised batch that was not trimmed is there, byte for byte."""
        if not self.spool_id:
            return
        for offset, sealed in self.promised.items():
            data = self.spool.read(offset)
            assert data is not None or offset < self.trimmed
            assert data is None or digest(data) == sealed.digest
            assert self.committed.get(offset, sealed.digest) == sealed.digest
        assert self.spool.next_offset > max([*self.promised, *self.committed], default=-1)

    @invariant()
    def runs_have_no_holes(self) -> None:
        """In each run, the batches in the spool continue one another, and hold each row number once."""
        if not self.spool_id:
            return
        last: dict[str, tuple[Header, str]] = {}
        numbers: list[tuple[str, int]] = []
        for offset in self.spool.offsets():
            data = self.spool.read(offset)
            assert data is not None
            header, rows = decode(data, str(offset))
            numbers += [(header.table, number) for number in rows.column(NUMBER_COLUMN[header.table]).to_pylist()]
            if header.run in last:
                before, chained = last[header.run]
                assert (header.batch, header.first_seq, header.previous_digest) == (before.batch + 1, before.last_seq + 1, chained)
            elif not self.trimmed:
                assert (header.batch, header.first_seq, header.previous_digest) == (0, 0, "")
            last[header.run] = (header, digest(data))
        assert len(numbers) == len(set(numbers))


TestSpoolModel = SpoolMachine.TestCase
TestSpoolModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, print_blob=True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_model_at_length() -> None:
    """The same machine for as long as one has patience."""
    run_state_machine_as_test(SpoolMachine, settings=settings(max_examples=2000, stateful_step_count=60, deadline=None, print_blob=True))
