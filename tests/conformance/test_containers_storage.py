"""What ``linktrail check`` says of the fixture stores of containers-storage: each planted damage by code and subject, and nothing else.

The table is the specification. Subjects are given by their first 12 characters. Without ``--contents`` the damages inside layers are
invisible, because every name, record and link of those stores is in order.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.check import run_check
from linktrail.clock import NANOSECONDS
from linktrail.testing.clock import FakeClock
from tests.conformance.suite import LATER, Expected, Suite, Table, check
from tests.needs import need
from tests.stores import archive, unpack

DAMAGE: dict[str, Expected] = {
    "e00_healthy": set(),
    # the whole of l/ is gone, or emptied: one finding a layer, because each is repaired by a link of its own
    "e01_l_all_removed": {("short-link-missing", layer) for layer in ("4f4627c9534a", "5f4222798f57", "9f57c5c1afd8", "c4194f875e62")},
    "e01b_l_dir_removed": {("short-link-missing", layer) for layer in ("5f49fea24518", "6e06a89e28b5", "b4bd5ad29ac5", "c51e0d7905c4")},
    "e02_empty_link_mid": {("link-file-empty", "8d198185436a")},
    "e02b_missing_link_mid": {("link-file-missing", "8fc8bb6fb5f9")},
    # two files are gone and both must be made again, so both are said; the name is computed from the children's lower files
    "e02d_link_file_and_symlink_both_gone": {("link-file-missing", "1e54a348d77b"), ("short-link-missing", "1e54a348d77b")},
    "e03_empty_lower_top": {("lower-empty", "0c522552ffff")},
    "e03b_missing_lower_top": {("lower-missing", "b56e14ddaf0b")},
    "e03d_lower_drops_base": {("lower-mismatch", "6276268a92e4")},
    # only diff/ is gone: the layer's content is, so it is layer-missing; the short link that dangles is related, not a second finding
    "e04_diff_dir_removed_mid": {("layer-missing", "31ea95a1fe64")},
    "e04b_layer_dir_removed_mid": {("layer-missing", "72dffe7b87b6")},
    "e06_dangling_extra_symlink": {("short-link-dangling", "AAAAAAAAAAAA")},
    # subject is the layer that has two, not the stray link: which of them is the stray may be unknown; the links are related
    "e07_duplicate_symlink": {("short-link-duplicate", "c42f00ccbd94")},
    # the entry exists but has another form than ../<id>/diff: engines of today do not follow it, so it is not called missing
    "e07c_weird_target_symlink": {("short-link-malformed", "QBT7K24G5XVH")},
    # the layers below are reached by no recorded chain any more, but by the lower file: unreferenced-layer would have them deleted
    "e08_parent_missing_in_json": {("parent-missing", "586d3ef2f138")},
    "e09_orphan_driver_dir": {("unaccounted-layer", "dddddddddddd")},
    "e10_stale_tempdir": {("leftover-tempdir", "temp-dir-123")},
    "e11_stale_staging": {("leftover-tempdir", "987654321")},
    "e12_incomplete_unreferenced": {("incomplete-layer", "4596df409288")},
    # record and directory of the writable layer are gone; the short link that dangles is related to this, not a second finding
    "e13_container_rw_layer_record_missing": {("container-layer-missing", "334fc6d9fe5c")},
    "e14_zero_length_files": set(),  # needs --contents
    "e15_crosslayer_hardlink_modified": set(),  # needs --contents
    "e16_symlink_added_in_layer": set(),  # needs --contents
    # no container of this image is broken: its writable layer still stands on the right chain
    "e17_image_topl_missing": {("image-layer-missing", "d6bcad253074")},
    "e18_container_image_missing": {("container-image-missing", "2e7379a67dbe")},
    # nothing is said about layers while the file that records them cannot be read
    "e19_layers_json_truncated": {("metadata-unreadable", "overlay-layers/layers.json")},
    # no code says "work directory": it is a part of the writable layer that is gone while its content is not
    "e21_work_missing": {("layer-data-missing", "21813f435e24")},
}

ENGINES: dict[str, Expected] = {
    "cs-podman43-healthy": set(),
    "cs-podman54-healthy": set(),
    "cs-podman43-leaky": {
        ("incomplete-layer", "6792946dcf03"),
        ("unreferenced-layer", "4f7d076c1177"),
        ("external-container", "83955b58a666"),
        ("untagged-image", "d868aeae13a1"),
        ("link-file-empty", "df38d0c0a800"),
        ("unaccounted-layer", "5b46590a31a5"),
        ("short-link-dangling", "DANGLINGAAAA"),
        ("short-link-missing", "abdac6150dcb"),
        ("lower-mismatch", "401440d9a57f"),
        ("unreferenced-layer", "ce77ffdaa2bf"),  # a container lost its record: its layer ...
        ("metadata-leftover", "447e75fed4f9"),  # ... and its directory
        ("layer-missing", "569ad62a61fb"),
    },
}

CONTENTS: dict[str, Expected] = {
    "e14_zero_length_files": {("zero-length-files", "1020241b3e5a")},
    # one file, two names in two layers: writing through one changed both
    "e15_crosslayer_hardlink_modified": {("layer-content-modified", "64a10bfe41e5"), ("layer-content-modified", "227a36e9f040")},
    "e16_symlink_added_in_layer": {("layer-content-modified", "650eff714016")},
}

PLANTED = {
    "incomplete_layer": {"incomplete-layer"},
    "unreferenced_layer": {"unreferenced-layer"},
    "external_container": {"external-container"},
    "untagged_image": {"untagged-image", "link-file-empty"},
    "orphan_dir": {"unaccounted-layer"},
    "dangling_l": {"short-link-dangling"},
    "l_missing": {"short-link-missing"},
    "lower_bad": {"lower-mismatch"},
    "container_without_record": {"metadata-leftover", "unreferenced-layer"},
    "layer_dir_gone": {"layer-missing"},
}


TABLE = Table("containers-storage", "cs-", DAMAGE, ENGINES, contents=CONTENTS)
keys = TABLE.keys


class TestContainersStorage(Suite):
    """Stores of podman 4.3 and 5.4, healthy, leaky, and each with one damage."""

    table = TABLE


def test_the_planted_things_are_the_ones_found(tmp_path: Path) -> None:
    """The table above agrees with what the makers of the leaky store wrote down."""
    need("fixtures")
    report = check(unpack("cs-podman43-leaky", tmp_path), min_age=0)
    truth = json.loads(archive("cs-podman43-leaky").with_name("cs-podman43-leaky.truth.json").read_text(encoding="utf-8"))
    found = report.findings
    for planted in truth["planted"]:
        ids = " ".join(str(value) for key, value in planted.items() if key not in {"leak", "how"}).split()
        for code in PLANTED[planted["leak"]]:
            named = [finding for _, finding in found if finding.code == code]
            assert named, planted
            if planted["leak"] != "dangling_l":  # the truth names no id there
                assert any(identifier in (finding.subject, *finding.related) for finding in named for identifier in ids), planted


def test_young_leaks_are_withheld_and_said_to_be(tmp_path: Path) -> None:
    """On the day the leaky store was made its unreferenced layers may still be part of a pull; the document counts them."""
    need("fixtures")
    clock = FakeClock(LATER - 3 * 86_400 * NANOSECONDS + 3600 * NANOSECONDS)  # 2026-11-24, 9 hours later
    document = run_check([unpack("cs-podman43-leaky", tmp_path)], clock=clock).document()
    assert document["withheld"] == {"count": 2, "codes": {"unreferenced-layer": 2}, "next_due": "2026-11-24T15:58:21.323815Z"}
    assert "unreferenced-layer" not in {finding["code"] for finding in document["findings"]}


def test_nobody_is_sent_into_the_trap(tmp_path: Path) -> None:
    """The layer of the untagged image has an empty link file: deleting the image as it is would erase l/, and the advice says so."""
    need("fixtures")
    report = check(unpack("cs-podman43-leaky", tmp_path))
    (untagged,) = [finding for _, finding in report.findings if finding.code == "untagged-image"]
    assert untagged.advice.startswith("First repair the link file of layer df38d0c0a8007c9d")
    (trap,) = [finding for _, finding in report.findings if finding.code == "link-file-empty"]
    assert "erases all of overlay/l (16 short links)" in trap.advice
    assert "printf %s OLI4EMS474HL7RLMVK3FMJICTN >" in trap.advice


@pytest.mark.parametrize(
    ("name", "code", "file"),
    [
        ("e02_empty_link_mid", "link-file-empty", "link"),
        ("e02b_missing_link_mid", "link-file-missing", "link"),
        ("e03_empty_lower_top", "lower-empty", "lower"),
        ("e03b_missing_lower_top", "lower-missing", "lower"),
        ("e03d_lower_drops_base", "lower-mismatch", "lower"),
    ],
)
def test_the_computed_repair_repairs(name: str, code: str, file: str, tmp_path: Path) -> None:
    """Writing the content that the finding computes heals the store."""
    root = unpack(name, tmp_path)
    ((_, finding),) = check(root).findings
    assert finding.code == code
    content = finding.evidence["short_name"] if file == "link" else finding.evidence["expected"]
    assert content in finding.advice
    (root / "overlay" / finding.subject / file).write_text(content, encoding="ascii")
    assert keys(check(root)) == set()


@pytest.mark.parametrize("name", ["e01_l_all_removed", "e01b_l_dir_removed", "e07c_weird_target_symlink"])
def test_the_computed_short_links_repair(name: str, tmp_path: Path) -> None:
    """Making the short links that the findings compute heals the store."""
    root = unpack(name, tmp_path)
    (root / "overlay" / "l").mkdir(exist_ok=True)
    for _, finding in check(root).findings:
        name_in_l = finding.evidence.get("short_name", finding.subject)
        link = root / "overlay" / "l" / str(name_in_l)
        link.unlink(missing_ok=True)
        link.symlink_to(finding.evidence.get("expected_target") or f"../{finding.related[0]}/diff")
    assert keys(check(root)) == set()
