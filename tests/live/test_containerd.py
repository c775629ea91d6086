"""A live containerd: what check says agrees with the engine's own listings, and finds what they do not show."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.check import CheckReport, run_check
from collector.findings import Finding
from collector.links import LinkKind, Survey
from linktrail.clock import SystemClock
from tests.live.containerd import Containerd, running
from tests.live.podman import layer_tar, programs, wait_for, write_image
from tests.needs import need

IMAGE = "localhost/app:1"


@pytest.fixture
def engine() -> Iterator[Containerd]:
    """A containerd with one image of three layers, nothing else."""
    need("containerd")
    with running() as engine:
        layers = [layer_tar(programs("sh", "sleep")), layer_tar({"etc/app": b"x" * 1000}), layer_tar({"data/y": b"z" * 2000})]
        write_image(engine.home / "app.tar", IMAGE, layers)
        engine.run("images", "import", str(engine.home / "app.tar"))
        yield engine


def check(engine: Containerd) -> CheckReport:
    """Check the root, without grace."""
    return run_check([engine.root], min_age=0, clock=SystemClock())


def found(engine: Containerd) -> dict[tuple[str, str], Finding]:
    """Return what is found, by code and name of the snapshot (or whatever else it is about)."""
    report = check(engine)
    assert report.errors == []
    return {(finding.code, str(finding.evidence.get("name") or finding.subject)): finding for _, finding in report.findings}


def top_of(engine: Containerd) -> str:
    """Return the chain id of the image's top."""
    lines = [line.split() for line in engine.run("snapshots", "ls").splitlines()[1:]]
    committed = {line[0]: line[1] if len(line) > 2 else "" for line in lines if line[-1] == "Committed"}
    (top,) = committed.keys() - set(committed.values())
    return top


def names(survey: Survey, kind: LinkKind) -> set[str]:
    """Return the subjects of a kind of links."""
    return {link.subject for link in survey.of_kind(kind)}


def agree(engine: Containerd) -> None:
    """Assert that the survey holds what ctr lists, no more and no less."""
    (store,) = check(engine).stores
    assert names(store.survey, LinkKind.LAYER_NAME) == engine.listed("snapshots")
    assert names(store.survey, LinkKind.IMAGE_NAME) == engine.listed("images")
    assert names(store.survey, LinkKind.CONTAINER_RECORD) == engine.listed("containers")
    assert names(store.survey, LinkKind.LEASE) == engine.listed("leases")


def test_the_life_of_containers_is_no_finding(engine: Containerd) -> None:
    """Import, create, run, remove: listings agree all the time, and nothing is wrong; directory, container and image are attributed."""
    engine.run("containers", "create", IMAGE, "made")
    engine.run("run", "--detach", IMAGE, "runs")
    agree(engine)
    assert found(engine) == {}
    (store,) = check(engine).stores
    number = engine.number("runs")
    (directory,) = [link for link in store.survey.of_kind(LinkKind.LAYER_DIRECTORY) if link.subject == number]
    assert (directory.owner.container_id, directory.owner.container_image_name) == ("runs", IMAGE)
    assert (engine.snapshots / number / "fs").is_dir()
    engine.run("tasks", "kill", "--signal", "SIGKILL", "runs")
    wait_for(lambda: "STOPPED" in engine.run("tasks", "ls"))
    engine.run("tasks", "rm", "runs")
    engine.run("containers", "rm", "runs", "made")
    engine.run("images", "rm", "--sync", IMAGE)
    collect(engine)
    agree(engine)
    assert found(engine) == {}
    assert list(engine.snapshots.iterdir()) == []


def test_what_holds_a_snapshot_is_said_and_the_advice_frees_it(engine: Containerd) -> None:
    """A label, a lease, nothing at all; then a phantom child: each as the engine means it, and each step of advice works."""
    top = top_of(engine)
    collect(engine)  # what the import left to collect is collected, so nothing runs beside this test
    engine.run("snapshots", "prepare", "pinned", top)
    engine.run("snapshots", "view", "left", top)
    engine.run("snapshots", "label", "left", "containerd.io/gc.root=")
    mounted = engine.home / "mnt"
    mounted.mkdir()
    engine.run("images", "mount", IMAGE, str(mounted))
    agree(engine)
    seen = found(engine)
    assert set(seen) == {("pinned-by-label", "pinned"), ("unreferenced-layer", "left"), ("pinned-by-lease", str(mounted))}
    subprocess.run(["umount", str(mounted)], check=True)
    follow(engine, seen["pinned-by-lease", str(mounted)].advice, "leases delete")
    # the deletion made garbage collection run: it took what nothing held, and left both as children of the image's top
    wait_for(lambda: "left" not in engine.listed("snapshots"))
    seen = found(engine)
    assert set(seen) == {("pinned-by-label", "pinned"), ("phantom-child", top)}
    phantom = seen["phantom-child", top]
    assert set(phantom.evidence["children"]) == {"left", str(mounted)}
    refused = engine.attempt("snapshots", "rm", top)
    assert "cannot remove snapshot with child" in refused.stderr
    follow(engine, seen["pinned-by-label", "pinned"].advice, "snapshots rm")
    for command in phantom.advice.partition("by name: ")[2].split("; "):
        engine.run(*command.removeprefix("ctr -n default ").split())
    collect(engine)
    assert found(engine) == {}


def collect(engine: Containerd) -> None:
    """Have garbage collection run once, and wait for it."""
    engine.run("leases", "create", "--id", "tick")
    engine.run("leases", "delete", "--sync", "tick")


def follow(engine: Containerd, advice: str, step: str) -> None:
    """Run the one ctr command with ``step`` in it that an advice ends with."""
    commands = [part for part in advice.replace("; ", "\n").replace(". ", "\n").replace("Next: ", "").splitlines() if step in part]
    (command,) = commands
    assert command.startswith("ctr -n default ")
    engine.run(*command.removeprefix("ctr -n default ").split())


def test_records_that_lead_nowhere(engine: Containerd) -> None:
    """Directories taken away, a snapshot removed under its container, an image removed from under one: listings show none of it."""
    top = top_of(engine)
    for name in ("lost", "bare", "works"):
        engine.run("containers", "create", IMAGE, name)
    number = engine.number("lost")
    subprocess.run(["rm", "-rf", str(engine.snapshots / number)], check=True)
    engine.run("snapshots", "rm", "bare")
    agree(engine)
    assert set(found(engine)) == {("layer-missing", "lost"), ("container-layer-missing", "bare")}
    engine.run("snapshots", "rm", "lost")
    engine.run("containers", "rm", "lost", "bare")
    engine.run("images", "rm", "--sync", IMAGE)
    assert top in engine.listed("snapshots"), "the container still stands on it"
    assert set(found(engine)) == {("container-image-missing", "works")}


def test_kill_in_the_middle_of_unpacking(engine: Containerd) -> None:
    """The snapshot that was unpacked into, with its lease; the engine lists it as any other; ending the lease frees it."""
    layers = [layer_tar({"base": b"x" * 1000}), layer_tar({f"d/{number}": b"x" * 500 for number in range(20_000)})]
    write_image(engine.home / "big.tar", "localhost/big:1", layers)
    command = engine.command("images", "import", str(engine.home / "big.tar"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        wait_for(lambda: any(engine.snapshots.glob("*/fs/d/*")))
        engine.kill()
        client.wait(60)
    half = {finding.evidence["name"]: finding for (code, _), finding in found(engine).items() if code == "incomplete-layer"}
    ((name, finding),) = half.items()
    assert name.startswith("extract-")
    assert len(finding.evidence["chain"]) == 2, "with the layer below that only this pull needs"
    assert finding.owner.container_image_name == "localhost/big:1"
    assert found(engine).keys() == {("incomplete-layer", name)}
    engine.start()
    assert name in engine.listed("snapshots")
    assert found(engine).keys() == {("incomplete-layer", name)}, "a start does not clear it: its lease lasts"
    follow(engine, finding.advice, "leases delete")
    wait_for(lambda: name not in engine.listed("snapshots"))
    wait_for(lambda: not any(engine.snapshots.glob("*/fs/d/*")))
    assert {code for code, _ in found(engine)} <= {"phantom-child"}


def test_kill_in_the_middle_of_a_removal(engine: Containerd) -> None:
    """Gone from meta.db, so no command lists it; still in the snapshotter's database and on disk, until a snapshot is collected."""
    top = top_of(engine)
    for number in range(20):
        name = f"going-{number}"
        engine.run("snapshots", "prepare", name, top)
        engine.run("snapshots", "rm", name)
        engine.kill()  # the snapshotter's own removal comes some 25 ms after that of meta.db
        seen = found(engine)
        if seen:
            break
        engine.start()
    assert set(seen) == {("interrupted-removal", name)}
    finding = seen["interrupted-removal", name]
    assert (engine.snapshots / str(finding.evidence["directory"])).is_dir()
    engine.start()
    assert name not in engine.listed("snapshots")
    collect(engine)
    assert set(found(engine)) == {("interrupted-removal", name)}, "neither a start nor a collection that takes no snapshot clears it"
    engine.run("snapshots", "prepare", "any", top)
    engine.run("snapshots", "rm", "any")
    wait_for(lambda: {entry.name for entry in engine.snapshots.iterdir()} == {"1", "2", "3"})
    assert found(engine) == {}


def test_a_download_that_was_cut_off_and_directories_that_nobody_knows(engine: Containerd) -> None:
    """An ingest without an end, a directory without a record, one left in the making."""
    command = engine.command("content", "ingest", "--expected-size", "1000", "half")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        assert client.stdin is not None
        client.stdin.write(b"x" * 100)
        client.stdin.flush()
        wait_for(lambda: "half" in engine.run("content", "active"))
        client.kill()
    (engine.snapshots / "900/fs").mkdir(parents=True)
    (engine.snapshots / "new-900").mkdir()
    seen = found(engine)
    assert set(seen) == {("leftover-ingest", "half"), ("unaccounted-layer", "900"), ("leftover-tempdir", "new-900")}
    engine.run("snapshots", "prepare", "any", top_of(engine))
    engine.run("snapshots", "rm", "any")
    wait_for(lambda: {entry.name for entry in engine.snapshots.iterdir()} == {"1", "2", "3"})
    assert set(found(engine)) == {("leftover-ingest", "half")}, "with the next snapshot that it collects it clears the directories"


def test_nothing_is_written_below_the_root(engine: Containerd, tmp_path: Path) -> None:
    """A check of a root that nobody runs leaves every time, size and name as they were."""
    engine.run("containers", "create", IMAGE, "made")
    engine.stop()
    before = tmp_path / "before"
    after = tmp_path / "after"
    listing = ["find", str(engine.root), "-printf", "%p %s %T@ %C@ %i\\n"]
    before.write_bytes(subprocess.run(listing, check=True, capture_output=True).stdout)
    assert found(engine) == {}
    after.write_bytes(subprocess.run(listing, check=True, capture_output=True).stdout)
    assert before.read_bytes() == after.read_bytes()
