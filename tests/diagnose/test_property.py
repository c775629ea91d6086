"""Random healthy stores give nothing; one change gives exactly the finding it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.diagnose import diagnose
from collector.links import LinkState
from tests.diagnose.model import NOW, StoreModel, identity, short_name

Expected = set[tuple[str, str]]
Mutation = Callable[[StoreModel, Callable[[Iterable[str]], str]], Expected | None]
"""Changes the model (choosing with the second argument) and returns what must be found; ``None`` when the model offers no chance."""


@st.composite
def stores(draw: st.DrawFn) -> StoreModel:
    """Draw a healthy store: a forest of layers, each reached by an image or a container, in either format of ``lower``."""
    store = StoreModel()
    ids: list[str] = []
    for number in range(draw(st.integers(1, 12))):
        parent = draw(st.sampled_from([None, *ids])) if ids else None
        ids.append(store.add_layer(number, parent).id)
    parents = {layer.parent for layer in store.layers.values()}
    for number, layer_id in enumerate(ids):
        if layer_id not in parents or draw(st.booleans()):
            store.add_image(number, layer_id)
    for number, image in enumerate(list(store.images.values())):
        if draw(st.booleans()):
            writable = store.add_layer(("writable", number), image.layer, digest=False, names=[f"c{number}-layer"])
            store.add_container(
                number, image.id, writable.id, names=[f"c{number}"], engine=draw(st.sampled_from(["podman", "crio", "unknown"]))
            )
    store.settle()
    for layer in store.layers.values():
        if draw(st.booleans()):
            layer.lower_layers = ":".join(store.chain(layer.id))
    if draw(st.booleans()):  # build cache: untagged, but below a named image
        named = draw(st.sampled_from(list(store.images.values())))
        store.add_image("cache", draw(st.sampled_from([named.layer, *store.chain(named.layer or "")])), names=())
    return store


def _complete(store: StoreModel) -> list[str]:
    return sorted(store.layers)


def _children(store: StoreModel) -> list[str]:
    return sorted(layer.id for layer in store.layers.values() if layer.parent)


def empty_link(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    layer.link_state = LinkState.EMPTY
    return {("link-file-empty", layer.id)}


def lost_link(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    layer.link = None
    return {("link-file-missing", layer.id)}


def lost_short_link(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    del store.short_links[short_name(layer.id)]
    return {("short-link-missing", layer.id)}


def lost_both(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    return (lost_link(store, choose) or set()) | _drop_short_link_of_linkless(store)


def _drop_short_link_of_linkless(store: StoreModel) -> Expected:
    layer = next(layer for layer in store.layers.values() if layer.link is None)
    del store.short_links[short_name(layer.id)]
    return {("short-link-missing", layer.id)}


def renamed_link_file(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    layer.link = short_name("stranger")
    return {("short-link-missing", layer.id)}


def dangling(store: StoreModel, _choose: Callable[[Iterable[str]], str]) -> Expected | None:
    name = short_name("stray")
    store.short_links[name] = f"../{identity('nowhere')}/diff"
    return {("short-link-dangling", name)}


def retargeted_to_nowhere(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    name = short_name(choose(_complete(store)))
    store.short_links[name] = f"../{identity('nowhere')}/diff"
    return {("short-link-dangling", name)}


def retargeted_in_chain(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not _children(store):
        return None
    layer = choose(_children(store))
    store.short_links[short_name(layer)] = f"../{choose(store.chain(layer))}/diff"
    return {("overlapping-layers", layer)}


def duplicate(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = choose(_complete(store))
    store.short_links[short_name("second")] = f"../{layer}/diff"
    return {("short-link-duplicate", layer)}


def strange_short_link(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    name = short_name(choose(_complete(store)))
    store.short_links[name] = "/etc/passwd"
    return {("short-link-malformed", name)}


def lost_directory(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    layer.present = False
    return {("layer-missing", layer.id)}


def lost_diff(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    layer.diff = False
    return {("layer-missing", layer.id)}


def lost_parent(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not _children(store):
        return None
    layer = store.layers[choose(_children(store))]
    layer.parent = identity("gone")
    return {("parent-missing", layer.id)}


def own_parent(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    layer.parent = layer.id
    return {("overlapping-layers", layer.id)}


def circle(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not _children(store):
        return None
    chosen = choose(_children(store))
    members = [chosen, *store.chain(chosen)]
    store.layers[members[-1]].parent = chosen
    return {("overlapping-layers", min(members))}


def empty_lower(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not _children(store):
        return None
    layer = store.layers[choose(_children(store))]
    layer.lower_state = LinkState.EMPTY
    return {("lower-empty", layer.id)}


def lost_lower(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not _children(store):
        return None
    layer = store.layers[choose(_children(store))]
    layer.lower, layer.lower_layers = None, None
    return {("lower-missing", layer.id)}


def short_lower(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    deep = [layer for layer in _children(store) if len(store.chain(layer)) > 1]
    if not deep:
        return None
    layer = store.layers[choose(deep)]
    layer.lower = (layer.lower or "").rpartition(":")[0]
    return {("lower-mismatch", layer.id)}


def long_lower(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    layer.lower = ":".join(part for part in (layer.lower, f"l/{short_name('stranger')}") if part)
    return {("lower-mismatch", layer.id)}


def repeated_lower(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not _children(store):
        return None
    layer = store.layers[choose(_children(store))]
    layer.lower = f"{layer.lower}:{(layer.lower or '').split(':')[0]}"
    return {("overlapping-layers", layer.id)}


def wrong_lower_layers(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(_complete(store))]
    layer.lower_layers = ":".join([*store.chain(layer.id), identity("stranger")])
    return {("lower-mismatch", layer.id)}


def bare_lower(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not _children(store):
        return None
    layer = store.layers[choose(_children(store))]
    layer.lower, layer.lower_state = "l:" + (layer.lower or "").partition(":")[2], LinkState.MALFORMED
    return {("lower-malformed", layer.id)}


def stray_directory(store: StoreModel, _choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.add_layer("orphan", recorded=False, tar_split=False, lower=None)
    return {("unaccounted-layer", layer.id)}


def unreferenced(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.add_layer("loose", choose(_complete(store)))
    return {("unreferenced-layer", layer.id)}


def incomplete(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.add_layer("half", choose(_complete(store)), incomplete=True, digest=False)
    return {("incomplete-layer", layer.id)}


def half_removed(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.add_layer("half gone", choose(_complete(store)), incomplete=True, link=None, lower=None)
    del store.short_links[short_name(layer.id)]
    return {("interrupted-removal", layer.id)}


def lost_image_top(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    image = store.images[choose(sorted(image.id for image in store.images.values() if image.names))]
    store.add_image("keeper", image.layer)  # so that only the link is lost, not the layers
    image.layer = identity("gone")
    return {("image-layer-missing", image.id)}


def lost_image(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    used = sorted({container.image or "" for container in store.containers.values()})
    if not used:
        return None
    image = choose(used)
    del store.images[image]
    return {("container-image-missing", one.id) for one in store.containers.values() if one.image == image}


def lost_container_layer(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not store.containers:
        return None
    container = store.containers[choose(sorted(store.containers))]
    layer = store.layers[container.layer or ""]
    layer.recorded = False
    layer.present = choose(["kept", "lost"]) == "kept"
    return {("container-layer-missing", container.id)}


def lost_container(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    if not store.containers:
        return None
    container = store.containers[choose(sorted(store.containers))]
    container.recorded = False
    return {("metadata-leftover", container.id), ("unreferenced-layer", container.layer or "")}


def untagged(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.add_layer("rebuilt", choose(_complete(store)))
    image = store.add_image("rebuilt", layer.id, names=())
    return {("untagged-image", image.id)}


def external(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    image = store.images[choose(sorted(store.images))]
    layer = store.add_layer("working", image.layer, digest=False)
    container = store.add_container("working", image.id, layer.id, engine="buildah")
    return {("external-container", container.id)}


def tempdir(store: StoreModel, _choose: Callable[[Iterable[str]], str]) -> Expected | None:
    store.temporary["temp-dir-7"] = (identity("moved"), 0)
    return {("leftover-tempdir", "temp-dir-7")}


def lost_tar_split(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    layer = store.layers[choose(sorted(layer.id for layer in store.layers.values() if layer.digest))]
    layer.tar_split = False
    return {("layer-data-missing", layer.id)}


def lost_image_data(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    image = store.images[choose(sorted(store.images))]
    image.files.clear()
    return {("image-data-missing", image.id)}


def grown_image_data(store: StoreModel, choose: Callable[[Iterable[str]], str]) -> Expected | None:
    image = store.images[choose(sorted(store.images))]
    image.files["manifest"] += 1
    return {("image-data-modified", image.id)}


def bad_layers_json(store: StoreModel, _choose: Callable[[Iterable[str]], str]) -> Expected | None:
    store.malformed["overlay-layers/layers.json"] = "cut short"
    return {("metadata-unreadable", "overlay-layers/layers.json")}


def gone_layers_json(store: StoreModel, _choose: Callable[[Iterable[str]], str]) -> Expected | None:
    store.absent_files.add("overlay-layers/layers.json")
    return {("metadata-unreadable", "overlay-layers/layers.json")}


def bad_images_json(store: StoreModel, _choose: Callable[[Iterable[str]], str]) -> Expected | None:
    store.malformed["overlay-images/images.json"] = "cut short"
    return {("metadata-unreadable", "overlay-images/images.json")}


MUTATIONS: list[Mutation] = [
    empty_link,
    lost_link,
    lost_short_link,
    lost_both,
    renamed_link_file,
    dangling,
    retargeted_to_nowhere,
    retargeted_in_chain,
    duplicate,
    strange_short_link,
    lost_directory,
    lost_diff,
    lost_parent,
    own_parent,
    circle,
    empty_lower,
    lost_lower,
    short_lower,
    long_lower,
    repeated_lower,
    wrong_lower_layers,
    bare_lower,
    stray_directory,
    unreferenced,
    incomplete,
    half_removed,
    lost_image_top,
    lost_image,
    lost_container_layer,
    lost_container,
    untagged,
    external,
    tempdir,
    lost_tar_split,
    lost_image_data,
    grown_image_data,
    bad_layers_json,
    gone_layers_json,
    bad_images_json,
]


@settings(deadline=None)
@given(stores())
def test_a_healthy_store_gives_nothing(store: StoreModel) -> None:
    """Neither with the usual grace nor when asked for everything."""
    assert diagnose(store.survey(), now=NOW, min_age=0) == []
    assert diagnose(store.survey(), now=NOW) == []


@settings(max_examples=400, deadline=None)
@given(st.data(), stores(), st.sampled_from(MUTATIONS))
def test_one_damage_gives_its_finding_and_no_other(data: st.DataObject, store: StoreModel, mutation: Mutation) -> None:
    """Every damage of the list is named by code and subject, and nothing else is said of the store."""

    def choose(names: Iterable[str]) -> str:
        return data.draw(st.sampled_from(list(names)))

    expected = mutation(store, choose)
    if expected is None:
        return
    found = diagnose(store.survey(), now=NOW)
    assert {finding.key for finding in found} == expected
    for finding in found:
        assert finding.message.endswith(".")
        assert finding.advice
        assert finding.subject not in finding.related
