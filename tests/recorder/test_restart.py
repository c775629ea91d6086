"""Crashes and restarts: nothing is told twice, and whatever is not told lies in a stated gap."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.ledger import Ledger
from collector.links import Link
from collector.rows import link_row, recorded
from collector.spool_reader import SpoolReader
from collector.watch.interface import Cause, Loss, Report
from linktrail.clock import Instant
from linktrail.events import Interval, Origin, Row, Stamp
from linktrail.testing.clock import START
from tests.recorder.playground import layer_id, short_name
from tests.recorder.support import Rig, ScriptedWatcher, bounds, fold, of_link, plain, spool_rows
from tests.recorder.test_truth import assert_same, check_presence
from tests.recorder.world import NAMES, World

ACTIONS = st.tuples(
    st.sampled_from(["make", "make", "remove", "remove", "replace", "read queue", "wait", "step", "step", "seal", "checkpoint"])
    | st.sampled_from(["crash", "crash", "stop", "damage ledger", "acknowledge"]),
    st.integers(0, 5),
)


class Restarting(World):
    """A world whose recorder dies now and then, while the store goes on changing."""

    def __init__(self, where: Path) -> None:
        super().__init__(where)
        self.told: dict[int, list[tuple[str, Row]]] = {}

    def act(self, action: str, number: int) -> None:
        """Do one thing to the store, or to the recorder."""
        if action == "seal":
            self.recorder.outbox.seal()
        elif action == "checkpoint":
            self.recorder.outbox.seal()
            self.recorder.checkpoint()
        elif action == "acknowledge":
            SpoolReader(self.spool.path).acknowledge(self.spool.id, self.spool.next_offset)
        elif action == "damage ledger":
            ledger = self.where / "state/ledger"
            if ledger.exists():
                ledger.write_bytes(ledger.read_bytes()[:-7])
        elif action in ("crash", "stop"):
            if action == "stop":
                self.recorder.stop()
            self.crash()
            for change in ("make", "remove", "replace")[: number % 3]:
                super().act(change, number)
            self.clock.advance(1 + number)
            self.run()
        else:
            super().act(action, number)
        self.collect()

    def collect(self) -> None:
        """Keep every batch that ever was in the spool: trimming is no loss."""
        reader = SpoolReader(self.where / "state/spool")
        for offset in reader.offsets():
            if offset not in self.told:
                self.told[offset] = spool_rows(self.where / "state/spool", offset)

    def all_rows(self, table: str) -> list[Row]:
        """Return the rows of one table since the beginning."""
        return [row for offset in sorted(self.told) for name, row in self.told[offset] if name == table]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=30))
def test_any_number_of_crashes(actions: list[tuple[str, int]]) -> None:
    """The fold of all rows is the store; each change is told in an interval that holds it, or lies in a gap."""
    with tempfile.TemporaryDirectory() as where:
        world = Restarting(Path(where))
        world.run()
        for action in actions:
            world.act(*action)
        world.settle(2.0)
        world.recorder.stop()
        world.collect()
        rows = world.all_rows("links")
        assert_same(fold(rows), world)
        gaps = [bounds(row) for row in world.all_rows("coverage") if row["kind"] == "gap"]
        starts = [bounds(row)[0] for row in world.all_rows("coverage") if row["kind"] == "start"]
        for name in NAMES:
            told = [row for row in of_link(rows, name) if row["action"] != "observed"]
            check_presence([row for row in told if row["occurred_after"] is not None], world.truth[name])
            for what, begun, done in world.truth[name]:
                if done < starts[0]:
                    continue  # before recording began
                intervals = [bounds(row) for row in told if row["action"] == what and row["occurred_after"] is not None]
                assert any(after <= done and begun <= before for after, before in intervals + gaps), (name, what, begun)
        assert_numbers(world)
        world.crash()


def assert_numbers(world: Restarting) -> None:
    """Sequence numbers have no holes in any run."""
    runs: dict[object, list[object]] = {}
    for offset in sorted(world.told):
        for _, row in world.told[offset]:
            runs.setdefault(row["run"], []).append(row["seq"])
    for numbers in runs.values():
        assert numbers == list(range(len(numbers)))


class Stalled(ScriptedWatcher):
    """Has told everything until ``heard``; what happens after that is still in a queue that nobody reads."""

    heard: Instant | None = None

    @property
    def settled(self) -> Instant:
        """Until ``heard``, once it is set."""
        return self.heard or super().settled


def test_what_waits_unheard_is_vouched_for_by_no_heartbeat(tmp_path: Path) -> None:
    """A collector that stood still says nothing, as it goes on, of what happened meanwhile; killed then, all of that time is a gap."""
    rig = Rig(tmp_path)
    watcher = Stalled(rig.clock)
    rig.start(watcher=watcher)
    rig.settle(3)
    watcher.heard = rig.clock.now()
    rig.clock.advance(100)
    rig.store.link(short_name(7), f"../{layer_id(0)}/diff")
    rig.store.unlink(short_name(7))
    rig.clock.advance(20)
    rig.recorder.step(0)
    beats = [row for row in rig.sealed("coverage") if row["kind"] == "heartbeat"]
    assert beats
    assert bounds(beats[-1])[1] <= watcher.heard.wall
    rig.crash()
    rig.clock.advance(5)
    rig.start()
    rig.recorder.step(0)
    [gap] = [row for row in rig.sealed("coverage") if row["kind"] == "gap"]
    assert gap["cause"] == "restart"
    assert bounds(gap)[0] <= watcher.heard.wall


class TellsLate(ScriptedWatcher):
    """Tells of a loss since ``since`` when it is asked next."""

    since: Instant | None = None

    def take(self, timeout_seconds: float) -> list[Report]:
        """Tell of it once."""
        if self.since is not None:
            self.reports.append(Loss(Cause.OVERFLOW, "told late", self.since, self.clock.now()))
            self.since = None
        return super().take(timeout_seconds)


def test_a_loss_that_is_told_while_the_store_is_read_is_not_vouched_away(tmp_path: Path) -> None:
    """The reading that hears of it does not end it, so nothing after its beginning is vouched for; killed then, that time is a gap."""
    rig = Rig(tmp_path)
    watcher = TellsLate(rig.clock)
    rig.start(watcher=watcher)
    rig.settle(3)
    since = rig.clock.now()
    rig.clock.advance(1)
    watcher.since = since
    assert rig.recorder.stores[0].read()
    assert (rig.recorder.stores[0].memory.vouched or 0) <= since.wall
    rig.crash()


def test_restart_gap_begins_where_the_record_ends(tmp_path: Path) -> None:
    """After kill -9 the gap reaches from what the last run vouched for to the first reading of the new one."""
    rig = Rig(tmp_path)
    rig.start()
    rig.settle(65, step=1)
    vouched = next(row for row in reversed(rig.sealed("coverage")) if row["kind"] == "heartbeat")
    rig.settle(3, step=1)
    died = rig.clock.now().wall
    rig.crash()
    rig.store.link(short_name(7), f"../{layer_id(0)}/diff")
    rig.clock.advance(600)
    rig.start()
    rig.recorder.step(0)
    gap = next(row for row in rig.sealed("coverage") if row["kind"] == "gap")
    assert gap["cause"] == "restart"
    assert bounds(gap)[0] <= bounds(vouched)[1]
    assert bounds(gap)[0] > died - 10 * 10**9
    reading = rig.recorder.stores[0].survey
    assert reading is not None
    assert bounds(gap)[1] >= reading.finished
    [row] = of_link(rig.sealed("links"), short_name(7))
    assert bounds(row) == bounds(gap)
    assert (row["action"], row["origin"]) == ("created", "survey")


def test_nothing_is_told_again_after_a_clean_stop(tmp_path: Path) -> None:
    """A restart onto an unchanged store tells only that there was a restart."""
    rig = Rig(tmp_path)
    rig.start()
    rig.settle(5)
    rig.recorder.stop()
    rig.crash()
    count, findings, usage = (len(rig.rows(table)) for table in ("links", "findings", "usage"))
    rig.clock.advance(5)
    rig.start()
    rig.settle(5)
    rig.recorder.stop()
    assert len(rig.rows("links")) == count
    assert len(rig.rows("findings")) == findings
    assert [row["scope"] for row in rig.rows("usage")[usage:]].count("layer") == 0
    assert [row["kind"] for row in rig.rows("coverage")] == ["start", "stop", "gap", "start", "stop"]


def test_open_findings_survive(tmp_path: Path) -> None:
    """What was open stays open under its name, and is closed by the run that sees it gone."""
    rig = Rig(tmp_path)
    rig.start()
    rig.recorder.step(0)
    rig.clock.advance(60)
    rig.store.unlink(short_name(1))
    rig.settle(310, step=10)
    rig.recorder.stop()
    rig.crash()
    rig.clock.advance(60)
    rig.start()
    rig.settle(10)
    assert [row["action"] for row in rig.sealed("findings")] == ["opened"]
    rig.store.link(short_name(1), f"../{layer_id(1)}/diff")
    rig.settle(310, step=10)
    opened, closed = rig.sealed("findings")
    assert (closed["action"], closed["finding_id"]) == ("closed", opened["finding_id"])


@pytest.mark.parametrize("sealed_batches", [1, 2])
def test_a_baseline_that_was_cut_short_is_one(tmp_path: Path, sealed_batches: int) -> None:
    """Killed in the middle of the first reading's rows: the rest is observed by the next run, not claimed created."""
    rig = Rig(tmp_path, layers=6)
    rig.start()
    rig.recorder.stores[0].read()
    rig.spool.discard()
    links = list(rig.recorder.stores[0].memory.links.values())
    kept = links[: len(links) * sealed_batches // 3]
    rig.recorder.outbox.state("links", [observed(rig, link) for link in kept])
    rig.recorder.outbox.seal()
    rig.crash()
    rig.start()
    rig.recorder.step(0)
    rows_told = rig.sealed("links")
    assert {row["action"] for row in rows_told} == {"observed"}
    assert plain(fold(rows_told)) == plain(rig.survey().links)
    assert [row["kind"] for row in rig.sealed("coverage")] == ["start"]


def observed(rig: Rig, link: Link) -> Row:
    """Return the row of a first reading."""
    now = rig.clock.now()
    stamp = Stamp(Interval(None, now.wall), now, rig.clock.boot_id, Origin.BASELINE, rig.source.kind, rig.name)
    return link_row("observed", recorded(link), None, stamp)


def test_a_lost_ledger_is_a_gap(tmp_path: Path) -> None:
    """Neither checkpoint can be read and the batches are gone: everything is observed anew, and the record says so."""
    rig = Rig(tmp_path)
    rig.start()
    rig.settle(70, step=1)
    SpoolReader(rig.spool.path).acknowledge(rig.spool.id, rig.spool.next_offset)
    rig.settle(70, step=1)
    assert rig.spool.offsets()[0] > 0
    rig.crash()
    for name in ("ledger", "ledger.previous"):
        (tmp_path / "state" / name).write_bytes(b"not a ledger")
    rig.start()
    assert rig.ledger.lost
    assert len(rig.ledger.damaged) == 2
    rig.recorder.step(0)
    gap = next(row for row in rig.sealed("coverage") if row["kind"] == "gap")
    assert (gap["cause"], gap["occurred_after"]) == ("ledger-lost", None)
    assert {row["action"] for row in rig.sealed("links")} == {"observed"}


def test_a_damaged_checkpoint_costs_nothing(tmp_path: Path) -> None:
    """The one before it and the batches since then give the same ledger."""
    rig = Rig(tmp_path)
    rig.start()
    rig.settle(40, step=1)
    rig.store.add_layer(5)
    rig.lose_nothing_but_look()
    rig.settle(40, step=1)
    rig.recorder.stop()
    wanted = {root: dict(memory.links) for root, memory in rig.ledger.stores.items()}
    rig.crash()
    (tmp_path / "state/ledger").write_bytes(b"")
    again = Ledger.open(tmp_path / "state/ledger", SpoolReader(tmp_path / "state/spool"), filesystem=rig.filesystem)
    assert not again.lost
    assert {root: dict(memory.links) for root, memory in again.stores.items()} == wanted
    assert len(again.damaged) == 1


def test_a_damaged_batch_is_found_again(tmp_path: Path) -> None:
    """What a batch said that nobody can read any more is missing from the lake too; the next reading tells it again."""
    rig = Rig(tmp_path)
    rig.start()
    rig.recorder.step(0)
    rig.recorder.outbox.seal()
    rig.store.link(short_name(7), f"../{layer_id(0)}/diff")
    rig.event("created", f"overlay/l/{short_name(7)}")
    rig.settle(1)
    rig.recorder.outbox.seal()
    newest = rig.spool.offsets()[-1]
    rig.crash()
    (tmp_path / f"state/spool/{newest:016d}.batch").write_bytes(b"torn")
    rig.start()
    assert len(rig.ledger.damaged) == 1
    rig.recorder.step(0)
    (tmp_path / f"state/spool/{newest:016d}.batch").unlink()
    assert [row["action"] for row in of_link(rig.sealed("links"), short_name(7))] == ["created"]


def test_a_clock_that_went_back_between_runs(tmp_path: Path) -> None:
    """A machine that boots with a wrong clock: intervals are turned round, not refused."""
    rig = Rig(tmp_path)
    rig.start()
    rig.settle(5)
    rig.recorder.stop()
    rig.crash()
    rig.clock.jump(-86_400)
    rig.store.link(short_name(7), f"../{layer_id(0)}/diff")
    rig.start()
    rig.settle(5)
    [row] = of_link(rig.sealed("links"), short_name(7))
    after, before = bounds(row)
    assert after <= before
    assert before >= START
