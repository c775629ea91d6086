"""What a test needs of the machine: skipped elsewhere with the reason, a failure where CI=true promises everything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from tests.maven import UnavailableError
from tests.stores import FIXTURES

_ROOT_AND = "the root user and"


def _have(program: str) -> bool:
    return shutil.which(program) is not None


def _root(program: str | None = None) -> bool:
    return os.geteuid() == 0 and (program is None or _have(program))


_CHECKS: dict[str, tuple[Callable[[], bool], str]] = {
    "root": (_root, "the root user"),
    "fixtures": (FIXTURES.is_dir, "the shared fixtures beside the checkout (../shared/fixtures)"),
    "podman": (lambda: _root("podman"), f"{_ROOT_AND} podman (Debian: apt-get install podman)"),
    "containers-storage": (lambda: _have("containers-storage"), "containers-storage (Debian: apt-get install containers-storage)"),
    "chromium": (lambda: _have("chromium") and _have("chromedriver"), "Chromium (Debian: apt-get install chromium chromium-driver)"),
    "buildah": (lambda: _root("buildah"), f"{_ROOT_AND} buildah (Debian: apt-get install buildah)"),
    "inotifywait": (lambda: _have("inotifywait"), "inotifywait (Debian: apt-get install inotify-tools)"),
    "containerd": (lambda: _root("containerd"), f"{_ROOT_AND} containerd (Debian: apt-get install containerd)"),
    "promtool": (lambda: _have("promtool"), "promtool (Debian: apt-get install prometheus)"),
    "systemd-analyze": (lambda: _have("systemd-analyze"), "systemd-analyze (Debian: apt-get install systemd)"),
    "bwrap": (lambda: _root("bwrap"), f"{_ROOT_AND} bubblewrap (Debian: apt-get install bubblewrap)"),
    "dockerd": (lambda: _root("dockerd"), f"{_ROOT_AND} dockerd (Debian: apt-get install docker.io)"),
}


def in_ci() -> bool:
    """Tell whether this is CI, where everything is there and a skip counts as a failure."""
    return os.environ.get("CI") == "true"


def need(*things: str) -> None:
    """Go on only when the machine has all ``things``; otherwise skip and say what is missing (fail under CI=true)."""
    missing = [why for have, why in (_CHECKS[thing] for thing in things) if not have()]
    if not missing:
        return
    _do_without(f"needs {' and '.join(missing)}")


def need_jars(classpath: Callable[[], str]) -> None:
    """Go on only where a Java program can be run, whose ``classpath`` is resolved where needed; otherwise skip (fail under CI=true)."""
    try:
        classpath()
    except UnavailableError as error:
        _do_without(str(error))


def _do_without(reason: str) -> None:
    if in_ci():
        pytest.fail(reason)
    pytest.skip(reason)
