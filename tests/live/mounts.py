"""What engines leave mounted below a test's own directory, and how to take it away."""

from __future__ import annotations

import subprocess
from pathlib import Path


def below(directory: Path) -> list[str]:
    """Return the mount points at or below ``directory``, innermost first."""
    own = str(directory.resolve())
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == own or point.startswith(own + "/"):
            found.append(point)
    return found[::-1]


def unmount_below(directory: Path) -> None:
    """Unmount everything at or below ``directory``."""
    for point in below(directory):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
