"""The validators that no Debian package has: helm, built once from its Go module and kept outside the checkout.

``python -m tests.deploy.tools`` builds it and prints its path, and so does ``tests.setup_machine`` on a CI machine: some minutes, once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

HELM: Final = "v3.22.0"


class UnavailableError(Exception):
    """There is no helm on this machine, and why."""


def _cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "linktrail-tests" / f"helm-{HELM}"


def helm(*, build: bool = False) -> str:
    """Return the path of helm: the one built before (``build``: or now), else one of this machine. Raises ``UnavailableError``."""
    directory = _cache()
    if build:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (directory / "helm").exists():
                _build(directory)
    if (directory / "helm").exists():
        return str(directory / "helm")
    if found := shutil.which("helm"):
        return found
    raise UnavailableError("needs helm (python -m tests.deploy.tools builds it with Go)")


def _build(directory: Path) -> None:
    if shutil.which("go") is None:
        raise UnavailableError("needs Go to build helm (Debian: apt-get install golang-go)")
    environment = os.environ | {"GOBIN": str(directory / "bin"), "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto", "GOFLAGS": "-trimpath"}
    words = ["go", "install", "-ldflags=-s -w", f"helm.sh/helm/v3/cmd/helm@{HELM}"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=2400, check=False)
    if done.returncode:
        raise UnavailableError(f"helm could not be built: {done.stderr[-800:]}")
    (directory / "bin" / "helm").rename(directory / "helm")


if __name__ == "__main__":
    print(helm(build=True))
