"""``mountpoints.json``: what the engine believes to have mounted, as links, and what of it is a ghost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collector.diagnose import diagnose
from collector.links import Link, LinkKind, Survey
from collector.mounts.machine import Machine, with_seen
from collector.mounts.recorded import usual_run_roots
from collector.stores.containers_storage import DRIVER
from collector.stores.roots import configured_run_roots
from linktrail.clock import SystemClock
from tests.mounts.spaces import Running

GONE = "e" * 64


def seen(store: Running, run: Path) -> Survey:
    """Survey the store with what a run root says."""
    clock = SystemClock()
    survey = DRIVER.survey(store.root, clock=clock)
    return with_seen(survey, Machine(Path("/proc"), clock, run_roots=[run]).look(survey))


def recorded(survey: Survey) -> list[Link]:
    """Return the links that the run root gives."""
    return [link for link in survey.of_kind(LinkKind.MOUNT) if link.detail["type"] == "recorded"]


def write(run: Path, content: Any) -> None:
    """Write mountpoints.json."""
    (run / "overlay-layers").mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (run / "overlay-layers/mountpoints.json").write_text(text)


def entry(store: Running, layer: str, count: Any = 1) -> dict[str, Any]:
    """Return an entry as podman writes it."""
    return {"id": layer, "path": str(store.overlay / layer / "merged"), "count": count}


def test_a_running_container(tmp_path: Path) -> None:
    """Its entry is a link with an owner, and no finding; entries of another store are that store's."""
    store, other, run = Running(tmp_path / "cs"), Running(tmp_path / "other"), tmp_path / "run"
    write(run, [entry(store, store.writable), entry(other, other.writable)])
    survey = seen(store, run)
    (link,) = recorded(survey)
    assert (link.subject, link.target, link.detail["count"]) == (str(store.merged), store.writable, 1)
    assert link.owner.container_name == "one"
    assert diagnose(survey, now=survey.finished, min_age=0) == diagnose(DRIVER.survey(store.root, clock=SystemClock()), now=survey.finished)


def test_a_layer_that_is_gone(tmp_path: Path) -> None:
    """The engine's list outlived the layer: a ghost, once it is old enough."""
    store, run = Running(tmp_path / "cs"), tmp_path / "run"
    write(run, [entry(store, GONE)])
    survey = seen(store, run)
    later = survey.finished + 5 * 10**9
    (finding,) = diagnose(survey, now=later, min_age=0)
    assert (finding.code, finding.subject) == ("ghost-reference", GONE)
    assert diagnose(survey, now=later) == []


@pytest.mark.parametrize(
    "content",
    ["", "[", "null", "{}", "[1, null, {}]", '[{"id": 5, "path": "/", "count": 1}]', "[" * 100_000, '[{"id":"a","path":"x\\u0000"}]'],
)
def test_garbage_says_nothing(tmp_path: Path, content: str) -> None:
    """Whatever stands in the file, the store is read."""
    store, run = Running(tmp_path / "cs"), tmp_path / "run"
    write(run, content)
    assert recorded(seen(store, run)) == []
    write(run, [entry(store, store.writable, count) for count in (0, -1, True, "1", None)])
    assert recorded(seen(store, run)) == []


def test_where_run_roots_are(tmp_path: Path) -> None:
    """Usual ones, and those that storage.conf and crio.conf name."""
    (tmp_path / "etc/containers").mkdir(parents=True)
    (tmp_path / "etc/crio").mkdir()
    (tmp_path / "etc/containers/storage.conf").write_text('[storage]\nrunroot = "/run/other"\n')
    (tmp_path / "etc/crio/crio.conf").write_text('[crio]\nrunroot = "/run/crio"\n')
    configured = configured_run_roots(host=tmp_path)
    assert configured == (tmp_path / "run/other", tmp_path / "run/crio")
    assert usual_run_roots(configured)[:3] == (*configured, Path("/run/containers/storage"))
