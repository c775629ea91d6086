"""A node with thousands of mounts in many namespaces: each overlay is one link, and a machine that mounts all the time is left alone."""

from __future__ import annotations

from pathlib import Path

from collector.mounts.links import MountLinks
from collector.mounts.machine import DUTY, Machine
from collector.mounts.mountinfo import parse
from collector.mounts.namespaces import Namespace, Namespaces
from collector.mounts.places import Places, Position
from collector.stores.containers_storage import DRIVER
from linktrail.clock import Instant
from linktrail.testing.clock import FakeClock
from tests.mounts.spaces import Running, Shell, quoted
from tests.needs import need


def test_many_mounts_in_many_namespaces(tmp_path: Path) -> None:
    """1,000 overlays that 50 namespaces have: 1,000 links, with a bounded list of namespaces and all of them counted."""
    store = Running(tmp_path / "cs")
    upper, lower = store.upper, store.overlay / store.chain_ids[0] / "diff"
    lines = [
        f"{number} 1 0:{number} / /run/{number} rw - overlay overlay rw,lowerdir={lower},upperdir={upper},workdir=/w\n".encode()
        for number in range(1000)
    ]
    mounts = parse(b"".join(lines)).mounts
    spaces = Namespaces(tuple(Namespace(f"mnt:[{number}]", (number,), mounts) for number in range(1, 51)))
    survey = DRIVER.survey(store.root, clock=FakeClock())
    found = MountLinks(Places(survey, [str(store.overlay)]), Position("254:0", "/", read_only=False), spaces).links
    assert len({link.key for link in found}) == len(found) == 1000
    assert all(link.target == store.writable and link.detail["lower"] == [store.chain_ids[0]] for link in found)
    assert all(link.facts["namespace_count"] == 50 and len(link.facts["namespaces"]) == 20 for link in found)


class SlowClock(FakeClock):
    """Every question takes 10 ms."""

    def now(self) -> Instant:
        """Return both clocks."""
        self.advance(0.01)
        return super().now()


def test_a_machine_that_mounts_all_the_time(tmp_path: Path) -> None:
    """Looking because the table changed waits in proportion to what the last look cost; the change is told all the same, later."""
    need("root")
    store, clock = Running(tmp_path / "cs"), SlowClock()
    with Shell() as shell:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/1").symlink_to(f"/proc/{shell.pid}")
        machine = Machine(tmp_path / "proc", clock, keep=True)
        assert not machine.changed()
        survey = DRIVER.survey(store.root, clock=clock)
        began = clock.now().monotonic
        machine.look(survey)
        cost = (clock.now().monotonic - began) / 1e9
        shell.run(f"mount -t tmpfs none {quoted(tmp_path / 'proc')}")
        assert not machine.changed()
        clock.advance(cost / DUTY)
        assert machine.changed()
        assert not machine.changed()
        machine.close()
