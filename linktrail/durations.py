"""Durations as people write them: ``0``, ``90``, ``90s``, ``10m``, ``24h``, ``7d``, ``1h30m``."""

from __future__ import annotations

import re

from linktrail.errors import UsageError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")


def parse_duration(text: str, option: str) -> float:
    """Return ``text`` in seconds. Raises ``UsageError`` naming ``option`` when it is no duration."""
    compact = text.strip().lower().replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise UsageError(what=f"{option} takes a duration such as 0, 90s, 10m, 24h or 7d, not '{text}'")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def spell_duration(seconds: float) -> str:
    """Return ``seconds`` for a person: the two largest units (``3 h 20 min``)."""
    whole = int(seconds)
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {name}")
        if len(parts) == 2 or (parts and not count):  # noqa: PLR2004 - two units say enough
            break
    return " ".join(parts) or "0 s"
