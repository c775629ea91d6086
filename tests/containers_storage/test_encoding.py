"""The link encoding that every reader of a survey relies on, item by item, for what the fixtures do not hold."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from collector.links import Link, LinkKind, LinkState, Survey
from collector.stores.containers_storage import DRIVER, additional_stores
from collector.stores.containers_storage.additional import usual_roots
from collector.stores.containers_storage.layout import data_file_name, data_item_name
from collector.stores.containers_storage.records import created_ns
from linktrail.errors import MalformedError, TooLargeError
from linktrail.testing.clock import START, FakeClock
from tests.containers_storage.made import CREATED, Made, layer_id, short_name, small, survey, write_json


def only(found: Survey, kind: LinkKind, subject: str | None = None) -> Link:
    (link,) = [link for link in found.of_kind(kind) if subject in (None, link.subject)]
    return link


def test_the_root(tmp_path: Path) -> None:
    """The root as named, where it really is, and the devices that tell a hidden mount from a loss."""
    small(tmp_path / "real")
    (tmp_path / "named").symlink_to("real")
    found = survey(tmp_path / "named")
    link = only(found, LinkKind.STORE_ROOT)
    assert (link.subject, link.path, link.target) == (str(tmp_path / "named"), "", str((tmp_path / "real").resolve()))
    assert link.detail["device"] == link.detail["overlay_device"] == tmp_path.stat().st_dev
    assert found.root == str(tmp_path / "named")
    assert (found.started, found.finished, found.read_only) == (START, START, False)


def test_the_clock_is_the_one_given(tmp_path: Path) -> None:
    """Started and finished are wall time of the clock, read before the first and after the last look."""
    small(tmp_path / "s")
    clock = FakeClock()
    found = DRIVER.survey(tmp_path / "s", clock=clock, progress=lambda what, done, total: clock.advance(1))  # noqa: ARG005 - protocol
    assert found.started == START
    assert found.finished > found.started


def test_a_layer_record_says_all_it_holds(tmp_path: Path) -> None:
    """Digests, sizes, flags, names and data items stand in the detail; what is absent is left out."""
    made = Made(tmp_path / "s")
    fields = {
        "names": ["n1"],
        "diff-digest": "sha256:d",
        "diff-size": 5,
        "compressed-diff-digest": "sha256:c",
        "compressed-size": 3,
        "flags": {"incomplete": True, "other": 1},
        "big-data-names": ["x"],
        "uidset": [0],
    }
    base = made.layer()
    full = made.layer(base, **fields)
    made.save()
    found = survey(made.root)
    link = only(found, LinkKind.LAYER_RECORD, full)
    assert link.path == "overlay-layers/layers.json"
    assert link.state is LinkState.INCOMPLETE
    assert link.layer_id == full
    assert link.detail == {
        "created": CREATED,
        "names": ["n1"],
        "diff_digest": "sha256:d",
        "diff_size": 5,
        "compressed_digest": "sha256:c",
        "compressed_size": 3,
        "flags": {"incomplete": True, "other": 1},
        "big_data_names": ["x"],
    }
    assert link.facts == {"created_ns": 1_795_449_238_240_285_769}
    assert only(found, LinkKind.LAYER_RECORD, base).detail == {"created": CREATED}
    assert only(found, LinkKind.PARENT_POINTER).target == base
    assert only(found, LinkKind.LAYER_NAME).target == full


def test_lower_layers_of_the_new_format(tmp_path: Path) -> None:
    """Both files of a layer are read, each as its own link, since engines of different age read different ones."""
    made = small(tmp_path / "s")
    top = made.layers[2]["id"]
    text = f"{layer_id(1)}:{layer_id(0)}"
    (made.root / f"overlay/{top}/lower-layers").write_text(text)
    lower = {link.path: link for link in survey(made.root).of_kind(LinkKind.LOWER_REFERENCE) if link.subject == top}
    assert lower[f"overlay/{top}/lower-layers"].target == text
    assert lower[f"overlay/{top}/lower"].target == f"l/{short_name(1)}:l/{short_name(0)}"
    assert {link.state for link in lower.values()} == {LinkState.PRESENT}


def test_images(tmp_path: Path) -> None:
    """Names, former names, data items with size and digest, and further top layers for other id mappings."""
    made = Made(tmp_path / "s")
    top, mapped = made.layer(), made.layer()
    fields = {
        "digest": "sha256:m",
        "names-history": ["old:1"],
        "mapped-layers": [mapped],
        "big-data-names": ["manifest", "sha256:x", "unsized"],
        "big-data-sizes": {"manifest": 2, "sha256:x": 3},
        "big-data-digests": {"manifest": "sha256:m"},
    }
    image = made.image("new:1", top, **fields)
    directory = made.root / "overlay-images" / image
    directory.mkdir()
    (directory / "manifest").write_text("{}")
    (directory / data_file_name("sha256:x")).write_text("xxx")
    (directory / ".tmp-manifest123").write_text("half")
    made.save()
    found = survey(made.root)
    assert only(found, LinkKind.IMAGE_RECORD).detail == {
        "digest": "sha256:m",
        "names": ["new:1"],
        "names_history": ["old:1"],
        "created": CREATED,
        "big_data": {"manifest": [2, "sha256:m"], "sha256:x": [3, None], "unsized": [None, None]},
    }
    assert {(link.path, link.target) for link in found.of_kind(LinkKind.IMAGE_LAYER)} == {
        ("overlay-images/images.json", top),
        (f"overlay-images/images.json#mapped/{mapped}", mapped),
    }
    assert only(found, LinkKind.IMAGE_NAME).target == image
    assert only(found, LinkKind.OWNER_DIRECTORY).path == f"overlay-images/{image}"
    files = [link for link in found.of_kind(LinkKind.DATA_FILE) if link.subject == image]
    assert {(link.target, link.detail["size"]) for link in files} == {("manifest", 2), ("sha256:x", 3)}
    assert {link.owner.container_image_name for link in (*files, *found.of_kind(LinkKind.LAYER_DIRECTORY))} == {"new:1"}


def test_containers(tmp_path: Path) -> None:
    """Of userdata only data items are read: what the record names, and what has the form of one."""
    made = small(tmp_path / "s")
    container = made.containers[0]
    container["big-data-names"], container["big-data-sizes"] = ["artifact"], {"artifact": 4}
    container["flags"] = {"MountLabel": "", "Volatile": True}
    userdata = made.root / "overlay-containers" / container["id"] / "userdata"
    userdata.mkdir(parents=True)
    for name in ("config.json", "ctr.log", "artifact", data_file_name("Odd Item"), "buildah.json"):
        (userdata / name).write_text("four")
    made.save()
    found = survey(made.root)
    record = only(found, LinkKind.CONTAINER_RECORD)
    assert record.detail == {
        "names": ["c1"],
        "created": CREATED,
        "flags": {"MountLabel": "", "Volatile": True},
        "big_data": {"artifact": [4, None]},
        "engine": "podman",
    }
    assert record.layer_id == container["layer"] == only(found, LinkKind.CONTAINER_LAYER).target
    assert only(found, LinkKind.CONTAINER_IMAGE).target == container["image"]
    directory = only(found, LinkKind.OWNER_DIRECTORY)
    assert (directory.subject, directory.detail) == (container["id"], {"buildah": True})
    assert {link.target for link in found.of_kind(LinkKind.DATA_FILE) if link.subject == container["id"]} == {"artifact", "Odd Item"}
    assert {link.owner.container_name for link in found.of_kind(LinkKind.DATA_FILE) if link.subject == container["id"]} == {"c1"}


def test_data_items_of_layers_and_their_leftovers(tmp_path: Path) -> None:
    """Beside layers.json: tar-split by layer, a directory of items by layer, and what a deferred deletion moved aside."""
    made = small(tmp_path / "s")
    layer = made.layers[0]["id"]
    (made.root / "overlay-layers" / layer).mkdir()
    (made.root / "overlay-layers" / layer / "item").write_text("12345")
    (made.root / f"overlay-layers/.tmp-{layer}.tar-split.gz1").write_text("half")
    gone = made.root / "overlay-layers/tmp/temp-dir-7"
    gone.mkdir(parents=True)
    (gone / f"0-{layer_id(90)}.tar-split.gz").write_text("x")
    (gone / f"1-{layer_id(91)}.tar-split.gz").write_text("x")
    found = survey(made.root)
    files = {(link.target, link.detail["size"], link.path) for link in found.of_kind(LinkKind.DATA_FILE) if link.subject == layer}
    assert files == {
        ("tar-split", 1, f"overlay-layers/{layer}.tar-split.gz"),
        ("item", 5, f"overlay-layers/{layer}/item"),
    }
    temporary = only(found, LinkKind.TEMPORARY_DIRECTORY)
    assert temporary.path == "overlay-layers/tmp/temp-dir-7"
    assert temporary.target == min(layer_id(90), layer_id(91))
    assert sorted(temporary.detail["layers"]) == sorted([layer_id(90), layer_id(91)])


def test_what_the_engine_tries_out_is_no_layer(tmp_path: Path) -> None:
    """The directories in which the engine tries features of the kernel are temporary; a plain unknown directory is a layer's."""
    made = small(tmp_path / "s")
    for name in ("compat123456", "metacopy-check7", "opaque-bug-check0", "compat", "unknown"):
        (made.root / "overlay" / name).mkdir()
    (made.root / "overlay/.has-mount-program").write_text("false")
    found = survey(made.root)
    assert {link.subject for link in found.of_kind(LinkKind.TEMPORARY_DIRECTORY)} == {
        "compat123456",
        "metacopy-check7",
        "opaque-bug-check0",
    }
    known = {layer["id"] for layer in made.layers}
    assert {link.subject for link in found.of_kind(LinkKind.LAYER_DIRECTORY)} - known == {"compat", "unknown"}


@pytest.mark.parametrize("item", ["manifest", "a.b.0", "sha256:abc", "With Case", "\u00fc", "=", "", "\udcff"])
def test_data_item_names_round_trip(item: str) -> None:
    """Plain names stand for themselves, all others as base64, and both lead back."""
    file = data_file_name(item)
    assert data_item_name(file) == item
    assert file == item or base64.b64decode(file[1:]) == os.fsencode(item)


@pytest.mark.parametrize("file", ["=", "=***", "=YQ", "plain"])
def test_a_file_name_that_decodes_to_nothing_stands_for_itself(file: str) -> None:
    """A leftover with a broken name is still listed."""
    assert data_item_name(file) in (file, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2026-11-23T15:53:58.240285769Z", 1_795_449_238_240_285_769),
        ("2026-11-23T16:53:58.240285769+01:00", 1_795_449_238_240_285_769),
        ("2026-11-23T15:53:58Z", 1_795_449_238_000_000_000),
        ("0001-01-01T00:00:00Z", None),
        ("2026-11-23T15:53:58", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_of_go(text: str, expected: int | None) -> None:
    """RFC 3339 with nanoseconds, to the nanosecond; no time at all is no time."""
    assert created_ns(text) == expected


def test_a_store_of_images_alone_can_be_marked_read_only(tmp_path: Path) -> None:
    """An additional image store is surveyed like any other, and the survey says what it is; the main one names it."""
    made = small(tmp_path / "shared")
    assert survey(made.root, read_only=True).read_only
    main = small(tmp_path / "main")
    named = only(survey(main.root, additional=[made.root]), LinkKind.ADDITIONAL_STORE)
    assert (named.subject, named.path, named.target) == (str(main.root), "0", str(made.root))


def test_configured_stores_are_found_only_where_told(tmp_path: Path) -> None:
    """A storage.conf of this store, or of none in particular, names further stores; one of another store does not."""
    root = tmp_path / "s"
    root.mkdir()
    here, other, absent = tmp_path / "here.conf", tmp_path / "other.conf", tmp_path / "absent.conf"
    here.write_text(f'[storage]\ngraphroot = "{root}"\n[storage.options]\nadditionalimagestores = ["/a", "/b"]\nimagestore = "/c"\n')
    other.write_text('[storage]\ngraphroot = "/elsewhere"\n[storage.options]\nadditionalimagestores = ["/no"]\n')
    assert additional_stores(root, [other, here, absent, here]) == (Path("/a"), Path("/b"), Path("/c"))
    assert additional_stores(root, []) == ()
    other.write_text("[storage]\n")
    assert additional_stores(root, [other]) == ()


@pytest.mark.parametrize(
    "text", ["[storage", "\x00", "[storage.options]\nimagestore = 'relative'", "[storage.options]\nadditionalimagestores = [1]"]
)
def test_a_configuration_that_cannot_be_understood_is_an_error(text: str, tmp_path: Path) -> None:
    """It is named, with what is wrong in it; nothing is read past it."""
    path = tmp_path / "storage.conf"
    path.write_text(text)
    with pytest.raises(MalformedError, match=r"storage\.conf"):
        additional_stores(tmp_path, [path])


def test_a_configuration_of_megabytes_is_refused(tmp_path: Path) -> None:
    """It is no configuration."""
    path = tmp_path / "storage.conf"
    path.write_text("#" * (2 << 20))
    with pytest.raises(TooLargeError):
        additional_stores(tmp_path, [path])


def test_usual_roots(tmp_path: Path) -> None:
    """The system's store first; other people's only for the root user."""
    (tmp_path / "eve").mkdir()
    own = {"HOME": "/home/me", "XDG_DATA_HOME": "/data"}
    plain = usual_roots(own, homes=tmp_path, root_user=False)
    assert plain == (
        Path("/var/lib/containers/storage"),
        Path("/data/containers/storage"),
        Path("/home/me/.local/share/containers/storage"),
    )
    assert usual_roots(own, homes=tmp_path, root_user=True) == (*plain, tmp_path / "eve/.local/share/containers/storage")
    assert usual_roots({}, homes=tmp_path / "none", root_user=True) == (Path("/var/lib/containers/storage"),)


def test_two_records_of_one_name(tmp_path: Path) -> None:
    """The later one holds the name, as for the engine; each record still lists it."""
    made = Made(tmp_path / "s")
    layer = made.layer()
    made.image("a", layer)
    second = made.image("b", layer)
    made.images[1]["names"] = ["a"]
    made.save()
    found = survey(made.root)
    assert only(found, LinkKind.IMAGE_NAME).target == second
    assert [link.detail["names"] for link in found.of_kind(LinkKind.IMAGE_RECORD)] == [["a"], ["a"]]
    assert found.problems == ()


def test_null_is_an_empty_list(tmp_path: Path) -> None:
    """Go writes null for a list that was never made."""
    made = small(tmp_path / "s")
    write_json(made.root / "overlay-layers/volatile-layers.json", None)
    assert survey(made.root).problems == ()


def test_detail_has_a_canonical_form(tmp_path: Path) -> None:
    """The detail of every link can be written as JSON and read back."""
    for link in survey(small(tmp_path / "s").root).links.values():
        text = link.detail_json()
        assert (json.loads(text) if text else {}) == dict(link.detail)
