"""Findings on their way into the record: their bytes are of now, and a fault in diagnosis costs findings, never links."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path

import pytest

from collector.diagnose import examine
from collector.settings import Settings
from linktrail.clock import iso
from tests.recorder.playground import OLD, layer_id, short_name
from tests.recorder.support import Rig, bounds, of_link

EAGER = Settings(drain=0.0, min_age=0)


def written(file: Path, size: int) -> None:
    """Write a file that looks older than the time in which the recorder lives."""
    file.write_bytes(bytes(size))
    for path in (file, file.parent, file.parent.parent):
        os.utime(path, ns=(OLD, OLD))


def test_a_new_finding_does_not_carry_an_old_size(tmp_path: Path) -> None:
    """A layer in the making is measured, grows, and is given up: what the finding holds is what it holds then."""
    rig = Rig(tmp_path, settings=Settings(drain=0.0, min_age=150))
    rig.start()
    record = {"id": layer_id(9), "created": iso(rig.clock.now().wall), "flags": {"incomplete": True}}
    rig.store.layers[layer_id(9)] = record
    rig.store.write("overlay-layers/layers.json", list(rig.store.layers.values()))
    diff = rig.store.make_directory(9) / "diff"
    written(diff / "first", 100_000)
    rig.lose_nothing_but_look()
    rig.settle(5)
    sizes = [row["bytes"] for row in rig.sealed("usage") if row["subject"] == layer_id(9)]
    assert len(sizes) == 1
    assert rig.sealed("findings") == []
    written(diff / "second", 5_000_000)
    opened: list[object] = []
    for _ in range(60):
        rig.settle(5)
        opened = [row["bytes"] for row in rig.sealed("findings") if row["code"] == "incomplete-layer"]
        if opened:
            break
    rig.settle(5)
    told = [row["bytes"] for row in rig.sealed("findings") if row["code"] == "incomplete-layer"]
    assert opened, "it was given up long ago"
    assert sizes[0] not in told, "the size of before"
    last = told[-1]
    assert isinstance(last, int)
    assert last >= 5_100_000


def test_a_fault_in_diagnosis_does_not_end_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, logged and in the record as a gap; links go on being told; findings come once diagnosis works again."""
    rig = Rig(tmp_path, settings=EAGER)
    rig.start()
    rig.settle(3)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a rule that this store is too much for")

    monkeypatch.setattr("collector.store_findings.examine", broken)
    begun = rig.clock.now().wall
    rig.store.unlink(short_name(1))
    rig.event("removed", f"overlay/l/{short_name(1)}")
    with caplog.at_level(logging.ERROR):
        rig.settle(4)
    ended = rig.clock.now().wall
    trouble = rig.recorder.stores[0].findings.trouble
    assert trouble is not None
    assert "ZeroDivisionError: a rule that this store is too much for" in trouble
    assert str(tmp_path / "store") in caplog.text
    assert [row["action"] for row in of_link(rig.sealed("links"), short_name(1))] == ["observed", "removed"]
    assert rig.sealed("findings") == []
    monkeypatch.setattr("collector.store_findings.examine", examine)
    rig.lose_nothing_but_look()
    rig.settle(4)
    assert rig.recorder.stores[0].findings.trouble is None
    assert [row["code"] for row in rig.sealed("findings")] == ["short-link-missing"]
    gaps = [bounds(row) for row in rig.sealed("coverage") if row["cause"] == "diagnosis-failed"]
    assert min(after for after, _ in gaps) <= begun
    assert max(before for _, before in gaps) >= ended
    joined = sorted(gaps)
    assert all(later[0] <= earlier[1] for earlier, later in itertools.pairwise(joined)), "no hole between them"
