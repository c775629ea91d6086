"""Since when a thing leaks: the last of what held it went then, or its record did; never earlier, whatever else is on record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collector import store_memory
from collector.links import Link, LinkKind, removed
from collector.store_memory import StoreMemory, memory_document, memory_of
from linktrail.events import Interval, last_of
from linktrail.testing.containers_storage import finish
from linktrail.testing.store_files import remove_tree
from tests.containerd.build import chain
from tests.incidents.containerd import BASE, EXTRA, MIDDLE, kube
from tests.incidents.containerd import OTHER as LAB_OTHER
from tests.incidents.made import OTHER, Shop, shop
from tests.incidents.replay import DAY, HOUR, Broken, Scene

LATER = 30 * DAY  # a grace within which nothing of a scene is old enough to be a finding


def happens(scene: Scene, change: Callable[[], object]) -> Broken:
    """Let something happen an hour after a reading, and read again: too early for any finding."""
    healthy = scene.record(min_age=LATER)
    happened = scene.wait(HOUR)
    change()
    scene.wait(60)
    return Broken(healthy, happened, scene.record(min_age=LATER))


def since(scene: Scene, code: str) -> dict[str, tuple[int | None, int]]:
    """Read without any grace; return {subject: since} of the findings of a code."""
    scene.wait(HOUR)
    scene.record()
    scene.record()
    with scene.asking() as questions:
        rows = questions.engine.rows(
            "SELECT subject, epoch_ns(since_after) AS after, epoch_ns(since_before) AS before FROM findings WHERE code = $code",
            {"code": code},
        )
    return {row["subject"]: (row["after"], row["before"]) for row in rows}


def bounded(interval: tuple[int | None, int], when: Broken) -> bool:
    """Tell whether an interval holds what happened and is no wider than the two readings around it."""
    after, before = interval
    return after is not None and when.healthy <= after <= when.happened <= before <= when.seen + 10**9


def forget_image(made: Shop, image: str) -> None:
    """Drop the record of an image and leave its layers."""
    made.builder.drop("overlay-images/images.json", image)
    remove_tree(made.root / "overlay-images" / image)


def remove_layer(made: Shop, layer: str) -> None:
    """Remove a layer as an engine does."""
    finish(made.builder.unmake_layer(layer))


def test_the_image_went_and_its_layers_stay(tmp_path: Path) -> None:
    """Only the layer that nothing else needs leaks, since its image went."""
    scene = Scene(tmp_path)
    made = shop(scene)
    when = happens(scene, lambda: forget_image(made, made.other))
    found = since(scene, "unreferenced-layer")
    assert list(found) == [made.extra]
    assert bounded(found[made.extra], when)


def test_the_last_of_several_holders_counts(tmp_path: Path) -> None:
    """A layer that two images and a container shared leaks since the last of the three went, each layer of the chain for itself."""
    scene = Scene(tmp_path)
    made = shop(scene)
    happens(scene, lambda: finish(made.builder.remove_container(made.container)))
    first = happens(scene, lambda: forget_image(made, made.app))
    last = happens(scene, lambda: forget_image(made, made.other))
    found = since(scene, "unreferenced-layer")
    assert set(found) == {made.base, made.middle, made.top, made.extra}
    assert bounded(found[made.top], first)
    assert all(bounded(found[layer], last) for layer in (made.base, made.middle, made.extra))


def test_a_child_that_goes_later_is_no_holder(tmp_path: Path) -> None:
    """What the layer leaks since does not move when the leaking layer above it is removed at last."""
    scene = Scene(tmp_path)
    made = shop(scene)

    def forget() -> None:
        forget_image(made, made.other)
        finish(made.builder.remove_container(made.container))
        forget_image(made, made.app)

    when = happens(scene, forget)
    happens(scene, lambda: remove_layer(made, made.top))
    happens(scene, lambda: remove_layer(made, made.extra))
    found = since(scene, "unreferenced-layer")
    assert set(found) == {made.base, made.middle}
    assert all(bounded(interval, when) for interval in found.values())


def test_an_image_without_a_name(tmp_path: Path) -> None:
    """It is untagged since its last name went, not since it was pulled."""
    scene = Scene(tmp_path)
    made = shop(scene)
    when = happens(scene, lambda: finish(made.builder.untag(OTHER)))
    found = since(scene, "untagged-image")
    assert list(found) == [made.other]
    assert bounded(found[made.other], when)


def test_a_directory_whose_record_went(tmp_path: Path) -> None:
    """Unaccounted since the record went; and what lies about it since then."""
    scene = Scene(tmp_path)
    made = shop(scene)
    happens(scene, lambda: forget_image(made, made.other))
    when = happens(scene, lambda: made.builder.damage.drop_layer_record(made.extra))
    found = since(scene, "unaccounted-layer")
    assert list(found) == [made.extra]
    assert bounded(found[made.extra], when)


def test_the_last_of_several_intervals() -> None:
    """The last of several things had happened: after every lower bound, before the last upper one."""
    assert last_of([Interval(None, 5)]) == Interval(None, 5)
    assert last_of([Interval(3, 9), Interval(None, 4), Interval(5, 7)]) == Interval(5, 9)


def holder(number: int, target: str | None = None) -> Link:
    """Return the link of an image to its top layer."""
    return Link(LinkKind.IMAGE_LAYER, f"image {number}", "images.json", target or f"layer {number}")


def test_what_ceased_is_in_the_checkpoint(tmp_path: Path) -> None:
    """It comes back as it was; a checkpoint of an earlier version has nothing of it and is read all the same."""
    del tmp_path
    memory = StoreMemory()
    memory.put(Link(LinkKind.PARENT_POINTER, "layer 1", "layers.json", "layer 0"), Interval(None, 1))
    memory.put(holder(1), Interval(1, 2))
    memory.put(holder(1, "layer 2"), Interval(3, 4))
    record = Link(LinkKind.LAYER_RECORD, "chain", "layerdb", "cache")
    memory.put(record, Interval(1, 2))
    memory.put(removed(record), Interval(5, 6))
    again = memory_of(memory_document(memory))
    for known in (memory, again):
        assert known.unheld("layer 1") == known.unheld("layer 0") == Interval(3, 4)
        assert known.unheld("layer 2") is None
        assert known.unrecorded("chain") == known.unrecorded("cache") == Interval(5, 6)
    document = memory_document(memory)
    del document["unheld"], document["unrecorded"]
    assert memory_of(document).unheld("layer 1") is None
    again.put(removed(holder(1, "layer 1")), Interval(7, 8))
    assert again.unheld("layer 2") == Interval(7, 8)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ceased longest ago is forgotten first."""
    monkeypatch.setattr(store_memory, "GONE_LIMIT", 2)
    memory = StoreMemory()
    for number in range(4):
        memory.put(Link(LinkKind.PARENT_POINTER, f"layer {number}", "layers.json", f"below {number}"), Interval(None, 1))
        memory.put(holder(number), Interval(None, 1))
        memory.put(removed(holder(number)), Interval(number, number + 1))
    assert memory.unheld("layer 0") is None
    assert memory.unheld("layer 3") == memory.unheld("below 3") == Interval(3, 4)
    assert len(memory.ceased()["unheld"]) == 2


def test_an_image_of_containerd_is_gone_when_its_name_is(tmp_path: Path) -> None:
    """Its blobs stay until a collection, and hold nothing: the snapshots leak, or are pinned by a lease alone, since the name went."""
    scene = Scene(tmp_path)
    made = kube(scene)
    leased = chain("leased")
    made.numbers[leased] = made.store.snapshot(leased, MIDDLE)
    made.store.image("docker.io/lab/leased:1", [BASE, MIDDLE, leased])
    made.store.lease("kept", {"snapshots/overlayfs": [leased]})
    made.store.commit()

    def untag() -> None:
        for name in (LAB_OTHER, "docker.io/lab/leased:1"):
            made.store.place("k8s.io", "images").delete(name.encode())
        made.store.commit()

    when = happens(scene, untag)
    found = since(scene, "unreferenced-layer")
    assert list(found) == [made.id(EXTRA)]
    assert bounded(found[made.id(EXTRA)], when)
    (pinned,) = since(scene, "pinned-by-lease").values()
    assert bounded(pinned, when)
