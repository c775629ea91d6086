"""A real containerd with root, state and socket of its own, driven with ctr, without network and without the CRI plugin.

It is started and ended by this module alone, by process id; what its shims leave running is found by the socket in their command line,
which nobody else has.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.live.podman import own_directory, wait_for

_SECONDS = 60.0
_CONFIGURATION = """version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{home}/c.sock"
[ttrpc]
  address = "{home}/c.sock.ttrpc"
"""


class Containerd:
    """A containerd below ``home``, which should be short (sockets allow some hundred characters)."""

    def __init__(self, home: Path) -> None:
        """Prepare ``home``; nothing runs yet."""
        self.home = home
        self.root = home / "root"
        self.snapshots = self.root / "io.containerd.snapshotter.v1.overlayfs/snapshots"
        self.log = home / "log"
        self._configuration = home / "config.toml"
        self._configuration.write_text(_CONFIGURATION.format(home=home), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the daemon."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(["containerd", "--config", str(self._configuration)], stdout=log, stderr=log)
        wait_for(self._answers)

    def kill(self) -> None:
        """End the daemon as ``kill -9`` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """End the daemon and everything that it started."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_SECONDS)
            self._process = None
        for pid in self._children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self, *words: str, namespace: str = "default") -> str:
        """Run a ctr command and return what it prints; raises ``AssertionError`` with its error text when it fails."""
        done = self.attempt(*words, namespace=namespace)
        assert done.returncode == 0, f"ctr {' '.join(words)}: {done.stderr}"
        return done.stdout

    def attempt(self, *words: str, namespace: str = "default") -> subprocess.CompletedProcess[str]:
        """Run a ctr command, whatever comes of it."""
        return subprocess.run(self.command(*words, namespace=namespace), check=False, capture_output=True, text=True, timeout=_SECONDS)

    def command(self, *words: str, namespace: str = "default") -> list[str]:
        """Return the words of a ctr command."""
        return ["ctr", "--address", str(self.home / "c.sock"), "--namespace", namespace, *words]

    def listed(self, kind: str) -> set[str]:
        """Return the names that ``ctr <kind> ls`` shows."""
        lines = self.run(kind, "ls").splitlines()[1:]
        if kind != "snapshots":
            return {line.split()[0] for line in lines if line.strip()}
        column = self.run(kind, "ls").index("PARENT")  # names have spaces (extract-... <chain id>)
        return {line[:column].strip() for line in lines if line.strip()}

    def number(self, name: str) -> str:
        """Return the number of the directory of a snapshot, as the engine's own mount command tells it."""
        place = self.run("snapshots", "mounts", "/nowhere", name).split("upperdir=")[1]
        return place.split("/snapshots/")[1].split("/")[0]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(encoding="utf-8")[-2000:]
        return self.attempt("version").returncode == 0

    def _children(self) -> list[int]:
        """Return shims of this daemon and what runs in their containers (their working directory is in our state)."""
        found: list[int] = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (place / "cmdline").read_bytes().split(b"\0")
                if os.fsencode(self.home / "c.sock") in words and b"containerd-shim-runc-v2" in words[0]:
                    shim = int(place.name)
                    found += [*_children_of(shim), shim]
        return found


def _children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


@contextmanager
def running() -> Iterator[Containerd]:
    """Yield a containerd that runs on an empty root of its own; in the end nothing of it is left."""
    with own_directory() as home:
        engine = Containerd(home)
        engine.start()
        try:
            yield engine
        finally:
            engine.stop()


def until(condition: str, engine: Containerd, gone: str) -> None:
    """Wait until the daemon no longer lists ``gone`` among its objects of kind ``condition``."""
    deadline = time.monotonic() + _SECONDS
    while gone in engine.listed(condition):
        assert time.monotonic() < deadline, f"{gone} is still listed"
        time.sleep(0.05)
