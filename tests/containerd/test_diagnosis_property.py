"""Diagnosis of containerd against an oracle on random stores, and on surveys that something has mangled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.diagnose import diagnose, examine
from collector.links import Link, LinkState, Survey
from collector.stores.containerd import Containerd
from linktrail.testing.clock import FakeClock
from linktrail.text import printable
from tests.containerd.build import AT, SECOND, Store

NOW = AT + 30 * 86_400 * SECOND
LEAKS = {"unreferenced-layer", "pinned-by-lease", "pinned-by-label"}
MOST = 12
SNAPSHOT = st.tuples(
    st.integers(0, MOST),  # its parent: the snapshot of that number, if it is older
    st.sampled_from(["", "", "container", "image", "lease", "old lease", "flat lease", "root", "expired", "refers", "back"]),
    st.integers(0, MOST),  # what a label of it refers to
)


def survey(root: Path) -> Survey:
    """Read a root long after its last change."""
    return Containerd().survey(root, clock=FakeClock(NOW))


def build(root: Path, snapshots: list[tuple[int, str, int]]) -> Store:
    """Make snapshots n0, n1, ..., each held as its row says."""
    store = Store(root)
    for number, (parent, held, other) in enumerate(snapshots):
        below = f"n{parent}" if parent < number else None
        labels = {
            "root": {"containerd.io/gc.root": "x"},
            "expired": {"containerd.io/gc.expire": "2026-11-24T00:00:00Z"},
            "refers": {"containerd.io/gc.ref.snapshot.overlayfs": f"n{other}"},
            "back": {"containerd.io/gc.bref.snapshot.overlayfs": f"n{other}"},
        }.get(held)
        store.snapshot(f"n{number}", below, labels=labels, kind="active" if held == "container" else "committed")
        if held == "container":
            store.place("k8s.io", "containers", f"c{number}").fill({b"snapshotter": b"overlayfs", b"snapshotKey": b"n%d" % number})
        elif held == "image":
            store.image(f"registry.example/i{number}:1", [f"n{number}"])
        elif held.endswith("lease"):
            terms = {"old lease": {"containerd.io/gc.expire": "2026-11-24T00:00:00Z"}, "flat lease": {"containerd.io/gc.flat": "x"}}
            store.lease(f"l{number}", {"snapshots/overlayfs": [f"n{number}"]}, terms.get(held))
    return store.commit()


def reached(snapshots: list[tuple[int, str, int]], roots: set[int], *, labels: bool = True) -> set[int]:
    """Return what ``roots`` keep, by the rules as they are written down: parents, gc.ref and gc.bref."""
    kept = set(roots)
    while True:
        more = {parent for number, (parent, _, _) in enumerate(snapshots) if number in kept and parent < number}
        if labels:
            more |= {other for number, (_, held, other) in enumerate(snapshots) if number in kept and held == "refers"}
            more |= {number for number, (_, held, other) in enumerate(snapshots) if held == "back" and other in kept}
        more = {number for number in more if number < len(snapshots)} - kept
        if not more:
            return kept
        kept |= more


@settings(max_examples=60, deadline=None)
@given(st.lists(SNAPSHOT, min_size=1, max_size=MOST))
def test_every_snapshot_is_in_use_or_in_one_finding(
    tmp_path_factory: pytest.TempPathFactory, snapshots: list[tuple[int, str, int]]
) -> None:
    """Which are found, under which code, agrees with the oracle; each once; and nothing else is found."""
    store = build(tmp_path_factory.mktemp("random"), snapshots)
    findings = diagnose(survey(store.root), now=NOW, min_age=0)
    store.close()
    assert {finding.code for finding in findings} <= LEAKS
    holders = {
        held: {number for number, row in enumerate(snapshots) if row[1] == held}
        for held in ("container", "image", "lease", "flat lease", "root")
    }
    used = reached(snapshots, holders["container"] | holders["image"])
    pinned = reached(snapshots, holders["root"]) - used
    leased = reached(snapshots, holders["lease"]) | reached(snapshots, holders["flat lease"], labels=False)
    expected = {
        f"n{number}": "pinned-by-label" if number in pinned else "pinned-by-lease" if number in leased else "unreferenced-layer"
        for number in range(len(snapshots))
        if number not in used
    }
    said = [(name, finding.code) for finding in findings for name in finding.evidence["chain"]]
    assert len(said) == len(dict(said))
    assert dict(said) == expected


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """A survey with links of every kind that the driver makes."""
    rows = [(99, "image", 0), (0, "container", 0), (0, "lease", 0), (0, "refers", 1), (3, "back", 0), (0, "root", 0), (5, "", 0)]
    store = build(tmp_path_factory.mktemp("rich"), rows)
    store.ingest("half")
    store.snapshot("extract-1-x sha256:1", "n0", kind="active")
    store.snapshot("gone", "n0")
    store.remove_snapshot("gone", unlink=False)
    (store.home() / "snapshots/900").mkdir()
    (store.home() / "snapshots/new-1").mkdir()
    store.commit()
    return survey(store.root)


NAMES = ["", "k8s.io/1/n0", "n0", "\udcff\x1b[2J", "../..", "a" * 300, "sha256:" + "0" * 64]
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.sampled_from(NAMES), st.just([]), st.just({"x": [1]}))
DAMAGE = st.tuples(st.integers(0, 10_000), st.sampled_from(["drop", "target", "subject", "state", "detail", "layer", "facts"]), VALUES)


def mangled(link: Link, what: str, value: Any) -> Link | None:
    """Return a link as something has damaged it."""
    name = value if isinstance(value, str) else None
    if what == "drop":
        return None
    if what in ("target", "layer"):
        return replace(link, target=name) if what == "target" else replace(link, layer_id=name)
    if what == "subject":
        return replace(link, subject=name or "x")
    if what == "state":
        return replace(link, state=list(LinkState)[len(str(value)) % len(LinkState)])
    if what == "detail":
        return replace(link, detail=dict.fromkeys(link.detail, value))
    return replace(link, facts=dict.fromkeys(link.facts, value))


@settings(max_examples=150, deadline=None)
@given(st.lists(DAMAGE, max_size=12), st.booleans())
def test_a_mangled_survey_is_diagnosed_all_the_same(rich: Survey, damage: list[tuple[int, str, Any]], read_only: bool) -> None:
    """No exception, findings unique, words safe to print, documents JSON, and the same again."""
    links = list(rich.links.values())
    for place, what, value in damage:
        found = mangled(links[place % len(links)], what, value)
        links = [*links[: place % len(links)], *([found] if found else []), *links[place % len(links) + 1 :]]
    survey = replace(rich, links=MappingProxyType({link.key: link for link in links}), read_only=read_only)
    result = examine(survey, now=NOW, min_age=0)
    assert len({finding.key for finding in result.findings}) == len(result.findings)
    for finding in result.findings:
        assert printable(finding.message) == finding.message
        assert printable(finding.advice) == finding.advice
        json.dumps(finding.document("/store")).encode()
    assert examine(survey, now=NOW, min_age=0) == result
