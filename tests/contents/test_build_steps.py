"""Which step of a build made a damaged layer, in all kinds of stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.contents.image_config import chain_ids, commands, diff_ids
from linktrail.testing.layer_tar import Layer, layer_ids
from tests.contents.scene import look, store
from tests.contents.test_containerd import FILES, UPPER, build
from tests.contents.test_containerd import look as look_at_containerd
from tests.contents.test_docker import empty, healthy, layer_with

HOSTILE = "RUN \x1b[2Jrm -rf /\n<script>" + "x" * 5_000


def test_podman_and_crio(tmp_path: Path) -> None:
    """The message names the layer's place and its step, made printable and cut; the evidence has both."""
    layers = [Layer({"bin/app": b"program" * 1000}), Layer({"etc/conf": b"x=1"}, created_by=HOSTILE)]
    directories = store(tmp_path, layers)
    (directories[1] / "etc/conf").write_bytes(b"")
    (finding,) = look(tmp_path)
    made_by = finding["evidence"]["made_by"]
    assert (made_by["layer"], made_by["layers"], made_by["created_by"]) == (2, 2, HOSTILE[:1_000])
    assert finding["subject"] == layer_ids(layers)[1]
    assert f"It is layer 2 of 2 of image {made_by['image'][:12]}, made by: RUN \\x1b[2Jrm -rf /\\x0a<script>xxx" in finding["message"]
    assert len(finding["message"]) < 500


def test_docker(tmp_path: Path) -> None:
    """The image database of a real daemon is read; the step is the one of the Dockerfile."""
    root = healthy(tmp_path)
    empty(layer_with(root, "app"))
    (finding,) = look(root)
    made_by = finding["evidence"]["made_by"]
    config = json.loads((root / "image/overlay2/imagedb/content/sha256" / made_by["image"].removeprefix("sha256:")).read_text("utf-8"))
    assert chain_ids(diff_ids(config))[made_by["layer"] - 1] == finding["subject"]
    assert commands(config)[made_by["layer"] - 1] == made_by["created_by"]
    assert finding["message"].count("made by:") == 1


def test_containerd(tmp_path: Path) -> None:
    """The configuration in the content store is read; steps that made no layer are passed over."""
    layers = (Layer(FILES), Layer(UPPER, created_by="COPY etc /etc"))
    places = build(tmp_path, layers=layers)
    (places[1] / "etc/conf").write_bytes(b"")
    (finding,) = look_at_containerd(tmp_path).findings
    assert finding.evidence["made_by"]["created_by"] == "COPY etc /etc"
    assert "It is layer 2 of 2" in finding.message


@pytest.mark.parametrize(
    "history", [None, 3, [], ["x", {"created_by": "a"}], [{"created_by": "a"}, {"created_by": "b", "empty_layer": True}]]
)
def test_a_history_that_does_not_fit_says_nothing(history: object, tmp_path: Path) -> None:
    """With more or fewer steps than layers nobody knows which step made which layer."""
    layers = [Layer({"bin/app": b"program" * 1000}), Layer({"etc/conf": b"x=1"})]
    directories = store(tmp_path, layers)
    for config in (tmp_path / "overlay-images").glob("*/=*"):
        if b'"history"' in config.read_bytes():
            document = json.loads(config.read_bytes())
            text = json.dumps({**document, "history": history}).ljust(config.stat().st_size)
            config.write_text(text, encoding="utf-8")
    (directories[1] / "etc/conf").write_bytes(b"")
    found = [finding for finding in look(tmp_path) if finding["subject_kind"] == "layer"]
    assert len(found) == 1
    assert "made_by" not in found[0]["evidence"]
    assert "made by" not in found[0]["message"]


def test_chain_ids() -> None:
    """As the specification derives them: the lowest is its own diff id."""
    assert chain_ids([]) == []
    assert chain_ids(["sha256:a"]) == ["sha256:a"]
    assert chain_ids(["sha256:a", "sha256:b"])[1] == "sha256:970a948bffa8de94d6e22d747ba8c95030e6e546909f98f54e99a13005e173a8"
