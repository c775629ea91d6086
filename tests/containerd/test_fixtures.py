from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collector.links import LinkKind, LinkState, Survey
from collector.stores.containerd import DRIVER
from tests.containerd.helpers import META, SNAPSHOTS, STORED, of, survey, targets
from tests.needs import need
from tests.stores import FIXTURES, unpack

BASE = "sha256:223b575c6cd5eec4782ee6d72c7f9f1751fd0370fdef9aa46bf74d4a1fa8f5f4"
LOWEST = "sha256:5178d4dddda32eff399984791eec9a767ab899820c289a0bf67eb099d61738c2"
EXTRACT = "extract-702818789-Bo0G sha256:37bb9a19a2432bbbf7e93691e725763307e884c7baab996ab5500043eaea6dfb"


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    need("fixtures")
    return survey(unpack("containerd16-leaky", tmp_path_factory.mktemp("leaky")))


def truth(name: str) -> dict[str, Any]:
    """Return what the real tools said, by command."""
    document = json.loads((FIXTURES / "engines" / f"{name}.truth.json").read_text())
    return {entry["cmd"]: entry["stdout"] for entry in document["tool_output"]}


def dumped(said: dict[str, Any], name: str) -> Any:
    return next(value["v1"] for command, value in said.items() if command.endswith(f"{name} --json"))


@pytest.mark.parametrize("name", ["containerd16-healthy", "containerd16-leaky"])
def test_every_record_of_both_databases_is_a_link(name: str, tmp_path: Path) -> None:
    """Against a dump made by another program at the time of the capture: keys, numbers, kinds, parents, sizes, times, labels."""
    need("fixtures")
    read, said = survey(unpack(name, tmp_path)), truth(name)
    stored = dumped(said, "metadata.db")["snapshots"]
    records = of(read, LinkKind.LAYER_RECORD, STORED)
    assert set(records) == {key for key in stored if key}
    for key, record in records.items():
        expected = stored[key]
        assert record.target == expected["id"].removeprefix("uvarint ")
        assert record.detail["kind"] == expected["kind"].split("(")[1].rstrip(")").lower()
        assert record.detail["created"] == expected["createdat"]
        assert str(record.detail.get("diff_size")) == expected.get("size", "varint None").removeprefix("varint ")
        assert str(record.detail.get("inodes")) == expected.get("inodes", "varint None").removeprefix("varint ")
    parents = {(key, json.loads(value["parent"])) for key, value in stored.items() if key and "parent" in value}
    assert targets(read, LinkKind.PARENT_POINTER, STORED) == parents == targets(read, LinkKind.PARENT_POINTER, META)
    named = dumped(said, "meta.db")["default"]["snapshots"]["overlayfs"]
    keys = {name: json.loads(value["name"]) for name, value in named.items() if name}
    assert targets(read, LinkKind.LAYER_NAME) == set(keys.items())
    assert set(of(read, LinkKind.LAYER_RECORD, META)) == set(keys.values())
    children = {(keys[parent], keys.get(child, child)) for parent, value in named.items() if parent for child in value.get("children", {})}
    assert targets(read, LinkKind.CHILD_POINTER, META) == children
    index = {(parent, child) for child, parent in parents}
    assert targets(read, LinkKind.CHILD_POINTER, STORED) == index


@pytest.mark.parametrize("name", ["containerd16-healthy", "containerd16-leaky"])
def test_what_ctr_lists_is_what_the_links_say(name: str, tmp_path: Path) -> None:
    """Images, containers, leases, content, directories: against the engine's own words."""
    need("fixtures")
    read, said = survey(unpack(name, tmp_path)), truth(name)
    lines = {command: [line.split() for line in str(text).splitlines()[1:]] for command, text in said.items()}
    images = {(line[0], line[2]) for line in lines["CT images ls"]}
    assert targets(read, LinkKind.IMAGE_NAME) == images
    assert set(of(read, LinkKind.IMAGE_RECORD)) == {digest for _, digest in images}
    containers = {line[0] for line in lines["CT containers ls"]}
    assert set(of(read, LinkKind.CONTAINER_RECORD)) == containers
    leases = {line[0] for line in lines["CT leases ls"]}
    assert set(of(read, LinkKind.LEASE)) == leases
    digests = {line[0] for line in lines["CT content ls"]}
    assert set(of(read, LinkKind.CONTENT, META)) == digests
    assert set(of(read, LinkKind.CONTENT, "io.containerd.content.v1.content/blobs")) == digests
    directories = next(str(text).split() for command, text in said.items() if command.startswith("ls "))
    assert set(of(read, LinkKind.LAYER_DIRECTORY)) | set(of(read, LinkKind.TEMPORARY_DIRECTORY)) == set(directories)
    assert read.problems == ()


def test_an_interrupted_unpacking_and_the_lease_that_holds_it(leaky: Survey) -> None:
    """K1: the active snapshot, the lease on it and on its parent with its expiry, and whose image it was to be."""
    key = of(leaky, LinkKind.LAYER_NAME)[EXTRACT].target
    assert key is not None
    held = {(link.target, link.detail["expires"]) for link in leaky.of_kind(LinkKind.LEASE) if link.target}
    parent = of(leaky, LinkKind.PARENT_POINTER, STORED)[key].target
    assert held == {(key, "2026-11-24T16:04:13Z"), (parent, "2026-11-24T16:04:13Z")}
    record = of(leaky, LinkKind.LAYER_RECORD, STORED)[key]
    assert (record.detail["kind"], record.target) == ("active", "117")
    assert record.owner.container_image_name == "docker.io/lab/big:1"


def test_phantom_children_are_links_to_what_no_record_names(leaky: Survey) -> None:
    """K2: k3 and vv were collected; their parent's index still names them."""
    records = set(of(leaky, LinkKind.LAYER_RECORD, META))
    phantoms = {(link.subject.split("/")[2], link.target) for link in leaky.of_kind(LinkKind.CHILD_POINTER) if link.target not in records}
    assert phantoms == {(BASE, "k3"), (BASE, "vv")}


def test_snapshots_pinned_by_a_label_say_which(leaky: Survey) -> None:
    """K3: nothing but gc.root holds them."""
    roots = {
        link.subject.split("/")[2]: link for link in leaky.of_kind(LinkKind.LABEL_REFERENCE) if link.detail["label"].endswith("gc.root")
    }
    assert set(roots) == {"abandoned", "abandoned-done"}
    assert all(link.target == link.subject for link in roots.values())


def test_an_unfinished_download_is_in_both_places(leaky: Survey) -> None:
    """K5: the record with its expiry, and the directory whose ref file leads to it."""
    record = of(leaky, LinkKind.INGEST, META)["labref"]
    directory = next(link for link in leaky.of_kind(LinkKind.INGEST) if link.path.startswith("io.containerd.content"))
    assert (record.target, record.detail["expires"]) == ("default/1/labref", "2026-11-24T16:04:52.683609387Z")
    assert directory.target == record.target
    assert directory.detail["total"] == 900000


def test_lost_and_unknown_directories_show(leaky: Survey) -> None:
    """K6, K7: a record without a directory, a directory without a record, one left in the making."""
    numbers = {link.target for link in of(leaky, LinkKind.LAYER_RECORD, STORED).values()}
    directories = of(leaky, LinkKind.LAYER_DIRECTORY)
    assert numbers - set(directories) == {"115"}
    assert set(directories) - numbers == {"999"}
    assert directories["999"].layer_id is None
    assert of(leaky, LinkKind.TEMPORARY_DIRECTORY)["new-123456"].path == f"{SNAPSHOTS}/new-123456"


def test_number_key_chain_id_image_and_container_lead_to_each_other(leaky: Survey) -> None:
    """From a directory found with du to the image and back, by links alone."""
    lowest = of(leaky, LinkKind.LAYER_DIRECTORY)["110"]
    assert of(leaky, LinkKind.LAYER_NAME)[LOWEST].target == lowest.layer_id
    parents = {link.subject: link.target for link in leaky.of_kind(LinkKind.PARENT_POINTER)}
    top = next(iter(leaky.of_kind(LinkKind.IMAGE_LAYER)))
    assert parents[str(parents[str(top.target)])] == lowest.layer_id
    assert {name for name, image in targets(leaky, LinkKind.IMAGE_NAME) if image == top.subject} == {"localhost/lab/base:1"}
    layers = dict(targets(leaky, LinkKind.CONTAINER_LAYER))
    stored = of(leaky, LinkKind.LAYER_RECORD, STORED)
    assert {container: stored[str(key)].target for container, key in layers.items()} == {"k1": "114", "k2": "115"}
    assert targets(leaky, LinkKind.CONTAINER_IMAGE) == {("k1", top.subject), ("k2", top.subject)}
    assert lowest.owner.container_image_name == "localhost/lab/base:1"
    assert stored[str(layers["k2"])].owner.container_id == "k2"


@pytest.mark.parametrize(
    ("name", "gone", "strange"),
    [
        ("containerd/00-healthy-2images-1container", set(), set()),
        ("containerd/01-orphan-snapshot-dir", set(), {"999", "new-123456"}),
        ("containerd/02-committed-snapshot-dir-removed", {"1"}, set()),
        ("containerd/04-zero-length-file-in-committed-snapshot", set(), set()),
    ],
)
def test_damage_fixtures(name: str, gone: set[str], strange: set[str], tmp_path: Path) -> None:
    """Two images over one base and a container; what was done to the directories shows, and nothing else."""
    need("fixtures")
    read = survey(unpack(name, tmp_path))
    numbers = {str(link.target) for link in of(read, LinkKind.LAYER_RECORD, STORED).values()}
    standing = set(of(read, LinkKind.LAYER_DIRECTORY)) | set(of(read, LinkKind.TEMPORARY_DIRECTORY))
    assert (numbers - standing, standing - numbers) == (gone, strange)
    assert set(of(read, LinkKind.LAYER_RECORD, STORED)) == set(of(read, LinkKind.LAYER_RECORD, META))
    assert len(of(read, LinkKind.IMAGE_LAYER)) == 2
    assert all(link.state is LinkState.PRESENT for link in read.links.values())


def test_the_containerd_of_docker_is_a_store_of_its_own(tmp_path: Path) -> None:
    """Docker with graph drivers keeps containers there, without a snapshot."""
    need("fixtures")
    root = unpack("docker20-healthy", tmp_path)
    daemon = next(path for path in (root, *root.rglob("containerd/daemon")) if path.name == "daemon")
    assert DRIVER.detect(daemon)
    read = survey(daemon)
    assert not of(read, LinkKind.CONTAINER_LAYER)
    assert read.problems == ()
