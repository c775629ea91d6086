"""What is inside layers under scripted events: bounds, layers that are new, stores that are away."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from collector.inside import recording
from collector.links import INSIDE
from collector.watch.interface import Cause
from linktrail.events import Row
from tests.recorder.playground import CREATED, layer_id
from tests.recorder.support import Rig, ScriptedWatcher, bounds

CONTAINER = 90
UPPER = f"overlay/{layer_id(CONTAINER)}/diff"


class DeepWatcher(ScriptedWatcher):
    """A scripted watcher that says it hears everything."""

    mode = "fanotify"


def add_container(rig: Rig) -> None:
    """Make a container's layer and its record."""
    if layer_id(CONTAINER) not in rig.store.layers:
        rig.store.add_layer(CONTAINER, parent=2)
    image = next(iter(rig.store.images))
    record = {"id": "c" * 64, "names": ["one"], "image": image, "layer": layer_id(CONTAINER), "created": CREATED}
    rig.store.write("overlay-containers/containers.json", [record])


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a store with a container, not yet recorded."""
    made = Rig(tmp_path)
    add_container(made)
    return made


def start(rig: Rig) -> None:
    """Record in deep mode."""
    rig.start(watcher=DeepWatcher(rig.clock))
    rig.settle()


def inside(rig: Rig) -> list[tuple[object, ...]]:
    """Return kind, action, subject and target of the rows inside layers."""
    rows = [row for row in rig.sealed("links") if row["link_kind"] in INSIDE]
    return [(row["link_kind"], row["action"], row["subject"], row["target"]) for row in rows]


def gaps(rig: Rig, cause: str) -> list[Row]:
    """Return the gaps with a cause that speak of layers."""
    rows = [row for row in rig.sealed("coverage") if row["kind"] == "gap" and row["cause"] == cause]
    return [row for row in rows if UPPER in str(row["message"]) or "inside" in str(row["message"])]


def test_a_name_that_nobody_could_read_is_one_life(rig: Rig) -> None:
    """Made and removed before it was looked at: two rows, each in the bracket of its event."""
    start(rig)
    made, removed = rig.event("created", f"{UPPER}/x"), rig.event("removed", f"{UPPER}/x")
    rig.settle()
    assert inside(rig) == [("unread_name", "created", "/x", None), ("unread_name", "removed", "/x", None)]
    rows = [row for row in rig.rows("links") if row["link_kind"] == "unread_name"]
    for row, (after, before) in zip(rows, (made, removed), strict=True):
        assert bounds(row)[0] <= after
        assert before <= bounds(row)[1] + 1000


def test_the_removal_of_a_file_that_was_no_link_is_no_news(rig: Rig) -> None:
    """All names of the layer were read: what is not recorded was none."""
    (rig.store.root / UPPER / "file").write_text("x")
    start(rig)
    (rig.store.root / UPPER / "file").unlink()
    rig.event("removed", f"{UPPER}/file")
    rig.settle()
    assert inside(rig) == []


def test_a_temporary_name_is_what_it_was_moved_to(rig: Rig) -> None:
    """A file written aside and renamed over another is no news; nobody read the name it had aside."""
    start(rig)
    (rig.store.root / UPPER / "config").write_text("x")
    rig.event("created", f"{UPPER}/.config")
    after = rig.clock.now()
    for action, name in (("moved_out", ".config"), ("moved_in", "config")):
        rig.event_at(action, f"{UPPER}/{name}", after, rig.clock.now(), cookie=7)
    rig.settle()
    assert inside(rig) == []


def test_events_in_a_new_layer_are_kept_until_a_survey_says_that_it_is_writable(tmp_path: Path) -> None:
    """A container's layer is made before its record: what came and went in it before is told all the same."""
    rig = Rig(tmp_path)
    start(rig)
    rig.store.add_layer(CONTAINER, parent=2)
    rig.event("created", f"overlay/{layer_id(CONTAINER)}", directory=True)
    rig.event("created", f"{UPPER}/x")
    rig.event("removed", f"{UPPER}/x")
    rig.settle()
    assert inside(rig) == []
    add_container(rig)
    rig.event("moved_in", "overlay-containers/containers.json")
    rig.settle()
    assert [row[:3] for row in inside(rig)] == [("unread_name", "created", "/x"), ("unread_name", "removed", "/x")]


def test_what_an_image_is_unpacked_with_is_no_news(rig: Rig) -> None:
    """Layers of images are left out."""
    start(rig)
    (rig.store.root / "overlay" / layer_id(1) / "diff/L").symlink_to("x")
    rig.event("created", f"overlay/{layer_id(1)}/diff/L")
    rig.settle()
    assert inside(rig) == []


def test_a_loss_is_a_gap_of_the_layers_that_ends_with_a_scan(rig: Rig) -> None:
    """What was made, retargeted and removed unheard is told in the time since the layer was last known."""
    for name in ("kept", "moved", "gone"):
        (rig.store.root / UPPER / name).symlink_to("one")
    start(rig)
    assert len(inside(rig)) == 3
    (rig.store.root / UPPER / "gone").unlink()
    (rig.store.root / UPPER / "moved").unlink()
    (rig.store.root / UPPER / "moved").symlink_to("two")
    (rig.store.root / UPPER / "made").symlink_to("three")
    loss = rig.lose(Cause.OVERFLOW)
    rig.settle()
    assert set(inside(rig)[3:]) == {
        ("symlink", "removed", "/gone", None),
        ("symlink", "retargeted", "/moved", "two"),
        ("symlink", "created", "/made", "three"),
    }
    (gap,) = gaps(rig, "overflow")
    assert bounds(gap)[0] <= loss.after.wall
    assert bounds(gap)[1] >= loss.before.wall - 1000


def test_a_store_that_is_away_has_lost_no_links(rig: Rig) -> None:
    """An unmounted root shows an empty directory: nothing is told of what lies below, and nothing is when it is back."""
    (rig.store.root / UPPER / "L").symlink_to("one")
    start(rig)
    told = inside(rig)
    root, aside = rig.store.root, rig.store.root.with_name("aside")
    root.rename(aside)
    root.mkdir()
    rig.lose(Cause.UNMOUNT)
    rig.settle()
    root.rmdir()
    aside.rename(root)
    rig.lose(Cause.UNMOUNT)
    rig.settle(6)
    assert inside(rig) == told
    assert gaps(rig, "unmount")


def test_a_layer_with_too_many_links_is_given_up_and_that_is_a_gap_as_long_as_it_lasts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and it is said."""
    monkeypatch.setattr(recording, "LINK_LIMIT", 3)
    for number in range(5):
        (rig.store.root / UPPER / f"L{number}").symlink_to("one")
    start(rig)
    rig.settle(130, step=5)
    stated = gaps(rig, "link-limit")
    assert len(stated) >= 2
    assert all(bounds(one)[1] == bounds(other)[0] for one, other in pairwise(stated))
    assert inside(rig) == []
