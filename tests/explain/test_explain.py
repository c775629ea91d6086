from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from collector.check import run_check
from collector.explain import explain, find_messages
from linktrail.command import main
from linktrail.testing.clock import FakeClock
from tests.needs import need
from tests.stores import archived, unpack


def look(root: Path, text: str, **options: Any) -> dict[str, Any]:
    """Explain one message beside the store at ``root``."""
    report = run_check([root], min_age=0, clock=FakeClock(), configurations=(), **options)
    (explanation,) = explain(find_messages(text), report)
    return explanation.document()


def test_the_damage_is_found_on_what_the_message_names(tmp_path: Path) -> None:
    """E06: the number in the path is the snapshot, its layer is named with its images, and the finding is the one about it."""
    need("fixtures")
    root = unpack("containerd/02-committed-snapshot-dir-removed", tmp_path)
    place = f"{root}/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs"
    document = look(root, f"failed to prepare snapshot: failed to stat parent: stat {place}: no such file or directory: unknown")
    assert document["verdict"] == "named"
    (finding,) = document["findings"]
    assert finding["code"] == "layer-missing"
    (named,) = document["named"]
    assert (named["id"], named["kind"], named["subject"]) == ("1", "layer", finding["subject"])
    assert document["confirm"][0].startswith(f"ls {root}/io.containerd.snapshotter")


@pytest.mark.parametrize(
    ("fixture", "text", "code"),
    [
        ("e03_empty_lower_top", "readlink /var/lib/containers/storage/overlay: invalid argument", "lower-empty"),
        ("e01_l_all_removed", "readlink /s/overlay/l/AAAAAAAAAAAAAAAAAAAAAAAAAA: no such file or directory", "short-link-missing"),
        ("e17_image_topl_missing", "Error: top layer X not found in layer tree", "image-layer-missing"),
        ("e12_incomplete_unreferenced", 'Found incomplete layer "x", deleting it', "incomplete-layer"),
        ("e10_stale_tempdir", "error removing stale temp dir /s/overlay/tempdirs/temp-dir-123: directory not empty", "leftover-tempdir"),
        ("e09_orphan_driver_dir", "layer in lower level storage driver not accounted for", "unaccounted-layer"),
        ("e04b_layer_dir_removed_mid", "faccessat /s/overlay/abc: no such file or directory", "layer-missing"),
    ],
)
def test_the_message_of_a_real_damage_leads_to_it(fixture: str, text: str, code: str, tmp_path: Path) -> None:
    """What the engine says about a damaged store is explained by the damage that is there."""
    if not archived(fixture):
        need("fixtures")
    document = look(unpack(fixture, tmp_path), text)
    assert document["verdict"] in {"present", "named"}
    assert {finding["code"] for finding in document["findings"]} == {code}


@pytest.mark.parametrize(
    ("fixture", "text", "codes"),
    [
        (
            "docker/01-empty-link-parent-child-lower-is-l",
            "readlink /var/lib/docker/overlay2/l: invalid argument",
            {"link-file-empty", "lower-malformed"},
        ),
        ("docker/03-missing-l-symlink", "error creating overlay mount to /x/merged: no such file or directory", {"short-link-missing"}),
        ("docker/06-layerdb-empty-dir", "failed to register layer: rename /a /b: file exists", {"metadata-leftover"}),
        ("docker/08-layer-dir-removed-record-left", "lstat /var/lib/docker/overlay2/x: no such file or directory", {"layer-missing"}),
    ],
)
def test_the_message_of_a_real_damage_in_docker_leads_to_it(fixture: str, text: str, codes: set[str], tmp_path: Path) -> None:
    """The same for dockerd, whose damages have more than one finding where one made another."""
    need("root")  # some directories of these stores have no permission at all
    if not archived(fixture):
        need("fixtures")
    document = look(unpack(fixture, tmp_path), text)
    assert document["verdict"] in {"present", "named"}
    assert {finding["code"] for finding in document["findings"]} <= codes


def test_ids_are_found_by_their_beginning(tmp_path: Path) -> None:
    """A short name, and the first characters of layers, images and containers, stand for what they belong to."""
    if not archived("e00_healthy"):
        need("fixtures")
    root = unpack("e00_healthy", tmp_path)
    text = "NHOTDDVUOWZXJSMNOU7SSUY6DZ f7dea603bef7 92ac6579cf98202d 67f8f2e994cf5329aa6e ffffffffffff: layer not known"
    document = look(root, text)
    assert document["verdict"] == "absent"
    assert [(named["kind"], named["subject"][:12]) for named in document["named"]] == [
        ("layer", "ee2e9d6f264a"),
        ("layer", "f7dea603bef7"),
        ("image", "92ac6579cf98"),
        ("container", "67f8f2e994cf"),
    ]


def test_damage_in_contents_is_asked_for(tmp_path: Path) -> None:
    """B06: without a look into the files the answer is that one is needed."""
    if not archived("e14_zero_length_files"):
        need("fixtures")
    root = unpack("e14_zero_length_files", tmp_path)
    assert look(root, "exec /bin/sh: exec format error")["verdict"] == "needs contents"
    document = look(root, "exec /bin/sh: exec format error", contents=True)
    assert (document["verdict"], document["findings"][0]["code"]) == ("present", "zero-length-files")


def test_the_verb_reads_a_log_and_prints_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines that hold no message are counted; bytes that are no text and escapes for a terminal do no harm."""
    if not archived("e03_empty_lower_top"):
        need("fixtures")
    root = unpack("e03_empty_lower_top", tmp_path)
    log = b"all is well\n\xff\xfe\x1b[31mreadlink /x/overlay: invalid argument\n\nlayer not known\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log)))
    assert main(["explain", "-", "--root", str(root), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(message["message"], message["verdict"]) for message in document["messages"]] == [
        ("readlink-of-home", "present"),
        ("layer-not-known", "absent"),
    ]
    assert document["unexplained_lines"] == 1
    assert [store["root"] for store in document["stores"]] == [str(root)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log)))
    assert main(["explain", "-", "--root", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "lower-empty" in shown
    assert "1 other line(s) hold no message" in shown


def test_unknown_text_is_an_error_with_a_way_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and the hint names the check."""
    assert main(["explain", "everything is fine", "--no-check", "--json"]) == 1
    error = json.loads(capsys.readouterr().err)
    assert error["error"] == "UnknownMessageError"
    assert "linktrail check" in error["hint"]


def test_no_store_where_one_was_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A root that is no store is an error, not an answer."""
    assert main(["explain", "layer not known", "--root", str(tmp_path)]) == 10
    assert "No container store" in capsys.readouterr().err


def test_without_a_store_the_meaning_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """--no-check looks nowhere."""
    assert main(["explain", "cannot remove snapshot with child: failed precondition", "--no-check"]) == 0
    shown = capsys.readouterr().out
    assert "phantom-child" in shown
    assert "No store was checked." in shown
