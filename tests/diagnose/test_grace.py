"""When a leak is called one: graces, what counts as evidence of age, and what waits for a second look."""

from __future__ import annotations

import pytest

from collector.diagnose import examine
from collector.links import LinkKey, LinkKind, LinkState
from collector.measure import Size
from collector.store_memory import StoreMemory
from linktrail.codes import CODES, GRACE_SECONDS
from linktrail.events import Interval
from tests.diagnose.model import HOUR, IMAGES_JSON, LAYERS_JSON, LONG_AGO, NOW, StoreModel, identity, small_store

MINUTE = HOUR // 60
SECOND = MINUTE // 60


def orphan(modified: int | None) -> StoreModel:
    """Return a store with a directory without a record, modified then."""
    store = small_store()
    store.add_layer("orphan", recorded=False, tar_split=False, modified=modified)
    return store.settle()


def loose(created: int | None, modified: int | None) -> StoreModel:
    """Return a store with a layer that nothing reaches."""
    store = small_store()
    store.add_layer("loose", created=created, modified=modified)
    return store.settle()


@pytest.mark.parametrize(("age", "found"), [(9 * MINUTE, False), (10 * MINUTE, True), (HOUR, True)])
def test_a_transient_leak_waits_ten_minutes(age: int, found: bool) -> None:
    """A build or a pull makes directories before records."""
    result = examine(orphan(NOW - age).survey(), now=NOW)
    assert bool(result.findings) is found
    assert bool(result.withheld) is not found
    if not found:
        assert result.due == NOW - age + 10 * MINUTE


@pytest.mark.parametrize(("age", "found"), [(HOUR, False), (23 * HOUR, False), (24 * HOUR, True)])
def test_an_unreferenced_layer_waits_a_day(age: int, found: bool) -> None:
    """As upstream's own check."""
    assert bool(examine(loose(NOW - age, NOW - age).survey(), now=NOW).findings) is found


def test_min_age_replaces_every_grace() -> None:
    """0 shows everything; an hour shows neither what is younger nor less."""
    young = orphan(NOW - MINUTE)
    assert not examine(young.survey(), now=NOW).findings
    assert examine(young.survey(), now=NOW, min_age=0).findings
    assert examine(young.survey(), now=NOW, min_age=60).findings
    assert not examine(young.survey(), now=NOW, min_age=61).findings
    assert not examine(orphan(NOW - 11 * MINUTE).survey(), now=NOW, min_age=3600).findings


def test_a_break_knows_no_grace() -> None:
    """What is broken is broken, however old it is, and however long people want to wait for leaks."""
    store = small_store()
    store.layers[identity("middle")].link = None
    assert examine(store.survey(), now=NOW, min_age=10**9).findings
    assert {code.family for code in CODES.values() if GRACE_SECONDS[code.grace] > 0} == {"leaks", "breaks"}
    assert {code.name for code in CODES.values() if code.family == "breaks" and code.grace != "none"} == {"metadata-leftover"}


def test_the_newest_evidence_counts_and_is_named() -> None:
    """A layer recorded long ago in which somebody works now is no leak; the finding says which time it rests on."""
    assert not examine(loose(LONG_AGO, NOW - HOUR).survey(), now=NOW).findings
    assert not examine(loose(NOW - HOUR, LONG_AGO).survey(), now=NOW).findings
    (finding,) = examine(loose(LONG_AGO, NOW - 48 * HOUR).survey(), now=NOW).findings
    assert finding.evidence["newest_change"]["what"] == "directory modified"
    assert finding.evidence["newest_change"]["at"].startswith("20")


def test_a_file_deep_in_the_layer_is_evidence() -> None:
    """A download writes far below the directory whose time is seen from outside."""
    store = orphan(LONG_AGO)
    path = f"overlay/{identity('orphan')}"
    recent = Size(bytes=7, apparent_bytes=7, inodes=1, shared_bytes=0, newest_ns=NOW - MINUTE)
    assert not examine(store.survey(), now=NOW, sizes={path: recent}).findings
    old = Size(bytes=7, apparent_bytes=7, inodes=1, shared_bytes=0, newest_ns=NOW - HOUR)
    (finding,) = examine(store.survey(), now=NOW, sizes={path: old}).findings
    assert finding.bytes == 7
    assert finding.evidence["newest_change"]["what"] == "newest file in it"


def test_without_any_evidence_it_is_young() -> None:
    """Nobody knows how old it is; only who asks for everything is told."""
    store = orphan(None)
    result = examine(store.survey(), now=NOW)
    assert not result.findings
    assert [item.until for item in result.withheld] == [None]
    assert result.due is None
    assert examine(store.survey(), now=NOW, min_age=0).findings


def test_a_time_in_the_future_is_no_evidence() -> None:
    """A wrong clock or a forged time must not hide a leak for years, nor make one of it."""
    assert not examine(orphan(NOW + 1000 * HOUR).survey(), now=NOW).findings
    assert examine(loose(LONG_AGO, NOW + 1000 * HOUR).survey(), now=NOW).findings


def test_history_knows_more_than_the_files() -> None:
    """Where the record of links saw the change, its time counts, and the finding says since when."""
    store = loose(LONG_AGO, LONG_AGO)
    record: LinkKey = (LinkKind.LAYER_RECORD, identity("loose"), LAYERS_JSON)
    witnessed = {record: Interval(NOW - HOUR, NOW - HOUR + 1)}
    assert not examine(store.survey(), now=NOW, past=StoreMemory(since=witnessed)).findings
    older = {record: Interval(NOW - 50 * HOUR, NOW - 49 * HOUR)}
    (finding,) = examine(store.survey(), now=NOW, past=StoreMemory(since=older)).findings
    assert finding.since == Interval(NOW - 50 * HOUR, NOW - 49 * HOUR)
    unwitnessed = {record: Interval(None, NOW - HOUR)}  # it was so when recording began, an hour ago: that makes nothing young
    assert examine(store.survey(), now=NOW, past=StoreMemory(since=unwitnessed)).findings


def test_a_break_that_rests_on_something_fresh_waits_for_a_second_look() -> None:
    """An engine may be between two writes. The same again two seconds later is damage."""
    store = small_store()
    store.layers[identity("top")].recorded = False
    store.written[LAYERS_JSON] = NOW - SECOND
    first = examine(store.survey(), now=NOW)
    assert not first.findings
    assert {item.why for item in first.withheld} == {"settling"}
    assert first.due == NOW + SECOND
    later = NOW + 2 * SECOND
    assert examine(store.survey(later), now=later).findings
    busy = examine(store.survey(), now=NOW, confirmed=first.settling)
    assert {finding.key for finding in busy.findings} == {item.key for item in first.withheld}


def test_unreadable_metadata_does_not_wait() -> None:
    """Engines replace these files whole: a file that does not parse is never half of a write."""
    store = small_store()
    store.malformed[LAYERS_JSON] = "cut short"
    store.written[LAYERS_JSON] = NOW
    assert [finding.code for finding in examine(store.survey(), now=NOW).findings] == ["metadata-unreadable"]


def test_min_age_zero_does_not_wait_for_leaks_but_for_breaks() -> None:
    """Who asks for everything gets the leaks of this moment; a break is still said only when it is one."""
    store = loose(NOW, NOW)
    store.written[IMAGES_JSON] = NOW
    store.layers[identity("middle")].link_state = LinkState.EMPTY
    store.layers[identity("middle")].modified = NOW
    result = examine(store.survey(), now=NOW, min_age=0)
    assert [finding.code for finding in result.findings] == ["unreferenced-layer"]
    assert [item.code for item in result.withheld] == ["link-file-empty"]


def test_a_removal_in_progress_protects_the_layers_below() -> None:
    """An image is removed from the top: the layers that are left are no leak while somebody works on the one above."""
    store = small_store()
    base = store.add_layer("going base")
    middle = store.add_layer("going middle", base.id)
    top = store.add_layer("going top", middle.id, incomplete=True, modified=NOW - MINUTE)
    assert not examine(store.settle().survey(), now=NOW).findings
    top.modified = NOW - HOUR
    found = {finding.key for finding in examine(store.survey(), now=NOW).findings}
    assert found == {("incomplete-layer", top.id), ("unreferenced-layer", middle.id), ("unreferenced-layer", base.id)}
