"""Upkeep changes no answer: everything asked about the kept time is the same before and after, for any history."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linktrail.clock import NANOSECONDS
from processor.upkeep.keeper import UpkeepPolicy, maintain
from processor.upkeep.retain import LEAST_DAYS
from tests.faults.filesystems import QuickFileSystem
from tests.upkeep.histories import DAY, HOUR, Step, answers, clock_after, copy_of, horizon_of, runs_of, steps, write

SHORT = UpkeepPolicy(keep_days=LEAST_DAYS, grace_hours=0, most_small=2)


def compare(history: Sequence[Step], hours: Sequence[int], *, twice: bool) -> None:
    """Keep the lake of ``history`` twice, some days apart, and ask each time what can still be asked."""
    runs, latest = runs_of(history)
    with tempfile.TemporaryDirectory() as directory:
        before = write(Path(directory) / "before", runs, pieces=3, twice=twice)
        after = copy_of(before, Path(directory) / "after")
        for days in (1, 5):
            clock = clock_after(latest, days * DAY / HOUR)
            horizon, now = horizon_of(clock), clock.now().wall
            instants = sorted({horizon, now, *(horizon + hour * HOUR * NANOSECONDS for hour in hours)})
            expected = answers(before, instants, horizon, now)
            maintain(after, filesystem=QuickFileSystem(), clock=clock, policy=SHORT)
            found = answers(after, instants, horizon, now)
            for question, answer in expected.items():
                assert found[question] == answer, question


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.lists(st.integers(0, 200), min_size=1, max_size=1), st.booleans())
def test_no_answer_changes(history: list[Step], hours: list[int], twice: bool) -> None:
    """Compaction, rollup and retention, twice, with rows stored twice, clocks set back, baselines again, changes across the horizon."""
    compare(history, hours, twice=twice)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.lists(st.integers(0, 200), min_size=1, max_size=1), st.booleans())
def test_no_answer_changes_long(history: list[Step], hours: list[int], twice: bool) -> None:
    """The same, many times."""
    compare(history, hours, twice=twice)
