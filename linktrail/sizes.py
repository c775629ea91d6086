"""Sizes as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_THOUSAND: Final = 1000


def human_bytes(count: float) -> str:
    """Return a number of bytes for a person, in powers of 1000: ``0 B``, ``512 B``, ``1.5 kB``, ``12.0 GB``."""
    value, unit = float(count), 0
    while abs(round(value, 1)) >= _THOUSAND and unit < len(_UNITS) - 1:
        value /= _THOUSAND
        unit += 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
