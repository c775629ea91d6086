"""A short link that is gone before the store is read: its target is told if it was read in time and is certainly its own, or unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.early import READS
from collector.settings import Settings
from collector.watch.interface import Cause
from tests.recorder.playground import layer_id, short_name
from tests.recorder.support import Rig, of_link

NAME = short_name(500)
PATH = f"overlay/l/{NAME}"
TARGET, OTHER = (f"../{layer_id(number)}/diff" for number in (70, 71))
Told = list[tuple[object, object, object, object]]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A recorder that has read its store once and waits long before it reads it again."""
    rig = Rig(tmp_path, settings=Settings(drain=0.0, quiet=10.0, max_delay=60.0))
    rig.start()
    rig.settle(1)
    yield rig
    rig.crash()


def happens(rig: Rig, action: str, change: Callable[[], object], *, taken: bool = True) -> None:
    """Let something happen to the link a while after the last thing, and be told of, and taken unless said otherwise."""
    rig.clock.advance(0.2)
    after = rig.clock.now()
    change()
    rig.event_at(action, PATH, after, rig.clock.now())
    if taken:
        rig.recorder.step(0)


def told(rig: Rig) -> Told:
    """Read the store; return action, targets and layer of what was recorded of the link."""
    assert rig.recorder.stores[0].read()
    rows = of_link(rig.sealed("links"), NAME)
    return [(row["action"], row["previous_target"], row["target"], row["layer_id"]) for row in rows]


def test_a_link_that_stood_for_a_moment_is_told_with_its_target(rig: Rig) -> None:
    """Made and removed before the store was read: both rows name its layer."""
    happens(rig, "created", lambda: rig.store.link(NAME, TARGET))
    happens(rig, "removed", lambda: rig.store.unlink(NAME))
    assert told(rig) == [("created", None, TARGET, layer_id(70)), ("removed", TARGET, None, layer_id(70))]


def test_each_step_has_its_own_target(rig: Rig) -> None:
    """Made, replaced, removed and made again, told one by one; the last is what the store was read with."""
    happens(rig, "created", lambda: rig.store.link(NAME, TARGET))
    happens(rig, "moved_in", lambda: rig.store.retarget(NAME, OTHER))
    happens(rig, "removed", lambda: rig.store.unlink(NAME))
    happens(rig, "created", lambda: rig.store.link(NAME, TARGET))
    assert told(rig) == [
        ("created", None, TARGET, layer_id(70)),
        ("retargeted", TARGET, OTHER, layer_id(71)),
        ("removed", OTHER, None, layer_id(71)),
        ("created", None, TARGET, layer_id(70)),
    ]


def test_what_may_be_the_next_ones_target_is_not_told(rig: Rig) -> None:
    """The second link stood already when the news of the first one came: of that, nothing is known."""
    happens(rig, "created", lambda: rig.store.link(NAME, TARGET), taken=False)
    happens(rig, "removed", lambda: rig.store.unlink(NAME), taken=False)
    happens(rig, "created", lambda: rig.store.link(NAME, OTHER))
    happens(rig, "removed", lambda: rig.store.unlink(NAME))
    assert told(rig) == [
        ("created", None, None, None),
        ("removed", None, None, None),
        ("created", None, OTHER, layer_id(71)),
        ("removed", OTHER, None, layer_id(71)),
    ]


def test_a_link_that_may_have_been_replaced_before_it_was_read_is_not_believed(rig: Rig) -> None:
    """The next event may have happened before the reading: its bracket begins earlier."""
    happens(rig, "created", lambda: rig.store.link(NAME, TARGET), taken=False)
    between = rig.clock.now()
    rig.clock.advance(0.2)
    rig.recorder.step(0)
    rig.store.unlink(NAME)
    rig.event_at("removed", PATH, between, rig.clock.now())
    rig.recorder.step(0)
    assert told(rig) == [("created", None, None, None), ("removed", None, None, None)]


def test_where_events_were_lost_nothing_that_was_read_is_believed(rig: Rig) -> None:
    """It may have been of a link that nobody told about."""
    happens(rig, "created", lambda: rig.store.link(NAME, TARGET))
    rig.lose(Cause.OVERFLOW)
    happens(rig, "removed", lambda: rig.store.unlink(NAME))
    assert {target for _, _, target, _ in told(rig)} == {None}


def test_nothing_but_a_link_is_read(rig: Rig) -> None:
    """What else is put there is told as the survey would, or without a target; nothing is followed."""
    happens(rig, "created", (rig.store.short_links / NAME).mkdir)
    happens(rig, "removed", (rig.store.short_links / NAME).rmdir)
    assert [(action, target, layer) for action, _, target, layer in told(rig)] == [("created", None, None), ("removed", None, None)]


def test_a_burst_is_not_held_up(rig: Rig) -> None:
    """Of many links at once only the first are read; all are told."""
    names = [short_name(600 + number) for number in range(READS + 20)]
    for action, change in (("created", lambda name: rig.store.link(name, TARGET)), ("removed", rig.store.unlink)):
        rig.clock.advance(0.2)
        for name in names:
            after = rig.clock.now()
            change(name)
            rig.event_at(action, f"overlay/l/{name}", after, rig.clock.now())
        rig.recorder.step(0)
    assert rig.recorder.stores[0].read()
    made = [row for row in rig.sealed("links") if row["action"] == "created" and row["subject"] in names]
    assert len(made) == len(names)
    assert READS // 2 < sum(row["target"] == TARGET for row in made) <= READS
