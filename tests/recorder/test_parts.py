"""The parts of the recorder alone: what is measured, what waits for a second look, the outbox, the ledger's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collector.barrier import Barrier
from collector.findings import Diagnosis, Finding, Withheld
from collector.findings_log import FindingsLog, finding_id
from collector.ledger import Ledger
from collector.links import Link, LinkKind, LinkState, Problem, StoreKind, Survey, removed
from collector.measure import Size
from collector.outbox import Outbox
from collector.rows import finding_row
from collector.samples import Sampler, targets
from collector.spool import Spool
from collector.store_memory import StoreMemory
from collector.stores.containers_storage import DRIVER
from collector.stores.protocol import Change
from linktrail.clock import Instant
from linktrail.errors import SpoolError
from linktrail.events import Interval, Origin, Row, Stamp
from linktrail.testing.clock import FakeClock
from tests.recorder.playground import Playground, layer_id
from tests.recorder.support import QuickFileSystem, Rig, at

SHORT = Link(LinkKind.SHORT_LINK, "A", "overlay/l/A", target="../1/diff")


# --- findings ------------------------------------------------------------------------------------------------------

BREAK = Finding("short-link-missing", "error", "layer", "1", "overlay/1", "m", "a", bytes=1000)
LEAK = replace(BREAK, code="unaccounted-layer", severity="warning", subject="2", path="overlay/2")
EMPTY = Survey.of(StoreKind.CONTAINERS_STORAGE, "/s", [])
STAMP = Stamp(Interval(1, 2), Instant(3, 4), "b", Origin.SURVEY)


class Log:
    """A findings log and what is open in it."""

    def __init__(self) -> None:
        self.log = FindingsLog("/s")
        self.open: dict[str, Row] = {}

    def look(
        self, *findings: Finding, when: float, moving: bool = False, held: tuple[Withheld, ...] = (), survey: Survey = EMPTY
    ) -> list[str]:
        """Return the actions that a diagnosis at ``when`` leads to."""
        confirmed = self.log.confirmed(self.open, at(when))
        events = self.log.events(self.open, Diagnosis(findings, held), survey, confirmed=confirmed, moving=moving, looked=at(when))
        for event in events:
            row = finding_row(event.action, event.columns, event.since, STAMP)
            name = str(row["finding_id"])
            self.open = {key: value for key, value in self.open.items() if key != name} | ({name: row} if event.action != "closed" else {})
        return [event.action for event in events]


def test_what_was_told_of_the_beginning_stands() -> None:
    """A finding that changes did not begin earlier than was said of it, though what that rested on may be forgotten."""
    log = Log()
    log.look(replace(LEAK, since=Interval(5, 6)), when=10)
    for since, told in ((Interval(None, 1), (5, 6)), (None, (5, 6)), (Interval(7, 8), (7, 8))):
        assert log.look(replace(LEAK, since=since, message=str(since)), when=20) == ["changed"]
        (row,) = log.open.values()
        assert (row["since_after"], row["since_before"]) == told


def test_opened_changed_closed() -> None:
    """Each once; equal findings say nothing."""
    log = Log()
    assert log.look(BREAK, when=1) == ["opened"]
    assert log.look(BREAK, when=2) == []
    assert log.look(replace(BREAK, severity="critical"), when=3) == ["changed"]
    assert log.look(when=4) == ["closed"]
    assert log.look(BREAK, when=5) == ["opened"]


def test_small_growth_is_no_news() -> None:
    """Bytes are told again when they differ by a tenth, or are known at last."""
    log = Log()
    log.look(replace(BREAK, bytes=None), when=1)
    assert log.look(BREAK, when=2) == ["changed"]
    assert log.look(replace(BREAK, bytes=1090), when=3) == []
    assert log.look(replace(BREAK, bytes=1110), when=4) == ["changed"]


def test_a_break_in_a_moving_store_waits_for_a_second_look() -> None:
    """And is opened by one that comes two seconds later; a leak has its grace and need not wait."""
    log = Log()
    assert log.look(BREAK, LEAK, when=1, moving=True) == ["opened"]
    assert log.log.second_look == at(3).monotonic
    assert log.look(BREAK, LEAK, when=2, moving=True) == []
    assert log.look(BREAK, LEAK, when=3.1, moving=True) == ["opened"]
    assert log.log.second_look is None


def test_a_break_that_passes_is_never_told() -> None:
    """Gone at the second look: nothing was wrong."""
    log = Log()
    assert log.look(BREAK, when=1, moving=True) == []
    assert log.look(when=2, moving=True) == []
    assert log.look(BREAK, when=4, moving=True) == [], "seen anew, it waits anew"


def test_what_is_held_back_while_it_settles_stays_open() -> None:
    """An engine at work next to a damage does not close it."""
    log = Log()
    log.look(BREAK, when=1)
    assert log.look(when=2, held=(Withheld(BREAK.code, BREAK.subject, "settling", None),)) == []
    assert log.look(when=3, held=(Withheld(BREAK.code, BREAK.subject, "grace", None),)) == ["closed"]


@pytest.mark.parametrize(
    ("problem", "state", "closed"),
    [
        ("", LinkState.PRESENT, []),
        ("overlay/1", LinkState.PRESENT, []),
        ("overlay", LinkState.PRESENT, []),
        ("overlay/7", LinkState.PRESENT, ["closed"]),
        ("overlay-layers/layers.json", LinkState.MALFORMED, []),
    ],
)
def test_nothing_is_closed_that_cannot_be_seen(problem: str, state: LinkState, closed: list[str]) -> None:
    """Absence in a survey that could not read there is no absence."""
    log = Log()
    log.look(BREAK, when=1)
    file = Link(LinkKind.METADATA_FILE, "f", "overlay-layers/layers.json", state=state)
    survey = Survey.of(StoreKind.CONTAINERS_STORAGE, "/s", [file], problems=[Problem(problem, "permission denied")])
    assert log.look(when=2, survey=survey) == closed


def test_finding_ids_are_stable_and_distinct() -> None:
    """The name depends on store, code and subject, with no way to move a letter from one to the next."""
    assert finding_id("/s", "a", "b") == finding_id("/s", "a", "b")
    assert (
        len({finding_id("/s", "a", "bc"), finding_id("/s", "ab", "c"), finding_id("/t", "a", "bc"), finding_id("/s", "a", "b\udcffc")}) == 4
    )


# --- samples -------------------------------------------------------------------------------------------------------


def test_roles(tmp_path: Path) -> None:
    """What a layer serves as follows from what reaches it."""
    store = Playground.filled(tmp_path / "s", layers=2)
    store.add_layer(5)
    store.make_directory(6)
    (tmp_path / "s/overlay/tempdirs/temp-dir-1").mkdir(parents=True)
    found = targets(DRIVER.survey(store.root, clock=FakeClock()))
    assert {target.subject: target.role for target in found.values()} == {
        layer_id(0): "image",
        layer_id(1): "image",
        layer_id(5): "orphan",
        layer_id(6): "orphan",
        "temp-dir-1": "temporary",
    }
    assert found[f"overlay/{layer_id(0)}"].recorded_bytes == 1024
    assert not found[f"overlay/{layer_id(5)}"].grows


def test_measuring_rests(tmp_path: Path) -> None:
    """After a tree of N inodes it waits N / rate seconds."""
    store = Playground.filled(tmp_path / "s", layers=2)
    clock = FakeClock()
    sampler = Sampler(store.root, {}, interval=300, entries_per_second=1.0)
    sampler.update(DRIVER.survey(store.root, clock=clock))
    first = sampler.measure_one(clock)
    assert first is not None
    assert sampler.measure_one(clock) is None
    clock.advance(first[1].inodes - 0.5)
    assert sampler.measure_one(clock) is None
    clock.advance(1)
    assert sampler.measure_one(clock) is not None


def test_what_a_finding_asks_for_comes_first(tmp_path: Path) -> None:
    """Also where it is no layer; what cannot be measured is not tried for ever."""
    store = Playground.filled(tmp_path / "s", layers=3)
    clock = FakeClock()
    sizes: dict[str, Size] = {}
    sampler = Sampler(store.root, sizes, interval=300, entries_per_second=1e9)
    sampler.update(DRIVER.survey(store.root, clock=clock))
    wanted = ["overlay-images", "overlay/../..", f"overlay/{layer_id(2)}"]
    measured = []
    for _ in wanted:
        clock.advance(1)
        measured.append(sampler.measure_one(clock, wanted))
    assert measured[1] is None
    assert [done[0].path for done in measured if done is not None] == ["overlay-images", f"overlay/{layer_id(2)}"]
    assert "overlay-images" in sampler.by_path()
    assert not any(sampler.unknown(path) for path in wanted)


def test_a_layer_in_the_making_is_measured_again_when_it_is_done(tmp_path: Path) -> None:
    """What was measured half-made is not the size of the layer."""
    store = Playground.filled(tmp_path / "s", layers=1)
    layer = layer_id(0)
    complete = dict(store.layers[layer])
    store.layers[layer] = {**complete, "flags": {"incomplete": True}}
    store.write("overlay-layers/layers.json", list(store.layers.values()))
    clock = FakeClock()
    memory = StoreMemory()
    sampler = Sampler(store.root, memory.sizes, interval=300, entries_per_second=1e9)
    sampler.update(DRIVER.survey(store.root, clock=clock))
    assert sampler.measure_one(clock) is not None
    clock.advance(1)
    assert sampler.measure_one(clock) is None
    store.write("overlay-layers/layers.json", [complete])
    sampler.update(DRIVER.survey(store.root, clock=clock))
    assert sampler.measure_one(clock) is not None
    assert sampler.measure_one(clock) is None


def test_a_size_is_forgotten_with_its_layer() -> None:
    """Removed, replaced or finished: what was measured before is not the size of what is there now."""
    memory = StoreMemory()
    record = Link(LinkKind.LAYER_RECORD, "1", "layers.json", state=LinkState.INCOMPLETE, layer_id="1")
    memory.put(record, Interval(None, 1))
    memory.sizes["1"] = Size(1, 1, 1, 0, 0)
    memory.put(replace(record, detail={"names": ["x"]}), Interval(None, 2))
    assert "1" in memory.sizes
    memory.put(replace(record, state=LinkState.PRESENT), Interval(None, 3))
    assert "1" not in memory.sizes


# --- the rest ------------------------------------------------------------------------------------------------------


def test_a_row_the_schema_refuses_is_a_gap_and_the_others_go_through(tmp_path: Path) -> None:
    """One row that cannot be recorded does not take its neighbours with it, and is not silently lost."""
    rig = Rig(tmp_path)
    rig.start()
    rig.recorder.step(0)
    rig.recorder.outbox.seal()
    good = rig.rows("links")[0]
    mine = {key: value for key, value in good.items() if key not in ("cluster", "node", "run", "seq")}
    rig.recorder.outbox.state("links", [mine, {**mine, "file_inode": "no number"}, mine])
    rig.settle(3)
    assert len(rig.sealed("links")) == len(rig.recorder.stores[0].memory.links) + 2
    [gap] = [row for row in rig.rows("coverage") if row["kind"] == "gap"]
    assert gap["cause"] == "unrecordable"
    assert gap["store_root"] == rig.name


def test_the_outbox_takes_what_fits(tmp_path: Path) -> None:
    """``accept`` takes from the front and says how much; statements always go through."""
    clock = FakeClock()
    spool = Spool.open(tmp_path / "spool", filesystem=QuickFileSystem(), clock=clock, cluster="", node="n", limit_bytes=1)
    spool.begin_run()
    outbox = Outbox(spool, 3)
    stamp = Stamp(Interval(1, 2), clock.now(), clock.boot_id, Origin.SURVEY)
    row = {**stamp.columns(), "kind": "heartbeat"}
    assert outbox.accept("coverage", [row] * 2) == 2
    assert outbox.accept("coverage", [row] * 2) == 1
    assert outbox.room == 0
    assert "bytes are in use" in str(outbox.full)
    outbox.state("coverage", [row])
    assert outbox.pending == 4
    spool.limit_bytes = 1 << 20
    outbox.seal()
    assert (outbox.room, outbox.sealed_rows, outbox.full) == (3, 4, None)
    assert outbox.accept("coverage", [row] * 10) == 10, "sealing makes room"
    spool.close()
    with pytest.raises(SpoolError):
        outbox.state("coverage", [row])


def test_the_ledger_keeps_hostile_names(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, quotes, newlines: the checkpoint gives them back."""
    rig = Rig(tmp_path)
    rig.start()
    memory = rig.ledger.store("/odd\\xff root")
    link = Link(LinkKind.SHORT_LINK, "a\udcff\n\"'", "overlay/l/a\udcff\n\"'", target="../\udc80/diff", detail={"k": ["\u202e", None, 1.5]})
    memory.put(link, Interval(5, 6))
    memory.put(removed(replace(link, subject="gone")), Interval(7, 8))
    rig.ledger.checkpoint(rig.spool.next_offset)
    again = Ledger.open(tmp_path / "state/ledger", rig.spool.reader, filesystem=rig.filesystem).stores["/odd\\xff root"]
    assert again.links == {link.key: link}
    assert again.history(link.key) == Interval(5, 6)
    assert again.history((link.kind, "gone", link.path)) == Interval(7, 8)


def test_a_ledger_of_another_spool_is_not_used(tmp_path: Path) -> None:
    """The spool directory was made anew: what the ledger knew is not in it."""
    rig = Rig(tmp_path)
    rig.start()
    rig.settle(2)
    rig.recorder.stop()
    rig.crash()
    (tmp_path / "state/spool").rename(tmp_path / "old")
    rig.start()
    assert rig.ledger.stores[rig.name].links == {}
    assert "another spool" in rig.ledger.damaged[0]


def test_a_flag_that_comes_back(tmp_path: Path) -> None:
    """A barrier is seen when its own rename is told, not another one; without a directory to write in there is none."""
    barrier = Barrier(tmp_path / "barrier")
    assert barrier.raise_flag()
    assert not barrier.seen
    barrier.saw(Change(barrier.directory, "flag-0", "moved_out", is_directory=False))
    barrier.saw(Change(barrier.directory, "flag-7", "moved_in", is_directory=False))
    assert not barrier.seen
    barrier.saw(Change(barrier.directory, "flag-1", "moved_in", is_directory=False))
    assert barrier.seen
    assert barrier.plan.items[0].path == barrier.directory
    for _ in range(3):
        assert barrier.raise_flag()
        barrier.missed()
    assert not barrier.raise_flag()
