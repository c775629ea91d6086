"""Every fixture store, made and damaged with real engines, against an independent reading of its files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from collector.links import Link, LinkKind, LinkState, StoreKind, Survey
from collector.stores import driver_for
from tests.containers_storage.made import paths_below, survey, traces
from tests.needs import need
from tests.stores import FIXTURES, damage_names, unpack

ENGINES = ("cs-podman43-healthy", "cs-podman43-leaky", "cs-podman54-healthy")
NAMES = [*damage_names(), *(name for name in ENGINES if (FIXTURES / "engines" / f"{name}.tar.xz").is_file())]
JSON = {
    "overlay-layers/layers.json": LinkKind.LAYER_RECORD,
    "overlay-layers/volatile-layers.json": LinkKind.LAYER_RECORD,
    "overlay-images/images.json": LinkKind.IMAGE_RECORD,
    "overlay-containers/containers.json": LinkKind.CONTAINER_RECORD,
    "overlay-containers/volatile-containers.json": LinkKind.CONTAINER_RECORD,
}
TRUNCATED = "e19_layers_json_truncated"


def keys(found: Survey, *kinds: LinkKind) -> set[tuple[str, str, str | None]]:
    return {(link.subject, link.path, link.target) for link in found.of_kind(*kinds)}


def one(found: Survey, kind: LinkKind, path: str) -> Link:
    (link,) = [link for link in found.of_kind(kind) if link.path == path]
    return link


def entries(root: Path) -> list[tuple[str, dict[str, Any]]]:
    present = [path for path in JSON if (root / path).is_file()]
    return [(path, entry) for path in present for entry in json.loads((root / path).read_text())]


@pytest.mark.parametrize("name", NAMES)
def test_every_plumbing_link_is_read(name: str, tmp_path: Path) -> None:
    """Short links, link and lower files and layer directories are those that find and cat would show."""
    need("fixtures")
    root = unpack(name, tmp_path)
    found = survey(root)
    overlay = root / "overlay"
    directories = [path for path in overlay.iterdir() if path.is_dir() and path.name not in {"l", "staging", "tempdirs"}]
    assert keys(found, LinkKind.LAYER_DIRECTORY) == {(path.name, f"overlay/{path.name}", None) for path in directories}
    assert keys(found, LinkKind.SHORT_LINK) == {(path.name, f"overlay/l/{path.name}", str(path.readlink())) for path in overlay.glob("l/*")}
    for kind, file in ((LinkKind.LINK_FILE, "link"), (LinkKind.LOWER_REFERENCE, "lower")):
        files = [path / file for path in directories if (path / file).is_file()]
        expected = {(path.parent.name, f"overlay/{path.parent.name}/{file}", path.read_text() or None) for path in files}
        assert keys(found, kind) == expected
    for link in found.of_kind(LinkKind.LAYER_DIRECTORY):
        path = root / link.path
        assert link.inode == path.stat().st_ino
        assert {item: link.detail[item] for item in ("diff", "work", "empty")} == {
            item: (path / item).is_dir() for item in ("diff", "work", "empty")
        }
        assert link.facts["merged"] == (path / "merged").is_dir()


@pytest.mark.parametrize("name", [name for name in NAMES if name != TRUNCATED])
def test_every_record_is_read(name: str, tmp_path: Path) -> None:
    """Records, parents, names, images and containers are those of the JSON files, and a readable store has no problem."""
    need("fixtures")
    root = unpack(name, tmp_path)
    found = survey(root)
    assert found.problems == ()
    assert {link.path for link in found.of_kind(LinkKind.METADATA_FILE)} == {path for path in JSON if (root / path).is_file()}
    assert {link.state for link in found.of_kind(LinkKind.METADATA_FILE)} == {LinkState.PRESENT}
    expected: dict[LinkKind, set[tuple[str, str, str | None]]] = {kind: set() for kind in LinkKind}
    for path, entry in entries(root):
        kind, subject = JSON[path], entry["id"]
        expected[kind].add((subject, path, None))
        if kind is LinkKind.LAYER_RECORD:
            expected[LinkKind.LAYER_NAME] |= {(name, path, subject) for name in entry.get("names", [])}
            expected[LinkKind.PARENT_POINTER] |= {(subject, path, entry["parent"])} if "parent" in entry else set()
        elif kind is LinkKind.IMAGE_RECORD:
            expected[LinkKind.IMAGE_NAME] |= {(name, path, subject) for name in entry.get("names", [])}
            expected[LinkKind.IMAGE_LAYER].add((subject, path, entry["layer"]))
        else:
            expected[LinkKind.CONTAINER_LAYER].add((subject, path, entry["layer"]))
            expected[LinkKind.CONTAINER_IMAGE].add((subject, path, entry["image"]))
    for kind in (*set(JSON.values()), LinkKind.LAYER_NAME, LinkKind.PARENT_POINTER, LinkKind.IMAGE_NAME, LinkKind.IMAGE_LAYER,
                 LinkKind.CONTAINER_LAYER, LinkKind.CONTAINER_IMAGE):  # fmt: skip
        assert keys(found, kind) == expected[kind], kind


@pytest.mark.parametrize("name", [name for name in NAMES if name != TRUNCATED])
def test_every_recorded_data_file_is_found(name: str, tmp_path: Path) -> None:
    """A data item that the record of an image names is a file of that item and that size."""
    need("fixtures")
    found = survey(unpack(name, tmp_path))
    files = {(link.subject, link.target): link.detail["size"] for link in found.of_kind(LinkKind.DATA_FILE)}
    for image in found.of_kind(LinkKind.IMAGE_RECORD):
        for item, (size, _) in image.detail.get("big_data", {}).items():
            assert files[image.subject, item] == size
    whole = {link.subject for link in found.of_kind(LinkKind.LAYER_RECORD) if "diff_digest" in link.detail}
    assert whole <= {subject for subject, item in files if item == "tar-split"}


@pytest.mark.parametrize("name", NAMES)
def test_surveying_leaves_no_trace(name: str, tmp_path: Path) -> None:
    """Not a byte, name, owner or time of the store changes by reading it, the access times of its files included."""
    need("fixtures")
    root = unpack(name, tmp_path)
    paths = paths_below(root)
    for path in paths:
        os.utime(path, ns=(1, path.lstat().st_mtime_ns), follow_symlinks=False)
    before = traces(paths)
    survey(root)
    driver = driver_for(root)
    assert driver is not None
    driver.watch_plan(root)
    assert traces(paths) == before
    assert paths_below(root) == paths


@pytest.mark.parametrize("name", NAMES)
def test_a_fixture_is_recognised_and_its_surroundings_are_not(name: str, tmp_path: Path) -> None:
    """The root is a store of this kind; its parts, what is around it and the run root beside it are none."""
    need("fixtures")
    root = unpack(name, tmp_path)
    driver = driver_for(root)
    assert driver is not None
    assert driver.kind is StoreKind.CONTAINERS_STORAGE
    for other in (root / "overlay", root / "overlay-layers", root.parent, root.parent / "runroot", root / "overlay/l"):
        assert driver_for(other) is None, other


def test_a_truncated_list_keeps_what_came_before(tmp_path: Path) -> None:
    """Half a layers.json: malformed, one problem, and the entry that is whole is still known."""
    need("fixtures")
    root = unpack(TRUNCATED, tmp_path)
    found = survey(root)
    assert one(found, LinkKind.METADATA_FILE, "overlay-layers/layers.json").state is LinkState.MALFORMED
    assert [problem.path for problem in found.problems] == ["overlay-layers/layers.json"]
    (record,) = found.of_kind(LinkKind.LAYER_RECORD)
    assert record.detail["diff_digest"].startswith("sha256:")
    assert len(list(found.of_kind(LinkKind.LAYER_DIRECTORY))) == 4


@pytest.mark.parametrize(
    ("name", "kind", "state"),
    [
        ("e02_empty_link_mid", LinkKind.LINK_FILE, LinkState.EMPTY),
        ("e03_empty_lower_top", LinkKind.LOWER_REFERENCE, LinkState.EMPTY),
        ("e07c_weird_target_symlink", LinkKind.SHORT_LINK, LinkState.MALFORMED),
        ("e12_incomplete_unreferenced", LinkKind.LAYER_RECORD, LinkState.INCOMPLETE),
        (TRUNCATED, LinkKind.METADATA_FILE, LinkState.MALFORMED),
    ],
)
def test_damage_shows_in_the_state(name: str, kind: LinkKind, state: LinkState, tmp_path: Path) -> None:
    """Exactly the one damaged link is in another state than present."""
    need("fixtures")
    found = survey(unpack(name, tmp_path))
    assert [(link.kind, link.state) for link in found.links.values() if link.state is not LinkState.PRESENT] == [(kind, state)]


def test_leftover_temporary_directories(tmp_path: Path) -> None:
    """A deferred deletion names the layer it holds; a staging directory holds none."""
    need("fixtures")
    temporary = survey(unpack("e10_stale_tempdir", tmp_path / "a")).of_kind(LinkKind.TEMPORARY_DIRECTORY)
    staging = survey(unpack("e11_stale_staging", tmp_path / "b")).of_kind(LinkKind.TEMPORARY_DIRECTORY)
    assert [(link.subject, link.path, link.target) for link in temporary] == [
        ("temp-dir-123456", "overlay/tempdirs/temp-dir-123456", "c" * 64)
    ]
    assert [(link.subject, link.path, link.target) for link in staging] == [("987654321", "overlay/staging/987654321", None)]


def test_engines_are_told_apart(tmp_path: Path) -> None:
    """Podman's containers are podman's also where ``podman commit`` left buildah's file; buildah's own are buildah's."""
    need("fixtures")
    root = unpack("cs-podman43-leaky", tmp_path)
    found = survey(root)
    truth = json.loads((FIXTURES / "engines/cs-podman43-leaky.truth.json").read_text())
    (external,) = [leak["id_and_layer"].split() for leak in truth["planted"] if leak["leak"] == "external_container"]
    engines = {link.subject: link.detail["engine"] for link in found.of_kind(LinkKind.CONTAINER_RECORD)}
    assert engines.pop(external[0]) == "buildah"
    assert set(engines.values()) == {"podman"}
    committed = [link.subject for link in found.of_kind(LinkKind.OWNER_DIRECTORY) if link.detail.get("buildah")]
    assert len(committed) == 2
    assert external[0] in committed


def test_layers_are_attributed_on_a_real_store(tmp_path: Path) -> None:
    """Image layers carry their image, writable ones their container, the committed image's own layer the committed image."""
    need("fixtures")
    found = survey(unpack("cs-podman43-healthy", tmp_path))
    owner = {link.subject: link.owner for link in found.of_kind(LinkKind.LAYER_DIRECTORY)}
    layers = {link.subject: link.target for link in found.of_kind(LinkKind.IMAGE_LAYER)}
    images = {link.subject: link.target for link in found.of_kind(LinkKind.IMAGE_NAME)}
    base, committed = layers[images["localhost/lab/base:1"] or ""], layers[images["localhost/lab/committed:1"] or ""]
    assert owner[base or ""].container_image_name == "localhost/lab/base:1"
    assert owner[committed or ""].container_image_name == "localhost/lab/committed:1"
    writable = {link.target: link.owner for link in found.of_kind(LinkKind.CONTAINER_LAYER)}
    assert {owner[layer or ""] for layer in writable} == set(writable.values())
    assert {(who.container_name, who.container_image_name) for who in writable.values()} == {
        ("c1", "localhost/lab/base:1"),
        ("c2", "localhost/lab/committed:1"),
    }


def test_volatile_files_are_read(tmp_path: Path) -> None:
    """A container made with --rm lives in the volatile files alone, and says so."""
    need("fixtures")
    found = survey(unpack("cs-podman54-healthy", tmp_path))
    container = one(found, LinkKind.CONTAINER_RECORD, "overlay-containers/volatile-containers.json")
    layer = one(found, LinkKind.LAYER_RECORD, "overlay-layers/volatile-layers.json")
    assert container.detail["volatile"] is layer.detail["volatile"] is True
    assert container.layer_id == layer.subject
    assert layer.owner.container_name == "c2"
