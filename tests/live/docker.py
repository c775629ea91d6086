"""A real dockerd with data root, execution root, socket and containerd of its own, without bridge, firewall rules or network.

It is started and ended by this module alone, by process id; what its containers leave running is found through its own containerd.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.live.containerd import Containerd
from tests.live.podman import LIMITS, own_directory, wait_for

ISOLATION = ("--network", "none", "--security-opt", "seccomp=unconfined")
_SECONDS = 60.0
_NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
_ENGINE = ("--storage-driver", "overlay2", *_NO_NETWORK)


class Docker:
    """A dockerd below ``home``, which should be short (sockets allow some hundred characters)."""

    def __init__(self, home: Path) -> None:
        """Prepare ``home``; nothing runs yet."""
        self.home = home
        self.root = home / "data"
        self.overlay = self.root / "overlay2"
        self.layerdb = self.root / "image/overlay2/layerdb"
        self.log = home / "log"
        (home / "c").mkdir()
        self._containerd = Containerd(home / "c")
        self._process: subprocess.Popen[bytes] | None = None
        client = shutil.which("docker", path=f"/usr/bin{os.pathsep}{os.environ.get('PATH', '')}")  # the one of Debian's docker.io
        self._client = (client or "docker", "--host", f"unix://{home}/d.sock")

    @property
    def pid(self) -> int:
        """The process id of the daemon."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the daemon (and the first time its containerd) and wait until it answers."""
        if self._process is None and not (self.home / "c/c.sock").exists():
            self._containerd.start()
        places = ("--data-root", str(self.root), "--exec-root", str(self.home / "exec"), "--pidfile", str(self.home / "d.pid"))
        sockets = ("--host", f"unix://{self.home}/d.sock", "--containerd", str(self.home / "c/c.sock"))
        (self.home / "d.pid").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(["dockerd", *places, *sockets, *_ENGINE], stdout=log, stderr=log)
        wait_for(self._answers, _SECONDS)

    def pause(self) -> None:
        """Let the daemon stand still, so that what it is in the middle of lasts as long as the test wants."""
        os.kill(self.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """End the daemon as ``kill -9`` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """End the daemon as its service manager does; its containerd goes on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_SECONDS)
            self._process = None

    def end(self) -> None:
        """End everything that belongs to it, also after a test that failed."""
        with suppress(subprocess.TimeoutExpired, OSError):
            self.stop()
        if self._process is not None:
            self.kill()
        self._containerd.stop()

    def attempt(self, *words: str, buildkit: bool = False, seconds: float = _SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a docker command, whatever comes of it."""
        environment = os.environ | {"DOCKER_BUILDKIT": "1" if buildkit else "0", "DOCKER_CONFIG": str(self.home / "client")}
        command = [*self._client, *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=seconds)

    def run(self, *words: str, buildkit: bool = False) -> str:
        """Run a docker command and return what it prints; raises ``AssertionError`` with its error text when it fails."""
        done = self.attempt(*words, buildkit=buildkit)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def begin(self, *words: str, buildkit: bool = False) -> subprocess.Popen[bytes]:
        """Start a docker command that the test will not wait for."""
        environment = os.environ | {"DOCKER_BUILDKIT": "1" if buildkit else "0", "DOCKER_CONFIG": str(self.home / "client")}
        return subprocess.Popen([*self._client, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def load(self, archive: Path) -> None:
        """Load an image archive."""
        self.run("load", "--quiet", "--input", str(archive))

    def create(self, image: str, name: str, *words: str) -> str:
        """Create a container and return its id."""
        return self.run("create", "--name", name, *LIMITS, *ISOLATION, image, *words)

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """Return what docker knows of images or containers."""
        return list(json.loads(self.run("inspect", *names))) if names else []

    def images(self) -> set[str]:
        """Return the ids of all images that docker lists, build steps included."""
        return set(self.run("images", "--all", "--quiet", "--no-trunc").split())

    def containers(self) -> set[str]:
        """Return the ids of all containers that docker lists."""
        return set(self.run("ps", "--all", "--quiet", "--no-trunc").split())

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(encoding="utf-8")[-3000:]
        return self.attempt("version").returncode == 0


@contextmanager
def running() -> Iterator[Docker]:
    """Yield a dockerd that runs on an empty data root of its own; in the end nothing of it is left."""
    with own_directory() as home:
        engine = Docker(home)
        try:
            engine.start()
            yield engine
        finally:
            engine.end()


@contextmanager
def paused_when(engine: Docker, command: subprocess.Popen[bytes], condition: Callable[[], bool]) -> Iterator[None]:
    """Let the daemon stand still as soon as ``condition`` holds; in the end neither it nor the command runs any more."""
    try:
        wait_for(lambda: command.poll() is not None or condition())
        engine.pause()
        assert condition(), "the command ended before it could be stopped"
        yield
    finally:
        engine.kill()
        command.kill()
        command.wait()
