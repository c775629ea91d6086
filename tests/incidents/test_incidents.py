from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.incidents import families
from tests.incidents.registry import REPLAYS, UNTOLD
from tests.incidents.replay import Scene, check
from tests.stores import FIXTURES

REFERENCE = FIXTURES.parent / "reference" / "incidents.md"


@pytest.mark.parametrize("number", sorted(REPLAYS))
def test_the_record_answers(number: str, tmp_path: Path) -> None:
    """Build, record, break, record, ask: the answers hold the cause, the time, the owner and the bytes."""
    scene = Scene(tmp_path)
    _, replay = REPLAYS[number]
    check(scene, replay(scene))


def test_no_incident_is_forgotten() -> None:
    """Every incident of the reference is replayed, those too for which it asks for a live engine."""
    assert families.__all__
    if not REFERENCE.is_file():
        pytest.skip("needs the reference beside the checkout (../shared/reference)")
    incidents = re.findall(r"^#### (\w+) - ", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(incidents) == 59
    assert sorted(REPLAYS) == sorted(incidents)
    assert set(UNTOLD) < set(REPLAYS)
    assert all(reason.endswith(".") for reason in UNTOLD.values())
