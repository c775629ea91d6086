from __future__ import annotations

from pathlib import Path

import pytest

from linktrail.testing.clock import FakeClock
from queries.answers.findings import findings_at
from queries.completeness import Completeness, Gap, Scope, Window, completeness
from queries.engine import open_lake
from tests.queries.lakes import STORE, Run, at, write_lake


def stated(lake: Path, after: float | None, before: float, *, now: float, scope: Scope | None = None, state: bool = False) -> Completeness:
    """Return the statement about a window; all times in seconds after the beginning."""
    window = Window(None if after is None else at(after), at(before))
    with open_lake(lake) as engine:
        return completeness(engine, window, now=at(now), scope=scope, state=state)


def causes(said: Completeness) -> list[str]:
    """Return why it is incomplete."""
    return [gap.cause for gap in said.gaps]


def hour() -> Run:
    """Return a run that vouches for an hour without a gap."""
    run = Run()
    run.start(0)
    run.vouch(3600, since=0)
    return run


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour without a gap."""
    return write_lake(tmp_path_factory.mktemp("complete") / "lake", [hour()])


# --- where the record ends --------------------------------------------------------------------------------------


def test_inside_the_record_nothing_is_missing(complete: Path) -> None:
    """Exit code 0, and a sentence from when to when."""
    said = stated(complete, 60, 1800, now=9000)
    assert said.complete
    assert said.exit_code == 0
    assert said.lines() == ["The record is complete from 2026-11-23T16:01:00Z to 2026-11-23T16:30:00Z (/srv/store on node n1)."]


def test_before_recording_nothing_is_known(complete: Path) -> None:
    """The answer says when recording began: exit code 3."""
    said = stated(complete, -500, 100, now=9000)
    assert causes(said) == ["not-recorded"]
    assert said.exit_code == 3
    assert "recording began at 2026-11-23T16:00:00Z" in said.lines()[1]
    assert causes(stated(complete, -100, -100, now=9000)) == ["not-recorded"]


def test_the_whole_record_has_no_beginning_that_is_missing(complete: Path) -> None:
    """Asked from the beginning on, the record begins where it begins."""
    assert stated(complete, None, 3600, now=3610).complete


@pytest.mark.parametrize(("now", "missing"), [(3601, []), (3740, []), (3760, ["silent"]), (90_000, ["silent"])])
def test_the_last_word_is_a_moment_old_while_a_collector_lives(complete: Path, now: float, missing: list[str]) -> None:
    """A heartbeat every minute: younger than two and a half minutes is alive, older is silence since the last word."""
    said = stated(complete, now, now, now=now, state=True)
    assert causes(said) == missing
    if missing:
        assert (said.gaps[0].after, said.gaps[0].before) == (at(3600), at(now))


def test_a_past_instant_after_the_last_word_is_not_excused(complete: Path) -> None:
    """The tolerance is for what is on its way, not for an hour ago."""
    assert causes(stated(complete, 3650, 3650, now=9000)) == ["silent"]


def test_a_stop_is_no_silence(tmp_path: Path) -> None:
    """Somebody stopped the recording: said so, once it is no matter of seconds."""
    run = hour()
    run.coverage("stop", (3600, 3600))
    lake = write_lake(tmp_path / "lake", [run])
    assert stated(lake, 3610, 3610, now=3610).complete
    assert causes(stated(lake, 3900, 3900, now=3900)) == ["stopped"]


def test_a_lake_without_coverage_vouches_for_nothing(tmp_path: Path) -> None:
    """Rows alone do not say that they are all."""
    run = Run()
    run.finding("opened", "unaccounted-layer", "x", (1, 2))
    answer = findings_at(write_lake(tmp_path / "lake", [run]), at=at(10), clock=FakeClock(at(20)))
    assert answer.rows.num_rows == 1
    assert answer.exit_code == 3
    assert causes(answer.completeness) == ["not-recorded"]


# --- gaps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "before", "hit"),
    [
        (0, 99, False),
        (0, 101, True),
        (120, 120, True),
        (150, 160, True),
        (199, 300, True),
        (201, 300, False),
        (None, 99, False),
        (None, 300, True),
    ],
)
def test_a_gap_counts_where_it_reaches_into_the_window(tmp_path: Path, after: float | None, before: float, hit: bool) -> None:
    """Before it began and after it ended it is nobody's concern."""
    run = hour()
    run.coverage("gap", (100, 200), cause="overflow", message="the queue was full")
    said = stated(write_lake(tmp_path / "lake", [run]), after, before, now=3600)
    assert causes(said) == (["overflow"] if hit else [])


def test_a_lost_batch_matters_to_every_later_state(tmp_path: Path) -> None:
    """What it said was never folded in; but a window after it is complete for what happened in the window."""
    run, processor = hour(), Run("20261123T160000Z-processor", store=None)
    processor.coverage("gap", (100, 200), cause="batch-missing", message="batch 3 never arrived", origin="processor")
    lake = write_lake(tmp_path / "lake", [run, processor])
    assert causes(stated(lake, 1000, 1000, now=3600, state=True)) == ["batch-missing"]
    assert stated(lake, 1000, 2000, now=3600).complete
    assert stated(lake, 50, 50, now=3600, state=True).complete


def test_a_condition_stated_again_and_again_is_one_gap(tmp_path: Path) -> None:
    """A store that cannot be read for an hour is one line, not sixty."""
    run = hour()
    for minute in range(10, 20):
        run.coverage("gap", (minute * 60, minute * 60 + 60), cause="unreadable", message="permission denied")
    said = stated(write_lake(tmp_path / "lake", [run]), None, 3600, now=3600)
    assert [(gap.after, gap.before) for gap in said.gaps] == [(at(600), at(1200))]


def test_only_what_is_asked_about_counts(tmp_path: Path) -> None:
    """Another node's gap and another store's gap are not this answer's; one of the whole node is."""
    runs = []
    for node, store in (("n1", STORE), ("n1", "/srv/other"), ("n2", STORE)):
        run = Run(f"20261123T160000Z-{node}{store[-1]}", node=node, store=store)
        run.start(0)
        run.vouch(600, since=0)
        runs.append(run)
    runs[1].coverage("gap", (100, 200), cause="overflow", message="")
    runs[2].coverage("gap", (100, 200), cause="unmount", message="")
    whole = Run("20261123T160000Z-whole", node="n1", store=None)
    whole.coverage("gap", (300, 310), cause="chain-broken", message="")
    lake = write_lake(tmp_path / "lake", [*runs, whole])
    assert causes(stated(lake, None, 600, now=600)) == ["overflow", "unmount", "chain-broken"]
    assert causes(stated(lake, None, 600, now=600, scope=Scope(nodes=frozenset({"n1"}), store=STORE))) == ["chain-broken"]
    assert causes(stated(lake, None, 600, now=600, scope=Scope(nodes=frozenset({"n2"})))) == ["unmount"]
    assert causes(stated(lake, None, 600, now=600, scope=Scope(nodes=frozenset({"nobody"})))) == ["not-recorded"]
    assert stated(lake, 400, 600, now=600).lines() == [
        "The record is complete from 2026-11-23T16:06:40Z to 2026-11-23T16:10:00Z (3 stores on 2 nodes)."
    ]


def test_many_gaps_are_counted_and_hostile_words_inert() -> None:
    """A person sees the first twenty, and no message reaches the terminal raw."""
    gap = Gap("", "n\x1b1", None, None, at(1), "overflow", "\x1b[2J")
    said = Completeness(Window(None, at(2)), (), (gap,) * 25)
    lines = said.lines()
    assert len(lines) == 22
    assert lines[0] == "The record has 25 gaps in the asked time:"
    assert "5 more" in lines[-1]
    assert "\x1b" not in "".join(lines)
    assert "until 2026-11-23T16:00:01Z" in lines[1]


def test_json_has_bounds_and_gaps(tmp_path: Path) -> None:
    """What a program needs to decide whether it can rely on an answer."""
    run = hour()
    run.coverage("gap", (100, 200), cause="overflow", message="the queue was full")
    document = stated(write_lake(tmp_path / "lake", [run]), 0, 3600, now=3600).document()
    assert document["complete"] is False
    assert document["gaps"] == [
        {
            "cluster": "",
            "node": "n1",
            "store_root": STORE,
            "after": "2026-11-23T16:01:40.000000Z",
            "before": "2026-11-23T16:03:20.000000Z",
            "cause": "overflow",
            "message": "the queue was full",
        }
    ]
