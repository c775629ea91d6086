"""Reading while the engine writes: what a survey says was true, it ends, and it reads again only what changed."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from collector.links import LinkKind, LinkState, Survey
from collector.safe import Directory
from collector.stores.containers_storage import metadata, overlay
from collector.stores.containers_storage import survey as module
from collector.stores.overlay import layers
from linktrail.errors import StoreUnstableError
from tests.containers_storage.made import Made, layer_id, small, survey, write_json
from tests.needs import need

LAYERS = "overlay-layers/layers.json"


def half_there(found: Survey) -> set[str]:
    """Return the layers of which some is there and some is not, as no store of a healthy engine shows them at any one instant."""
    records = {link.subject: link.state for link in found.of_kind(LinkKind.LAYER_RECORD)}
    whole = {layer for layer, state in records.items() if state is LinkState.PRESENT}
    parents = {link.subject: link.target for link in found.of_kind(LinkKind.PARENT_POINTER)}
    directories = subjects(found, LinkKind.LAYER_DIRECTORY)
    short_linked = {link.layer_id or "" for link in found.of_kind(LinkKind.SHORT_LINK)}
    return {
        *(whole - directories),
        *(directories - set(records)),
        *(whole - subjects(found, LinkKind.LINK_FILE)),
        *((whole & set(parents)) - subjects(found, LinkKind.LOWER_REFERENCE)),
        *(whole - short_linked),
        *(short_linked - directories),
        *(layer for layer, parent in parents.items() if parent not in records),
    }


def subjects(found: Survey, kind: LinkKind) -> set[str]:
    return {link.subject for link in found.of_kind(kind)}


class Engine:
    """Makes and removes layers in the order of the real engine: record first, directory, record whole; and back."""

    def __init__(self, made: Made) -> None:
        """Work on the store of ``made``."""
        self.made = made
        self.records = list(made.layers)
        self._random = random.Random(7)

    def save(self) -> None:
        """Replace layers.json."""
        write_json(self.made.root / LAYERS, self.records)

    def make(self) -> None:
        """Make one layer on one of those there are."""
        made = self.made
        parent = self._random.choice([layer["id"] for layer in self.records if "flags" not in layer])
        before = len(made.layers)
        record: dict[str, Any] = {"id": layer_id(before), "parent": parent, "flags": {"incomplete": True}}
        self.records.append(record)
        self.save()
        assert made.layer(parent) == record["id"]
        self.save()
        del record["flags"]
        self.save()

    def remove(self) -> None:
        """Remove one layer that is no parent."""
        parents = {layer.get("parent") for layer in self.records}
        record = self._random.choice([layer for layer in self.records[4:] if layer["id"] not in parents])
        record["flags"] = {"incomplete": True}
        self.save()
        directory = self.made.root / "overlay" / record["id"]
        (self.made.root / "overlay/l" / (directory / "link").read_text()).unlink()
        for name in ("link", "lower"):
            (directory / name).unlink(missing_ok=True)
        shutil.rmtree(directory)
        self.records.remove(record)
        self.save()


@contextmanager
def writing(step: Callable[[], None]) -> Iterator[list[BaseException]]:
    """Repeat ``step`` without pause in another thread."""
    stop, failed = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            while not stop.is_set():
                step()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failed
    finally:
        stop.set()
        thread.join()


def until_varied(root: Path, states: int) -> list[Survey]:
    """Survey until so many different states of the store were seen, or for twenty seconds; the proof needs a store that changes."""
    found: list[Survey] = []
    seen: set[frozenset[object]] = set()
    deadline = time.monotonic() + 20
    while len(seen) < states and time.monotonic() < deadline:
        found.append(survey(root))
        seen.add(frozenset(found[-1].links))
        time.sleep(0.001)
    assert len(seen) == states, "the writer made no difference: nothing was proved"
    return found


def work_without_pause(root: str, ready: Event, stop: Event) -> None:
    """Make a store and change it until told to stop: the body of a process of its own."""
    made = small(Path(root))
    made.chain(30)
    made.save()
    engine = Engine(made)
    while not stop.is_set():
        engine.make()
        if len(engine.records) > 40:
            engine.remove()
        ready.set()


def test_surveys_under_a_writer_without_pause_agree_with_themselves(tmp_path: Path) -> None:
    """Layers come and go all the time; no survey shows one that is half there, and every survey ends."""
    processes = multiprocessing.get_context("spawn")
    ready, stop = processes.Event(), processes.Event()
    writer = processes.Process(target=work_without_pause, args=(str(tmp_path / "s"), ready, stop))
    writer.start()
    try:
        assert ready.wait(30)
        surveys = until_varied(tmp_path / "s", 60)
    finally:
        stop.set()
        writer.join(30)
    assert writer.exitcode == 0
    assert [half_there(found) for found in surveys if half_there(found)] == []
    assert {found.problems for found in surveys} == {()}


def test_a_real_engine_at_work(tmp_path: Path) -> None:
    """The same with containers-storage itself making and deleting layers."""
    need("root", "containers-storage")
    graph = tmp_path / "graph"
    command = ["containers-storage", "--graph", str(graph), "--run", str(tmp_path / "run"), "--storage-driver", "overlay"]

    def run(*arguments: str) -> str:
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=60).stdout.split("\n")[0]

    try:
        base = run("create-layer")
        layers: list[str] = []

        def step() -> None:
            layers.append(run("create-layer", base))
            if len(layers) > 4:
                run("delete-layer", layers.pop(0))

        with writing(step) as failed:
            surveys = until_varied(graph, 20)
        assert failed == []
        assert [half_there(found) for found in surveys if half_there(found)] == []
    finally:
        subprocess.run(["umount", str(graph / "overlay")], check=False, capture_output=True)


def counted(monkeypatch: pytest.MonkeyPatch, after: Callable[[int], None]) -> list[str]:
    """Call ``after(round)`` once the directories of a round are read, and return the layers read, in order, as they are read."""
    read: list[str] = []
    real_layer, real_parts, rounds = layers.read_layer, module._read_parts, iter(range(1000))

    def read_layer(layout: layers.Layout, layer: Any, name: str, path: str) -> Any:
        read.append(name)
        return real_layer(layout, layer, name, path)

    def read_parts(*arguments: Any) -> Any:
        parts = real_parts(*arguments)
        after(next(rounds))
        return parts

    monkeypatch.setattr(overlay, "read_layer", read_layer)
    monkeypatch.setattr(module, "_read_parts", read_parts)
    return read


def test_a_layer_made_between_the_reads_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made after the directories were read: it is read too, and nothing else is read twice."""
    made = small(tmp_path / "s")
    engine = Engine(made)
    read = counted(monkeypatch, lambda number: engine.make() if number == 0 else None)
    found = survey(made.root)
    assert half_there(found) == set()
    assert layer_id(4) in {link.subject for link in found.of_kind(LinkKind.LAYER_DIRECTORY)}
    assert sorted(read) == sorted(layer_id(number) for number in range(5))


def test_a_layer_removed_between_the_reads_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed after the directories were read: record, directory and short link are gone together."""
    made = small(tmp_path / "s")
    engine = Engine(made)
    engine.make()
    counted(monkeypatch, lambda number: engine.remove() if number == 0 else None)
    found = survey(made.root)
    assert not [link for link in found.links.values() if link.layer_id == layer_id(4) and link.kind is not LinkKind.DATA_FILE]


def test_a_file_rewritten_with_the_same_content_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that rewrites what it has, without end, holds nobody up, also on a store with damage in it."""
    made = small(tmp_path / "s")
    doubtful = made.root / "overlay" / ("f" * 64)
    doubtful.mkdir()
    made.layers.append({"id": "e" * 64})
    made.save()

    def rewrite(number: int) -> None:
        del number  # every round alike
        made.save()
        doubtful.touch()  # else what was read of it may stand, where it was made long enough before (``overlay.standing``)

    read = counted(monkeypatch, rewrite)
    found = survey(made.root)
    assert half_there(found) == {"e" * 64, "f" * 64}
    assert sorted(set(read)) == sorted([*(layer_id(number) for number in range(4)), "f" * 64])
    assert len(read) == 6, "only the doubtful directory is read twice"


def test_damage_beside_a_steady_writer_is_still_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose directory is gone for good stays a finding to make while others come and go."""
    made = small(tmp_path / "s")
    shutil.rmtree(made.root / "overlay" / layer_id(1))
    engine = Engine(made)
    counted(monkeypatch, lambda number: engine.make())  # noqa: ARG005 - every round alike
    assert half_there(survey(made.root)) == {layer_id(1)}


def test_fresh_contradictions_without_end_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that change in every round and never agree with the disk: refused, with the number of attempts; no half truth."""
    made = small(tmp_path / "s")

    def lie(number: int) -> None:
        made.layers.append({"id": f"{number:064x}"})
        made.save()

    counted(monkeypatch, lie)
    with pytest.raises(StoreUnstableError, match=str(module.ROUNDS + 1)):
        survey(made.root)


def test_an_image_added_between_the_reads_has_its_layer_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image list is read after the layer list: an image that came in between brings its layers with it."""
    made = small(tmp_path / "s")
    real = metadata._read_file

    def read_file(root: Any, path: str, *others: Any) -> Any:
        if path == "overlay-images/images.json" and len(made.images) == 1:
            image = made.image("new:1", made.layer(), **{"big-data-names": ["manifest"], "big-data-sizes": {"manifest": 1}})
            (made.root / "overlay-images" / image).mkdir()
            (made.root / "overlay-images" / image / "manifest").write_text("x")
            made.save()
        return real(root, path, *others)

    monkeypatch.setattr(metadata, "_read_file", read_file)
    found = survey(made.root)
    records = {link.subject for link in found.of_kind(LinkKind.LAYER_RECORD)}
    assert {link.target for link in found.of_kind(LinkKind.IMAGE_LAYER)} <= records
    assert half_there(found) == set()
    assert {link.target for link in found.of_kind(LinkKind.DATA_FILE)} >= {"manifest"}


@pytest.mark.parametrize("victim", ["layer", "link", "short link", "image", "overlay"])
def test_what_vanishes_between_listing_and_reading_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str) -> None:
    """A name that was listed and is gone when it is opened has vanished: no error, no problem, no link."""
    made = small(tmp_path / "s")
    layer = made.root / "overlay" / layer_id(2)
    (made.root / "overlay-images" / made.images[0]["id"]).mkdir()
    target = {
        "layer": layer,
        "link": layer / "link",
        "short link": made.root / "overlay/l" / (layer / "link").read_text(),
        "image": made.root / "overlay-images" / made.images[0]["id"],
        "overlay": made.root / "overlay",
    }[victim]
    real = Directory.entries

    def entries(self: Any, *limit: int) -> Any:
        listing = real(self, *limit)
        if any(entry.name == target.name for entry in listing.entries) and (target.exists() or target.is_symlink()):
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink()
        return listing

    monkeypatch.setattr(Directory, "entries", entries)
    if victim == "overlay":
        shutil.rmtree(target)
    found = survey(made.root)
    assert found.problems == ()
    assert not [link for link in found.links.values() if link.path == str(target.relative_to(made.root))]
