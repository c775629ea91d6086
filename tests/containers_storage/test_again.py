"""A driver that was here before reads the same as one that was not."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.links import Survey
from collector.safe import open_root
from collector.stores.containers_storage import ContainersStorage
from collector.stores.containers_storage.overlay import read_overlay
from collector.stores.overlay.parts import EVERYTHING
from collector.stores.overlay.standing import RACY_NS, Layers
from linktrail.clock import SystemClock
from tests.containers_storage.made import Made

CLOCK = SystemClock()
STEPS = st.tuples(
    st.sampled_from(
        ["layer", "link", "lower", "same size", "remove", "replace", "swap", "diff", "content", "item", "times", "owner", "read", "settle"]
    ),
    st.integers(0, 4),
)


def said(survey: Survey) -> tuple[Any, Any]:
    """Return what a survey says: links with their facts and owners, and problems."""
    return {key: (link, link.facts, link.owner) for key, link in survey.links.items()}, survey.problems


class Working:
    """A store at work: what engines and containers do to layers, whole and half done."""

    def __init__(self, root: Path) -> None:
        self.made = Made(root)
        chain = self.made.chain(3)
        self.image = self.made.image("registry/image:1", chain[-1])
        self.made.container("c", self.made.layer(chain[-1]), self.image)
        self.made.save()
        self.driver = ContainersStorage()

    def check(self) -> None:
        """Read with both."""
        root = self.made.root
        assert said(self.driver.survey(root, clock=CLOCK)) == said(ContainersStorage().survey(root, clock=CLOCK))

    def step(self, what: str, number: int) -> None:
        """Do one thing to the store or to one layer."""
        made = self.made
        if what == "layer":
            made.layer(made.layers[-1]["id"])
            made.save()
        elif what == "owner":
            made.containers[0]["names"] = [f"c{number}"]
            made.save()
        elif what == "read":
            self.check()
        elif what == "settle":
            time.sleep(RACY_NS / 1e9 + 0.005)
        else:
            directories = sorted(path for path in (made.root / "overlay").iterdir() if path.name != "l")
            self._write(what, number, directories[number % len(directories)])
            self._move(what, directories[number % len(directories)], directories[(number + 1) % len(directories)])

    @staticmethod
    def _write(what: str, number: int, layer: Path) -> None:
        if what in ("link", "lower"):
            (layer / what).write_text("x" * (number * 13))
        elif what == "same size":
            (layer / "link").write_bytes(bytes(65 + number for _ in range(26)))
        elif what == "diff" and not (layer / "diff").is_symlink():
            shutil.rmtree(layer / "diff", ignore_errors=True)
            (layer / "diff").mkdir() if number % 2 else (layer / "diff").symlink_to("/etc")
        elif what == "content" and (layer / "diff").is_dir() and not (layer / "diff").is_symlink():
            (layer / "diff" / str(time.time_ns())).touch()
        elif what == "item":
            (layer / f"work{number}").mkdir(exist_ok=True)
        elif what == "times":
            os.utime(layer, ns=(0, number))

    def _move(self, what: str, layer: Path, other: Path) -> None:
        if what == "remove" and layer != other:
            shutil.rmtree(layer)
        elif what == "replace":
            shutil.copytree(layer, self.made.root / "overlay/new", symlinks=True)
            shutil.rmtree(layer)
            (self.made.root / "overlay/new").rename(layer)
        elif what == "swap" and layer != other:
            layer.rename(self.made.root / "aside")
            other.rename(layer)
            (self.made.root / "aside").rename(other)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=14))
def test_it_reads_what_a_new_one_reads(steps: list[tuple[str, int]]) -> None:
    """Whatever happened between the readings, in the same tick of the clock or long before."""
    with tempfile.TemporaryDirectory() as where:
        working = Working(Path(where) / "store")
        for what, number in steps:
            working.step(what, number)
        working.check()
        working.check()


def test_what_stands_is_not_read_again(tmp_path: Path) -> None:
    """The links of an untouched layer are the very ones of the last time; the file that changed is read."""
    working = Working(tmp_path / "store")
    time.sleep(RACY_NS / 1e9 + 0.02)
    first = working.driver.survey(working.made.root, clock=CLOCK)
    touched = working.made.layers[1]["id"]
    (tmp_path / f"store/overlay/{touched}/link").write_text("Y" * 26)
    second = working.driver.survey(working.made.root, clock=CLOCK)
    same = {key[1] for key, link in second.links.items() if key[2].startswith("overlay/") and first.links.get(key) is link}
    assert same == {layer["id"] for layer in working.made.layers} - {touched}
    assert [link.target for link in second.links.values() if link.path == f"overlay/{touched}/link"] == ["Y" * 26]


def test_what_was_read_in_the_tick_of_its_change_is_not_kept(tmp_path: Path) -> None:
    """A clock that says that the files are of just now keeps nothing."""
    working = Working(tmp_path / "store")
    changed = min(path.lstat().st_ctime_ns for path in (tmp_path / "store/overlay").iterdir())
    layers = Layers(now=lambda: changed + RACY_NS // 2)
    layers.begin()
    with open_root(working.made.root) as root:
        read_overlay(root, (), EVERYTHING, lambda *_: None, layers)
    assert not layers.known
