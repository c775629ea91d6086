"""The page of numbers shows every row, and judges goals by what they compare."""

from __future__ import annotations

import pytest

from tests.benchmarks.goals import verdict
from tests.benchmarks.report import machine, page


@pytest.mark.parametrize(
    ("goal", "value", "ratio", "expected"),
    [
        (">= 8", 1.0, 8.0, "met"),
        (">= 8", 100.0, 7.9, "missed"),
        ("<= 1.5", 1.5, None, "met"),
        ("< 0.5", 0.5, None, "missed"),
        ("< 2 s", 0.6, 2.3, "met"),
        ("0", 0, None, "met"),
        ("0", 3, None, "missed"),
        ("", 1.0, None, ""),
    ],
)
def test_verdicts(goal: str, value: float, ratio: float | None, expected: str) -> None:
    """A goal is about the ratio, if there is one and the goal has no unit."""
    assert verdict({"name": "n", "goal": goal, "value": value, "ratio": ratio}) == expected


def test_a_goal_that_is_none_is_refused() -> None:
    """It would be met for ever."""
    with pytest.raises(ValueError, match="'fast' is no goal"):
        verdict({"name": "n", "goal": "fast", "value": 1})


def test_every_row_is_on_the_page() -> None:
    """Met, missed and without a goal; known benchmarks and new ones."""
    row = {"unit": "x/s", "peer": "du", "peer_value": 2000, "ratio": 0.5, "rounds": 5}
    results = {
        "new": [{**row, "name": "bad | one", "value": 1000, "goal": ">= 1"}],
        "watch": [{**row, "name": "good", "value": 1, "goal": ""}],
    }
    text = page(results, ["2 processors"])
    assert "| bad / one | 1,000 x/s | du | 2,000 | 0.5 | >= 1 | missed | 5 |" in text
    assert "| good | 1 x/s | du | 2,000 | 0.5 |  |  | 5 |" in text
    assert text.index("Watching") < text.index("## new")
    assert "* 2 processors" in text


def test_the_machine_is_described_without_names() -> None:
    """Processors, kernel and the peers' versions; the dependencies' peers always."""
    lines = " ".join(machine())
    assert "processors" in lines
    assert "watchdog " in lines
    assert "/" not in lines.replace("GiB/s", "")
