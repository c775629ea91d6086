"""The builder makes what the engine makes: the engine itself reads it, and every place to stop is a true state."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.check import run_check
from collector.diagnose import examine
from collector.links import Survey
from collector.stores import driver_for
from linktrail.clock import SystemClock
from linktrail.testing.clock import FakeClock
from linktrail.testing.containers_storage import Hardlink, Layer, StoreBuilder, Symlink, Whiteout, finish, layer_ids, stop_after
from linktrail.testing.layer_tar import crc64, layer_id, sha256
from linktrail.testing.store_files import LAYERS, Step
from tests.live.podman import Podman, own_directory
from tests.needs import need

BASE = Layer({"bin/app": b"#!app" * 500, "etc/passwd": b"root:x:0:0", "usr/lib/app": Symlink("../../bin/app")})
MIDDLE = Layer({"data/blob": b"y" * 5000, "data/blob.hard": Hardlink("data/blob"), "etc/passwd": Whiteout()})
TOP = Layer({"etc/app.conf": b"verbose = yes\n"})
CHAIN = (BASE, MIDDLE, TOP)


@pytest.fixture
def builder(tmp_path: Path) -> StoreBuilder:
    """An empty store."""
    return StoreBuilder(tmp_path / "cs")


def lived_in(builder: StoreBuilder) -> None:
    """Let a store live: two images on one chain, containers in every state."""
    finish(builder.pull("localhost/app:1", CHAIN))
    finish(builder.pull("localhost/other:1", [BASE, TOP]))
    finish(builder.create("localhost/app:1", "created"))
    for name in ("running", "stopped", "gone"):
        finish(builder.create("localhost/app:1", name))
        finish(builder.start(name))
        finish(builder.write(name, "var/log/app.log", 3000))
    finish(builder.stop("stopped"))
    finish(builder.commit("stopped", "localhost/committed:1"))
    finish(builder.remove_container("gone"))
    finish(builder.create("localhost/other:1", "other-working-container", buildah=True))


@pytest.fixture
def home() -> Iterator[Path]:
    """A short directory in which engines run; what they mount there is unmounted again."""
    with own_directory() as directory:
        yield directory


def surveyed(root: Path) -> Survey:
    """Read the store with the driver that knows it."""
    driver = driver_for(root)
    assert driver is not None
    return driver.survey(root, clock=SystemClock())


def findings(root: Path) -> set[tuple[str, str]]:
    """Return (code, subject) of what is wrong with the store as it stands, whatever its age."""
    survey = surveyed(root)
    return {(finding.code, finding.subject) for finding in examine(survey, now=survey.finished, min_age=0.0, settle=0.0).findings}


def test_the_engine_lists_what_was_built(home: Path) -> None:
    """containers-storage accepts the store and lists exactly the records that were written."""
    need("root", "containers-storage")
    podman = Podman(home)
    builder = StoreBuilder(podman.root)
    lived_in(builder)
    for kind in ("layers", "images", "containers"):
        written = {record["id"]: record for record in builder.records(f"overlay-{kind}/{kind}.json")}
        listed = {record["id"]: record for record in podman.stored(kind)}
        assert listed.keys() == written.keys()
        assert written
        for record_id, record in written.items():
            same = ("names", "parent", "layer", "image", "digest", "diff-digest", "diff-size", "compressed-diff-digest", "big-data-names")
            assert {name: listed[record_id].get(name) for name in same} == {name: record.get(name) for name in same}


def test_podman_can_use_what_was_built(home: Path) -> None:
    """Podman writes the images out again: their tars are rebuilt from tar-split and match the recorded digests."""
    need("podman")
    podman = Podman(home)
    lived_in(StoreBuilder(podman.root))
    for name in ("app", "other", "committed"):
        saved = home / f"{name}.tar"
        podman.run("save", "--quiet", "-o", str(saved), f"localhost/{name}:1")
        assert saved.stat().st_size > 10_000


def test_a_healthy_store_has_no_finding(builder: StoreBuilder) -> None:
    """There is nothing to say about a store built whole but that a build container is in it; contents included."""
    lived_in(builder)
    leftover = str(builder.container("other-working-container")["id"])
    report = run_check([builder.root], min_age=0.0, contents=True, clock=SystemClock(), configurations=())
    assert [(finding.code, finding.subject) for _, finding in report.findings] == [("external-container", leftover)]
    assert not report.errors


def test_ids_are_the_engines() -> None:
    """The layer id of a child is that of a store made by podman; the CRC is Go's."""
    base = "5178d4dddda32eff399984791eec9a767ab899820c289a0bf67eb099d61738c2"
    diff = "3e4c0b50827d5b34bea38be77a1c02aa527ef1accb34954d36e48663764f19b9"
    assert layer_id(None, base) == base
    assert layer_id(base, diff) == "bfc508200010adc9dc536b2905f5296076e2cf150c00dc62d3bad62fe35bf194"
    assert crc64(b"123456789") == 0xB90956C775A41001


names = st.lists(st.text("abcé.", min_size=1, max_size=8).filter(lambda name: set(name) != {"."}), min_size=1, max_size=3).map("/".join)
entries = st.one_of(st.binary(max_size=2000), st.builds(Symlink, st.just("../x")), st.builds(Whiteout))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, entries, max_size=5))
def test_tar_split_gives_the_tar_back(content: dict[str, Any]) -> None:
    """The raw parts and the files in their order are the tar, byte for byte, whatever is in it."""
    leaves = {path: entry for path, entry in content.items() if not any(other.startswith(f"{path}/") for other in content)}
    layer = Layer(leaves)
    files = {os.fsencode(path): entry for path, entry in leaves.items() if isinstance(entry, bytes)}
    tar = b""
    for line in gzip.decompress(layer.tar_split).splitlines():
        record = json.loads(line)
        if record["type"] == 2:
            tar += base64.b64decode(record["payload"])
        elif record.get("size"):
            tar += files[record["name"].encode()]
    assert hashlib.sha256(tar).hexdigest() == layer.diff_hex


def incident(builder: StoreBuilder) -> Iterator[Step]:
    """Everything the engine does in the life of one container, step by step."""
    yield from builder.pull("localhost/app:1", CHAIN)
    yield from builder.create("localhost/app:1", "c1")
    yield from builder.start("c1")
    yield from builder.write("c1", "data/blob", 100)
    yield from builder.stop("c1")
    yield from builder.remove_container("c1")
    yield from builder.remove_image("localhost/app:1")


def test_the_same_seed_gives_the_same_store(tmp_path: Path) -> None:
    """Two builders with one seed and one time write the same bytes, step by step."""
    first, second = (StoreBuilder(tmp_path / name, clock=FakeClock(), seed=7) for name in ("a", "b"))
    for one, other in zip(incident(first), incident(second), strict=True):
        assert one == other
    for builder in (first, second):
        finish(builder.pull("localhost/app:1", CHAIN))
    contents = [
        {
            str(path.relative_to(builder.root)): path.read_bytes()
            for path in builder.root.rglob("*")
            if path.is_file() and path.suffix != ".lock"
        }
        for builder in (first, second)
    ]
    assert contents[0] == contents[1]


def test_a_layer_is_marked_until_it_is_whole(builder: StoreBuilder) -> None:
    """At every step between the first and the last the record says incomplete, and the short link is there before the link file."""
    layer, *_ = layer_ids([BASE])
    seen = []
    for step in builder.make_layer(layer, None, BASE):
        [record] = builder.records(LAYERS)
        assert ("flags" in record) == (step.name != "layer-complete")
        directory = builder.root / "overlay" / layer
        links = len(list((builder.root / "overlay/l").iterdir()))
        assert links >= (directory / "link").exists()
        seen.append(step.name)
    once = [name for number, name in enumerate(seen) if name not in seen[:number]]
    plumbing = ["layer-announced", "layer-directory", "short-link", "link-file", "layer-plumbing"]
    assert once == [*plumbing, "layer-entry", "layer-content", "tar-split", "layer-digests", "layer-complete"]


def test_every_place_to_be_killed_can_be_recovered_from(tmp_path: Path) -> None:
    """After a kill at any step the next open deletes what is incomplete, and a second pull makes the image whole and healthy.

    But for one step, as with the real engine: a short link without its link file is found by nothing that removes the layer.
    """
    steps = list(StoreBuilder(tmp_path / "whole").pull("localhost/app:1", CHAIN))
    for number, step in enumerate(steps):
        builder = StoreBuilder(tmp_path / f"killed-{number}")
        pull = builder.pull("localhost/app:1", CHAIN)
        for _ in range(number + 1):
            next(pull)
        pull.close()
        finish(builder.open_store())
        assert not any("flags" in record for record in builder.records(LAYERS))
        if not builder.records("overlay-images/images.json"):
            finish(builder.pull("localhost/app:1", CHAIN))
            assert findings(builder.root) == ({("short-link-duplicate", step.subject)} if step.name == "short-link" else set())


def test_everything_removed_leaves_an_empty_store(builder: StoreBuilder) -> None:
    """Removing containers and images takes every layer, link and directory with it."""
    for _ in incident(builder):
        pass
    left = [path for path in builder.root.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != ".has-mount-program"]
    assert sorted(path.read_bytes() for path in left) == [b"[]"] * 3
    assert [path.name for path in (builder.root / "overlay").iterdir() if path.is_dir()] == ["l"]


def test_a_kill_leaves_what_it_leaves(builder: StoreBuilder) -> None:
    """A killed pull is an incomplete layer; a killed removal an interrupted one; what was finished below it is unreferenced."""
    base, middle, _ = layer_ids(CHAIN)
    stop_after(builder.pull("localhost/app:1", CHAIN), "layer-content", middle)
    assert findings(builder.root) == {("incomplete-layer", middle), ("unreferenced-layer", base)}
    finish(builder.open_store())
    finish(builder.pull("localhost/app:1", CHAIN))
    container = builder.container(finish(builder.create("localhost/app:1", "c1")))
    stop_after(builder.remove_container("c1"), "plumbing-removed")
    assert findings(builder.root) == {("interrupted-removal", str(container["layer"]))}


def test_a_step_that_never_comes_is_named(builder: StoreBuilder) -> None:
    """A caller that waits for a step that is not in the operation gets an error, not a finished operation."""
    with pytest.raises(LookupError, match="no step no-such-step of anything"):
        stop_after(builder.pull("localhost/app:1", [BASE]), "no-such-step")


DAMAGE: tuple[tuple[str, Callable[[StoreBuilder, str], str]], ...] = (
    ("short-link-missing", lambda builder, layer: builder.damage.lose_short_link(layer)),
    ("short-link-dangling", lambda builder, _: builder.damage.dangle_short_link()),
    ("short-link-duplicate", lambda builder, layer: builder.damage.duplicate_short_link(layer)),
    ("link-file-empty", lambda builder, layer: builder.damage.empty_link(layer)),
    ("link-file-missing", lambda builder, layer: builder.damage.lose_link(layer)),
    ("lower-empty", lambda builder, layer: builder.damage.empty_lower(layer)),
    ("lower-missing", lambda builder, layer: builder.damage.lose_lower(layer)),
    ("unaccounted-layer", lambda builder, _: builder.damage.orphan_directory()),
    ("layer-missing", lambda builder, layer: builder.damage.lose_layer_directory(layer)),
    ("leftover-tempdir", lambda builder, layer: builder.damage.leave_tempdir(layer)),
    ("metadata-unreadable", lambda builder, _: builder.damage.truncate_metadata()),
    ("parent-missing", lambda builder, layer: builder.damage.drop_layer_record(layer)),
    ("layer-data-missing", lambda builder, layer: builder.damage.lose_tar_split(layer)),
    ("image-data-modified", lambda builder, _: builder.damage.truncate_image_data(str(builder.image("localhost/app:1")["id"]))),
    ("container-image-missing", lambda builder, _: builder.damage.drop_image_record(str(builder.image("localhost/app:1")["id"]))),
    ("unreferenced-layer", lambda builder, _: builder.damage.drop_container_record(str(builder.container("c1")["id"]))),
    ("overlapping-layers", lambda builder, layer: builder.damage.retarget_short_link(layer, layer_ids(CHAIN)[0])),
    ("short-link-missing", lambda builder, _: builder.damage.lose_all_short_links()),
)


@pytest.mark.parametrize(("code", "damage"), DAMAGE, ids=[f"{number}-{code}" for number, (code, _) in enumerate(DAMAGE)])
def test_each_damage_is_the_one_it_says(builder: StoreBuilder, code: str, damage: Callable[[StoreBuilder, str], str]) -> None:
    """A damage helper does what its name says: linktrail finds just that."""
    finish(builder.pull("localhost/app:1", CHAIN))
    finish(builder.create("localhost/app:1", "c1"))
    damage(builder, layer_ids(CHAIN)[1])
    assert code in {found for found, _ in findings(builder.root)}


def test_modified_image_data_keeps_its_size(builder: StoreBuilder) -> None:
    """The quietest damage: same file, same size, another digest than the record's."""
    image = finish(builder.pull("localhost/app:1", CHAIN))
    data = (builder.root / builder.damage.modify_image_data(image)).read_bytes()
    record = builder.image(image)
    assert len(data) == record["big-data-sizes"]["manifest"]
    assert sha256(data) != record["big-data-digests"]["manifest"]


def test_newer_and_volatile_forms(tmp_path: Path) -> None:
    """The form of 1.63 has lower-layers beside lower; CRI-O's containers stand in the volatile files, and nothing is found."""
    builder = StoreBuilder(tmp_path / "cs", lower_layers=True)
    finish(builder.pull("localhost/app:1", CHAIN))
    container = builder.container(finish(builder.create("localhost/app:1", "app", pod=("shop", "web-1"))))
    base, middle, top = layer_ids(CHAIN)
    layer = builder.root / "overlay" / str(container["layer"])
    assert (layer / "lower-layers").read_text() == f"{top}:{middle}:{base}"
    assert [record["id"] for record in builder.records("overlay-layers/volatile-layers.json")] == [container["layer"]]
    assert container["flags"]["Volatile"] is True
    assert findings(builder.root) == set()
    owners = {link.owner.k8s_pod_name for link in surveyed(builder.root).links.values() if link.subject == container["id"]}
    assert owners == {"web-1"}
