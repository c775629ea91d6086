"""A container that really runs in an overlay, in a mount namespace of its own, and the real collector in deep mode beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from collector.links import INSIDE
from linktrail.events import Row
from tests.mounts.spaces import Running, Shell, quoted
from tests.recorder.child import run
from tests.recorder.support import spool_rows
from tests.recorder.test_kill import FORKS

SECONDS = 30


class Scene:
    """A store with a running container at ``where``/store, its shell, and the collector's state beside it."""

    def __init__(self, where: Path, shell: Shell, mode: str) -> None:
        self.where, self.shell, self.mode = where, shell, mode
        self.store = Running(where / "store")
        self.store.mount(shell)
        self.start()

    def start(self) -> None:
        """Start a collector."""
        self.process = _started(self.store.root, self.where / "state", self.mode)

    def kill(self) -> None:
        """Kill the collector with no chance to say goodbye."""
        self.process.kill()
        self.process.join()

    def stop(self) -> None:
        """Ask the collector to finish."""
        self.process.terminate()
        self.process.join(SECONDS)
        assert self.process.exitcode == 0

    def inside(self, commands: str) -> tuple[int, int]:
        """Run commands in the container's root; return the time around them (ns UTC)."""
        begun = time.time_ns()
        self.shell.run(f"cd {quoted(self.store.merged)} && {{ {commands}; }}; status=$?; cd /; (exit $status)")
        return begun, time.time_ns()

    def rows(self, table: str = "links") -> list[Row]:
        """Return the sealed rows of a table."""
        spool = self.where / "state/spool"
        return [row for name, row in spool_rows(spool) if name == table] if spool.is_dir() else []

    def of(self, subject: str) -> list[Row]:
        """Return the rows of a name inside the layer."""
        return [row for row in self.rows() if row["subject"] == subject and row["link_kind"] in INSIDE]

    def steps(self, subject: str) -> list[tuple[str, str, str | None]]:
        """Return kind, action and target of each row of a name."""
        return [(str(row["link_kind"]), str(row["action"]), row["target"]) for row in self.of(subject)]  # type: ignore[misc]  # a row may hold anything

    def until(self, reached: Callable[[], bool], what: str = "") -> None:
        """Wait until that is so."""
        end = time.monotonic() + SECONDS
        while not reached():
            assert time.monotonic() < end, (what, [(row["link_kind"], row["action"], row["subject"]) for row in self.rows()][-20:])
            time.sleep(0.05)

    def told(self, subject: str, *last: str | None) -> None:
        """Wait until the last row of a name says (kind, action, target)."""
        self.until(lambda: self.steps(subject)[-1:] == [last], f"{subject}: {last}")

    def watching(self) -> None:
        """Wait until everything inside the layer is watched: what happens there now is told."""
        for _ in range(2):  # the first may be found by the first scan
            probe = f"probe-{time.monotonic_ns()}"
            (self.store.upper / probe).symlink_to("here")
            self.until(lambda name=probe: bool(self.of(f"/{name}")), probe)  # type: ignore[misc]  # bound now


def _started(root: Path, state: Path, mode: str) -> ForkServerProcess:
    process = FORKS.Process(target=run, args=(str(root), str(state), mode))
    process.start()
    return process


@contextmanager
def scene(where: Path, mode: str = "fanotify") -> Iterator[Scene]:
    """Yield a scene; everything it started is ended."""
    with Shell() as shell:
        made = Scene(where, shell, mode)
        try:
            yield made
        finally:
            if made.process.is_alive():
                made.kill()
