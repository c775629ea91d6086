"""A live dockerd is recorded as it was: every link once, nothing missed, nothing wrong, and told in the end as it stands on disk."""

from __future__ import annotations

from pathlib import Path

from collector.links import LinkKind
from collector.stores.docker import DRIVER
from linktrail.clock import SystemClock
from tests.live.docker import Docker, running
from tests.live.podman import layer_tar, programs, write_image
from tests.live.recording import recording
from tests.live.truth import folded, told_twice
from tests.needs import need

_PASSING = {"temporary_directory"}  # of a load: gone before anybody can compare


def test_the_life_of_containers_is_recorded() -> None:
    """Load, create, build, remove: what is recorded folds to what is there, and each layer came and went once."""
    need("dockerd")
    with running() as docker:
        layers = [layer_tar(programs("sleep", "cp")), layer_tar({"etc/app": b"x" * 1000})]
        write_image(docker.home / "app.tar", "lab/app:1", layers)
        with recording(docker.root, docker.home / "state") as recorder:
            docker.load(docker.home / "app.tar")
            container = docker.create("lab/app:1", "first")
            writable = (docker.layerdb / "mounts" / container / "mount-id").read_text(encoding="ascii")
            recorder.wait_for("FROM links WHERE link_kind = 'container_layer' AND subject = $c", c=container)
            build(docker)
            docker.run("rm", "first")
            docker.run("rmi", "lab/built:1")
            recorder.wait_for("FROM links WHERE action = 'removed' AND link_kind = 'layer_record' AND subject = $l", l=writable)
            recorder.stop()
            rows = recorder.links()
            assert recorder.query("FROM coverage WHERE kind = 'gap'") == []
            assert recorder.query("SELECT code, subject FROM findings") == []
        assert told_twice(rows) == []
        survey = DRIVER.survey(docker.root, clock=SystemClock())
        held = {key: row.target for key, row in folded(rows).items() if row.link_kind not in _PASSING}
        there = {
            (link.kind.value, link.subject, link.path): link.target for link in survey.links.values() if link.kind.value not in _PASSING
        }
        assert held == there
        for layer in (writable, f"{writable}-init"):
            actions = [row.action for row in rows if row.link_kind == "layer_record" and row.subject == layer]
            assert (actions[0], actions[-1]) == ("created", "removed")
            assert actions.count("created") == 1
        [made] = [row for row in rows if row.link_kind == "container_layer" and row.action == "created"]
        assert (made.subject, made.target, made.container_name) == (container, writable, "first")
        assert any(link.detail.get("build_cache") for link in survey.of_kind(LinkKind.LAYER_RECORD))


def build(docker: Docker) -> None:
    """Build an image with BuildKit, on the one that is there."""
    context: Path = docker.home / "context"
    context.mkdir()
    (context / "Dockerfile").write_text('FROM lab/app:1\nRUN ["/bin/cp", "/etc/app", "/etc/copy"]\n', encoding="ascii")
    docker.run("build", "--network", "none", "--tag", "lab/built:1", str(context), buildkit=True)
