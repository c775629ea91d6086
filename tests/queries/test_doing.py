"""May it be deleted, and how is it repaired: on a real damaged store and on made histories. A wrong yes costs data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linktrail.codes import CODES
from linktrail.command import main
from linktrail.testing.clock import FakeClock
from queries.answers.deletion import can_delete
from queries.answers.findings import findings_at
from queries.answers.repair import repair_plan
from queries.engine import Engine, open_lake
from queries.repair_steps import REPAIR_STEPS
from tests.queries.lakes import Run, at, write_lake
from tests.queries.recorded import Recorded, record
from tests.queries.story import BASE, LEAKED, SERVER

NOW = FakeClock(at(3650))
LATER = 4_000_000_000 * 10**9


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The store that podman 4.3 left with a dozen leaks and breaks."""
    return record("cs-podman43-leaky", tmp_path_factory.mktemp("leaky"))


def verdicts(lake: Path | Engine, subject: str, when: int) -> dict[str, str]:
    """Return reason -> verdict, after checking that there is one verdict for all rows of a store."""
    rows: list[dict[str, Any]] = can_delete(lake, subject, at=when, clock=FakeClock(LATER)).rows.to_pylist()
    assert len({row["verdict"] for row in rows}) <= 1
    return {row["reason"]: row["verdict"] for row in rows}


def test_what_leaks_may_go_and_what_is_used_may_not(leaky: Recorded) -> None:
    """Every layer of the real store: yes only where no image and no container reaches it by records or lower files."""
    with open_lake(leaky.lake) as engine:
        found = {(row["code"], row["subject"]) for row in findings_at(engine).rows.to_pylist()}
        layers = {row["layer_id"] for row in engine.rows("SELECT layer_id FROM layers_at('infinity')")}
        used = {
            row["target"]
            for row in engine.rows("SELECT target FROM links_at('infinity') WHERE link_kind IN ('image_layer', 'container_layer')")
        }
        parents = {row["target"] for row in engine.rows("SELECT target FROM links_at('infinity') WHERE link_kind = 'parent_pointer'")}
        said = {layer: verdicts(engine, layer, LATER) for layer in layers}
    leaks = {subject for code, subject in found if code in ("unaccounted-layer", "unreferenced-layer")}
    traps = {subject for code, subject in found if code == "link-file-empty"}
    assert {layer for layer in leaks if "yes" in said[layer].values()} == leaks - parents
    for layer in used & layers:
        assert "no" in said[layer].values(), layer
    for layer in traps:
        assert said[layer]["trap"] == "no"


def test_the_base_of_a_running_container_may_not_go(engine: Engine) -> None:
    """The reasons name what holds it, and what stands on it."""
    assert verdicts(engine, BASE, at(1900)) == {"needed": "no", "children": "no"}


def test_work_in_progress_waits(engine: Engine) -> None:
    """A minute after its record went, a removal may still be at work; half an hour later it leaks."""
    assert set(verdicts(engine, LEAKED, at(1260)).values()) == {"wait"}
    assert verdicts(engine, LEAKED, at(1900)) == {"unaccounted-layer": "yes"}


def test_a_mount_or_only_a_lower_file_is_enough(tmp_path: Path) -> None:
    """A layer that a mount shows is held; one that only a lower file of a living layer names is not free either."""
    run = Run()
    when = (None, 1.0)
    below, above, mounted = "b" * 64, "c" * 64, "d" * 64
    for layer in (below, above, mounted):
        run.link("layer_directory", "observed", layer, when, layer_id=layer, file_path=f"overlay/{layer}", detail='{"diff":true}')
    for layer in (below, above):
        run.link("layer_record", "observed", layer, when, layer_id=layer)
    run.link("short_link", "observed", "A" * 26, when, target=f"../{below}/diff", layer_id=below, file_path=f"overlay/l/{'A' * 26}")
    run.link("lower_reference", "observed", above, when, target=f"l/{'A' * 26}", layer_id=above, file_path=f"overlay/{above}/lower")
    run.link("container_layer", "observed", SERVER, when, target=above)
    run.link("container_record", "observed", SERVER, when)
    run.link("mount", "observed", "/mnt/x", when, target=mounted, layer_id=mounted)
    run.start(0.5)
    run.vouch(3600.0, since=0.5)
    lake = write_lake(tmp_path / "lake", [run])
    assert verdicts(lake, below, at(3000))["lower file"] == "no"
    assert verdicts(lake, mounted, at(3000)) == {"mounted": "no"}
    assert verdicts(lake, SERVER, at(3000))["owner"] == "no", "a container that its engine knows is never just garbage"
    assert verdicts(lake, "A" * 26, at(3000))["short link"] == "no"


def test_a_pin_that_leaks_waits_for_a_person(tmp_path: Path) -> None:
    """Held by a lease alone, and that is the finding: not a plain no, not a yes; held by a container too: no."""
    run = Run(store="/srv/containerd")
    when = (None, 1.0)
    for number, key in enumerate(("default/1/pinned", "default/2/used")):
        run.link("layer_record", "observed", key, when, layer_id=key, target=str(number))
        run.link("lease", "observed", f"lease-{number}", when, target=key)
        run.finding("opened", "pinned-by-lease", key, when, advice="Safe to remove once nobody waits for it. Next: ctr leases rm")
    run.link("container_layer", "observed", SERVER, when, target="default/2/used")
    run.start(0.5)
    run.vouch(3600.0, since=0.5)
    lake = write_lake(tmp_path / "lake", [run])
    [pinned] = {row["verdict"] for row in can_delete(lake, "default/1/pinned", at=at(3000), clock=NOW).rows.to_pylist()}
    [used] = {row["verdict"] for row in can_delete(lake, "default/2/used", at=at(3000), clock=NOW).rows.to_pylist()}
    assert (pinned, used) == ("wait", "no")


def test_the_plan_begins_with_the_trap(leaky: Recorded) -> None:
    """The untagged image's layer has an empty link file: that is repaired before anything is removed; each step says what it loses."""
    [image] = [row["subject"] for row in findings_at(leaky.lake).rows.to_pylist() if row["code"] == "untagged-image"]
    [trap] = [row["subject"] for row in findings_at(leaky.lake).rows.to_pylist() if row["code"] == "link-file-empty"]
    steps = repair_plan(leaky.lake, trap, at=LATER, clock=FakeClock(LATER)).rows.to_pylist()
    assert [(step["step"], step["finding"]) for step in steps] == [(1, "link-file-empty"), (2, "untagged-image")]
    assert steps[0]["do"].startswith("printf %s OLI4EMS474HL7RLMVK3FMJICTN >")
    assert steps[0]["loses"].startswith("nothing")
    assert image in steps[1]["do"]


def test_nothing_to_repair_is_said(engine: Engine) -> None:
    """No row, one sentence."""
    answer = repair_plan(engine, BASE, at=at(1900), clock=NOW)
    assert answer.rows.num_rows == 0
    assert answer.notes[-1].endswith("there is nothing to repair.")


def test_every_code_has_a_step() -> None:
    """A new finding code without a word on what repairing it loses is a hole."""
    assert set(REPAIR_STEPS) == set(CODES)


@pytest.mark.parametrize("verb", ["can-delete", "repair-plan"])
def test_the_verbs(verb: str, story: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Answered for a person and for a program."""
    monkeypatch.setenv("LINKTRAIL_LAKE", str(story))
    assert main([verb, LEAKED[:8], "--at", "2026-11-23T16:32:00Z"]) == 0
    assert "unaccounted-layer" in capsys.readouterr().out
    assert main([verb, LEAKED[:8], "--at", "2026-11-23T16:32:00Z", "--json"]) == 0
    assert f'"{LEAKED}"' in capsys.readouterr().out
