"""The names in an overlay directory, and how large what they hold may be.

Source: drivers/overlay/overlay.go of containers/storage and daemon/graphdriver/overlay2 of moby, which it was forked from, and real stores
of podman 4.3, podman 5.4 and Docker 20.10.
"""

from __future__ import annotations

import re
from typing import Final

SHORT_LINKS: Final = "l"
LINK: Final = "link"
LOWER: Final = "lower"

LINK_BYTES: Final = 4 << 10
LOWER_BYTES: Final = 1 << 20
TARGET_CHARACTERS: Final = 64 << 10  # of lower, in a link: a chain of 500, the engine's own limit, takes 33,000
LAYER_ENTRIES: Final = 1_000  # names in one layer's own directory: link, lower, diff, work, merged, empty, committed

_SHORT_NAME: Final = re.compile(r"[A-Z2-7]{26}\Z")
_LOWER: Final = re.compile(r"l/[A-Z2-7]{26}(?::l/[A-Z2-7]{26})*+\Z")
_SHORT_TARGET: Final = re.compile(r"\.\./([^/\0]+)/diff\Z")
_LAYER_ID: Final = re.compile(r"[0-9a-f]{64}\Z")


def is_short_name(name: str) -> bool:
    """Tell whether ``name`` has the form of a short link: 26 characters of base32."""
    return _SHORT_NAME.match(name) is not None


def layer_of_short_link(target: str) -> str | None:
    """Return the layer that ``../<layer>/diff`` points to, or ``None`` for any other form."""
    found = _SHORT_TARGET.match(target)
    return found[1] if found and found[1] not in {".", ".."} else None


def is_layer_id(name: str) -> bool:
    """Tell whether ``name`` has the form of a layer id that the engine chose: 64 hexadecimal digits."""
    return _LAYER_ID.match(name) is not None


def is_lower(text: str) -> bool:
    """Tell whether ``text`` is a list of short links, ``l/X:l/Y``, as ``lower`` holds."""
    return _LOWER.match(text) is not None
