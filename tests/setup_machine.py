"""Install what the live tests need, from Debian's packages, on a CI machine (CI=true and root); elsewhere say what is missing.

Tests themselves never install anything: they skip with the reason (see tests/needs.py), and under CI=true a skip is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAMS = {
    "podman": "podman",
    "buildah": "buildah",
    "containers-storage": "containers-storage",
    "runc": "runc",
    "inotifywait": "inotify-tools",
}


def missing() -> list[str]:
    """Return the Debian packages of the programs that are not on PATH."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


def main() -> int:
    """Install or tell; return the exit code."""
    packages = missing()
    if not packages:
        return 0
    can_install = os.environ.get("CI") == "true" and os.geteuid() == 0 and shutil.which("apt-get")
    if not can_install:
        print(f"Some live tests will be skipped; they need: {' '.join(packages)}")
        return 0
    print(f"Installing for the live tests: {' '.join(packages)}", flush=True)
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-q", *words], env=environment, stdout=subprocess.DEVNULL, check=True)
    return 0 if not missing() else 1


if __name__ == "__main__":
    sys.exit(main())
