"""Run a program as a pod or a unit runs it: user, capabilities, read-only root, mounts and environment, in its own namespaces.

bubblewrap makes them. The root is empty but for /usr, Python and this checkout, all read-only. Not shown here: seccomp filters and
limits of cgroups, which the runtime and systemd set.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy.places import ROOT

_PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a program may. ``mounts`` are (what, where, writable); ``own_processes``: a process id namespace of its own, as a pod has."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    user: int
    capabilities: tuple[str, ...]
    mounts: tuple[tuple[Path, str, bool], ...]
    own_processes: bool = True
    hidden: tuple[str, ...] = field(default=())

    def words(self, *program: str) -> list[str]:
        """Return the command line that runs ``program`` (default: linktrail with the arguments) inside."""
        words = [
            "bwrap",
            "--unshare-user",
            f"--uid={self.user}",
            f"--gid={self.user}",
            "--unshare-ipc",
            "--die-with-parent",
            "--new-session",
        ]
        words = [part for word in words for part in word.split("=")]
        words += ["--unshare-pid", "--as-pid-1", "--proc", "/proc"] if self.own_processes else ["--ro-bind", "/proc", "/proc"]
        words += ["--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", "/usr", "/usr"]
        for name in ("bin", "lib", "lib64", "sbin"):
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        for path in dict.fromkeys((sys.base_prefix, sys.prefix, str(ROOT))):
            if not Path(path).is_relative_to("/usr"):
                words += ["--ro-bind", path, path]
        for what, where, writable in self.mounts:
            words += ["--bind" if writable else "--ro-bind", str(what), where]
        for path in self.hidden:
            words += ["--tmpfs", path, "--remount-ro", path]
        words += ["--remount-ro", "/", "--chdir", "/", "--clearenv", "--cap-drop", "ALL"]
        for name in self.capabilities:
            words += ["--cap-add", name]
        home = "/" if self.user else "/root"  # as runc sets it by /etc/passwd of the image
        for name, value in (
            {"PATH": "/usr/bin", "HOME": home, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | self.environment
        ).items():
            words += ["--setenv", name, value]
        return [*words, "--", *(program or (sys.executable, "-m", "linktrail", *self.arguments))]

    def ask(self, code: str) -> str:
        """Run Python inside and return what it prints."""
        return subprocess.run(
            self.words(sys.executable, "-c", code), capture_output=True, text=True, check=True, timeout=_PATIENCE
        ).stdout.strip()

    @contextmanager
    def running(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run it meanwhile; end it as Kubernetes and systemd do (SIGTERM), and expect it to end in order."""
        reader, writer = os.pipe()
        words = self.words()
        words[1:1] = ["--info-fd", str(writer)]
        with log.open("wb") as file, subprocess.Popen(words, stdout=file, stderr=file, pass_fds=[writer]) as process:
            os.close(writer)
            with os.fdopen(reader) as pipe:
                child = int(json.load(pipe)["child-pid"])
            try:
                yield process
                os.kill(child, signal.SIGTERM)
                assert process.wait(_PATIENCE) == 0, log.read_text(errors="replace")[-3000:]
            finally:
                if process.poll() is None:
                    process.kill()


def of_pod(pod: dict[str, Any], volumes: dict[str, Path], facts: dict[str, str]) -> Sandbox:
    """Return how the one container of ``pod`` runs. ``volumes`` gives directories for its volumes, ``facts`` the fields of ``fieldRef``."""
    [container] = pod["containers"]
    context = pod["securityContext"] | container["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"]["drop"] == ["ALL"]
    environment = {
        one["name"]: one["value"] if "value" in one else facts[one["valueFrom"]["fieldRef"]["fieldPath"]] for one in container["env"]
    }
    mounts = [
        (volumes[one["name"]], one["mountPath"], not one.get("readOnly", False))
        for one in container["volumeMounts"]
        if one["name"] != "tmp"
    ]
    added = tuple(f"CAP_{name}" for name in context["capabilities"].get("add", ()))
    return Sandbox(tuple(container["args"]), environment, context["runAsUser"], added, tuple(mounts))
