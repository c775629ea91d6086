"""Sizes as people read and write them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_THOUSAND: Final = 1000
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGTPEkmgtpe])(i)?)?[Bb]?")


def human_bytes(count: float) -> str:
    """Return a number of bytes for a person, in powers of 1000: ``0 B``, ``512 B``, ``1.5 kB``, ``12.0 GB``."""
    value, unit = float(count), 0
    while abs(round(value, 1)) >= _THOUSAND and unit < len(_UNITS) - 1:
        value /= _THOUSAND
        unit += 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def parse_size(text: str) -> int:
    """Return a size in bytes: ``1048576``, ``512MiB``, ``1GiB``, ``2 GB``. Raises ``ValueError``."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("a size such as 512MiB, 1GiB or 2GB")
    count, prefix, binary = found.groups()
    power = " KMGTPE".index(prefix.upper()) if prefix else 0
    return int(float(count) * (1024 if binary else _THOUSAND) ** power)
