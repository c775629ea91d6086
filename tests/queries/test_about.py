"""Questions about one thing, one instant and two instants: who owns it, what holds it, what was there, what changed, and where else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from linktrail.clock import iso
from linktrail.command import main
from linktrail.errors import UnknownSubjectError
from linktrail.testing.clock import FakeClock
from queries.answers.about import asked, asked_about
from queries.answers.why import held
from queries.engine import Engine
from tests.queries.lakes import Run, at, write_lake
from tests.queries.story import BASE, CRASHED, IMAGE, LEAKED, SERVER, TOP

NOW = FakeClock(at(3650))
KEY, CHILD, GONE = "k8s.io/1/base", "k8s.io/2/child", "k8s.io/3/gone"


def rows(answer: Any) -> list[dict[str, Any]]:
    """Return the rows of an answer."""
    return list(answer.rows.to_pylist())


def test_why_is_a_path_to_something_living(engine: Engine) -> None:
    """The base layer is held by the image through its top, and by each container through its writable layer, while it stood."""
    paths = {(row["held_by"], row["holder_name"], tuple(row["path"])) for row in rows(held(engine, BASE, at=at(700), clock=NOW))}
    assert ("image", "docker.io/library/nginx:1", (IMAGE, TOP, BASE)) in paths
    assert ("container", "worker", (CRASHED, LEAKED, TOP, BASE)) in paths
    later = {row["holder"] for row in rows(held(engine, BASE, at=at(1300), clock=NOW))}
    assert later == {IMAGE, SERVER}


def test_what_nothing_holds_is_said_with_what_is_wrong(engine: Engine) -> None:
    """No row, the fact in words, and the finding that was open then with its advice."""
    answer = held(engine, LEAKED[:8], at=at(1900), clock=NOW)
    assert rows(answer) == []
    assert answer.notes[0] == f"{LEAKED[:8]} is {LEAKED}."
    assert answer.notes[1].startswith("Nothing on record held it")
    assert answer.notes[2].startswith("unaccounted-layer: ")
    assert "Safe to remove" in answer.notes[2]


def containerd(path: Path) -> Path:
    """A small containerd store: a lease, and an index that names a child which is gone."""
    run = Run(store="/srv/containerd")
    when = (None, 1.0)
    run.link("layer_record", "observed", KEY, when, layer_id=KEY, target="1", file_path="metadata.db")
    run.link("layer_record", "observed", CHILD, when, layer_id=CHILD, target="2", file_path="metadata.db")
    run.link("parent_pointer", "observed", CHILD, when, target=KEY, layer_id=CHILD, file_path="metadata.db")
    run.link("child_pointer", "observed", KEY, when, target=GONE, layer_id=KEY, file_path="meta.db#k8s.io/children/gone")
    run.link("lease", "observed", "lease-1", when, target=CHILD, file_path="meta.db#k8s.io/leases/lease-1")
    terms = json.dumps({"expires": iso(at(60))})
    run.link("lease", "observed", "lease-2", when, target=CHILD, file_path="meta.db#k8s.io/leases/lease-2", detail=terms)
    run.start(0.5)
    run.vouch(3600.0, since=0.5)
    return write_lake(path, [run])


def test_leases_and_phantom_children_hold(tmp_path: Path) -> None:
    """A lease holds through a child, until it expires; a children index that names what is gone is said as that."""
    lake = containerd(tmp_path / "lake")
    found = {(row["held_by"], row["holder"], tuple(row["path"])) for row in rows(held(lake, KEY, at=at(100), clock=NOW))}
    assert found == {("lease", "lease-1", ("lease-1", CHILD, KEY)), ("phantom child", GONE, (GONE, KEY))}
    early = {row["holder"] for row in rows(held(lake, KEY, at=at(50), clock=NOW))}
    assert early == {"lease-1", "lease-2", GONE}


def test_images_and_containers_as_they_stood(tmp_path: Path) -> None:
    """Names, sizes from measured layers, sharing, users; and a container with its pod, layer, directory and mount point."""
    run = Run()
    when = (None, 1.0)
    pod: Mapping[str, object] = {"container_name": "web", "k8s_pod_name": "web-0", "k8s_namespace_name": "shop", "container_id": SERVER}
    for image, top in ((IMAGE, TOP), ("2" * 64, BASE)):
        run.link("image_record", "observed", image, when, detail='{"created":"2026-11-01T00:00:00Z"}')
        run.link("image_layer", "observed", image, when, target=top)
    run.link("image_name", "observed", "shop/web:1", when, target=IMAGE)
    run.link("parent_pointer", "observed", TOP, when, target=BASE, layer_id=TOP)
    run.link("container_record", "observed", SERVER, when, **pod)
    run.link("container_layer", "observed", SERVER, when, target=LEAKED, layer_id=LEAKED, **pod)
    run.link("container_image", "observed", SERVER, when, target=IMAGE, **pod)
    run.link("layer_directory", "observed", LEAKED, when, layer_id=LEAKED, file_path=f"overlay/{LEAKED}")
    run.link("mount", "created", f"/run/{LEAKED}/merged", (10.0, 11.0), target=LEAKED, layer_id=LEAKED)
    for layer, size in ((BASE, 100), (TOP, 20), (LEAKED, 3)):
        run.usage("layer", layer, (2.0, 3.0), size)
    run.start(0.5)
    run.vouch(3600.0, since=0.5)
    lake = write_lake(tmp_path / "lake", [run])

    images = {row["image_id"]: row for row in rows(asked(lake, "images", {"at": at(100)}, clock=NOW))}
    wanted = ("image", "bytes", "layers", "shared_layers", "containers", "created", "top_layers")
    assert [images[IMAGE][name] for name in wanted] == [["shop/web:1"], 120, 2, 1, 1, "2026-11-01T00:00:00Z", [TOP]]
    assert [images["2" * 64][name] for name in wanted] == [[], 100, 1, 1, 0, "2026-11-01T00:00:00Z", [BASE]]

    [container] = rows(asked(lake, "containers", {"at": at(100)}, clock=NOW))
    shown = ("container_name", "k8s_namespace_name", "k8s_pod_name", "layer_id", "directory", "bytes", "mounted")
    assert [container[name] for name in shown] == ["web", "shop", "web-0", LEAKED, f"overlay/{LEAKED}", 3, [f"/run/{LEAKED}/merged"]]
    [before] = rows(asked(lake, "containers", {"at": at(5)}, clock=NOW))
    assert before["mounted"] == []


def test_a_diff_has_what_stands_otherwise(engine: Engine) -> None:
    """What appeared is added, what is gone removed with the time of its removal, what came and went in between is not there."""
    early = {
        (row["change"], row["link_kind"], row["subject"])
        for row in rows(asked(engine, "diff", {"since": at(60), "until": at(700)}, clock=NOW))
    }
    assert ("added", "layer_record", LEAKED) in early
    assert ("added", "container_layer", CRASHED) in early
    assert {change for change, _, _ in early} == {"added"}
    late = rows(asked(engine, "diff", {"since": at(700), "until": at(1300)}, clock=NOW))
    removed = {(row["link_kind"], row["subject"]): row for row in late if row["change"] == "removed"}
    assert set(removed) == {("layer_record", LEAKED), ("parent_pointer", LEAKED), ("container_layer", CRASHED)}
    record = removed["layer_record", LEAKED]
    assert (record["changed_after"].timestamp(), record["changed_before"].timestamp()) == (at(1200) / 1e9, at(1200.5) / 1e9)
    assert (record["state_then"], record["state_now"]) == ("present", None)
    again = rows(asked(engine, "diff", {"since": at(3050), "until": at(3200)}, clock=NOW))
    assert [(row["change"], row["subject"]) for row in again] == [("added", "TOPSHORT")], "its older target was never recorded"


def test_the_fleet_shows_who_began_together(tmp_path: Path) -> None:
    """Two of three nodes show it since the same minute; the third began earlier; another code is another row."""
    runs = []
    for number, (node, when) in enumerate((("n1", 1000.0), ("n2", 1010.0), ("n3", 200.0))):
        run = Run(f"20261123T16000{number}Z-aaaaaaaa", node=node)
        run.start(0.5)
        run.finding("opened", "phantom-child", "x", (when - 5, when), bytes=10, since_after=at(when - 5), since_before=at(when))
        run.finding("opened", "phantom-child", "y", (when + 500, when + 501), bytes=5)
        run.vouch(3600.0, since=0.5)
        runs.append(run)
    runs[0].finding("opened", "pinned-by-lease", "z", (50.0, 60.0))
    found = rows(asked(write_lake(tmp_path / "lake", runs), "fleet", {"at": at(3000)}, clock=NOW))
    assert [(row["code"], row["nodes"], row["node_names"], row["findings"], row["bytes"], row["all_nodes"]) for row in found] == [
        ("phantom-child", 1, ["n3"], 2, 15, 3),
        ("phantom-child", 2, ["n1", "n2"], 4, 30, 3),
        ("pinned-by-lease", 1, ["n1"], 1, None, 1),
    ]
    only = rows(asked(tmp_path / "lake", "fleet", {"at": at(3000), "node": "n2"}, clock=NOW))
    assert [row["node_names"] for row in only] == [["n2"]]


def test_coverage_counts_what_is_missing_within_the_asked_time(engine: Engine) -> None:
    """The reach of the record, and the seconds of its gaps that lie in the asked time."""
    [whole] = rows(asked(engine, "coverage", {}, clock=NOW))
    assert (whole["runs"], whole["gaps"], whole["gap_seconds"], whole["causes"], whole["recording"]) == (2, 1, 120.0, ["restart"], True)
    [half] = rows(asked(engine, "coverage", {"since": at(2040), "until": at(3000)}, clock=NOW))
    assert half["gap_seconds"] == 60.0
    [none] = rows(asked(engine, "coverage", {"since": at(2200), "until": at(3000)}, clock=NOW))
    assert (none["gaps"], none["gap_seconds"], none["causes"]) == (0, 0.0, [])


def test_other_clusters_are_left_out(tmp_path: Path) -> None:
    """The same node name in two clusters: asked of one, the other's rows and gaps do not count."""
    runs = []
    for cluster, until in (("east", 3600.0), ("west", 100.0)):
        run = Run(f"20261123T160000Z-{cluster}", cluster=cluster)
        run.start(0.5)
        run.finding("opened", "phantom-child", cluster, (10.0, 20.0))
        run.vouch(until, since=0.5)
        runs.append(run)
    lake = write_lake(tmp_path / "lake", runs)
    east = asked(lake, "findings", {"at": at(3000), "cluster": "east"}, clock=NOW)
    assert [row["subject"] for row in rows(east)] == ["east"]
    assert east.exit_code == 0
    assert asked(lake, "findings", {"at": at(3000)}, clock=NOW).exit_code == 3


def test_a_path_that_is_no_layer_is_unknown(engine: Engine) -> None:
    """Asked about something that has no id, a question about ids says so."""
    with pytest.raises(UnknownSubjectError):
        asked_about(engine, "whois", "overlay-images/images.json", {}, clock=NOW)


COMMANDS = [
    ["whois", LEAKED[:8]],
    ["why", BASE, "--at", "2026-11-23T16:31:40Z"],
    ["shared-by", BASE, "--at", "2026-11-23T16:31:40Z"],
    ["growth", "--from", "2026-11-23T16:01:00Z", "--to", "2026-11-23T16:18:00Z", "--by", "container"],
    ["diff", "2026-11-23T16:01:00Z", "2026-11-23T16:18:00Z"],
    ["coverage", "--to", "2026-11-23T16:18:00Z"],
    ["images", "--at", "2026-11-23T16:31:40Z"],
    ["containers", "--at", "2026-11-23T16:31:40Z"],
    ["fleet", "--at", "2026-11-23T16:31:40Z"],
    ["timeline", "--around", "2026-11-23T16:10:00Z", "--window", "1m"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "md"])
def test_every_verb_answers_in_every_form(
    words: list[str], form: str, story: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One exit code, rows on standard output, and no id of 64 digits in what is for eyes."""
    monkeypatch.setenv("LINKTRAIL_LAKE", str(story))
    assert main([*words, "--format", form]) == (3 if words[0] == "whois" else 0)
    out, err = capsys.readouterr()
    assert out.strip() or form == "jsonl"
    assert ("The record" in err) is (form != "json")
    if form in ("table", "md"):
        assert "a" * 64 not in out


@pytest.mark.parametrize(
    "words",
    [
        ["growth", "--by", "colour"],
        ["diff", "now", "1h ago"],
        ["fleet", "--code", "x"],
        ["why", "zz"],
        ["timeline"],
        ["timeline", "x", "--around", "now"],
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(words: list[str], story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, before anything is read where that is possible."""
    monkeypatch.setenv("LINKTRAIL_LAKE", str(story))
    assert main(words) == 2
