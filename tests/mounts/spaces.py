"""A shell that lives in a mount namespace of its own, and real overlays of a made store in it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from collector.check import CheckReport, run_check
from linktrail.clock import SystemClock
from tests.containers_storage.made import Made


class Shell:
    """``sh`` in a private mount namespace: what it mounts, nobody else sees but through ``/proc``."""

    def __init__(self) -> None:
        """Start it."""
        command = ["unshare", "--mount", "--propagation", "private", "sh"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.run("true")

    @property
    def pid(self) -> int:
        """The process that keeps the namespace."""
        return self._process.pid

    def run(self, command: str) -> str:
        """Run a command to its end and return what it printed. Raises ``AssertionError`` when it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(os.fsencode(f"{command}\necho; echo done-$?\n"))
        self._process.stdin.flush()
        lines: list[bytes] = []
        for line in self._process.stdout:
            if line.startswith(b"done-"):
                assert line == b"done-0\n", (command, b"".join(lines))
                return os.fsdecode(b"".join(lines)).strip()
            lines.append(line)
        raise AssertionError(f"the shell ended: {b''.join(lines)!r}")

    def overlay(self, point: Path, lower: str, upper: Path | None = None, *, at: Path | None = None) -> None:
        """Mount an overlay as an engine does: ``lower`` as written, from the directory ``at``."""
        options = f"lowerdir={lower}"
        if upper is not None:
            options += f",upperdir={upper},workdir={upper.with_name('work')}"
        go = f"cd {quoted(at)} && " if at else ""
        self.run(f"{go}mount -t overlay overlay -o {shlex.quote(options)} {quoted(point)}; status=$?; cd /; (exit $status)")

    def close(self) -> None:
        """End it, and with it its mounts."""
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def quoted(path: Path | str) -> str:
    """Return a path for the shell."""
    return shlex.quote(str(path))


class Running(Made):
    """A store with one image and one container on it, and what an engine mounts for that."""

    def __init__(self, root: Path) -> None:
        """Make it."""
        super().__init__(root)
        self.chain_ids = self.chain(3)
        self.image_id = self.image("localhost/app:1", self.chain_ids[-1])
        self.writable = self.layer(self.chain_ids[-1], names=["one-layer"])
        self.container_id = self.container("one", self.writable, self.image_id)
        self.save()

    @property
    def overlay(self) -> Path:
        """The directory of the layers."""
        return self.root / "overlay"

    @property
    def upper(self) -> Path:
        """Where the container writes to."""
        return self.overlay / self.writable / "diff"

    @property
    def merged(self) -> Path:
        """Where the container's root is mounted."""
        return self.overlay / self.writable / "merged"

    def lower(self) -> str:
        """Return the container's lower file: short links, nearest layer first."""
        return (self.overlay / self.writable / "lower").read_text()

    def mount(self, shell: Shell, point: Path | None = None) -> None:
        """Mount the container's root as containers/storage does: from overlay/, with short links."""
        shell.overlay(point or self.merged, self.lower(), self.upper, at=self.overlay)

    def forget_container(self) -> None:
        """Drop the container's record and its layer's, as a removal that left the rest does."""
        self.containers.clear()
        self.layers = [layer for layer in self.layers if layer["id"] != self.writable]
        self.save()


@contextmanager
def held(shell: Shell, path: Path, size: int) -> Iterator[int]:
    """Write a file of ``size`` bytes, hold it open in a process of the shell's namespace, and yield that process."""
    pid = int(shell.run(f"head -c {size} /dev/zero > {quoted(path)}; sleep 1000 < {quoted(path)} > /dev/null & echo $!"))
    try:
        wait_until_open(pid)
        yield pid
    finally:
        shell.run(f"kill {pid}; wait {pid} || true")


def wait_until_open(pid: int) -> None:
    """Return when the process is ``sleep``, its redirection done."""
    while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
        os.sched_yield()


def check(root: Path, min_age: float | None = 0, proc: Path | None = None) -> CheckReport:
    """Check one store now."""
    return run_check([root], min_age=min_age, clock=SystemClock(), proc=proc)


def codes(report: CheckReport) -> list[tuple[str, str]]:
    """Return (code, subject) of what was found."""
    return [(finding.code, finding.subject) for _, finding in report.findings]
