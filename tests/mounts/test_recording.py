"""Mounts in the record: links made when something is mounted, removed when it is unmounted, and never claimed gone when nobody looked."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.ledger import Ledger
from collector.mounts.machine import Machine
from collector.recorder import Recorder
from collector.settings import Settings
from collector.source import find_sources
from collector.spool import Spool
from linktrail.events import Row
from tests.mounts.spaces import Running, Shell, quoted
from tests.needs import need
from tests.recorder.support import QuickFileSystem, ScriptedWatcher, TickingClock, spool_rows


class Rig:
    """A recorder of one store that sees the processes of one shell as the machine's."""

    def __init__(self, store: Running, shell: Shell, where: Path) -> None:
        """Start to record."""
        self.proc = where / "proc"
        self.proc.mkdir(parents=True)
        self.pids = [self.proc / name for name in ("1", str(shell.pid))]
        for link in self.pids:
            link.symlink_to(f"/proc/{shell.pid}")
        (self.proc / "stat").symlink_to("/proc/stat")
        self.spool_path = where / "spool"
        clock, filesystem = TickingClock(), QuickFileSystem()
        self.machine = Machine(self.proc, clock, keep=True)
        spool = Spool.open(self.spool_path, filesystem=filesystem, clock=clock, cluster="", node="n1", reserve_bytes=0)
        self.recorder = Recorder(
            find_sources([store.root], self.machine),
            watcher=ScriptedWatcher(clock),
            spool=spool,
            ledger=Ledger.open(where / "ledger", spool.reader, filesystem=filesystem),
            clock=clock,
            settings=Settings(drain=0.0, min_age=0, diagnose_interval=0.1),
            machine=self.machine,
        )
        self.recorder.start()
        self.steps()

    def steps(self, count: int = 8) -> None:
        """Let the recorder work for a while."""
        for _ in range(count):
            self.recorder.step(0.2)

    def rows(self, table: str) -> list[Row]:
        """Return the rows of one table so far."""
        self.recorder.outbox.seal()
        return [row for name, row in spool_rows(self.spool_path) if name == table]

    def mounts(self) -> list[Row]:
        """Return the rows about mounts so far."""
        return [row for row in self.rows("links") if row["link_kind"] == "mount"]

    def orphans(self) -> list[object]:
        """Return what was told of orphan mounts so far."""
        return [row["action"] for row in self.rows("findings") if row["code"] == "orphan-mount"]


@pytest.fixture
def store(tmp_path: Path) -> Running:
    """A store with one container."""
    need("root")
    return Running(tmp_path / "cs")


def test_mounted_and_unmounted(store: Running, tmp_path: Path) -> None:
    """The kernel says when the table changed; what is of the store is recorded, without an event in the store and soon."""
    with Shell() as shell:
        rig = Rig(store, shell, tmp_path / "rig")
        assert rig.mounts() == []
        shell.run(f"mkdir {quoted(tmp_path / 'other')} && mount -t tmpfs none {quoted(tmp_path / 'other')}")
        rig.steps()
        assert not rig.recorder.stores[0].dirty, "a mount of something else is no reason to read the store"
        store.mount(shell)
        rig.steps()
        (made,) = rig.mounts()
        assert (made["action"], made["subject"], made["target"], made["layer_id"]) == (
            "created",
            str(store.merged),
            store.writable,
            store.writable,
        )
        assert made["container_name"] == "one"
        shell.run(f"umount {quoted(store.merged)}")
        rig.steps()
        assert [row["action"] for row in rig.mounts()] == ["created", "removed"]
        rig.machine.close()


def test_nothing_is_claimed_gone_unseen(store: Running, tmp_path: Path) -> None:
    """When the mount tables cannot be read any more, the mounts are not said to have ended."""
    with Shell() as shell:
        store.mount(shell)
        rig = Rig(store, shell, tmp_path / "rig")
        store.containers.clear()
        store.save()
        rig.recorder.stores[0].read()
        rig.steps(30)
        assert rig.orphans() == ["opened"]
        for link in rig.pids:
            link.unlink()
        rig.machine.forget_tables()
        rig.recorder.stores[0].read()
        rig.steps(30)
        assert [row["action"] for row in rig.mounts()] == ["observed"]
        assert rig.orphans() == ["opened"]
        for link in rig.pids:
            link.symlink_to(f"/proc/{shell.pid}")
        shell.run(f"umount {quoted(store.merged)}")
        rig.machine.forget_tables()
        rig.recorder.stores[0].read()
        rig.steps(30)
        assert [row["action"] for row in rig.mounts()] == ["observed", "removed"]
        assert rig.orphans() == ["opened", "closed"]
        rig.machine.close()
