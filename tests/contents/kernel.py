"""A program: mount an overlay in a mount namespace of its own, and ask the kernel where links lead, inside it.

Standard input: one JSON object, ``lowers`` (directories, topmost first), ``where`` (an empty directory) and ``links`` (paths in the merged
directory). Standard output: {link: does something stand where it leads}. Run as root under ``unshare --mount``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Answer one question."""
    asked = json.load(sys.stdin)
    lowers = ":".join(asked["lowers"])
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lowers}", asked["where"]], check=True)
    os.chroot(asked["where"])
    os.chdir("/")
    json.dump({link: Path(link).exists() for link in asked["links"] if is_seen(Path("/", link))}, sys.stdout)


def is_seen(link: Path) -> bool:
    """Tell whether a link stands there under this very name, not under one that leads through another link."""
    return link.is_symlink() and link.parent.resolve() == link.parent


if __name__ == "__main__":
    main()
