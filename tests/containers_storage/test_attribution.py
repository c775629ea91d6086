"""Who owns a layer: chains, shared bases, CRI-O's pods, buildah's leftovers, and names that outlive their container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from collector.links import NOBODY, Attribution, LinkKind, Survey
from tests.containers_storage.made import Made, layer_id, survey, write_json

UID = "0b1c2d3e-0000-4000-8000-000000000001"
SANDBOX_NAME = f"k8s_POD_web-7d9_shop_{UID}_0"
POD_NAME = f"k8s_web-7d9_shop_{UID}_0"
CONTAINER_NAME = f"k8s_nginx_web-7d9_shop_{UID}_2"
POD = {"k8s_pod_name": "web-7d9", "k8s_namespace_name": "shop", "k8s_pod_uid": UID}


def owners(found: Survey) -> dict[str, Attribution]:
    return {link.subject: link.owner for link in found.of_kind(LinkKind.LAYER_DIRECTORY)}


def crio_store(root: Path) -> tuple[Made, dict[str, Any], dict[str, Any]]:
    """Make a node with one pod: its sandbox and one container, both in the volatile files as CRI-O keeps them."""
    made = Made(root)
    base = made.layer()
    image = made.image("registry/nginx:1", base)
    sandbox_id = made.container(SANDBOX_NAME, made.layer(base, names=[f"{SANDBOX_NAME}-layer"]), image)
    container_id = made.container(CONTAINER_NAME, made.layer(base, names=[f"{CONTAINER_NAME}-layer"]), image)
    common = {"pod-name": POD_NAME, "pod-id": sandbox_id, "image-name": "registry/nginx:1", "image-id": image, "created-at": 1}
    sandbox, container = made.containers
    assert (sandbox["id"], container["id"]) == (sandbox_id, container_id)
    sandbox["names"] = [SANDBOX_NAME, POD_NAME]
    about = {**common, "name": SANDBOX_NAME, "metadata-name": "web-7d9", "uid": UID, "namespace": "shop", "pod": True}
    sandbox["metadata"] = json.dumps(about)
    container["metadata"] = json.dumps({**common, "name": CONTAINER_NAME, "metadata-name": "nginx", "attempt": 2})
    return made, sandbox, container


def save_volatile(made: Made) -> None:
    """Save as CRI-O does: writable layers and containers in the volatile files."""
    writable = {container["layer"] for container in made.containers}
    write_json(made.root / "overlay-layers/volatile-layers.json", [layer for layer in made.layers if layer["id"] in writable])
    write_json(made.root / "overlay-containers/volatile-containers.json", made.containers)
    made.layers = [layer for layer in made.layers if layer["id"] not in writable]
    made.containers = []
    made.save()


def test_a_pod_of_crio(tmp_path: Path) -> None:
    """Sandbox and container carry pod, namespace and uid; so do their layers; the engine is CRI-O."""
    made, sandbox, container = crio_store(tmp_path / "s")
    save_volatile(made)
    found = survey(made.root)
    records = {link.subject: link for link in found.of_kind(LinkKind.CONTAINER_RECORD)}
    assert {link.detail["engine"] for link in records.values()} == {"crio"}
    assert {link.path for link in records.values()} == {"overlay-containers/volatile-containers.json"}
    assert records[sandbox["id"]].detail["sandbox"] is True
    assert "sandbox" not in records[container["id"]].detail
    assert {key: records[sandbox["id"]].detail[key] for key in ("pod_id", "pod_name", "metadata_name", "namespace", "uid", "attempt")} == {
        "pod_id": sandbox["id"],
        "pod_name": POD_NAME,
        "metadata_name": "web-7d9",
        "namespace": "shop",
        "uid": UID,
        "attempt": 0,
    }
    assert records[container["id"]].detail["attempt"] == 2
    image = {"container_image_name": "registry/nginx:1", "container_image_id": sandbox["image"]}
    owner = owners(found)
    assert owner[sandbox["layer"]] == Attribution(**POD, **image, container_id=sandbox["id"], container_name="POD")
    assert owner[container["layer"]] == Attribution(**POD, **image, container_id=container["id"], container_name="nginx")
    assert owner[layer_id(0)] == Attribution(**image)


def test_a_container_whose_sandbox_record_is_gone(tmp_path: Path) -> None:
    """Its own names still hold the pod."""
    made, sandbox, container = crio_store(tmp_path / "s")
    made.containers.remove(sandbox)
    made.save()
    owner = owners(survey(made.root))[container["layer"]]
    assert (owner.k8s_pod_name, owner.k8s_namespace_name, owner.k8s_pod_uid) == tuple(POD.values())


def test_a_layer_that_outlived_its_container(tmp_path: Path) -> None:
    """The leak that nobody can name: its layer still carries the container's name, and with CRI-O's the pod."""
    made, sandbox, container = crio_store(tmp_path / "s")
    made.containers.clear()
    plain = made.layer(layer_id(0), names=["c1-layer"])
    foreign = made.layer(layer_id(0), names=["something", "-layer"])
    made.save()
    owner = owners(survey(made.root))
    assert owner[container["layer"]] == Attribution(**POD, container_name="nginx")
    assert owner[sandbox["layer"]] == Attribution(**POD, container_name="POD")
    assert owner[plain] == Attribution(container_name="c1")
    assert owner[foreign] is NOBODY


def test_a_shared_base_belongs_to_the_nearest_image(tmp_path: Path) -> None:
    """Of two images on one base, each keeps its own layers, and the base is its own image's whatever the order in the file."""
    made = Made(tmp_path / "s")
    base, middle, top = made.chain(3)
    other = made.layer(base)
    made.image("derived:1", top)
    made.image("other:1", other)
    made.image("base:1", base)
    made.save()
    names = {layer: owner.container_image_name for layer, owner in owners(survey(made.root)).items()}
    assert names == {base: "base:1", middle: "derived:1", top: "derived:1", other: "other:1"}


def test_layers_that_only_a_container_still_reaches(tmp_path: Path) -> None:
    """The image record is gone; the container still says which image it was."""
    made = Made(tmp_path / "s")
    base = made.layer()
    writable = made.layer(base)
    container = made.container("c", writable, "f" * 64, metadata=json.dumps({"name": "c", "image-name": "lost:1"}))
    made.save()
    owner = owners(survey(made.root))
    assert owner[base] == Attribution(container_image_name="lost:1", container_image_id="f" * 64)
    assert owner[writable].container_id == container


def test_loops_and_holes_in_the_chain_end(tmp_path: Path) -> None:
    """Parents that lead in a circle, to themselves or nowhere are data; the walk ends."""
    made = Made(tmp_path / "s")
    one, two, three = made.layer(), made.layer(), made.layer()
    made.layers[0]["parent"], made.layers[1]["parent"], made.layers[2]["parent"] = two, one, three
    hole = made.layer()
    made.layers[3]["parent"] = "gone"
    made.image("a", one)
    made.image("b", hole)
    made.container("c", three, "none")
    made.save()
    owner = owners(survey(made.root))
    assert owner[one].container_image_name == owner[two].container_image_name == "a"
    assert owner[hole].container_image_name == "b"
    assert owner[three].container_name == "c"


def test_engines_without_a_word(tmp_path: Path) -> None:
    """Metadata that is no object, or of unknown form, makes no engine; buildah's file alone does."""
    made = Made(tmp_path / "s")
    layer = made.layer()
    texts = {"a": "not json", "b": "[1]", "c": json.dumps({"x": 1}), "d": "", "e": "[" * 100_000}
    ids = {name: made.container(name, layer, "i", metadata=text) for name, text in texts.items()}
    for name in ("c", "d"):
        (made.root / "overlay-containers" / ids[name] / "userdata").mkdir(parents=True)
        (made.root / "overlay-containers" / ids[name] / "userdata/buildah.json").touch()
    made.save()
    engines = {link.subject: link.detail["engine"] for link in survey(made.root).of_kind(LinkKind.CONTAINER_RECORD)}
    assert {name: engines[ids[name]] for name in texts} == {"a": "unknown", "b": "unknown", "c": "unknown", "d": "buildah", "e": "unknown"}
