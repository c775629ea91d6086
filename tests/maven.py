"""Java programs for the tests: jars that Maven resolves once from a pinned pom.xml, kept outside the checkout.

``tests.setup_machine`` resolves them on a CI machine; tests do it themselves when they come first. The cache is keyed by the content
of the pom, so another version never meets old jars.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_READY: Final = ".complete"


class UnavailableError(Exception):
    """A Java program cannot be had on this machine, and why."""


def jars(pom: Path, program: str) -> str:
    """Return the class path of all jars of ``pom``, which ``program`` needs, resolved first where needed. Raises ``UnavailableError``."""
    if shutil.which("java") is None:
        raise UnavailableError(f"needs Java 17 or newer to run {program} (Debian: apt-get install default-jre-headless)")
    directory = _cache(pom)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test workers, one resolution
        if not (directory / _READY).exists():
            _resolve(pom, program, directory)
            (directory / _READY).touch()
    return str(directory / "lib" / "*")


def _cache(pom: Path) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "linktrail-tests" / f"{pom.parent.name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"


def _resolve(pom: Path, program: str, directory: Path) -> None:
    if shutil.which("mvn") is None:
        raise UnavailableError(f"needs Maven to resolve {program} (Debian: apt-get install maven)")
    words = ["mvn", "-B", "-q", "-f", str(pom), _PLUGIN, "-DincludeScope=runtime", f"-DoutputDirectory={directory / 'lib'}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=540, check=False)
    if done.returncode:
        raise UnavailableError(f"Maven could not resolve {program}: {done.stdout[-500:]} {done.stderr[-500:]}")
