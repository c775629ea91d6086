"""A busy healthy store is silent: every state between two writes of an engine, in the order in which engines write.

The orders are those seen with real engines (creation marks the record incomplete first and clears the mark last; removal goes the other
way; the parts of a container's removal run beside each other).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.diagnose import examine
from collector.links import LinkKind
from collector.measure import Size
from collector.store_memory import StoreMemory
from linktrail.events import Interval
from tests.diagnose.model import (
    CONTAINERS_JSON,
    IMAGES_JSON,
    LAYERS_JSON,
    NOW,
    ContainerModel,
    ImageModel,
    LayerModel,
    StoreModel,
    short_name,
    small_store,
)

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
VOLATILE_LAYERS = "overlay-layers/volatile-layers.json"
VOLATILE_CONTAINERS = "overlay-containers/volatile-containers.json"

Step = Callable[[int], None]
"""One write of the engine at an instant (ns UTC)."""


def replay(
    store: StoreModel, steps: Sequence[Step], pause: int = MILLISECOND, now: int = NOW, sizes: Mapping[str, Size] | None = None
) -> int:
    """Run ``steps``, ``pause`` apart, and assert silence right after each of them and just before the next; return the end."""
    for number, step in enumerate(steps):
        step(now)
        for moment in (now + 1, now + pause - 1):
            said = examine(store.survey(moment), now=moment, sizes=sizes).findings
            assert not said, f"after step {number} ({step.__qualname__}): {[finding.message for finding in said]}"
        now += pause
    return now


def creating(store: StoreModel, seed: object, parent: str | None, *, writable: bool = False, file: str = LAYERS_JSON) -> list[Step]:
    """Return the steps in which an engine makes one layer."""
    layer = LayerModel(
        store.add_layer(seed, parent, present=False, recorded=False, tar_split=False).id,
        parent,
        recorded=False,
        present=False,
        digest=False,
        tar_split=False,
        diff=False,
        work=False,
        link=None,
        lower=None,
        file=file,
    )
    store.layers[layer.id] = layer
    name = short_name(layer.id)
    del store.short_links[name]

    def record(now: int) -> None:
        layer.recorded, layer.incomplete, layer.created = True, True, now
        store.written[file] = now

    def directory(now: int) -> None:
        layer.present, layer.modified = True, now

    def diff(now: int) -> None:
        layer.diff, layer.modified = True, now

    def short_link(_: int) -> None:
        store.short_links[name] = f"../{layer.id}/diff"

    def link(now: int) -> None:
        layer.link, layer.modified = name, now

    def work(now: int) -> None:
        layer.work, layer.modified = True, now

    def lower(now: int) -> None:
        layer.lower, layer.modified = store.lower_of(layer.id) or None, now

    def tar_split(_: int) -> None:
        layer.tar_split = not writable

    def digests(now: int) -> None:
        layer.digest = not writable
        store.written[file] = now

    def complete(now: int) -> None:
        layer.incomplete = False
        store.written[file] = now

    return [record, directory, diff, short_link, link, work, lower, tar_split, digests, complete]


def removing(store: StoreModel, layer: LayerModel) -> list[Step]:
    """Return the steps in which an engine removes one layer."""

    def mark(now: int) -> None:
        layer.incomplete = True
        store.written[layer.file] = now

    def short_link(_: int) -> None:
        store.short_links.pop(short_name(layer.id), None)

    def lower(now: int) -> None:
        layer.lower, layer.modified = None, now

    def link(now: int) -> None:
        layer.link, layer.modified = None, now

    def work(now: int) -> None:
        layer.work, layer.modified = False, now

    def diff(now: int) -> None:
        layer.diff, layer.modified = False, now

    def directory(_: int) -> None:
        layer.present = False

    def tar_split(_: int) -> None:
        layer.tar_split = False

    def record(now: int) -> None:
        layer.recorded = False
        store.written[layer.file] = now

    return [mark, short_link, lower, link, work, diff, directory, tar_split, record]


def adding_image(store: StoreModel, image: ImageModel) -> list[Step]:
    """Return the steps in which an engine records an image: without a name and without data first."""
    names, items = list(image.names), dict(image.data)
    image.names, image.data, image.files, image.directory, image.recorded = [], {}, {}, False, False

    def record(now: int) -> None:
        image.recorded = True
        store.written[IMAGES_JSON] = now

    def directory(now: int) -> None:
        image.directory, image.modified = True, now

    def file(name: str, size: int) -> Step:
        def write(now: int) -> None:
            image.files[name], image.modified = size, now

        return write

    def item(name: str, size: int) -> Step:
        def write(now: int) -> None:
            image.data[name] = size
            store.written[IMAGES_JSON] = now

        return write

    def name(now: int) -> None:
        image.names = names
        store.written[IMAGES_JSON] = now

    data = [step(key, size) for key, size in items.items() for step in (file, item)]
    return [record, directory, *data, name, file("manifest", 7), item("manifest", 7)]


def removing_image(store: StoreModel, image: ImageModel) -> list[Step]:
    """Return the steps of rmi: the record, its directory, then the layers from the top down."""

    def record(now: int) -> None:
        image.recorded = False
        store.written[IMAGES_JSON] = now

    def directory(_: int) -> None:
        image.directory = False
        image.files = {}

    top = image.layer or ""
    layers = [top, *store.chain(top)]
    return [record, directory, *(step for layer in layers for step in removing(store, store.layers[layer]))]


def removing_container(store: StoreModel, container: ContainerModel) -> list[list[Step]]:
    """Return the three strands of rm, which run beside each other."""

    def record(now: int) -> None:
        container.recorded = False
        store.written[container.file] = now

    def data(_: int) -> None:
        container.files = {}

    def directory(_: int) -> None:
        container.directory = False

    return [[record], [data, directory], removing(store, store.layers[container.layer or ""])]


def test_a_pull_is_silent() -> None:
    """Three layers and the image, from the first record to the name."""
    store = small_store()
    steps: list[Step] = []
    parent = None
    for number in range(3):
        steps += creating(store, ("pulled", number), parent)
        parent = [*store.layers][-1]
    image = store.add_image("pulled", parent, data={"manifest": 1, "sha256:config": 2})
    replay(store, [*steps, *adding_image(store, image)])
    assert not examine(store.survey(), now=NOW + 10_000 * SECOND, min_age=0).findings


def test_a_slow_pull_is_silent() -> None:
    """A layer that unpacks for an hour shows it by the files in it, which is why findings are measured before they are made."""
    store = small_store()
    steps = creating(store, "slow", None)
    begun = replay(store, steps[:7])
    later = begun + 3600 * SECOND
    path = f"overlay/{[*store.layers][-1]}"
    written = Size(bytes=10, apparent_bytes=10, inodes=2, shared_bytes=0, newest_ns=later - SECOND)
    assert not examine(store.survey(later), now=later, sizes={path: written}).findings
    abandoned = Size(bytes=10, apparent_bytes=10, inodes=2, shared_bytes=0, newest_ns=begun)
    assert [finding.code for finding in examine(store.survey(later), now=later, sizes={path: abandoned}).findings] == ["incomplete-layer"]
    replay(store, steps[7:], now=later, sizes={path: written})


def test_creating_a_container_is_silent() -> None:
    """An ordinary one, and one that lives in the volatile files."""
    for layers, containers in ((LAYERS_JSON, CONTAINERS_JSON), (VOLATILE_LAYERS, VOLATILE_CONTAINERS)):
        store = small_store()
        image = next(iter(store.images.values()))
        steps = creating(store, "new", image.layer, writable=True, file=layers)
        container = store.add_container("new", image.id, [*store.layers][-1], recorded=False, directory=False, file=containers)

        def record(now: int, container: ContainerModel = container, store: StoreModel = store, containers: str = containers) -> None:
            container.recorded, container.created = True, now
            store.written[containers] = now

        def name(now: int, store: StoreModel = store, layers: str = layers) -> None:
            store.layers[[*store.layers][-1]].names.append("new-layer")
            store.written[layers] = now

        def directory(now: int, container: ContainerModel = container) -> None:
            container.directory, container.modified = True, now

        replay(store, [*steps, record, name, directory])


def test_removing_an_image_is_silent() -> None:
    """Also when each write takes a second and everything that is removed is old."""
    for pause in (MILLISECOND, SECOND):
        store = small_store()
        layer = store.add_layer("other base")
        for number in range(4):
            layer = store.add_layer(("other", number), layer.id)
        image = store.add_image("other", layer.id)
        store.settle()
        replay(store, removing_image(store, image), pause)
        assert not examine(store.survey(), now=NOW + 10_000 * SECOND, min_age=0).findings


@settings(deadline=None)
@given(st.data())
def test_removing_a_container_is_silent(data: st.DataObject) -> None:
    """In every order in which the three strands may interleave."""
    store = small_store()
    container = next(iter(store.containers.values()))
    container.data, container.files = {"config": 5}, {"config": 5}
    strands = removing_container(store, container)
    steps: list[Step] = []
    while any(strands):
        steps.append(data.draw(st.sampled_from([strand for strand in strands if strand])).pop(0))
    first_record = next(number for number, step in enumerate(steps) if step.__name__ in {"record", "mark"})
    for step in steps[:first_record]:  # before anything was written to a metadata file, only a second look can tell
        step(NOW)
    replay(store, steps[first_record:])


def test_a_removal_that_takes_long_is_silent() -> None:
    """The directory of a big layer empties for minutes: its own times show it."""
    store = small_store()
    layer = store.add_layer("big")
    store.settle()
    steps = removing(store, layer)
    begun = replay(store, steps[:4])
    emptied = replay(store, steps[4:6], pause=500 * SECOND, now=begun)
    for step in steps[6:]:  # nothing is left to show times: the record of the directory's end does, where there is one
        step(emptied)
        ended = {(LinkKind.LAYER_DIRECTORY, layer.id, f"overlay/{layer.id}"): Interval(emptied - SECOND, emptied)}
        assert not examine(store.survey(emptied + 1), now=emptied + 1, past=StoreMemory(since=ended)).findings
