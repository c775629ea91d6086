from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector.check import run_check
from linktrail.testing.clock import FakeClock
from tests.needs import need
from tests.stores import archived, unpack


def look(root: Path) -> list[dict[str, Any]]:
    """Return the findings of ``check --contents``."""
    report = run_check([root], contents=True, min_age=0, clock=FakeClock(), configurations=())
    found: list[dict[str, Any]] = report.document()["findings"]
    return found


def layer_file(root: Path, name: str) -> tuple[str, Path]:
    """Return the layer that holds ``name`` (one of the fixtures' own directories), and the path."""
    (path,) = root.glob(f"overlay/*/diff/{name}")
    return path.relative_to(root).parts[1], path


def retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("file2")  # as long as the target before


def rewrite(path: Path) -> None:
    path.write_bytes(b"!" * path.stat().st_size)


def replace_with_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("name", ["e00_healthy", "cs-podman43-healthy", "cs-podman54-healthy"])
def test_healthy_stores_are_silent(name: str, tmp_path: Path) -> None:
    """Whiteouts, hard links, absolute, broken and escaping links of an image are as the image brought them."""
    if not archived(name):
        need("fixtures")
    assert look(unpack(name, tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "damage", "code"),
    [
        ("middir/rel", retarget, "layer-symlink-retargeted"),
        ("middir/file1", rewrite, "layer-content-digest"),
        ("middir/file1", replace_with_link, "layer-content-modified"),
        ("middir/hard", Path.unlink, "layer-content-modified"),
    ],
)
def test_one_change_is_named(name: str, damage: Callable[[Path], None], code: str, tmp_path: Path) -> None:
    """A link that points elsewhere, other bytes of the same size, another type, a missing name: each has its code and its layer."""
    root = unpack("e00_healthy", tmp_path)
    layer, path = layer_file(root, name)
    damage(path)
    assert [(finding["code"], finding["subject"]) for finding in look(root)] == [(code, layer)]


@pytest.mark.parametrize(
    ("fixture", "name", "code"),
    [
        ("e14_zero_length_files", "middir/file1", "zero-length-files"),
        ("e15_crosslayer_hardlink_modified", "basedir/file1", "layer-content-modified"),
        ("e16_symlink_added_in_layer", "topdir/newlink", "layer-content-modified"),
    ],
)
def test_real_damage_is_named(fixture: str, name: str, code: str, tmp_path: Path) -> None:
    """What the engines' own check passes over."""
    root = unpack(fixture, tmp_path)
    layer, _ = layer_file(root, name)
    assert (code, layer) in [(finding["code"], finding["subject"]) for finding in look(root)]


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip at all",
        gzip.compress(b"no json\n"),
        gzip.compress(b'{"type": 2, "payload": "%%%"}\n'),
        gzip.compress(b"[]\n"),
        gzip.compress(json.dumps({"type": 1, "name": "x", "size": -1}).encode()),
        gzip.compress(b'{"type": 2, "payload": "' + b"A" * 40_000 + b'"}\n')[:60],
    ],
    ids=["no gzip", "no json", "no base64", "no object", "negative size", "truncated"],
)
def test_a_damaged_tar_split_is_one_finding(content: bytes, tmp_path: Path) -> None:
    """Garbage where the record should be is named as that, and the other layers are still compared."""
    root = unpack("e14_zero_length_files", tmp_path)
    layer, _ = layer_file(root, "topdir/file1")
    (root / "overlay-layers" / f"{layer}.tar-split.gz").write_bytes(content)
    found = {(finding["code"], finding["subject"]) for finding in look(root)}
    emptied, _ = layer_file(root, "middir/file1")
    assert ("layer-data-missing", layer) in found
    assert ("zero-length-files", emptied) in found


def test_a_huge_stated_size_costs_nothing(tmp_path: Path) -> None:
    """A record that claims an exabyte file is answered at once: sizes are compared, never made up."""
    root = unpack("e00_healthy", tmp_path)
    layer, _ = layer_file(root, "topdir/file1")
    split = root / "overlay-layers" / f"{layer}.tar-split.gz"
    lines = [json.loads(line) for line in gzip.decompress(split.read_bytes()).splitlines()]
    for line in lines:
        if line.get("size") and line["type"] == 1:
            line["size"] = 1 << 60
    split.write_bytes(gzip.compress("\n".join(json.dumps(line) for line in lines).encode()))
    assert {finding["subject"] for finding in look(root)} == {layer}
