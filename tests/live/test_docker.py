"""A live dockerd under check: silent while all is well, in agreement with docker's own listings, and seeing what these do not show."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.check import CheckReport, run_check
from collector.links import LinkKind, Survey
from collector.stores.docker import DRIVER
from linktrail.clock import SystemClock
from linktrail.errors import StoreUnstableError
from tests.live.docker import ISOLATION, Docker, paused_when, running
from tests.live.podman import LIMITS, layer_tar, programs, write_image
from tests.needs import need

Found = set[tuple[str, str]]
COUNTED = (LinkKind.LAYER_RECORD, LinkKind.IMAGE_RECORD, LinkKind.CONTAINER_RECORD)


@pytest.fixture(scope="module")
def shared() -> Iterator[Docker]:
    """A dockerd for tests that leave its store as they found it."""
    need("dockerd")
    with running() as engine:
        yield engine


@pytest.fixture
def docker() -> Iterator[Docker]:
    """A dockerd with an empty store of its own."""
    need("dockerd")
    with running() as engine:
        yield engine


def app_layers() -> list[bytes]:
    """Three layers: programs, configuration, data."""
    return [layer_tar(programs("sh", "sleep", "cp")), layer_tar({"etc/app": b"x" * 1000}), layer_tar({"data/y": b"z" * 2000})]


def big_layer(files: int = 3000) -> bytes:
    """Return a layer that takes a while to unpack and to remove."""
    noise = random.Random(1)
    return layer_tar({f"file-{number}": noise.randbytes(8192) for number in range(files)})


def check(engine: Docker, **options: Any) -> CheckReport:
    """Check the store with every grace period off."""
    report = run_check([engine.root], clock=SystemClock(), **{"min_age": 0, **options})
    assert report.errors == []
    return report


def found(report: CheckReport) -> Found:
    """Return code and subject of each finding."""
    return {(finding.code, finding.subject) for _, finding in report.findings}


def surveyed(engine: Docker) -> Survey:
    """Return what the driver reads now."""
    return DRIVER.survey(engine.root, clock=SystemClock())


def agrees(engine: Docker) -> Survey:
    """Assert that the survey and docker's own listings say the same of images, containers, names and directories."""
    survey = surveyed(engine)
    assert survey.problems == ()
    assert {link.subject for link in survey.of_kind(LinkKind.IMAGE_RECORD)} == engine.images()
    assert {link.subject for link in survey.of_kind(LinkKind.CONTAINER_RECORD)} == engine.containers()
    places = {link.subject: link.target for link in survey.of_kind(LinkKind.LAYER_RECORD)}
    tops = {link.subject: link.target for link in survey.of_kind(LinkKind.IMAGE_LAYER, LinkKind.CONTAINER_LAYER)}
    names = {link.subject: link.target for link in survey.of_kind(LinkKind.IMAGE_NAME)}
    for told in engine.inspect(*engine.images(), *engine.containers()):
        upper = Path(told["GraphDriver"]["Data"]["UpperDir"]).parent.name
        assert places[str(tops[told["Id"]])] == upper
        for tag in told.get("RepoTags") or ():
            assert names[tag] == told["Id"]
    return survey


def test_the_life_of_images_and_containers(shared: Docker) -> None:
    """Load, run, write, commit, build with and without BuildKit, remove: never a finding, and docker says the same."""
    write_image(shared.home / "app.tar", "lab/app:1", app_layers())
    shared.load(shared.home / "app.tar")
    first = shared.run("run", "--detach", "--name", "first", *LIMITS, *ISOLATION, "lab/app:1", "/bin/sleep", "1000")
    shared.create("lab/app:1", "second")
    survey = agrees(shared)
    assert found(check(shared)) == set()
    [layer] = [link for link in survey.of_kind(LinkKind.CONTAINER_LAYER) if link.subject == first]
    assert (layer.owner.container_name, layer.owner.container_image_name) == ("first", "lab/app:1")
    shared.run("exec", "first", "/bin/cp", "/etc/app", "/etc/copy")
    shared.run("commit", "first", "lab/committed:1")
    agrees(shared)
    assert found(check(shared)) == set()

    context = shared.home / "context"
    context.mkdir()
    (context / "file").write_bytes(b"f" * 5000)
    steps = 'FROM lab/app:1\nRUN ["/bin/cp", "/etc/app", "/etc/copy"]\nCOPY file /file\n'
    (context / "Dockerfile").write_text(steps, encoding="ascii")
    for number, buildkit in enumerate((True, False)):
        shared.run("build", "--network", "none", "--tag", f"lab/built:{number}", str(context), buildkit=buildkit)
        agrees(shared)
        assert found(check(shared)) == set(), f"BuildKit: {buildkit}"
    cached = [link for link in surveyed(shared).of_kind(LinkKind.LAYER_RECORD) if link.detail.get("build_cache")]
    assert len(cached) >= 2, "the sources of the build at least stay in the cache"

    shared.run("rm", "--force", "first", "second")
    for image in ("lab/built:0", "lab/built:1", "lab/committed:1"):
        shared.run("rmi", image)
        agrees(shared)
    assert found(check(shared)) == set(), "what only BuildKit's cache needs is in use"
    shared.run("rmi", "lab/app:1")
    assert found(check(shared)) == set()
    shared.run("builder", "prune", "--all", "--force")
    assert found(check(shared)) == set()
    assert [link.subject for link in surveyed(shared).of_kind(LinkKind.LAYER_RECORD, LinkKind.LAYER_DIRECTORY)] == []


def test_a_busy_store_is_silent(shared: Docker) -> None:
    """While images and containers come and go without pause, no reading shows half of anything."""
    write_image(shared.home / "busy.tar", "lab/busy:1", app_layers())
    over = threading.Event()
    failed: list[str] = []

    def work() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            for words in (
                ("load", "--quiet", "--input", str(shared.home / "busy.tar")),
                ("create", "--name", f"b{turn}", *LIMITS, *ISOLATION, "lab/busy:1"),
                ("rm", f"b{turn}"),
                ("rmi", "lab/busy:1"),
            ):
                done = shared.attempt(*words)
                if done.returncode:
                    failed.append(f"{words}: {done.stderr}")
        shared.attempt("rmi", "lab/busy:1")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        kinds: set[tuple[int, ...]] = set()
        looks = unstable = 0
        while looks < 25:
            try:
                report = check(shared, min_age=None)
            except StoreUnstableError:
                unstable += 1
                continue
            looks += 1
            assert found(report) == set()
            survey = report.stores[0].survey
            kinds.add(tuple(sum(1 for _ in survey.of_kind(kind)) for kind in COUNTED))
    finally:
        over.set()
        worker.join()
    assert failed == []
    assert len(kinds) > 2, "the store did change while it was read"
    assert unstable <= looks


def test_a_load_killed_in_the_middle(docker: Docker) -> None:
    """D1: the directory, the write set and the finished layer below it stay for ever and docker shows nothing; the advice clears all."""
    layers = [layer_tar(programs("sleep")), big_layer()]
    write_image(docker.home / "big.tar", "lab/big:1", layers)
    command = docker.begin("load", "--input", str(docker.home / "big.tar"))

    def recorded() -> set[str]:
        return {path.read_text(encoding="ascii") for path in docker.layerdb.glob("sha256/*/cache-id")}

    def in_the_middle() -> bool:
        known = recorded()
        filling = [diff for diff in docker.overlay.glob("*/diff") if diff.parent.name not in known]
        return len(known) == 1 and any(sum(1 for _ in diff.iterdir()) > 100 for diff in filling)

    with paused_when(docker, command, in_the_middle):
        young = check(docker, min_age=None)
        assert found(young) == set(), "a load that may still go on is no leak"
        assert {item.code for item in young.withheld} >= {"unaccounted-layer", "unreferenced-layer"}
    [finished] = docker.layerdb.glob("sha256/*")
    [directory] = {path.name for path in docker.overlay.iterdir()} - {"l", *recorded()}
    [write_set] = docker.layerdb.glob("tmp/write-set-*")
    killed = found(check(docker))
    left = {("unaccounted-layer", directory), ("leftover-tempdir", write_set.name), ("unreferenced-layer", f"sha256:{finished.name}")}
    assert killed >= left
    assert {code for code, _ in killed - left} == {"leftover-tempdir"}, "tmp/docker-import-*"

    docker.start()
    assert docker.images() == set()
    docker.run("system", "prune", "--all", "--force")
    report = check(docker)
    assert found(report) == left, "docker lists nothing, prunes nothing and clears nothing when it starts, but tmp/"
    for _, finding in report.findings:
        if finding.code != "unreferenced-layer":
            subprocess.run(finding.advice.rpartition("Next: ")[2], shell=True, check=True)  # noqa: S602 - the advice is tried as it is given
    write_image(docker.home / "small.tar", "lab/small:1", layers[:1])
    docker.load(docker.home / "small.tar")
    docker.run("rmi", "lab/small:1")
    assert found(check(docker)) == set(), "pulling an image with the layer and removing it takes the layer along"


def test_a_removal_killed_in_the_middle(docker: Docker) -> None:
    """D2: the record was renamed, the directory is half there."""
    write_image(docker.home / "big.tar", "lab/big:1", [layer_tar(programs("sleep")), big_layer()])
    docker.load(docker.home / "big.tar")
    command = docker.begin("rmi", "lab/big:1")
    with paused_when(docker, command, lambda: any(docker.layerdb.glob("sha256/*-removing"))):
        assert found(check(docker, min_age=None)) == set()
    [record] = docker.layerdb.glob("sha256/*-removing")
    report = check(docker)
    assert ("interrupted-removal", record.name) in found(report)
    below = {("unreferenced-layer", f"sha256:{path.name}") for path in docker.layerdb.glob("sha256/*")}
    assert found(report) <= {("interrupted-removal", record.name), *below}
    [removal] = [finding for _, finding in report.findings if finding.code == "interrupted-removal"]
    assert removal.path == f"overlay2/{(record / 'cache-id').read_text(encoding='ascii')}"
    docker.start()
    docker.stop()
    docker.start()
    assert ("interrupted-removal", record.name) not in found(check(docker)), "as the advice says: gone after a clean stop and start"


def test_a_container_that_cannot_be_removed(shared: Docker) -> None:
    """D4: dead, with its content left; the retry that the advice names works."""
    write_image(shared.home / "dead.tar", "lab/dead:1", app_layers())
    shared.load(shared.home / "dead.tar")
    container = shared.create("lab/dead:1", "stuck")
    [told] = shared.inspect(container)
    upper = Path(told["GraphDriver"]["Data"]["UpperDir"])
    (upper / "kept").write_bytes(b"k" * 9000)
    if subprocess.run(["chattr", "+i", str(upper / "kept")], check=False, capture_output=True).returncode:
        pytest.skip("this filesystem knows no immutable files")
    try:
        assert shared.attempt("rm", "--force", "stuck").returncode != 0
        report = check(shared)
        assert found(report) == {("interrupted-removal", container)}
        [(_, finding)] = report.findings
        assert finding.owner.container_name == "stuck"
        assert upper.parent.name in finding.related
        assert f"docker rm --force {container}" in finding.advice
    finally:
        subprocess.run(["chattr", "-i", str(upper / "kept")], check=True)
    shared.run("rm", "--force", container)
    shared.run("rmi", "lab/dead:1")
    assert found(check(shared)) == set()


def test_a_short_link_that_is_lost_and_a_link_file_that_is_emptied(docker: Docker) -> None:
    """D5, D6, D3: docker lists all as healthy; each failed create leaves an init layer; the repairs that findings compute repair."""
    write_image(docker.home / "app.tar", "lab/app:1", app_layers())
    docker.load(docker.home / "app.tar")
    [told] = docker.inspect("lab/app:1")
    place = Path(told["GraphDriver"]["Data"]["UpperDir"]).parent
    name = (place / "link").read_text(encoding="ascii")
    top = next(link.target for link in surveyed(docker).of_kind(LinkKind.IMAGE_LAYER))
    (docker.overlay / "l" / name).unlink()
    assert docker.attempt("create", *ISOLATION, "lab/app:1").returncode != 0
    [init] = [path.name for path in docker.overlay.glob("*-init")]
    report = check(docker)
    assert found(report) == {("short-link-missing", top), ("unaccounted-layer", init)}
    for _, finding in report.findings:
        subprocess.run(finding.advice.rpartition("Next: ")[2], shell=True, check=True)  # noqa: S602 - the advice is tried as it is given
    assert found(check(docker)) == set()

    (place / "link").write_bytes(b"")
    broken = docker.create("lab/app:1", "broken", "/bin/sleep", "1000")
    assert "overlay2/l: invalid argument" in docker.attempt("inspect", broken).stderr, "the one thing that docker says of it"
    writable = (docker.layerdb / "mounts" / broken / "mount-id").read_text(encoding="ascii")
    report = check(docker)
    assert found(report) == {("link-file-empty", top), ("lower-malformed", writable), ("lower-malformed", f"{writable}-init")}
    for _, finding in report.findings:
        assert finding.path is not None
        (docker.root / finding.path).write_text(finding.evidence.get("expected") or name, encoding="ascii")
    assert found(check(docker)) == set()
    docker.run("start", "broken")
    docker.run("exec", "broken", "/bin/cp", "/etc/app", "/etc/copy")
    docker.run("rm", "--force", "broken")


def test_a_container_whose_directory_is_lost_pins_its_image(docker: Docker) -> None:
    """D9: docker shows no container, removes the image, and keeps all its layers."""
    write_image(docker.home / "app.tar", "lab/app:1", app_layers())
    docker.load(docker.home / "app.tar")
    container = docker.create("lab/app:1", "ghost")
    chains = {link.subject for link in surveyed(docker).of_kind(LinkKind.LAYER_RECORD) if link.subject.startswith("sha256:")}
    docker.stop()
    shutil.rmtree(docker.root / "containers" / container)
    docker.start()
    assert docker.containers() == set()
    docker.run("rmi", "lab/app:1")
    assert docker.images() == set()
    assert {f"sha256:{path.name}" for path in docker.layerdb.glob("sha256/*")} == chains
    report = check(docker)
    assert found(report) == {("ghost-reference", container)}
    [(_, ghost)] = report.findings
    assert set(ghost.evidence["pinned_layers"]) == chains
    assert ghost.bytes is None or ghost.bytes > 0
    docker.stop()
    advised = ghost.advice.partition("Next: ")[2]
    command = advised[advised.index("rm -rf ") :].partition(" (")[0]
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - the advice is tried as it is given
    docker.start()
    docker.load(docker.home / "app.tar")
    docker.run("rmi", "lab/app:1")
    assert {link.subject for link in surveyed(docker).of_kind(LinkKind.LAYER_RECORD)} == set()
    assert {code for code, _ in found(check(docker))} <= {"short-link-dangling"}
