"""Roots that are links and bind mounts, while the real program records them in a mount namespace of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.live import read_status
from linktrail.events import Row
from tests.mounts.spaces import Running, Shell, quoted
from tests.needs import need
from tests.recorder.support import spool_rows


class Program:
    """``linktrail collect`` in the namespace of a shell."""

    def __init__(self, shell: Shell, root: Path, state: Path) -> None:
        """Start it and wait until it has read the store."""
        self._shell = shell
        self._state = state
        words = f"{quoted(sys.executable)} -m linktrail collect {quoted(root)} --state {quoted(state)}"
        self._pid = shell.run(f"cd {quoted(Path.cwd())}; {words} > {quoted(state)}.log 2>&1 & echo $!").split()[-1]
        wait_for(self._has_read)

    def _has_read(self) -> bool:
        status = read_status(self._state) if self._state.exists() else None
        return status is not None and any(store.read_at for store in status.stores)

    def roots(self) -> list[Row]:
        """Return the rows about the root so far."""
        rows = [row for table, row in spool_rows(self._state / "spool") if table == "links"]
        return [row for row in rows if row["link_kind"] == "store_root"]

    def stop(self) -> None:
        """End it."""
        self._shell.run(f"kill {self._pid}; wait {self._pid}")


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Return when ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def store(tmp_path: Path) -> Running:
    """A store with one container."""
    need("root")
    return Running(tmp_path / "cs")


def test_a_bind_mount_of_the_root_on_itself(store: Running, tmp_path: Path) -> None:
    """As dockerd does with its root: the same directory as before, but its mount is news, and so is its end."""
    with Shell() as shell:
        program = Program(shell, store.root, tmp_path / "state")
        assert [row["action"] for row in program.roots()] == ["observed"]
        shell.run(f"mount --bind {quoted(store.root)} {quoted(store.root)}")
        wait_for(lambda: len(program.roots()) == 2)
        shell.run(f"umount {quoted(store.root)}")
        wait_for(lambda: len(program.roots()) == 3)
        program.stop()
        rows = program.roots()
    assert [row["action"] for row in rows] == ["observed", "changed", "changed"]
    mounted = [json.loads(str(row["detail"])).get("mounted") for row in rows]
    assert mounted[0] is None
    assert str(mounted[1]).endswith(str(store.root))
    assert mounted[2] is None


def test_a_root_led_elsewhere(store: Running, tmp_path: Path) -> None:
    """The link that is the root is given another target: noticed at once though no watch tells it, and told as one event."""
    other = Running(tmp_path / "other")
    alias = tmp_path / "alias"
    alias.symlink_to(store.root)
    with Shell() as shell:
        program = Program(shell, alias, tmp_path / "state")
        (tmp_path / "new").symlink_to(other.root)
        (tmp_path / "new").replace(alias)
        wait_for(lambda: len(program.roots()) == 2)
        program.stop()
        first, second = program.roots()
    assert (first["action"], first["subject"], first["target"]) == ("observed", str(alias), str(store.root))
    assert (second["action"], second["target"], second["previous_target"]) == ("retargeted", str(other.root), str(store.root))
