"""``python -m linktrail``."""

from __future__ import annotations

from linktrail.command import script

script()
