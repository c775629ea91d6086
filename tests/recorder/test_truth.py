"""The record against the truth: every change of a name told once, in order, in an interval that holds its true time.

A model of the kernel's queue stands for the watch; the store, the driver, the spool and the ledger are real. Changes happen at any
moment, also in the middle of a reading.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.links import Link, LinkKey, LinkKind
from linktrail.events import Row
from tests.recorder.support import bounds, fold, of_link, plain
from tests.recorder.world import NAMES, Truth, World

ACTIONS = st.tuples(st.sampled_from(["make", "make", "remove", "remove", "replace", "read queue", "wait", "step"]), st.integers(0, 5))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=25), st.lists(ACTIONS, max_size=25))
def test_every_change_is_told_once_in_its_time(outside: list[tuple[str, int]], inside: list[tuple[str, int]]) -> None:
    """With a watch that loses nothing, the rows of a name are its true steps, each in an interval that holds it."""
    with tempfile.TemporaryDirectory() as where:
        world = World(Path(where))
        world.run()
        world.recorder.step(0)
        world.during = list(inside)
        for action in outside:
            world.act(*action)
        world.settle(1.0)
        world.during = []
        world.settle(1.0)
        world.recorder.stop()
        rows = world.rows("links")
        assert_same(fold(rows), world)
        for name in NAMES:
            check_steps(of_link(rows, name), world.truth[name])
        assert [row["cause"] for row in world.rows("coverage") if row["kind"] == "gap"] == []
        world.crash()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS | st.just(("overflow", 0)), max_size=25), st.lists(ACTIONS, max_size=15))
def test_after_a_loss_the_record_is_still_true(outside: list[tuple[str, int]], inside: list[tuple[str, int]]) -> None:
    """Where events were lost, a gap says so, the fold still equals the store, and every row still holds a true time of its kind."""
    with tempfile.TemporaryDirectory() as where:
        world = World(Path(where))
        world.run()
        world.recorder.step(0)
        world.during = list(inside)
        for action, number in outside:
            if action == "overflow":
                world.kernel.overflow()
            else:
                world.act(action, number)
        world.settle(2.0)
        world.during = []
        world.settle(1.0)
        world.recorder.stop()
        assert_same(fold(world.rows("links")), world)
        gaps = [row for row in world.rows("coverage") if row["kind"] == "gap"]
        assert (("overflow", 0) in outside) == bool(gaps)
        assert {row["cause"] for row in gaps} <= {"overflow"}
        for name in NAMES:
            check_presence(of_link(world.rows("links"), name), world.truth[name])
        world.crash()


def assert_same(standing: dict[LinkKey, Link], world: World) -> None:
    """The fold of the rows is the store as it stands."""
    assert plain(standing) == plain(world.survey().links)


def check_steps(rows: list[Row], truth: list[Truth]) -> None:
    """The rows are the true steps, in order, each in its interval."""
    assert [row["action"] for row in rows] == [action for action, _, _ in truth]
    for row, (_, begun, done) in zip(rows, truth, strict=True):
        after, before = bounds(row)
        assert after <= done, row
        assert before >= begun, row


def check_presence(rows: list[Row], truth: list[Truth]) -> None:
    """Every row about a name holds a time at which something did happen to it."""
    for row in rows:
        after, before = bounds(row)
        assert any(after <= done and begun <= before for _, begun, done in truth), row


@pytest.mark.parametrize("pairs", [1, 2, 50])
def test_pairs_within_one_window(tmp_path: Path, pairs: int) -> None:
    """A name made and removed many times between two readings: every pair is told."""
    world = World(tmp_path)
    world.run()
    world.recorder.step(0)
    for _ in range(pairs):
        world.act("make", 0)
        world.act("remove", 0)
    world.settle(1)
    world.recorder.stop()
    rows = of_link(world.rows("links"), NAMES[0])
    check_steps(rows, world.truth[NAMES[0]])
    assert len(rows) == 2 * pairs
    assert {row["target"] for row in rows} == {None}
    assert {row["link_kind"] for row in rows} == {LinkKind.SHORT_LINK.value}
    world.crash()


def test_instants_are_brackets_not_points(tmp_path: Path) -> None:
    """An event read a while after it happened is told in the whole interval in which it can have happened."""
    world = World(tmp_path)
    world.run()
    world.recorder.step(0)
    world.kernel.read_queue()
    before = world.clock.now().wall
    world.act("wait", 9)
    world.act("make", 0)
    world.act("wait", 9)
    world.settle(1)
    world.recorder.stop()
    [row] = of_link(world.rows("links"), NAMES[0])
    assert bounds(row)[0] <= before
    assert row["origin"] == "watch"
    world.crash()
