"""Install what the live tests need, from Debian's packages, on a CI machine (CI=true and root); elsewhere say what is missing.

Tests themselves never install anything: they skip with the reason (see tests/needs.py), and under CI=true a skip is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.tools import helm
from tests.kafka import distribution as kafka
from tests.spark import reader as spark

POLICY = Path("/usr/sbin/policy-rc.d")

PROGRAMS = {
    "podman": "podman",
    "buildah": "buildah",
    "containers-storage": "containers-storage",
    "runc": "runc",
    "containerd": "containerd",
    "dockerd": "docker.io",
    "inotifywait": "inotify-tools",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "java": "default-jre-headless",
    "mvn": "maven",
    "openssl": "openssl",
    "bwrap": "bubblewrap",
    "go": "golang-go",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
}


def missing() -> list[str]:
    """Return the Debian packages of the programs that are not on PATH."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


def main() -> int:
    """Install or tell; return the exit code."""
    code = _install(missing())
    if os.environ.get("CI") == "true" and code == 0:
        print("Resolving Apache Kafka and Apache Spark for the tests", flush=True)
        kafka.classpath()
        spark.classpath()
        print("Building helm for the tests", flush=True)
        helm(build=True)
    return code


def _install(packages: list[str]) -> int:
    if not packages:
        return 0
    can_install = os.environ.get("CI") == "true" and os.geteuid() == 0 and shutil.which("apt-get")
    if not can_install:
        print(f"Some live tests will be skipped; they need: {' '.join(packages)}")
        return 0
    print(f"Installing for the live tests: {' '.join(packages)}", flush=True)
    with no_daemons():
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "-q", *words], env=environment, stdout=subprocess.DEVNULL, check=True)
    return 0 if not missing() else 1


@contextmanager
def no_daemons() -> Iterator[None]:
    """Keep packages from starting their services while they are installed: Debian asks this file, 101 is "no" (invoke-rc.d)."""
    if POLICY.exists():  # this machine has a policy of its own
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


if __name__ == "__main__":
    sys.exit(main())
