"""What ``linktrail check`` says of the fixture stores of containerd: each planted damage by code and subject, and nothing else.

The table is the specification. Subjects are keys of metadata.db without namespace and sequence number, digests cut to 12 digits.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from collector.check import run_check
from linktrail.clock import NANOSECONDS
from linktrail.testing.clock import FakeClock
from tests.conformance.suite import LATER, Expected, Suite, Table, check
from tests.needs import need
from tests.stores import archive, unpack

DAMAGE: dict[str, Expected] = {
    "00-healthy-2images-1container": set(),
    "01-orphan-snapshot-dir": {("unaccounted-layer", "999"), ("leftover-tempdir", "new-123456")},
    # the base of two images and of a container: one damage, one finding; who shares it is related
    "02-committed-snapshot-dir-removed": {("layer-missing", "sha256:13564665651a")},
    "04-zero-length-file-in-committed-snapshot": set(),  # needs --contents
}

ENGINES: dict[str, Expected] = {
    "containerd16-healthy": set(),
    "containerd16-leaky": {
        # K1: kill -9 in mid-unpack; the layer below it, which only the same pull needs, is related
        ("incomplete-layer", "extract-702818789-Bo0G sha256:37bb9a19a243"),
        # K2: k3 and vv were collected and are still children of the base's top; both stand in the one finding
        ("phantom-child", "sha256:223b575c6cd5"),
        ("unreferenced-layer", "vgone"),  # the view that was about to be collected when the store was captured
        ("pinned-by-label", "abandoned"),  # K3
        ("pinned-by-label", "abandoned-done"),
        ("leftover-ingest", "labref"),  # K5
        ("layer-missing", "k2"),  # K6
        ("unaccounted-layer", "999"),  # K7
        ("leftover-tempdir", "new-123456"),
    },
}

CONTENTS: dict[str, Expected] = {
    "04-zero-length-file-in-committed-snapshot": {("zero-length-files", "sha256:13564665651a")},
}

PLANTED = {
    "extract_snapshot_with_lease": "incomplete-layer",
    "stale_child_link_2": "phantom-child",
    "pinned_snapshot": "pinned-by-label",
    "snapshot_dir_missing": "layer-missing",
    "orphan_dir": "unaccounted-layer",
    "orphan_temp_dir": "leftover-tempdir",
    "stuck_ingest": "leftover-ingest",
}
NOT_YET = {"stale_child_link"}  # at the time of the capture vgone still had its record: unreferenced-layer


def short(subject: str) -> str:
    """Return a key as it stands in the table."""
    name = re.sub(r"^[^/]+/\d+/", "", subject)
    return re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}", r"\1", name)


TABLE = Table("containerd", "containerd16-", DAMAGE, ENGINES, short, CONTENTS)


class TestContainerd(Suite):
    """Stores of containerd 1.6, healthy, leaky, and each with one damage."""

    table = TABLE


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the findings of the leaky store by code and shortened subject."""
    need("fixtures")
    document = check(unpack("containerd16-leaky", tmp_path_factory.mktemp("leaky")), min_age=0).document()
    return {f"{finding['code']} {short(finding['subject'])}": finding for finding in document["findings"]}


def test_the_planted_things_are_the_ones_found(leaky: dict[str, dict[str, Any]]) -> None:
    """The table above agrees with what the makers of the leaky store wrote down."""
    truth = json.loads(archive("containerd16-leaky").with_name("containerd16-leaky.truth.json").read_text(encoding="utf-8"))
    assert {planted["leak"] for planted in truth["planted"]} == PLANTED.keys() | NOT_YET
    for planted in truth["planted"]:
        if planted["leak"] in NOT_YET:
            continue
        named = [finding for finding in leaky.values() if finding["code"] == PLANTED[planted["leak"]]]
        known = {name for finding in named for name in (finding["subject"], *finding["related"])}
        wanted = planted["id"].removesuffix(" under sha256:223b575c6cd5").split(", ")
        assert all(any(name.endswith(identifier) for name in known) for identifier in wanted), planted


def test_each_finding_says_what_holds_it_and_what_to_do_in_words_of_this_engine(leaky: dict[str, dict[str, Any]]) -> None:
    """Leases with their end, labels, users; ctr with the namespace; never another engine's command."""
    for finding in leaky.values():
        assert "podman" not in finding["advice"]
        assert "buildah" not in finding["advice"]
        assert "Next: " in finding["advice"]
        assert finding["evidence"]
    unpacking = leaky["incomplete-layer extract-702818789-Bo0G sha256:37bb9a19a243"]
    assert unpacking["evidence"]["leases"] == [{"id": "692120168-ZRuu", "namespace": "default", "expires": "2026-11-24T16:04:13.000000Z"}]
    assert len(unpacking["evidence"]["chain"]) == 2, "with the layer below it that nothing else needs"
    assert unpacking["owner"]["container_image_name"] == "docker.io/lab/big:1"
    pinned = leaky["pinned-by-label abandoned"]
    assert "ctr -n default snapshots rm abandoned;" in pinned["advice"]
    assert "containerd.io/gc.root" in pinned["message"]
    missing = leaky["layer-missing k2"]
    assert (missing["evidence"]["directory"], missing["evidence"]["containers"]) == ("115", ["k2"])
    assert missing["owner"]["container_id"] == "k2"


def test_who_shares_a_lost_layer_is_said(tmp_path: Path) -> None:
    """E06: pulling one image again does not rebuild it; all that share it are named, by name."""
    ((_, finding),) = check(unpack("containerd/02-committed-snapshot-dir-removed", tmp_path)).findings
    assert "Needed by image localhost/t:1, localhost/t:2 and container cont1." in finding.message
    assert finding.evidence["directory"] == "1"
    assert "pulling again does not bring it back" in finding.advice


def test_while_a_lease_lasts_its_end_is_said(tmp_path: Path) -> None:
    """On the day itself the lease of the pull still holds what was being unpacked."""
    need("fixtures")
    clock = FakeClock(LATER - 3 * 86_400 * NANOSECONDS - 3 * 3600 * NANOSECONDS)  # 2026-11-23T21:00Z, five hours later
    report = run_check([unpack("containerd16-leaky", tmp_path)], clock=clock)
    (finding,) = [finding for _, finding in report.findings if finding.code == "incomplete-layer"]
    assert "holds it and expires 2026-11-24T16:04:13" in finding.message
    assert "ctr -n default leases delete --sync 692120168-ZRuu" in finding.advice
    assert {item.code for item in report.withheld} == {"unreferenced-layer"}


def test_the_containerd_of_docker_is_silent(tmp_path: Path) -> None:
    """Docker with graph drivers runs its containers in it, without snapshots: nothing is missing."""
    need("fixtures")
    root = unpack("docker20-healthy", tmp_path)
    daemon = next(path for path in (root, *root.rglob("containerd/daemon")) if path.name == "daemon")
    report = check(daemon, min_age=0)
    assert [store.document()["kind"] for store in report.stores] == ["containerd_overlayfs"]
    assert TABLE.keys(report) == set()
    assert report.exit_code == 0
