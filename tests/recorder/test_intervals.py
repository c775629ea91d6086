"""When a change happened: intervals from events and readings, and the lives that events tell."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from collector.brackets import Bounds, Evidence, Reading, between, since_wall
from collector.differ import Action, LinkChange
from collector.links import Link, LinkKind, Problem, StoreKind, Survey, removed
from collector.lives import Lives, Round
from linktrail.events import Interval, Origin
from tests.recorder.support import at, wall

SHORT = Link(LinkKind.SHORT_LINK, "A", "overlay/l/A", target="../1/diff")
CREATED = LinkChange(Action.CREATED, SHORT)


# --- intervals -----------------------------------------------------------------------------------------------------


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(-1e5, 1e5), st.floats(0, 1))
def test_an_interval_holds_the_time_by_both_settings(start: float, length: float, step: float, when: float) -> None:
    """Whenever in between the clock was set, and whenever the change happened: both its wall times are inside."""
    after, before = at(start), at(start + length, set_by=step)
    interval = between(after, before)
    happened = start + length * when
    assert interval.after is not None
    for setting in (0.0, step):
        assert interval.after - 1000 <= at(happened, set_by=setting).wall <= interval.before + 1000


def test_a_clock_that_is_not_touched_widens_nothing() -> None:
    """The usual case: exactly the two readings of the clock."""
    assert between(at(1), at(2)) == Interval(wall(1), wall(2))
    assert between(None, at(2)) == Interval(None, wall(2))
    assert since_wall(wall(5), at(2)) == Interval(wall(2), wall(5)), "a clock that went back between two runs"


def evidence(*directories: str, since: float = 0) -> Evidence:
    """Return evidence with watches on ``directories``."""
    made = Evidence()
    made.watching(directories, at(since))
    return made


READING = Reading(at(20), at(21))


def test_first_to_last_event() -> None:
    """Several events on a path: the change lies between the first and the last."""
    seen = evidence("overlay/l")
    seen.saw("overlay/l", "A", "created", at(12), at(12.1))
    seen.saw("overlay/l", "B", "created", at(13), at(13.1))
    seen.saw("overlay/l", "A", "modified", at(14), at(14.1))
    assert seen.interval(CREATED, READING, at(10)) == (Interval(wall(12), wall(14.1)), True)


def test_no_event_is_the_whole_time_between_readings() -> None:
    """From the beginning of one reading to the end of the next, for either may have looked at any moment."""
    assert evidence("overlay/l").interval(CREATED, READING, at(10)) == (Interval(wall(10), wall(21)), False)


def test_a_loss_takes_the_events_their_force() -> None:
    """With events missing, the ones that are known do not bound anything, in this reading and where the loss reached beyond it."""
    seen = evidence("overlay/l")
    seen.saw("overlay/l", "A", "created", at(12), at(12.1))
    seen.lost(at(20.5))
    assert seen.interval(CREATED, READING, at(10)) == (Interval(wall(10), wall(21)), False)
    assert seen.close(READING), "another reading is needed"
    assert seen.broken
    assert not seen.close(Reading(at(30), at(31)))
    assert not seen.broken


def test_a_watch_that_came_later_bounds_only_from_above() -> None:
    """What happened in a directory before its watch stood made no event."""
    seen = evidence("overlay", since=0)
    seen.watching(["overlay", "overlay/1"], at(15))
    seen.saw("overlay/1", "link", "modified", at(16), at(16.1))
    change = LinkChange(Action.CHANGED, Link(LinkKind.LINK_FILE, "1", "overlay/1/link"))
    assert seen.interval(change, READING, at(10)) == (Interval(wall(10), wall(16.1)), True)


def test_nothing_is_older_than_its_directory() -> None:
    """A file in a directory made meanwhile: no earlier than the directory, whether it had an event or not."""
    seen = evidence("overlay", since=0)
    seen.saw("overlay", "1", "created", at(14), at(14.1))
    change = LinkChange(Action.CREATED, Link(LinkKind.LINK_FILE, "1", "overlay/1/link"))
    assert seen.interval(change, READING, at(10)) == (Interval(wall(14), wall(21)), False)


def test_nothing_outlives_its_directory() -> None:
    """A file in a directory that was removed meanwhile: gone no later than the directory."""
    seen = evidence("overlay", since=0)
    seen.saw("overlay", "1", "removed", at(14), at(14.1))
    link = Link(LinkKind.LINK_FILE, "1", "overlay/1/link")
    change = LinkChange(Action.REMOVED, removed(link), link)
    assert seen.interval(change, READING, at(10)) == (Interval(wall(10), wall(14.1)), False)


def test_a_directory_made_anew_under_a_watched_name_is_not_watched() -> None:
    """The watch stood on the old one; until it is known to stand on the new one, events prove no completeness."""
    seen = evidence("overlay", "overlay/1", since=0)
    seen.saw("overlay", "1", "removed", at(12), at(12.1))
    seen.saw("overlay", "1", "created", at(13), at(13.1))
    seen.saw("overlay/1", "link", "modified", at(14), at(14.1))
    change = LinkChange(Action.CHANGED, Link(LinkKind.LINK_FILE, "1", "overlay/1/link"))
    assert seen.interval(change, READING, at(10)) == (Interval(wall(10), wall(21)), False)


def test_what_a_directory_holds_is_told_by_events_in_it() -> None:
    """A layer directory that lost its diff: the events inside count, not those on its own name."""
    seen = evidence("overlay", "overlay/1", since=0)
    seen.saw("overlay", "1", "attributes", at(12), at(12.1))
    seen.saw("overlay/1", "diff", "removed", at(15), at(15.1))
    change = LinkChange(Action.CHANGED, Link(LinkKind.LAYER_DIRECTORY, "1", "overlay/1"))
    assert seen.interval(change, READING, at(10)) == (Interval(wall(12), wall(15.1)), True)
    outside = evidence("overlay", since=0)
    outside.saw("overlay", "1", "attributes", at(12), at(12.1))
    assert outside.interval(change, READING, at(10)) == (Interval(wall(10), wall(21)), False)


def test_events_that_a_reading_may_have_missed_stay() -> None:
    """Certainly seen events go; one that may be younger than the reading's look stays for the next."""
    seen = evidence("overlay/l")
    seen.saw("overlay/l", "A", "created", at(12), at(12.1))
    seen.saw("overlay/l", "B", "created", at(20.2), at(20.3))
    assert seen.close(READING)
    again = Reading(at(30), at(31))
    assert seen.interval(LinkChange(Action.CREATED, replace(SHORT, path="overlay/l/B")), again, at(20))[0] == Interval(
        wall(20.2), wall(20.3)
    )
    assert seen.interval(CREATED, again, at(20))[0] == Interval(wall(20), wall(31))


def test_a_path_in_a_file_is_the_file() -> None:
    """``images.json#mapped/1`` changes when images.json does."""
    seen = evidence("overlay-images")
    seen.saw("overlay-images", "images.json", "moved_in", at(12), at(12.1))
    change = LinkChange(Action.CREATED, Link(LinkKind.IMAGE_LAYER, "i", "overlay-images/images.json#mapped/1"))
    assert seen.interval(change, READING, at(10)) == (Interval(wall(12), wall(12.1)), True)


def test_late_news_never_turns_an_interval_round() -> None:
    """An event older than the previous reading says nothing about the time since."""
    interval = Bounds(READING, at(10), wall(3)).interval(None, at(9))
    assert interval == Interval(wall(3), wall(9))


# --- lives ---------------------------------------------------------------------------------------------------------


def told(survey_links: list[Link], reading: Reading = READING, unread: tuple[str, ...] = ()) -> Round:
    """Return a round in which these links were read."""
    survey = Survey.of(StoreKind.CONTAINERS_STORAGE, "/s", survey_links, problems=[Problem(path, "no") for path in unread])
    return Round(survey, reading, at(10), wall(0), Origin.SURVEY)


def test_an_event_under_way_is_not_told_twice() -> None:
    """The reading saw the link before its event came: it is told once, widely, and the event is taken for what it is."""
    lives, seen = Lives(), evidence("overlay/l")
    [first] = lives.tell({}, told([SHORT]), seen)
    assert (first.change.action, first.interval) == (Action.CREATED, Interval(wall(10), wall(21)))
    lives.saw(SHORT, "created", at(19.9), at(21.5))
    assert lives.tell({SHORT.key: SHORT}, told([SHORT], Reading(at(30), at(31))), seen) == []


def test_a_removal_under_way_is_not_told_twice() -> None:
    """Likewise for what vanished; without this rule a life that never was would be told."""
    lives, seen = Lives(), evidence("overlay/l")
    [first] = lives.tell({SHORT.key: SHORT}, told([]), seen)
    assert first.change.action is Action.REMOVED
    lives.saw(SHORT, "removed", at(19.9), at(21.5))
    assert lives.tell({}, told([], Reading(at(30), at(31))), seen) == []


def test_events_of_an_unread_part_wait() -> None:
    """Nothing is told of a name whose directory cannot be read, until it can."""
    lives, seen = Lives(), evidence("overlay/l")
    lives.saw(SHORT, "removed", at(12), at(12.1))
    assert lives.tell({SHORT.key: SHORT}, told([], unread=("overlay/l",)), seen) == []
    assert len(lives) == 1
    [change] = lives.tell({SHORT.key: SHORT}, told([], Reading(at(30), at(31))), seen)
    assert (change.change.action, change.interval) == (Action.REMOVED, Interval(wall(12), wall(12.1)))


def test_a_name_of_another_kind_is_no_life() -> None:
    """An event makes believe a layer directory, the reading says it is something else: only the reading speaks."""
    lives, seen = Lives(), evidence("overlay")
    believed = Link(LinkKind.LAYER_DIRECTORY, "x", "overlay/x")
    real = Link(LinkKind.TEMPORARY_DIRECTORY, "x", "overlay/x")
    lives.saw(believed, "created", at(12), at(12.1))
    assert [timed.change.link.kind for timed in lives.tell({}, told([real]), seen)] == [LinkKind.TEMPORARY_DIRECTORY]
    lives.saw(believed, "removed", at(22), at(22.1))
    [gone] = lives.tell({real.key: real}, told([], Reading(at(30), at(31))), seen)
    assert (gone.change.action, gone.change.link.kind) == (Action.REMOVED, LinkKind.TEMPORARY_DIRECTORY)


def test_a_file_is_made_before_it_is_filled() -> None:
    """The interval of a file reaches to its last write: the content that was read may be that young."""
    lives, seen = Lives(), evidence("overlay/1")
    file = Link(LinkKind.LINK_FILE, "1", "overlay/1/link", target="A")
    seen.saw("overlay/1", "link", "created", at(12), at(12.1))
    lives.saw(file, "created", at(12), at(12.1))
    seen.saw("overlay/1", "link", "modified", at(13), at(13.1))
    [change] = lives.tell({}, told([file]), seen)
    assert change.interval == Interval(wall(12), wall(13.1))


def test_made_where_something_stood_means_that_went_first() -> None:
    """Making a name fails where one is; so the one that is recorded was removed unseen."""
    lives, seen = Lives(), evidence("overlay/l")
    lives.saw(SHORT, "created", at(12), at(12.1))
    changes = lives.tell({SHORT.key: SHORT}, told([SHORT]), seen)
    assert [(timed.change.action, timed.interval) for timed in changes] == [
        (Action.REMOVED, Interval(wall(10), wall(12.1))),
        (Action.CREATED, Interval(wall(12), wall(12.1))),
    ]


def test_what_was_put_in_place_unheard_is_not_the_result_of_what_was_heard() -> None:
    """Made, then another put over it while nothing was heard: a target that was read afterwards is not claimed for the time before."""
    lives, seen = Lives(), evidence("overlay/l")
    seen.saw("overlay/l", "A", "created", at(12), at(12.1))
    lives.saw(replace(SHORT, target=None), "created", at(12), at(12.1))
    seen.lost(at(14), after=at(13))
    changes = lives.tell({}, told([SHORT]), seen)
    assert [(timed.change.action, timed.change.link.target, timed.interval) for timed in changes] == [
        (Action.CREATED, None, Interval(wall(12), wall(12.1))),
        (Action.RETARGETED, SHORT.target, Interval(wall(12), wall(21))),
    ]


def test_what_was_made_while_events_were_lost_is_what_was_read() -> None:
    """The loss may lie before it as well: one step says it, as wide as what is known."""
    lives, seen = Lives(), evidence("overlay/l")
    seen.saw("overlay/l", "A", "created", at(12), at(12.1))
    lives.saw(replace(SHORT, target=None), "created", at(12), at(12.1))
    seen.lost(at(14), after=at(11))
    [change] = lives.tell({}, told([SHORT]), seen)
    assert (change.change.action, change.change.link.target) == (Action.CREATED, SHORT.target)
    assert change.interval == Interval(wall(12), wall(21))
