"""What the kernel says of processes, as files: a ``/proc`` of a scene, with mount tables and (of real processes) open files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.incidents.replay import Scene


class Kernel:
    """The ``/proc`` of a scene: process 1 with the mounts of this machine, and whatever else a replay starts and mounts."""

    def __init__(self, scene: Scene) -> None:
        """Make it, and let the scene be recorded beside it."""
        self.proc = scene.proc = scene.where / "proc"
        self._host = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        self._tables: dict[int, dict[int, str]] = {}
        self._devices: dict[str, int] = {}
        self.process(1, "init")

    def process(self, pid: int, command: str) -> None:
        """Start a process with a mount namespace of its own."""
        home = self.proc / str(pid)
        (home / "ns").mkdir(parents=True)
        (home / "fd").mkdir()
        (home / "ns/mnt").symlink_to(f"mnt:[{4026531840 + pid}]")
        (home / "comm").write_text(f"{command}\n")
        (home / "cgroup").write_text("0::/\n")
        self._tables[pid] = {}
        self._write(pid)

    def real(self, process: subprocess.Popen[bytes]) -> None:
        """Show a process that really runs."""
        (self.proc / str(process.pid)).symlink_to(f"/proc/{process.pid}")

    def mount(self, point: Path, upper: Path, lower: list[Path], *pids: int) -> None:
        """Mount an overlay in the namespaces of processes (default: 1); the same overlay at the same point."""
        device = self._devices.setdefault(str(point), 900 + len(self._devices))
        options = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={upper.with_name('work')}"
        for pid in pids or (1,):
            self._tables[pid][device] = f"{device * 100 + pid} 1 0:{device} / {point} rw,relatime shared:1 - overlay overlay rw,{options}\n"
            self._write(pid)

    def unmount(self, point: Path, *pids: int) -> None:
        """Unmount it in the namespaces of processes (default: 1)."""
        for pid in pids or (1,):
            del self._tables[pid][self._devices[str(point)]]
            self._write(pid)

    def _write(self, pid: int) -> None:
        (self.proc / str(pid) / "mountinfo").write_text(self._host + "".join(self._tables[pid].values()))
