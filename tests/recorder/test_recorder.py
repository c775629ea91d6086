"""The recorder, step by step: readings, rows, gaps, findings, pauses. Scripted events and time; everything else is real."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from collector.links import LinkKind, StoreKind
from collector.settings import Settings
from collector.watch.interface import Cause
from linktrail.events import Row
from tests.recorder.playground import layer_id, short_name
from tests.recorder.support import Rig, bounds, fold, number, of_link, plain

NAME = short_name(900)
PATH = f"overlay/l/{NAME}"
TARGET = f"../{layer_id(0)}/diff"


def gaps(rig: Rig) -> list[Row]:
    """Return the gap rows."""
    return [row for row in rig.sealed("coverage") if row["kind"] == "gap"]


# --- the first reading ---------------------------------------------------------------------------------------------


def test_first_reading_observes_everything_at_an_unknown_time(rig: Rig) -> None:
    """What stands in a store that was never read before came into being before recording began, nobody knows when."""
    rows = rig.sealed("links")
    assert {row["action"] for row in rows} == {"observed"}
    assert {row["origin"] for row in rows} == {"baseline"}
    assert {row["occurred_after"] for row in rows} == {None}
    assert {row["store_kind"] for row in rows} == {StoreKind.CONTAINERS_STORAGE.value}
    assert plain(fold(rows)) == plain(rig.survey().links)


def test_start_is_stated_after_the_first_reading(rig: Rig) -> None:
    """From the beginning of the first reading on the record is complete; the row says how the store is watched."""
    [start] = rig.sealed("coverage")
    assert (start["kind"], start["mode"], start["store_root"]) == ("start", "inotify", rig.name)
    assert start["watches"] == rig.watcher.watches > 0
    assert gaps(rig) == []


def test_watch_first_survey_second(tmp_path: Path) -> None:
    """The watches stand before the reading begins, or what happens in between would be lost."""
    rig = Rig(tmp_path)
    rig.start()
    rig.recorder.step(0)
    assert rig.store.short_links in rig.watcher.covered


# --- changes -------------------------------------------------------------------------------------------------------


def test_a_change_is_told_in_the_bracket_of_its_event(rig: Rig) -> None:
    """One event, one change: the interval is the event's."""
    rig.store.link(NAME, TARGET)
    bracket = rig.event("created", PATH)
    rig.settle(1)
    [row] = of_link(rig.sealed("links"), NAME)
    assert (row["action"], row["target"], row["origin"]) == ("created", TARGET, "watch")
    after, before = bounds(row)
    assert bracket[0] - 1000 <= after <= bracket[0]
    assert bracket[1] <= before <= bracket[1] + 1000


def test_a_retarget_names_both_targets(rig: Rig) -> None:
    """Where it pointed before is in the row, so no query has to look for it."""
    rig.store.link(NAME, TARGET)
    rig.event("created", PATH)
    rig.settle(1)
    rig.store.retarget(NAME, "../other/diff")
    rig.event("moved_in", PATH)
    rig.settle(1)
    row = of_link(rig.sealed("links"), NAME)[-1]
    assert (row["action"], row["previous_target"], row["target"]) == ("retargeted", TARGET, "../other/diff")


def test_removed_and_made_again_between_two_readings(rig: Rig) -> None:
    """The two readings look alike; the events say what happened, and it is not merged away."""
    rig.store.link(NAME, TARGET)
    rig.event("created", PATH)
    rig.settle(1)
    rig.store.unlink(NAME)
    rig.event("removed", PATH)
    rig.store.link(NAME, TARGET)
    rig.event("created", PATH)
    rig.settle(1)
    rows = of_link(rig.sealed("links"), NAME)
    assert [(row["action"], row["target"]) for row in rows] == [("created", TARGET), ("removed", None), ("created", TARGET)]


def test_a_layer_pull_is_told_whole(rig: Rig) -> None:
    """A new layer is one record, one directory, its files and its short link; only what had an event has a narrow interval."""
    rig.store.add_layer(7, parent=2)
    rig.event("moved_in", "overlay-layers/layers.json")
    rig.event("created", f"overlay/{layer_id(7)}", directory=True)
    rig.settle(1)
    rows = [row for row in rig.sealed("links") if row["action"] == "created"]
    kinds = {row["link_kind"] for row in rows if layer_id(7) in (row["subject"], row["layer_id"])}
    wanted = {"layer_record", "layer_directory", "parent_pointer", "link_file", "lower_reference", "short_link", "data_file"}
    assert wanted <= kinds
    link_file = next(row for row in rows if row["link_kind"] == "link_file")
    directory = next(row for row in rows if row["link_kind"] == "layer_directory")
    assert link_file["occurred_after"] == directory["occurred_after"], "no older than the directory it lies in"
    assert plain(fold(rig.sealed("links"))) == plain(rig.survey().links)


def test_a_change_without_event_lies_between_two_readings(rig: Rig) -> None:
    """The periodic reading finds what no event told, and claims no more than that."""
    begun = rig.clock.now().wall
    rig.store.link(NAME, TARGET)
    rig.settle(302, step=50)
    [row] = of_link(rig.sealed("links"), NAME)
    after, before = bounds(row)
    assert after < begun < before
    assert row["origin"] == "survey"
    assert before - after > 299 * 10**9


def test_a_removed_link_keeps_its_owner(tmp_path: Path) -> None:
    """When a layer goes, whose it was is remembered from when it stood."""
    rig = Rig(tmp_path)
    rig.start()
    rig.recorder.step(0)
    top = next(row for row in rig.sealed("links") if row["link_kind"] == "layer_record" and row["subject"] == layer_id(2))
    assert top["container_image_name"] == "localhost/base:1"
    rig.store.remove_image("base")
    rig.store.remove_layer(2)
    rig.event("moved_in", "overlay-layers/layers.json")
    rig.settle(1)
    row = [row for row in of_link(rig.sealed("links"), layer_id(2)) if row["link_kind"] == "layer_record"][-1]
    assert (row["action"], row["container_image_name"]) == ("removed", "localhost/base:1")


def test_noise_reads_nothing_again(rig: Rig) -> None:
    """Lock files are touched by every command; they are no reason to read the store."""
    read = rig.recorder.stores[0].survey
    rig.event("modified", "overlay-layers/layers.lock")
    rig.settle(5)
    assert rig.recorder.stores[0].survey is read


def test_a_steady_stream_is_read_now_and_then(rig: Rig) -> None:
    """Events without end do not put the reading off for ever, nor do they cause one each."""
    rig.watcher.reports.clear()
    readings = set()
    for index in range(200):
        rig.event("modified", f"overlay/{layer_id(index % 3)}/link", width=0.02)
        rig.recorder.step(0.01)
        survey = rig.recorder.stores[0].survey
        assert survey is not None
        readings.add(survey.started)
    usual, passed = Settings(), 200 * 0.02
    assert 3 <= len(readings) <= 1 + passed / usual.max_delay + passed / usual.diagnose_interval, "the first, and as often as each is due"


# --- gaps ----------------------------------------------------------------------------------------------------------


def test_a_loss_is_a_gap_that_ends_with_a_reading(rig: Rig) -> None:
    """An overflow: the store is read again, what changed is found, and the time in doubt is stated."""
    rig.store.link(NAME, TARGET)
    loss = rig.lose(Cause.OVERFLOW)
    rig.settle(1)
    [gap] = gaps(rig)
    reading = rig.recorder.stores[0].survey
    assert reading is not None
    assert (gap["cause"], gap["store_root"]) == ("overflow", rig.name)
    after, before = bounds(gap)
    assert after <= loss.after.wall
    assert before >= reading.started
    assert gap["gap_id"]
    [row] = of_link(rig.sealed("links"), NAME)
    assert bounds(row)[1] >= reading.finished - 1000, "no event can narrow it"


def test_a_loss_elsewhere_concerns_nobody_here(rig: Rig) -> None:
    """A watch lost on another store is no gap of this one."""
    rig.lose(Cause.UNREADABLE, [Path("/elsewhere")])
    rig.settle(1)
    assert gaps(rig) == []


def test_heartbeats_vouch_without_holes(rig: Rig) -> None:
    """Each heartbeat covers the time from the one before, and stays a moment behind now: events may be under way."""
    rig.settle(200, step=5)
    beats = [row for row in rig.sealed("coverage") if row["kind"] in ("start", "heartbeat")]
    assert len(beats) >= 4
    for before, beat in itertools.pairwise(beats):
        assert bounds(beat)[0] <= bounds(before)[1]
    for beat in beats:
        assert bounds(beat)[1] < number(beat, "observed_at")


def test_a_clock_that_is_set_is_a_gap(rig: Rig) -> None:
    """Times around a jump may be told by either setting; the gap holds both."""
    before = rig.clock.now().wall
    rig.clock.jump(-3600)
    rig.settle(1)
    after = rig.clock.now().wall
    [gap] = gaps(rig)
    assert gap["cause"] == "clock-jump"
    low, high = bounds(gap)
    assert low <= after - 1
    assert high >= before
    assert "back by 3600.0 s" in str(gap["message"])


def test_intervals_hold_across_a_clock_jump(rig: Rig) -> None:
    """A change found after the clock was set back lies in its interval by the old clock and by the new one."""
    changed = rig.clock.now().wall
    rig.store.link(NAME, TARGET)
    rig.clock.jump(-3600)
    rig.recorder.stores[0].lose(rig.lose(Cause.OVERFLOW))
    rig.settle(1)
    [row] = of_link(rig.sealed("links"), NAME)
    low, high = bounds(row)
    assert low <= changed <= high
    assert low <= changed - 3600 * 10**9 <= high


def test_small_steps_of_the_clock_are_no_gap(rig: Rig) -> None:
    """Time daemons nudge clocks all the time."""
    rig.clock.jump(0.4)
    rig.settle(1)
    assert gaps(rig) == []


# --- a store that cannot be read -----------------------------------------------------------------------------------


def test_a_store_out_of_reach_is_a_gap_not_a_removal(rig: Rig) -> None:
    """An unmounted store is an empty directory: nothing is claimed removed, and the gap lasts until it is readable again."""
    aside = rig.store.root.with_name("aside")
    rig.store.root.rename(aside)
    rig.store.root.mkdir()
    rig.lose(Cause.UNMOUNT)
    rig.settle(70, step=1)
    assert [row["action"] for row in rig.sealed("links") if row["action"] != "observed"] == []
    assert rig.recorder.stores[0].vouching.down is not None
    assert [row["cause"] for row in gaps(rig)] == ["unreadable"], "stated at every heartbeat"
    assert [row["kind"] for row in rig.sealed("coverage")].count("heartbeat") == 0
    rig.store.root.rmdir()
    aside.rename(rig.store.root)
    rig.settle(5)
    assert rig.recorder.stores[0].vouching.down is None
    causes = [row["cause"] for row in gaps(rig)]
    assert causes == ["unreadable", "unreadable", "unmount"]
    first, second = gaps(rig)[:2]
    assert bounds(second)[0] <= bounds(first)[1], "without a hole"
    assert plain(fold(rig.sealed("links"))) == plain(rig.survey().links)


def test_a_store_that_is_gone_says_so_in_one_row(rig: Rig) -> None:
    """The parent directory is there and the root is not: the store itself was removed; of its links nobody saw that."""
    shutil.rmtree(rig.store.root)
    rig.lose(Cause.ROOT_REPLACED)
    rig.settle(10)
    rows = [row for row in rig.sealed("links") if row["action"] == "removed"]
    assert [(row["link_kind"], row["subject"]) for row in rows] == [(LinkKind.STORE_ROOT.value, rig.name)]
    rig.recorder.stop()
    assert {row["cause"] for row in gaps(rig)} == {"unreadable", "root-replaced"}


def test_a_store_that_comes_back_empty_has_lost_its_links(rig: Rig) -> None:
    """Read again, a store made anew shows what is not there any more."""
    shutil.rmtree(rig.store.root)
    rig.lose(Cause.ROOT_REPLACED)
    rig.settle(5)
    rig.store.__init__(rig.store.root)  # type: ignore[misc]  # laid out anew at the same place
    rig.settle(5)
    assert plain(fold(rig.sealed("links"))) == plain(rig.survey().links)


def test_a_part_that_cannot_be_read_is_not_removed(rig: Rig) -> None:
    """Half a JSON file hides the records in it; they are not claimed removed, and the damage is a finding."""
    (rig.store.root / "overlay-layers/layers.json").write_text('[{"id":')
    rig.event("modified", "overlay-layers/layers.json")
    rig.settle(5)
    rows = rig.sealed("links")
    assert [row for row in rows if row["action"] == "removed"] == []
    assert [(row["link_kind"], row["link_state"]) for row in rows if row["action"] == "changed"] == [("metadata_file", "malformed")]
    assert [row["code"] for row in rig.sealed("findings")] == ["metadata-unreadable"]
