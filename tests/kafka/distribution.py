"""Apache Kafka for the tests: its jars, resolved once by Maven from the pinned pom.xml, and kept outside the checkout.

``python -m tests.kafka.distribution`` resolves them (``tests.setup_machine`` does so on a CI machine); tests do it themselves when
they come first. The cache is keyed by the content of pom.xml, so another version never meets old jars.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_POM: Final = Path(__file__).with_name("pom.xml")
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_READY: Final = ".complete"


class UnavailableError(Exception):
    """There is no Apache Kafka on this machine, and why."""


def _cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "linktrail-tests" / f"kafka-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]}"


def classpath() -> str:
    """Return the class path of the broker, resolving it first where needed. Raises ``UnavailableError``."""
    if shutil.which("java") is None:
        raise UnavailableError("needs Java 17 or newer to run Apache Kafka (Debian: apt-get install default-jre-headless)")
    directory = _cache()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test workers, one resolution
        if not (directory / _READY).exists():
            _resolve(directory)
            (directory / _READY).touch()
    return f"{_POM.parent}:{directory / 'lib' / '*'}"


def _resolve(directory: Path) -> None:
    if shutil.which("mvn") is None:
        raise UnavailableError("needs Maven to resolve Apache Kafka (Debian: apt-get install maven)")
    words = ["mvn", "-B", "-q", "-f", str(_POM), _PLUGIN, "-DincludeScope=runtime", f"-DoutputDirectory={directory / 'lib'}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=540, check=False)
    if done.returncode:
        raise UnavailableError(f"Maven could not resolve Apache Kafka: {done.stdout[-500:]} {done.stderr[-500:]}")


if __name__ == "__main__":
    print(classpath())
