"""Goals of benchmark rows and whether they are met.

A goal is a comparison with a number (``>= 8``, ``< 0.5``, ``< 2 s``, ``0``) of the row's ratio, where it has one and the goal names no
unit, else of its value.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

_GOAL: Final = re.compile(r"(>=|<=|<|>|)\s*([0-9.]+)(?:\s+(\S+))?")
_TESTS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "": operator.eq,
}


def verdict(row: Mapping[str, object]) -> str:
    """Return ``met``, ``missed`` or, without a goal, nothing. Raises ``ValueError`` for a goal that is none."""
    goal = str(row.get("goal") or "")
    if not goal:
        return ""
    found = _GOAL.fullmatch(goal)
    if found is None:
        raise ValueError(f"{row.get('name')}: {goal!r} is no goal")
    ratio = row.get("ratio")
    measured = row["value"] if ratio is None or found[3] else ratio
    if not isinstance(measured, int | float):
        raise TypeError(f"{row.get('name')}: {measured!r} is no number")
    return "met" if _TESTS[found[1]](measured, float(found[2])) else "missed"
