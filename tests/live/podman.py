"""A real podman with a store of its own, and an image made on the spot.

Everything lies below one short directory (podman allows 50 characters for its runroot): graphroot, runroot, libpod's
temporary directory, and TMPDIR for the blobs in flight. No network is used. The options are those that podman 4.3 needs inside
a container without CAP_SYS_RESOURCE (runc, cgroupfs, limits it may set). Every command's wall time before and after is kept:
that is the truth the recorded intervals are compared with.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.live.mounts import unmount_below

LIMITS = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096")
ISOLATION = ("--network", "none", "--security-opt", "seccomp=unconfined")
_COMMAND_SECONDS = 60.0


@contextmanager
def own_directory() -> Iterator[Path]:
    """Yield a short directory of our own; in the end unmount what is mounted below it, and remove it."""
    directory = Path(tempfile.mkdtemp(prefix="lt", dir="/tmp"))
    try:
        yield directory
    finally:
        unmount_below(directory)
        shutil.rmtree(directory)


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ran: wall time (ns UTC) before it started and after it ended, and what it printed."""

    before: int
    after: int
    output: str


@dataclass(frozen=True, slots=True)
class Killed:
    """A load that was killed: wall times (ns UTC) before it started, when it stood still, and after it was dead."""

    before: int
    stopped: int
    after: int


class Podman:
    """A podman with its store at ``home``/cs."""

    def __init__(self, home: Path) -> None:
        """Use ``home``, which should be short."""
        self.home = home
        self.root = home / "cs"
        blobs = home / "var"
        blobs.mkdir()
        self.environment = os.environ | {"TMPDIR": str(blobs), "CONTAINERS_REGISTRIES_CONF": "/dev/null"}
        places = ("--root", str(self.root), "--runroot", str(home / "run"), "--tmpdir", str(home / "tmp"))
        engine = ("--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
        self._command = ("podman", *places, *engine)

    def run(self, *words: str) -> Done:
        """Run a podman command; raises ``AssertionError`` with its error text when it fails."""
        before = time.time_ns()
        done = subprocess.run(
            [*self._command, *words], check=False, capture_output=True, text=True, env=self.environment, timeout=_COMMAND_SECONDS
        )
        after = time.time_ns()
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
        return Done(before, after, done.stdout.strip())

    def told(self, *words: str) -> list[dict[str, Any]]:
        """Return what a podman command with ``--format json`` says."""
        return list(json.loads(self.run(*words, "--format", "json").output or "[]"))

    def stop_all(self) -> None:
        """Stop whatever still runs in this store, as after a test that failed; never raises."""
        with suppress(subprocess.TimeoutExpired):
            command = [*self._command, "stop", "--all", "--time", "0"]
            subprocess.run(command, check=False, capture_output=True, env=self.environment, timeout=_COMMAND_SECONDS)

    def create(self, image: str, name: str, *words: str) -> Done:
        """Create a container that will run ``words`` (default: the image's command)."""
        return self.run("create", "--name", name, *LIMITS, *ISOLATION, image, *words)

    def stored(self, kind: str) -> list[dict[str, Any]]:
        """Return what containers-storage lists as ``layers``, ``images`` or ``containers``."""
        places = ["--graph", str(self.root), "--run", str(self.home / "run"), "--storage-driver", "overlay"]
        listed = subprocess.run(["containers-storage", *places, kind, "--json"], check=True, capture_output=True, env=self.environment)
        return list(json.loads(listed.stdout or b"[]"))

    def load(self, archive: Path) -> Done:
        """Load an image archive."""
        return self.run("load", "--quiet", "-i", str(archive))

    @contextmanager
    def load_stopped_in(self, archive: Path, layer: str, files: int) -> Iterator[Callable[[], Killed]]:
        """Start to load ``archive``, stop it dead when ``files`` names of ``layer`` are unpacked, and yield what kills it.

        SIGSTOP makes the middle of a load last as long as the test wants; SIGKILL after it leaves what ``kill -9`` leaves.
        """
        before = time.time_ns()
        process = subprocess.Popen(
            [*self._command, "load", "--quiet", "-i", str(archive)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            content = self.root / "overlay" / layer / "diff"
            wait_for(lambda: _ended(process) or _entries(content) >= files)
            assert process.poll() is None, "the load ended before it could be stopped"
            process.send_signal(signal.SIGSTOP)
            stopped = time.time_ns()

            def kill() -> Killed:
                process.kill()
                process.wait()
                return Killed(before, stopped, time.time_ns())

            yield kill
        finally:
            process.kill()
            process.wait()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def _entries(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir()) if directory.is_dir() else 0


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as ``condition`` holds; raises ``AssertionError`` when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.001)


# --- an image -------------------------------------------------------------------------------------------------------


def programs(*names: str) -> dict[str, bytes]:
    """Return the files that make these programs of this machine run in an empty root: themselves and their libraries."""
    files: dict[str, bytes] = {}
    for name in names:
        program = shutil.which(name)
        assert program is not None, f"this machine has no {name}"
        files[f"bin/{name}"] = Path(program).resolve().read_bytes()
        listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            files[library.lstrip("/")] = Path(library).resolve().read_bytes()
    return files


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    """Return a layer with ``files``, all executable."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode, member.mtime = len(data), 0o755, 1_795_449_600
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def write_image(path: Path, name: str, layers: Sequence[bytes], command: Sequence[str] = ("/bin/sleep", "1000")) -> str:
    """Write a docker archive of ``layers`` (base first) named ``name`` and return the image id."""
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    document = json.dumps(config).encode()
    image = hashlib.sha256(document).hexdigest()
    index = [{"Config": f"{image}.json", "RepoTags": [name], "Layers": [f"{digest}.tar" for digest in digests]}]
    members = {f"{image}.json": document, "manifest.json": json.dumps(index).encode()}
    members |= {f"{digest}.tar": layer for digest, layer in zip(digests, layers, strict=True)}
    path.write_bytes(layer_tar(members))
    return image


def ids_of(layers: Sequence[bytes]) -> list[str]:
    """Return the ids that containers/storage gives a chain of layers."""
    ids: list[str] = []
    for layer in layers:
        digest = hashlib.sha256(layer).hexdigest()
        ids.append(hashlib.sha256(f"{ids[-1]}+{digest}".encode()).hexdigest() if ids else digest)
    return ids
