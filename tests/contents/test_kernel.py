"""Merging and resolving against the kernel itself: random layers, mounted with overlayfs, links followed inside a chroot."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from collector.contents.merged import Chain, Outcome
from collector.contents.tree import read_tree
from collector.safe import open_root
from tests.contents.scene import whiteout
from tests.needs import need

NAMES = ("a", "b", "c", "d")
TARGETS = ("a", "b/c", "../a", "/a/b", "../../../c", "d", "/d", "./b/../c", "../b/./d/", "/", "..", "a/../../b", "nowhere", "b/")
LOOPS = 20


def grow(place: Path, chance: random.Random, depth: int = 0) -> None:
    """Fill a directory of one layer."""
    for name in chance.sample(NAMES, chance.randint(1, 4)):
        here = place / name
        kind = chance.choice(["directory"] * 3 + ["link"] * 3 + ["file", "whiteout"])
        if kind == "directory" and depth < 3:
            here.mkdir()
            grow(here, chance, depth + 1)
            if chance.random() < 0.2:
                os.setxattr(here, "trusted.overlay.opaque", b"y")
        elif kind == "link":
            here.symlink_to(chance.choice(TARGETS))
        elif kind == "whiteout":
            whiteout(here)
        else:
            here.touch()


def paths_of_links(layers: list[Path]) -> set[str]:
    """Return the path of every link in any layer."""
    return {str(path.relative_to(layer)) for layer in layers for path in layer.rglob("*") if path.is_symlink()}


@pytest.mark.parametrize("seed", range(LOOPS))
def test_links_lead_where_the_kernel_says(seed: int, tmp_path: Path) -> None:
    """Every link that is seen in the merged directory is seen by us, and leads somewhere exactly when the kernel says so."""
    need("root")
    chance = random.Random(seed)
    layers = [tmp_path / f"layer{number}" for number in range(4)]
    for layer in layers:
        layer.mkdir()
        grow(layer, chance)
    where = tmp_path / "merged"
    where.mkdir()
    question = {"lowers": [str(layer) for layer in layers], "where": str(where), "links": sorted(paths_of_links(layers))}
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, str(Path(__file__).with_name("kernel.py"))]
    answer = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=True, timeout=60)
    kernel: dict[str, bool] = json.loads(answer.stdout)
    tops = []
    for layer in layers:
        with open_root(layer) as opened:
            tops.append(read_tree(opened, lambda *_: None).top)
    chain = Chain(tops)
    ours = {"/".join(path): chain.resolve(path, target).outcome is Outcome.THERE for path, target, _ in chain.links()}
    assert ours == kernel


def test_the_limit_of_links_is_the_kernels(tmp_path: Path) -> None:
    """Forty links are followed, forty-one are a loop."""
    need("root")
    layers = [tmp_path / "one"]
    layers[0].mkdir()
    (layers[0] / "l0").touch()
    for number in range(1, 43):
        (layers[0] / f"l{number}").symlink_to(f"l{number - 1}")
    other = tmp_path / "two"
    other.mkdir()
    where = tmp_path / "merged"
    where.mkdir()
    question = {"lowers": [str(layers[0]), str(other)], "where": str(where), "links": [f"l{number}" for number in range(1, 43)]}
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, str(Path(__file__).with_name("kernel.py"))]
    answer = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=True, timeout=60)
    with open_root(layers[0]) as opened:
        chain = Chain([read_tree(opened, lambda *_: None).top])
    ours = {"/".join(path): chain.resolve(path, target).outcome is Outcome.THERE for path, target, _ in chain.links()}
    assert ours == json.loads(answer.stdout)
    assert ours["l40"]
    assert not ours["l41"]
