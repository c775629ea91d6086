"""What ``linktrail check`` says of the fixture stores of Docker overlay2: each planted damage by code and subject, and nothing else.

The table is the specification. Subjects are given by their first 12 characters, digests without ``sha256:``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.links import LinkKind, StoreKind
from collector.stores import driver_for
from linktrail.testing.clock import FakeClock
from tests.conformance.suite import LATER, Expected, Suite, Table, check
from tests.needs import need
from tests.stores import unpack

DAMAGE: dict[str, Expected] = {
    "00-healthy": set(),
    "01-empty-link-parent-child-lower-is-l": {
        ("link-file-empty", "7bb43eb6879c"),
        # the container that was made after it inherited a bare "l" in two files, and both must be written again, so both are said
        ("lower-malformed", "676480ba9d73"),
        ("lower-malformed", "676480ba9d73-init"),
    },
    "03-missing-l-symlink": {("short-link-missing", "7bb43eb6879c")},
    # its short link, which leads to it, is related and no second finding
    "04-orphan-overlay2-dir": {("unaccounted-layer", "dddddddddddd")},
    # no layer, only an empty record that stands in the way of one
    "06-layerdb-empty-dir": {("metadata-leftover", "ffffffffffff")},
    # the base of both images: one damage, one finding; who shares it and the short link that dangles are related
    "08-layer-dir-removed-record-left": {("layer-missing", "7bb43eb6879c")},
}

ENGINES: dict[str, Expected] = {"docker20-healthy": set()}


def shortened(subject: str) -> str:
    """Shorten an id: 12 characters of its digest, an init layer's with its suffix."""
    if "/" in subject:
        return subject
    identifier = subject.removeprefix("sha256:")
    return identifier[:12] + ("-init" if identifier.endswith("-init") else "")


class TestDocker(Suite):
    """The suite over Docker's table."""

    table = Table("docker", "docker", DAMAGE, ENGINES, shortened)


@pytest.mark.parametrize("name", [name for name, expected in DAMAGE.items() if expected])
def test_each_finding_says_what_to_do_in_words_of_this_engine(name: str, tmp_path: Path) -> None:
    """Docker heals nothing by itself, and no other engine's command helps."""
    for _, finding in check(unpack(f"docker/{name}", tmp_path)).findings:
        assert "podman" not in finding.advice + finding.message
        assert "containers-storage" not in finding.advice
        assert "overlay/l" not in finding.advice
        assert "Next: " in finding.advice
        assert finding.evidence


def test_the_computed_repairs_repair(tmp_path: Path) -> None:
    """A01: writing the link file and the lower files that the findings compute heals the store."""
    root = unpack("docker/01-empty-link-parent-child-lower-is-l", tmp_path)
    for _, finding in check(root).findings:
        content = finding.evidence.get("expected") or finding.evidence["short_name"]
        assert content in finding.advice
        assert finding.path is not None
        (root / finding.path).write_text(content, encoding="ascii")
    assert check(root).findings == []


def test_the_computed_short_link_repairs(tmp_path: Path) -> None:
    """D5: Docker never makes it again; the finding says what it must be."""
    root = unpack("docker/03-missing-l-symlink", tmp_path)
    ((_, finding),) = check(root).findings
    (root / "overlay2" / "l" / finding.evidence["short_name"]).symlink_to(finding.evidence["expected_target"])
    assert check(root).findings == []


def test_who_shares_a_lost_layer_is_said(tmp_path: Path) -> None:
    """Both images and both containers are related, the image that it is attributed to is the owner, and so is what dangles."""
    root = unpack("docker/08-layer-dir-removed-record-left", tmp_path)
    ((store, finding),) = check(root).findings
    images = {link.subject for link in store.survey.of_kind(LinkKind.IMAGE_RECORD)}
    containers = {link.subject for link in store.survey.of_kind(LinkKind.CONTAINER_RECORD)}
    assert {*images, *containers} < set(finding.related)
    assert finding.owner.container_image_id in images
    (dangling,) = [name for name in finding.related if len(name) == 26]
    assert (root / "overlay2" / "l" / dangling).is_symlink()


def test_everything_in_a_real_store_is_read_and_attributed(tmp_path: Path) -> None:
    """Docker 20.10: chain ids, writable and init layers, images with their names, containers with theirs."""
    need("fixtures")
    root = unpack("docker20-healthy", tmp_path)
    driver = driver_for(root)
    assert driver is not None
    assert driver.kind is StoreKind.DOCKER_OVERLAY2
    survey = driver.survey(root, clock=FakeClock(LATER))
    assert survey.problems == ()
    layers = {link.subject: link for link in survey.of_kind(LinkKind.LAYER_RECORD)}
    places = {link.subject: link for link in survey.of_kind(LinkKind.LAYER_DIRECTORY)}
    assert {link.target for link in layers.values()} == set(places), "every record names a directory, every directory has a record"
    assert all(places[str(link.target)].layer_id == layer for layer, link in layers.items())
    base, top, committed = (
        "sha256:5178d4dddda32eff399984791eec9a767ab899820c289a0bf67eb099d61738c2",
        "sha256:223b575c6cd5eec4782ee6d72c7f9f1751fd0370fdef9aa46bf74d4a1fa8f5f4",
        "sha256:d6a15deb937acbd644e33d078e9524ab2a14844c5f609e104ddc8cd1ab43bdb2",
    )
    tops = {link.subject: link.target for link in survey.of_kind(LinkKind.IMAGE_LAYER)}
    assert set(tops.values()) == {top, committed}
    assert layers[top].owner.container_image_name == "lab/base:1"
    assert layers[committed].owner.container_image_name == "lab/committed:1"
    assert layers[base].owner.container_image_name in {"lab/base:1", "lab/committed:1"}
    writable = "08467c4d0abdbaf32e09f92dd38a529a564696411df37ef47b8711a84554cbb9"
    for layer in (writable, f"{writable}-init"):
        assert layers[layer].owner.container_name == "d2"
        assert layers[layer].owner.container_image_name == "lab/committed:1"
    parents = {link.subject: link.target for link in survey.of_kind(LinkKind.PARENT_POINTER)}
    assert parents[writable] == f"{writable}-init"
    assert parents[f"{writable}-init"] == committed
    assert base not in parents


def test_dockers_containerd_is_a_store_of_its_own(tmp_path: Path) -> None:
    """Below the data root lies containerd's root; neither is taken for the other."""
    need("fixtures")
    root = unpack("docker20-healthy", tmp_path)
    inner = driver_for(root / "containerd" / "daemon")
    assert inner is not None
    assert inner.kind is StoreKind.CONTAINERD_OVERLAYFS
    assert check(root / "containerd" / "daemon").findings == []
