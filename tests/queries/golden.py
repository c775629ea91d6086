"""Outputs pinned in tests/golden/. ``LINKTRAIL_UPDATE_GOLDEN=1`` writes them anew; look at the difference before committing it."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def check_golden(name: str, text: str) -> None:
    """Compare ``text`` with the file ``name``."""
    file = GOLDEN / name
    if os.environ.get("LINKTRAIL_UPDATE_GOLDEN") == "1":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{name} differs; LINKTRAIL_UPDATE_GOLDEN=1 writes it anew"
