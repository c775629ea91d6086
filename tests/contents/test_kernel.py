"""Merging and resolving against the kernel itself: random layers, mounted with overlayfs, links followed inside a chroot."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from collector.contents.merged import Chain, Outcome
from collector.contents.path import LayerFiles, steps_of, view
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


def ask(layers: list[Path], where: Path, **question: list[str]) -> dict[str, object]:
    """Put a question to the kernel; ``where`` is made."""
    where.mkdir()
    text = json.dumps({"lowers": [str(layer) for layer in layers], "where": str(where), **question})
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, str(Path(__file__).with_name("kernel.py"))]
    answer = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, object] = json.loads(answer.stdout)
    return found


def seen(layers: list[Path], paths: list[str]) -> dict[str, object]:
    """Return what ``view`` says of paths in a chain."""
    with ExitStack() as opened:
        chain = [LayerFiles(opened.enter_context(open_root(layer.parent)), (layer.name,)) for layer in layers]
        return {path: view(chain, steps_of(path)).kind for path in paths}


@pytest.mark.parametrize("seed", range(LOOPS))
def test_paths_are_what_the_kernel_says(seed: int, tmp_path: Path) -> None:
    """Any path of up to four names, through links, hidden, or nowhere, is in our view what the kernel finds in the merged directory."""
    need("root")
    chance = random.Random(1000 + seed)
    layers = [tmp_path / f"layer{number}" for number in range(4)]
    for layer in layers:
        layer.mkdir()
        grow(layer, chance)
    paths = sorted({"/".join(chance.choices(NAMES, k=chance.randint(1, 4))) for _ in range(150)})
    assert seen(layers, paths) == ask(layers, tmp_path / "merged", paths=paths)


def test_links_on_the_way_to_a_path_have_the_kernels_limit(tmp_path: Path) -> None:
    """Forty links on the way are followed."""
    need("root")
    layers = [tmp_path / "one", tmp_path / "two"]
    for layer in layers:
        layer.mkdir()
    (layers[0] / "d0/file").mkdir(parents=True)
    for number in range(1, 43):
        (layers[0] / f"d{number}").symlink_to(f"d{number - 1}")
    paths = [f"d{number}/file" for number in range(43)]
    ours = seen(layers, paths)
    assert ours == ask(layers, tmp_path / "merged", paths=paths)
    assert (ours["d40/file"], ours["d41/file"]) == ("directory", "loop")


@pytest.mark.parametrize("seed", range(LOOPS))
def test_links_lead_where_the_kernel_says(seed: int, tmp_path: Path) -> None:
    """Every link that is seen in the merged directory is seen by us, and leads somewhere exactly when the kernel says so."""
    need("root")
    chance = random.Random(seed)
    layers = [tmp_path / f"layer{number}" for number in range(4)]
    for layer in layers:
        layer.mkdir()
        grow(layer, chance)
    kernel = ask(layers, tmp_path / "merged", links=sorted(paths_of_links(layers)))
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
    kernel = ask([layers[0], other], tmp_path / "merged", links=[f"l{number}" for number in range(1, 43)])
    with open_root(layers[0]) as opened:
        chain = Chain([read_tree(opened, lambda *_: None).top])
    ours = {"/".join(path): chain.resolve(path, target).outcome is Outcome.THERE for path, target, _ in chain.links()}
    assert ours == kernel
    assert ours["l40"]
    assert not ours["l41"]
