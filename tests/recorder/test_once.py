"""Recording once finds what ``linktrail check`` finds; and options are checked before anything runs."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from collector.check import run_check
from collector.links import Survey
from collector.program import Options, collect
from collector.settings import Settings
from linktrail.clock import Clock, SystemClock
from linktrail.errors import StoreUnreadableError, UsageError
from tests.needs import need
from tests.recorder.playground import Playground, short_name
from tests.recorder.support import Rig, bounds, of_link, spool_rows
from tests.stores import archived, unpack


def recorded(state: Path) -> set[tuple[object, object]]:
    """Return code and subject of the findings that were opened."""
    return {
        (row["code"], row["subject"]) for table, row in spool_rows(state / "spool") if table == "findings" and row["action"] == "opened"
    }


@pytest.mark.parametrize("name", ["e00_healthy", "e02_empty_link_mid", "e06_dangling_extra_symlink", "cs-podman43-leaky"])
def test_once_finds_what_check_finds(tmp_path: Path, name: str) -> None:
    """Also what is so fresh that it needs a second look."""
    if not archived(name):
        need("fixtures")
    root = unpack(name, tmp_path)
    for entry in (root / "overlay/l").iterdir():  # as fresh as if its engine had just done it
        target = entry.readlink()
        entry.unlink()
        entry.symlink_to(target)
    found = {(finding.code, finding.subject) for _, finding in run_check([root], clock=SystemClock(), min_age=0).findings}
    assert collect([root], tmp_path / "state", Options(node="n1", once=True, settings=Settings(min_age=0))) == 0
    assert recorded(tmp_path / "state") == found
    assert bool(found) == (name != "e00_healthy")


def test_a_store_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing recorded must not look like success: the store vanishes between being found and being read."""
    store = Playground.filled(tmp_path / "store")
    other = Playground.filled(tmp_path / "other")
    opened = Options.of(node="n1", once=True)

    def least_offset(*_: object) -> int:
        shutil.rmtree(store.root)
        return 0

    monkeypatch.setattr("collector.program.Ledger.least_offset", least_offset)
    with pytest.raises(StoreUnreadableError, match="store"):
        collect([store.root, other.root], tmp_path / "state", opened)
    roots = {row["store_root"] for table, row in spool_rows(tmp_path / "state/spool") if table == "links"}
    assert roots == {str(other.root)}


def test_the_pace_is_a_matter_of_options() -> None:
    """Durations as people write them; what cannot be meant is one clear error."""
    assert Settings.of() == Settings()
    assert Settings.of(quiet="0.5", max_delay="5s", min_age="10m") == replace(Settings(), quiet=0.5, max_delay=5.0, min_age=600.0)
    with pytest.raises(UsageError, match=r"--quiet .* longer than --max-delay"):
        Settings.of(quiet="5s")
    with pytest.raises(UsageError, match="--max-delay takes a duration"):
        Settings.of(max_delay="soon")
    with pytest.raises(UsageError, match="inotify, fanotify, survey-only, auto"):
        Options.of(watch="everything")
    assert Options.of(watch="auto").watch == "auto"


def test_a_quiet_period_joins_what_comes_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a longer quiet period, many changes are one reading, told no wider than the maximum delay allows."""
    rig = Rig(tmp_path, settings=replace(Settings.of(quiet="0.4", max_delay="2s"), drain=0.0, diagnose_interval=60.0))
    rig.start()
    rig.settle(1)
    readings: list[int] = []
    survey = rig.source.survey

    def counted(clock: Clock) -> Survey:
        readings.append(clock.now().monotonic)
        return survey(clock)

    monkeypatch.setattr(type(rig.source), "survey", lambda _, clock: counted(clock))
    told = []
    for number in range(40):
        rig.store.link(short_name(500 + number), "../x/diff")
        told.append(rig.event("created", f"overlay/l/{short_name(500 + number)}"))
        rig.settle(0.1, step=0.1)
    rig.settle(2)
    gaps = [(later - earlier) / 1e9 for earlier, later in itertools.pairwise(readings)]
    assert len(readings) in (2, 3), "4 s of changes without a pause: every 2 s, and once at the end"
    assert all(gap <= 2.3 for gap in gaps)
    rows = rig.sealed("links")
    assert [bounds(of_link(rows, short_name(500 + number))[0]) for number in range(40)] == told
