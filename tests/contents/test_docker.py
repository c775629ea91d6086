from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contents.scene import codes, look
from tests.needs import need
from tests.stores import archived, unpack


def healthy(where: Path) -> Path:
    """Unpack the healthy fixture and return its root; its directories without any permission need root to be filled."""
    need("root")
    if not archived("docker/00-healthy"):
        need("fixtures")
    return unpack("docker/00-healthy", where)


def layer_with(root: Path, name: str) -> Path:
    """Return the directory of the layer that holds ``name``."""
    (path,) = [path for path in root.glob("overlay2/*/diff") if os.path.lexists(path / name)]
    return path


def empty(diff: Path) -> None:
    os.truncate(diff / "app/f", 0)


def swap(diff: Path) -> None:
    (diff / "app/f").write_bytes(b"!" * (diff / "app/f").stat().st_size)


def retarget(diff: Path) -> None:
    (diff / "abs").unlink()
    (diff / "abs").symlink_to("/app/hard")


def lose(diff: Path) -> None:
    (diff / "app/f").unlink()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (empty, {("zero-length-files", "app/f")}),
        (swap, {("layer-content-digest", "app/f")}),
        (retarget, {("layer-symlink-retargeted", "abs")}),
        (lose, {("layer-content-modified", "app/f"), ("dangling-symlink", "abs")}),
    ],
)
def test_damage_is_named_as_elsewhere(damage: Callable[[Path], None], expected: set[tuple[str, str]], tmp_path: Path) -> None:
    """Docker keeps the tar-split of each layer in layerdb: the same comparison holds."""
    root = healthy(tmp_path)
    assert look(root) == []
    damage(layer_with(root, "app"))
    assert codes(root) == expected


def test_what_was_shipped_broken_is_named_only_when_asked(tmp_path: Path) -> None:
    """The image has a dangling and a climbing link; mtab of the init layer leads into /proc and is fine."""
    root = healthy(tmp_path)
    found = {(finding["code"], link["path"]) for finding in look(root, all_links=True) for link in finding["evidence"]["links"]}
    assert found == {("dangling-symlink", "app/broken"), ("dangling-symlink", "app/escape"), ("escaping-symlink", "app/escape")}


def test_a_container_that_climbs_out(tmp_path: Path) -> None:
    """The writable layer is named by its mount id; the layers below it are the init layer and the image's."""
    root = healthy(tmp_path)
    (mount, *_) = sorted(path.read_text(encoding="ascii") for path in root.glob("image/overlay2/layerdb/mounts/*/mount-id"))
    (root / "overlay2" / mount / "diff/trap").symlink_to("../etc/shadow")
    (finding,) = look(root)
    assert (finding["code"], finding["severity"], finding["subject"]) == ("escaping-symlink", "info", mount)


def test_a_damaged_tar_split_accuses_itself(tmp_path: Path) -> None:
    """No layer is accused by a record that is garbage."""
    root = healthy(tmp_path)
    (split,) = root.glob("image/overlay2/layerdb/sha256/*/tar-split.json.gz")
    split.write_bytes(gzip.compress(b"{}\n"))
    assert [finding["code"] for finding in look(root)] == ["layer-data-missing"]
