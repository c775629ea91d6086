"""A program: mount an overlay in a mount namespace of its own, and ask the kernel where links lead, inside it.

Standard input: one JSON object, ``lowers`` (directories, topmost first), ``where`` (an empty directory) and ``links`` (paths in the merged
directory); or ``paths`` instead of links. Standard output: {link: does something stand where it leads}, or {path: what stands there}. Run
as root under ``unshare --mount``.
"""

from __future__ import annotations

import errno
import json
import os
import stat
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
    if "paths" in asked:
        json.dump({path: kind(Path("/", path)) for path in asked["paths"]}, sys.stdout)
    else:
        json.dump({link: Path(link).exists() for link in asked["links"] if is_seen(Path("/", link))}, sys.stdout)


def kind(path: Path) -> str:
    """Return what stands at a path, links on the way followed and the last name not."""
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        return "loop" if error.errno == errno.ELOOP else "absent"
    return "symlink" if stat.S_ISLNK(mode) else "directory" if stat.S_ISDIR(mode) else "file"


def is_seen(link: Path) -> bool:
    """Tell whether a link stands there under this very name, not under one that leads through another link."""
    return link.is_symlink() and link.parent.resolve() == link.parent


if __name__ == "__main__":
    main()
