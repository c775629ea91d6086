"""Rules one at a time: what the random stores do not reach, and what a finding says."""

from __future__ import annotations

import json

import pytest

from collector.diagnose import diagnose, examine
from collector.findings import Finding
from collector.links import Link, LinkKind, LinkState, Problem
from tests.diagnose.model import CONTAINERS_JSON, LAYERS_JSON, NOW, StoreModel, identity, short_name, small_store

EXPECTED_TRAP = "erases all of overlay/l"


def keys(store: StoreModel, *additional: StoreModel) -> set[tuple[str, str]]:
    """Diagnose a model and return what was found."""
    return {finding.key for finding in diagnose(store.survey(), now=NOW, additional=[other.survey() for other in additional])}


def only(store: StoreModel) -> Finding:
    """Diagnose a model and return its one finding."""
    (finding,) = diagnose(store.survey(), now=NOW)
    return finding


def layer_named(store: StoreModel, seed: str) -> str:
    """Return the id of a layer of ``small_store``."""
    found = identity(seed)
    assert found in store.layers
    return found


# --- link files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["/", ".", "..", "./", "../..", "x/..", "../l"])
def test_a_link_file_that_leads_out_of_l_is_a_trap(text: str) -> None:
    """An engine removes l/<link> cleaned as a path: whatever that makes of it is what goes."""
    store = small_store()
    layer = store.layers[layer_named(store, "middle")]
    layer.link, layer.link_state = text, LinkState.MALFORMED
    assert keys(store) == {("link-file-empty", layer.id)}
    assert EXPECTED_TRAP in only(store).message


def test_a_link_file_with_a_newline_is_no_link_file() -> None:
    """A hand that repaired it with echo left the layer unusable, but no trap."""
    store = small_store()
    layer = store.layers[layer_named(store, "middle")]
    layer.link, layer.link_state = short_name(layer.id) + "\n", LinkState.MALFORMED
    finding = only(store)
    assert finding.key == ("link-file-missing", layer.id)
    assert f"printf %s {short_name(layer.id)} >" in finding.advice
    assert "\n" not in finding.message


def test_the_lost_name_comes_from_the_children() -> None:
    """Link file and short link are both gone: the lower files of the layers above still name it."""
    store = small_store()
    layer = store.layers[layer_named(store, "middle")]
    layer.link = None
    del store.short_links[short_name(layer.id)]
    for finding in diagnose(store.survey(), now=NOW):
        assert finding.evidence["short_name"] == short_name(layer.id)
        assert short_name(layer.id) in finding.advice


def test_a_link_file_that_names_another_layer() -> None:
    """The link file is wrong, not the short link: that belongs to the other layer."""
    store = small_store()
    layer = store.layers[layer_named(store, "middle")]
    layer.link = short_name(layer_named(store, "base"))
    finding = only(store)
    assert finding.key == ("link-file-missing", layer.id)
    assert finding.evidence["short_name"] == short_name(layer.id)


def test_a_short_link_that_leads_to_a_layer_of_another_chain() -> None:
    """No mount is refused, but the container would see foreign files."""
    store = small_store()
    stranger = store.add_layer("stranger")
    store.add_image("stranger", stranger.id)
    store.settle()
    layer = layer_named(store, "middle")
    store.short_links[short_name(layer)] = f"../{stranger.id}/diff"
    finding = only(store)
    assert finding.key == ("short-link-missing", layer)
    assert finding.evidence["leads_to"] == stranger.id
    assert stranger.id in finding.related


def test_a_trap_in_an_abandoned_layer_goes_off_at_the_next_command() -> None:
    """An incomplete layer is deleted by whatever opens the store, so its empty link file is said as well."""
    store = small_store()
    half = store.add_layer("half", incomplete=True, digest=False, link_state=LinkState.EMPTY)
    assert keys(store) == {("incomplete-layer", half.id), ("link-file-empty", half.id)}
    (trap,) = [finding for finding in diagnose(store.survey(), now=NOW) if finding.code == "link-file-empty"]
    assert "the next engine command of any kind deletes it" in trap.message
    half.created = half.modified = NOW - 10**9
    assert keys(store) == set()


def test_every_removal_warns_of_the_trap() -> None:
    """Whoever is sent to delete a layer with an empty link file is told to repair it first."""
    store = small_store()
    loose = store.add_layer("loose", link_state=LinkState.EMPTY)
    orphan = store.add_layer("orphan", recorded=False, tar_split=False, link_state=LinkState.EMPTY)
    found = {finding.key: finding for finding in diagnose(store.survey(), now=NOW)}
    assert found["unreferenced-layer", loose.id].advice.startswith("First repair the link file")
    assert EXPECTED_TRAP in found["unaccounted-layer", orphan.id].advice
    assert ("link-file-empty", orphan.id) in found


# --- lower ----------------------------------------------------------------------------------------------------


def test_a_bare_l_in_lower_names_the_parent_it_came_from() -> None:
    """The parent's link file was empty when the child was made; it was repaired since, the child was not."""
    store = small_store()
    layer = store.layers[layer_named(store, "top")]
    layer.lower, layer.lower_state = f"l:l/{short_name(layer_named(store, 'base'))}", LinkState.MALFORMED
    finding = only(store)
    assert finding.key == ("lower-malformed", layer.id)
    assert "component 1 is a bare 'l'" in finding.message
    assert layer_named(store, "middle") in finding.related
    assert finding.evidence["expected"] == store.lower_of(layer.id)


def test_an_empty_component_is_placed() -> None:
    """A trailing colon is what an empty lower of the parent leaves in the child."""
    store = small_store()
    layer = store.layers[layer_named(store, "top")]
    layer.lower, layer.lower_state = f"l/{short_name(layer_named(store, 'middle'))}:", LinkState.MALFORMED
    assert "component 2 is empty" in only(store).message


def test_a_base_layer_with_an_empty_lower() -> None:
    """Even without a parent an empty lower mounts the whole directory of layers."""
    store = small_store()
    layer = store.layers[layer_named(store, "base")]
    layer.lower_state = LinkState.EMPTY
    finding = only(store)
    assert finding.key == ("lower-empty", layer.id)
    assert "rm /store/overlay" in finding.advice


def test_both_formats_may_disagree() -> None:
    """Engines of 1.63 and later read lower-layers, older ones lower: each is held against the recorded chain."""
    store = small_store()
    layer = store.layers[layer_named(store, "top")]
    layer.lower_layers = layer_named(store, "middle")
    finding = only(store)
    assert finding.key == ("lower-mismatch", layer.id)
    assert finding.path == f"overlay/{layer.id}/lower-layers"
    assert finding.evidence["expected"] == f"{layer_named(store, 'middle')}:{layer_named(store, 'base')}"


def test_lower_layers_alone_is_enough() -> None:
    """A format that no longer writes lower is none the worse for it."""
    store = small_store()
    for layer in store.layers.values():
        layer.lower_layers = ":".join(store.chain(layer.id))
        layer.lower = None
    assert keys(store) == set()


def test_a_cut_lower_is_compared_as_far_as_it_goes() -> None:
    """A survey keeps a limited part of a long file: what is missing is not called wrong."""
    store = small_store()
    layer = store.layers[layer_named(store, "top")]
    path = f"overlay/{layer.id}/lower"
    text = f"l/{short_name(layer_named(store, 'middle'))}:l/{short_name(layer_named(store, 'base'))[:5]}"
    layer.lower = None
    store.extra = [Link(LinkKind.LOWER_REFERENCE, layer.id, path, text, layer_id=layer.id, detail={"size": 99_999})]
    assert keys(store) == set()


# --- chains ---------------------------------------------------------------------------------------------------


def test_everything_gone_at_once_is_a_missing_mount() -> None:
    """All directories vanish together when the filesystem of overlay/ is not mounted: the advice is to mount it, not to pull."""
    store = small_store()
    for layer in store.layers.values():
        layer.present = False
    store.short_links.clear()
    found = diagnose(store.survey(), now=NOW)
    assert {finding.key for finding in found} == {("layer-missing", layer) for layer in store.layers}
    assert all("findmnt" in finding.advice for finding in found)


def test_a_record_that_both_an_image_and_its_container_lose() -> None:
    """The top layer drops out of layers.json: image and writable layer each name what is gone; its directory is no leak."""
    store = small_store()
    store.layers[layer_named(store, "top")].recorded = False
    image = next(iter(store.images))
    assert keys(store) == {("image-layer-missing", image), ("parent-missing", layer_named(store, "writable"))}


def test_a_directory_that_is_a_symbolic_link() -> None:
    """Engines do not follow it; what a link in its place leads to is not looked at."""
    store = small_store()
    layer = store.layers[layer_named(store, "middle")]
    layer.present = False
    detail = {"type": "symlink", "to": "/elsewhere"}
    store.extra = [
        Link(LinkKind.LAYER_DIRECTORY, layer.id, f"overlay/{layer.id}", state=LinkState.MALFORMED, layer_id=layer.id, detail=detail)
    ]
    finding = only(store)
    assert finding.key == ("layer-missing", layer.id)
    assert "symlink" in finding.message


def test_mapped_layers_are_needed() -> None:
    """An image keeps copies of its layers for other id mappings alive; one that is gone is missed."""
    store = small_store()
    image = next(iter(store.images.values()))
    mapped = store.add_layer("mapped")
    image.mapped = [mapped.id]
    store.settle()
    assert keys(store) == set()
    image.mapped.append(identity("gone"))
    assert keys(store) == {("image-layer-missing", image.id)}


# --- images ---------------------------------------------------------------------------------------------------


def test_of_the_untagged_steps_of_a_build_the_last_is_named() -> None:
    """The steps below it go when it goes, so they are related and not findings of their own; bytes would count twice."""
    store = small_store()
    first = store.add_layer("step 1", layer_named(store, "top"))
    second = store.add_layer("step 2", first.id)
    steps = [store.add_image("step 1", first.id, names=()), store.add_image("step 2", second.id, names=())]
    store.settle()
    finding = only(store)
    assert finding.key == ("untagged-image", steps[1].id)
    assert steps[0].id in finding.related
    assert set(finding.evidence["layers"]) == {first.id, second.id}
    assert set(finding.held) == {f"overlay/{first.id}", f"overlay/{second.id}"}


def test_an_untagged_image_that_a_container_uses_is_no_leak() -> None:
    """Fixture e00 is such a store."""
    store = small_store()
    next(iter(store.images.values())).names = []
    assert keys(store) == set()


# --- records --------------------------------------------------------------------------------------------------


def test_an_id_in_two_files() -> None:
    """Engines follow one of the records; nobody can say which is meant."""
    store = small_store()
    twin = Link(LinkKind.LAYER_RECORD, layer_named(store, "top"), "overlay-layers/volatile-layers.json", layer_id=layer_named(store, "top"))
    store.extra = [twin]
    finding = diagnose(store.survey(), now=NOW, min_age=0)
    assert [one.key for one in finding] == [("metadata-leftover", layer_named(store, "top"))]
    assert "volatile-layers.json" in finding[0].message


def test_what_a_user_may_not_read_is_no_finding() -> None:
    """Without the rights the file is unknown, and so is everything it would say."""
    store = small_store()
    store.malformed[LAYERS_JSON] = "permission denied"
    survey = store.survey()
    key = (LinkKind.METADATA_FILE, LAYERS_JSON, LAYERS_JSON)
    unreadable = Link(LinkKind.METADATA_FILE, LAYERS_JSON, LAYERS_JSON, state=LinkState.UNREADABLE, detail={"error": "permission denied"})
    links = [unreadable, *(link for link in survey.links.values() if link.key != key)]
    hidden = type(survey).of(
        survey.kind, survey.root, links, started=NOW, finished=NOW, problems=[Problem(LAYERS_JSON, "permission denied")]
    )
    assert diagnose(hidden, now=NOW, min_age=0) == []


@pytest.mark.parametrize("path", ["overlay", "overlay/l", "overlay-layers", ""])
def test_what_could_not_be_read_is_not_called_missing(path: str) -> None:
    """A part that gave an error hides what is in it: its absence is no evidence."""
    store = small_store()
    for layer in store.layers.values():
        if path in ("", "overlay"):
            layer.present = False
        if path in ("", "overlay-layers"):
            layer.tar_split = False
    if path in ("", "overlay/l", "overlay"):
        store.short_links.clear()
    assert keys(store) != set()
    store.problems = [Problem(path, "input/output error")]
    assert keys(store) == set()


def test_a_lost_containers_json() -> None:
    """The file is gone while the directories of containers stand: one finding, and no leak is made of their layers."""
    store = small_store()
    store.absent_files.add(CONTAINERS_JSON)
    assert keys(store) == {("metadata-unreadable", CONTAINERS_JSON)}


def test_layer_data_that_the_record_names() -> None:
    """A tar-split is no longer expected where a table of contents was pulled instead."""
    store = small_store()
    layer = store.layers[layer_named(store, "middle")]
    layer.tar_split = False
    assert keys(store) == {("layer-data-missing", layer.id)}
    survey = store.survey()
    record = next(link for link in survey.of_kind(LinkKind.LAYER_RECORD) if link.subject == layer.id)
    partly = Link(LinkKind.LAYER_RECORD, layer.id, record.path, layer_id=layer.id, detail={**record.detail, "toc_digest": "sha256:1"})
    changed = type(survey).of(survey.kind, "/store", [partly, *survey.links.values()], started=NOW, finished=NOW)
    assert diagnose(changed, now=NOW) == []


# --- additional stores ----------------------------------------------------------------------------------------


def read_only_store() -> tuple[StoreModel, str, str]:
    """Return a read-only image store, its image and its top layer."""
    store = StoreModel("/shared")
    base = store.add_layer("shared base")
    top = store.add_layer("shared top", base.id)
    image = store.add_image("shared", top.id)
    store.read_only = True
    return store.settle(), image.id, top.id


def test_a_container_on_an_image_of_an_additional_store() -> None:
    """Image, parent and the short names in lower are found there; without it they would be missing."""
    shared, image, top = read_only_store()
    store = small_store()
    writable = store.add_layer("on shared", top, digest=False)
    writable.lower = f"l/{short_name(top)}:{shared.layers[top].lower}"
    container = store.add_container("on shared", image, writable.id)
    store.settle()
    assert keys(store, shared) == set()
    assert keys(store) == {("container-image-missing", container.id), ("parent-missing", writable.id)}


def test_an_additional_store_that_was_not_read_hides_what_it_holds() -> None:
    """The store says that it uses another one: what is not here may be there."""
    shared, image, top = read_only_store()
    store = small_store()
    writable = store.add_layer("on shared", top, digest=False, lower=f"l/{short_name(top)}")
    store.add_container("on shared", image, writable.id)
    store.extra = [Link(LinkKind.ADDITIONAL_STORE, store.root, "0", shared.root)]
    assert keys(store.settle()) == set()


def test_leaks_of_a_shared_store_are_nobodys_and_breaks_are_marked() -> None:
    """What this machine does not use of a read-only store is used by others; what is broken there is broken for all."""
    shared, _, _ = read_only_store()
    shared.add_layer("unused")
    shared.add_layer("stray", recorded=False, tar_split=False)
    shared.temporary["temp-dir-1"] = (None, 0)
    shared.layers[identity("shared base")].link = None
    shared.settle()
    (finding,) = diagnose(shared.survey(), now=NOW, min_age=0)
    assert finding.key == ("link-file-missing", identity("shared base"))
    assert finding.read_only


# --- what a finding says --------------------------------------------------------------------------------------


def test_hostile_names_stay_names() -> None:
    """The subject is as on disk; message, advice and document carry nothing that a terminal would act on or JSON could not hold."""
    store = small_store()
    name = "\x1b[31mred\udcff\u202e[bold]" + "A" * 10
    store.short_links[name] = "/etc\x07/passwd"
    finding = only(store)
    assert finding.key == ("short-link-malformed", name)
    for text in (finding.message, finding.advice):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "\\udcff" not in json.dumps(finding.document("/store"), ensure_ascii=True)


def test_equal_stores_give_equal_findings_at_any_time() -> None:
    """Nothing in a finding but its ``since`` depends on when one looked, so an unchanged store changes no row."""
    store = small_store()
    store.layers[layer_named(store, "middle")].link = None
    store.add_layer("loose")
    store.settle()
    early, late = (diagnose(store.survey(now), now=now) for now in (NOW, NOW + 10**15))
    assert early == late
    assert [finding.evidence_json() for finding in early] == [finding.evidence_json() for finding in late]


def test_worst_first() -> None:
    """What cannot wait stands on top."""
    store = small_store()
    store.layers[layer_named(store, "middle")].link_state = LinkState.EMPTY
    store.add_layer("loose")
    store.add_layer("half", incomplete=True, digest=False)
    severities = [finding.severity for finding in examine(store.settle().survey(), now=NOW).findings]
    assert severities == ["critical", "warning", "warning"]
