"""A live podman is recorded as it was: every link once, in intervals that hold the true times, and told in the end."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from linktrail.clock import iso
from tests.live.podman import Done, Killed, Podman, ids_of, layer_tar, own_directory, programs, write_image
from tests.live.recording import Recorded, Recording, recording
from tests.live.truth import agrees, expected_plumbing, file_times, plumbing, short_link_told, told_twice
from tests.needs import need

GROW = "dd if=/dev/zero of=/grown bs=1024 count=3000 2>/dev/null; sleep 1000"
WIDEST_NS = 5_000_000_000


@pytest.fixture
def podman() -> Iterator[Podman]:
    """A podman with an empty store of its own."""
    need("podman", "containers-storage")
    with own_directory() as home:
        engine = Podman(home)
        engine.run("info")
        try:
            yield engine
        finally:
            engine.stop_all()


def app_layers() -> list[bytes]:
    """Three layers: programs, configuration, data."""
    return [layer_tar(programs("sh", "sleep", "dd")), layer_tar({"etc/app": b"x" * 1000}), layer_tar({"data/y": b"z" * 2000})]


def happened(row: Recorded, done: Done) -> None:
    """Assert that what ``row`` tells may have happened while the command ran, and not much earlier or later."""
    assert row.meets(done.before, done.after), (row, done)
    assert row.origin == "watch" or row.before - (row.after or 0) < WIDEST_NS, row
    assert row.before - (row.after or 0) < WIDEST_NS + done.after - done.before, row


def of(rows: list[Recorded], action: str, subject: str, kind: str = "") -> list[Recorded]:
    """Return the rows of one action about ``subject`` (a layer, image or container id, or a name); mounts come and go at other times."""
    about = (row for row in rows if subject in (row.subject, row.layer_id) and kind in ("", row.link_kind))
    return [row for row in about if row.action == action and row.link_kind != "mount"]


def layer_of(podman: Podman, kind: str, name: str) -> tuple[str, str]:
    """Return the top layer of an image or container, as podman says it, and the name of its short link."""
    [inspected] = podman.told(kind, "inspect", name)
    layer = Path(inspected["GraphDriver"]["Data"]["UpperDir"]).parent
    return layer.name, (layer / "link").read_text(encoding="ascii")


def test_the_life_of_containers(podman: Podman) -> None:
    """Load, create, start, write, stop, commit, tag, remove: what is recorded is what happened, when it did, and nothing is wrong."""
    layers = app_layers()
    base, middle, top = ids_of(layers)
    image = write_image(podman.home / "app.tar", "localhost/app:1", layers)
    with recording(podman.root, podman.home / "state") as recorder:
        loaded = podman.load(podman.home / "app.tar")
        created = podman.create("localhost/app:1", "first", "/bin/sh", "-c", GROW)
        first = created.output
        first_layer, _ = layer_of(podman, "container", "first")
        podman.run("start", "first")
        podman.create("localhost/app:1", "second")
        podman.run("start", "second")
        podman.run("stop", "--time", "0", "first")
        committed = podman.run("commit", "--quiet", "first", "localhost/committed:1")
        tagged = podman.run("tag", "localhost/app:1", "localhost/app:stable")
        committed_layer, short = layer_of(podman, "image", "localhost/committed:1")
        removed = podman.run("rm", "first")
        true_times = file_times(podman.root)
        gone = podman.run("rmi", "localhost/committed:1")
        podman.run("stop", "--time", "0", "second")
        recorder.wait_for("FROM links WHERE action = 'removed' AND link_kind = 'layer_record' AND subject = $layer", layer=committed_layer)
        recorder.stop()
        rows = recorder.links()
        agrees(rows, podman)
        assert told_twice(rows) == []
        assert recorder.gaps() == []
        assert recorder.query("SELECT code, subject FROM findings") == []

    both = ("created", "removed")
    assert plumbing(rows, base) == expected_plumbing("created", base=True)
    assert plumbing(rows, middle) == plumbing(rows, top) == expected_plumbing("created")
    assert plumbing(rows, first_layer) == expected_plumbing(*both, image=False)
    assert plumbing(rows, committed_layer) == expected_plumbing(
        *both, linked=short_link_told(rows, short, committed_layer, committed, gone)
    )
    for layer, step in ((base, loaded), (middle, loaded), (top, loaded), (first_layer, created), (committed_layer, committed)):
        for row in of(rows, "created", layer):
            happened(row, step)
    for subject, step in ((first_layer, removed), (committed_layer, gone), (first, removed), (committed.output, gone)):
        assert of(rows, "removed", subject)
        for row in of(rows, "removed", subject):
            happened(row, step)
    [record] = of(rows, "created", image, "image_record")
    happened(record, loaded)
    [name] = of(rows, "created", "localhost/app:stable", "image_name")
    happened(name, tagged)
    assert name.target == image
    [owned] = of(rows, "created", first, "container_layer")
    assert (owned.target, owned.container_name) == (first_layer, "first")

    checked = 0
    for row in rows:
        written = true_times.get((row.link_kind, row.file_path))
        if written is not None and row.action == "created":
            assert row.holds(written), (row, written)
            checked += 1
    assert checked == len(true_times) > 15


def test_a_load_killed_in_the_middle(podman: Podman) -> None:
    """The unfinished layer is known before podman deletes the evidence; what podman never tells about stays a finding."""
    layers = app_layers()
    write_image(podman.home / "app.tar", "localhost/app:1", layers)
    noise = random.Random(1)
    big = [layers[0], layer_tar({"etc/big": b"1"}), layer_tar({f"file-{number}": noise.randbytes(16384) for number in range(3000)})]
    write_image(podman.home / "big.tar", "localhost/big:1", big)
    _, finished, unfinished = ids_of(big)
    podman.load(podman.home / "app.tar")
    with recording(podman.root, podman.home / "state", "--min-age", "2s") as recorder:
        with podman.load_stopped_in(podman.home / "big.tar", unfinished, files=50) as kill:
            recorder.wait_for("FROM links WHERE link_kind = 'layer_record' AND link_state = 'incomplete' AND subject = $l", l=unfinished)
            killed = kill()
        opened = "SELECT *, epoch_ns(since_after) AS a, epoch_ns(since_before) AS b FROM findings WHERE action = 'opened' AND subject = $l"
        [incomplete] = recorder.wait_for(opened, l=unfinished)
        [unreferenced] = recorder.wait_for(opened, l=finished)
        assert (incomplete["code"], unreferenced["code"]) == ("incomplete-layer", "unreferenced-layer")
        assert incomplete["a"] <= killed.stopped
        assert incomplete["b"] >= killed.before
        [sized] = recorder.wait_for("SELECT bytes FROM findings WHERE subject = $l AND bytes IS NOT NULL LIMIT 1", l=unfinished)
        assert 0 < sized["bytes"] < 3000 * 16384  # as last measured, perhaps while it was still being filled

        looked = podman.run("images", "--all", "--no-trunc", "--format", "{{.Names}}")
        assert looked.output == "[localhost/app:1]"
        recorder.wait_for("FROM findings WHERE action = 'closed' AND subject = $l", l=unfinished)
        recorder.stop()
        rows = recorder.links()
        agrees(rows, podman)
        assert told_twice(rows) == []
        assert [row["code"] for row in recorder.query("FROM leaks")] == ["unreferenced-layer"]
        story(recorder, unfinished, finished, killed, looked)

    assert plumbing(rows, finished) == expected_plumbing("created")
    assert plumbing(rows, unfinished) == expected_plumbing("created", "removed", image=False)
    for row in of(rows, "removed", unfinished):
        happened(row, looked)
    [record] = of(rows, "created", unfinished, "layer_record")
    assert record.link_state == "incomplete"
    assert record.meets(killed.before, killed.stopped)


def story(recorder: Recording, unfinished: str, finished: str, killed: Killed, looked: Done) -> None:
    """Ask the commands that people use, in the end and about the past."""
    [leak] = recorder.linktrail("findings")["rows"]
    assert (leak["code"], leak["subject"]) == ("unreferenced-layer", finished)
    assert leak["since_after"] <= iso_text(killed.stopped)
    assert leak["since_before"] >= iso_text(killed.before)

    before_the_look = recorder.linktrail("findings", "--at", iso_text(looked.before))["rows"]
    assert {(row["code"], row["subject"]) for row in before_the_look} == {
        ("incomplete-layer", unfinished),
        ("unreferenced-layer", finished),
    }

    life = recorder.linktrail("timeline", unfinished[:12])
    said = [row["happened"] for row in life["rows"]]
    first = next(row for row in life["rows"] if row["kind"] == "layer_record")
    assert (first["action"], first["state"]) == ("created", "incomplete")
    assert sum("finding incomplete-layer" in text and "opened" in text for text in said) == 1
    [closed] = [row for row in life["rows"] if row["about"] == "finding" and row["action"] == "closed"]
    assert closed["after"] <= iso_text(looked.after)
    assert closed["before"] >= iso_text(looked.before)
    removed = next(row for row in life["rows"] if row["kind"] == "layer_directory" and row["action"] == "removed")
    assert iso_text(looked.before) <= removed["before"]
    assert removed["after"] <= iso_text(looked.after)

    counted = recorder.linktrail(
        "sql", "SELECT code, action, count(*) AS n FROM findings WHERE action <> 'changed' GROUP BY ALL ORDER BY ALL"
    )
    assert [(row["code"], row["action"], row["n"]) for row in counted["rows"]] == [
        ("incomplete-layer", "closed", 1),
        ("incomplete-layer", "opened", 1),
        ("unreferenced-layer", "opened", 1),
    ]


def iso_text(instant: int) -> str:
    """Return an instant (ns UTC) as the commands write it."""
    return iso(instant) or ""


def test_a_killed_recorder_goes_on(podman: Podman) -> None:
    """The collector is killed, podman goes on, the collector comes back: nothing twice, nothing lost, and the time between is a gap."""
    layers = app_layers()
    write_image(podman.home / "app.tar", "localhost/app:1", layers)
    write_image(podman.home / "other.tar", "localhost/other:1", [layers[0], layers[2]])
    state = podman.home / "state"
    with recording(podman.root, state) as recorder:
        podman.load(podman.home / "app.tar")
        podman.create("localhost/app:1", "first")
        recorder.kill()
        unseen = podman.load(podman.home / "other.tar")
        podman.run("rm", "first")
        podman.create("localhost/other:1", "second")
    with recording(podman.root, state) as recorder:
        seen = podman.create("localhost/other:1", "third")
        recorder.wait_for("FROM links WHERE link_kind = 'container_record' AND subject = $id", id=seen.output)
        recorder.stop()
        rows = recorder.links()
        agrees(rows, podman)
        assert told_twice(rows) == []
        [gap] = recorder.gaps()
    assert gap["cause"] == "restart"
    assert gap["began"] <= unseen.before < unseen.after <= gap["ended"]
    assert len({row.run for row in rows}) == 2
    [unseen_name] = of(rows, "created", "localhost/other:1", "image_name")
    assert unseen_name.origin == "survey"
    assert unseen_name.meets(unseen.before, unseen.after)
    [record] = of(rows, "created", seen.output, "container_record")
    assert record.origin == "watch"
    happened(record, seen)


def test_a_busy_store_is_healthy(podman: Podman) -> None:
    """Two engines that never rest: no finding, no gap, nothing twice, and what holds in the end is what podman states."""
    layers = app_layers()
    write_image(podman.home / "app.tar", "localhost/app:1", layers)
    image = write_image(podman.home / "other.tar", "localhost/other:1", [layers[0], layers[2], layers[1]])
    podman.load(podman.home / "app.tar")
    failures: list[BaseException] = []

    def repeat(*operations: tuple[str, ...]) -> None:
        try:
            for _ in range(6):
                for operation in operations:
                    podman.run(*operation)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    with recording(podman.root, podman.home / "state") as recorder:
        images = (("load", "--quiet", "-i", str(podman.home / "other.tar")), ("rmi", "localhost/other:1"))
        containers = (("create", "--network", "none", "--name", "one", "localhost/app:1"), ("rm", "one"))
        workers = [threading.Thread(target=repeat, args=operations) for operations in (images, containers)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert failures == []
        last = podman.create("localhost/app:1", "last")
        recorder.wait_for("FROM links WHERE link_kind = 'container_record' AND subject = $id", id=last.output)
        recorder.stop()
        rows = recorder.links()
        agrees(rows, podman)
        assert told_twice(rows) == []
        assert recorder.query("SELECT code, subject FROM findings") == []
        assert recorder.gaps() == []
    made = Counter((row.subject, row.action) for row in rows if row.link_kind == "owner_directory" and row.action in {"created", "removed"})
    assert made[image, "created"] == made[image, "removed"] == 6
    assert sum(action == "created" for _, action in made) == 1 + 7
    assert sum(action == "removed" for _, action in made) == 1 + 6
    assert set(made.values()) == {1, 6}
