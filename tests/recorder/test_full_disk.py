"""No room under the spool: readings pause, memory stays bounded, nothing is claimed that is not kept, and it goes on by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.settings import Settings
from tests.needs import need
from tests.recorder.playground import layer_id, short_name
from tests.recorder.support import QuickFileSystem, Rig, bounds, fold, number, plain, spool_rows

SETTINGS = Settings(drain=0.0, rows_limit=60, filesystem_interval=1e6, sample_interval=1e6)


class FullNow(QuickFileSystem):
    """A filesystem whose free space the test sets."""

    free = 1 << 40

    def free_bytes(self, path: Path) -> int:
        """Return what the test says."""
        del path
        return self.free


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A recorder with room for 60 rows in memory, after its first reading."""
    rig = Rig(tmp_path, settings=SETTINGS, filesystem=FullNow(), layers=2)
    rig.start()
    rig.settle(3)
    return rig


def fill(rig: Rig, *, full: bool) -> None:
    """Take the space away, or give it back."""
    assert isinstance(rig.filesystem, FullNow)
    rig.filesystem.free = 0 if full else 1 << 40


def test_rows_wait_in_memory(rig: Rig) -> None:
    """A short lack of space costs nothing: the rows are kept and sealed when there is room, with their narrow intervals."""
    before = len(rig.rows())
    fill(rig, full=True)
    rig.store.link(short_name(900), "../x/diff")
    rig.event("created", f"overlay/l/{short_name(900)}")
    rig.settle(5)
    assert rig.recorder.outbox.full is not None
    assert len(rig.rows()) == before
    fill(rig, full=False)
    rig.settle(5)
    assert rig.recorder.outbox.full is None
    rows = rig.rows("links")
    assert plain(fold(rows)) == plain(rig.survey().links)
    assert rows[-1]["origin"] == "watch"
    assert [row for row in rig.rows("coverage") if row["kind"] == "gap"] == []


def test_a_large_store_is_no_full_spool(tmp_path: Path) -> None:
    """More rows at once than may wait in memory: they are sealed on the way, and that is no gap."""
    rig = Rig(tmp_path, settings=SETTINGS, layers=40)
    rig.start()
    rig.settle(3)
    rig.recorder.stop()
    rows = rig.rows("links")
    assert len(rows) > 3 * SETTINGS.rows_limit
    assert plain(fold(rows)) == plain(rig.survey().links)
    assert [row["kind"] for row in rig.rows("coverage")] == ["start", "stop"]


def test_memory_is_bounded_and_nothing_that_stands_is_lost(rig: Rig) -> None:
    """Far more changes than there is room for: the ledger stands still and the reading after finds them; what only events told is a gap."""
    fill(rig, full=True)
    begun = rig.clock.now().wall
    for index in range(300):
        rig.store.link(short_name(1000 + index), f"../{layer_id(0)}/diff")
        rig.event("created", f"overlay/l/{short_name(1000 + index)}")
        rig.store.link(short_name(5000 + index), "../gone/diff")
        rig.event("created", f"overlay/l/{short_name(5000 + index)}")
        rig.store.unlink(short_name(5000 + index))
        rig.event("removed", f"overlay/l/{short_name(5000 + index)}")
        rig.recorder.step(0.05)
    rig.settle(20)
    assert rig.recorder.outbox.pending <= SETTINGS.rows_limit + 10, "a few statements about the record go through"
    survey = rig.recorder.stores[0].survey
    rig.settle(30)
    assert rig.recorder.stores[0].survey is survey, "readings pause"
    ended = rig.clock.now().wall
    fill(rig, full=False)
    rig.settle(30)
    rig.recorder.stop()
    assert plain(fold(rig.rows("links"))) == plain(rig.survey().links)
    gaps = [row for row in rig.rows("coverage") if row["cause"] == "spool-full"]
    assert gaps
    assert min(bounds(row)[0] for row in gaps) <= begun + 10**9
    assert max(bounds(row)[1] for row in gaps) >= ended
    numbers = [row["seq"] for row in rig.rows()]
    assert numbers == list(range(len(numbers)))


def test_intervals_stay_true_when_rows_had_to_wait(rig: Rig) -> None:
    """What is found late lies in an interval that begins before it happened."""
    fill(rig, full=True)
    truth = {}
    for index in range(200):
        name = short_name(1000 + index)
        begun = rig.clock.now().wall
        rig.store.link(name, "../x/diff")
        rig.event("created", f"overlay/l/{name}")
        truth[name] = (begun, rig.clock.now().wall)
        rig.recorder.step(0.05)
    rig.settle(5)
    fill(rig, full=False)
    rig.settle(30)
    rig.recorder.stop()
    told = {str(row["subject"]): bounds(row) for row in rig.rows("links") if row["action"] == "created"}
    assert told.keys() == truth.keys()
    for name, (begun, done) in truth.items():
        assert told[name][0] <= done
        assert told[name][1] >= begun


def test_killed_while_it_is_full(rig: Rig) -> None:
    """Rows in memory die with the process; the next run finds what stands, and the restart gap covers the rest."""
    fill(rig, full=True)
    vouched = number(rig.rows("coverage")[-1], "occurred_before")
    for index in range(100):
        rig.store.link(short_name(1000 + index), "../x/diff")
        rig.event("created", f"overlay/l/{short_name(1000 + index)}")
        rig.recorder.step(0.05)
    rig.settle(70, step=1)
    rig.crash()
    fill(rig, full=False)
    rig.start()
    rig.settle(10)
    rig.recorder.stop()
    assert plain(fold(rig.rows("links"))) == plain(rig.survey().links)
    gap = next(row for row in rig.rows("coverage") if row["kind"] == "gap")
    assert gap["cause"] == "restart"
    assert bounds(gap)[0] <= vouched


def test_the_limit_of_the_spool_and_a_processor_that_comes_late(tmp_path: Path) -> None:
    """The spool reaches its own limit; when the processor has acknowledged, batches are trimmed and recording goes on."""
    rig = Rig(tmp_path, settings=SETTINGS, limit_bytes=30_000, layers=2)
    rig.start()
    rig.settle(3)
    for index in range(40):
        rig.store.link(short_name(1000 + index), "../x/diff")
        rig.event("created", f"overlay/l/{short_name(1000 + index)}")
        rig.settle(1.5)
    assert rig.recorder.outbox.full is not None
    assert rig.spool.size_bytes <= 30_000
    told = {offset: spool_rows(rig.spool.path, offset) for offset in rig.spool.offsets()}
    for _ in range(20):
        rig.spool.reader.acknowledge(rig.spool.id, rig.spool.next_offset)
        rig.settle(35, step=5)
        told |= {offset: spool_rows(rig.spool.path, offset) for offset in rig.spool.offsets()}
        if rig.recorder.outbox.full is None and not rig.recorder.outbox.pending:
            break
    rig.recorder.stop()
    told |= {offset: spool_rows(rig.spool.path, offset) for offset in rig.spool.offsets()}
    rows = [row for offset in sorted(told) for table, row in told[offset] if table == "links"]
    assert plain(fold(rows)) == plain(rig.survey().links)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield the mount point of a tmpfs of 1 MiB."""
    need("root")
    point = tmp_path / "state"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(point)], check=True)
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path, tmp_path: Path) -> None:
    """ENOSPC from the kernel, for batches and for the ledger: nothing is half there, and all is told when there is room again."""
    ballast = small_disk / "ballast"
    rig = Rig(tmp_path, settings=Settings(drain=0.0, rows_limit=2000), layers=2)
    rig.start()
    rig.settle(3)
    facts = os.statvfs(small_disk)
    ballast.write_bytes(b"x" * facts.f_bavail * facts.f_frsize)
    for index in range(60):
        rig.store.link(short_name(1000 + index), "../x/diff")
        rig.event("created", f"overlay/l/{short_name(1000 + index)}")
        rig.settle(1)
    rig.settle(40, step=1)
    assert rig.recorder.outbox.full is not None
    ballast.unlink()
    rig.settle(40, step=1)
    assert rig.recorder.outbox.full is None
    assert rig.recorder.trouble is None
    rig.recorder.stop()
    assert plain(fold(rig.rows("links"))) == plain(rig.survey().links)
    rig.crash()
    rig.start()
    rig.settle(2)
    assert plain(rig.ledger.stores[rig.name].links) == plain(rig.survey().links)
    rig.crash()


def test_sizes_are_blocked_first_and_that_is_a_gap(tmp_path: Path) -> None:
    """A spool that is nearly full takes links and no more sizes; when there is room again, a gap says what was left out, and when."""
    settings = Settings(drain=0.0, filesystem_interval=1.0, sample_interval=1e6)
    rig = Rig(tmp_path, settings=settings, filesystem=FullNow(), layers=2)
    rig.start()
    rig.settle(60)
    rig.spool.limit_bytes = round(rig.spool.size_bytes / 0.8)
    rig.settle(3)
    begun, sizes = rig.clock.now().wall, len(rig.rows("usage"))
    rig.store.link(short_name(900), "../x/diff")
    rig.event("created", f"overlay/l/{short_name(900)}")
    rig.settle(10)
    assert rig.recorder.outbox.full is None
    assert len(rig.rows("usage")) == sizes
    assert plain(fold(rig.rows("links"))) == plain(rig.survey().links)
    ended = rig.clock.now().wall
    rig.spool.limit_bytes = 1 << 30
    rig.settle(10)
    assert len(rig.rows("usage")) > sizes
    gaps = [row for row in rig.rows("coverage") if row["cause"] == "contents-blocked"]
    assert len(gaps) == 1
    after, before = bounds(gaps[0])
    assert after <= begun < ended <= before
    rig.recorder.stop()
    assert len([row for row in rig.rows("coverage") if row["kind"] == "gap"]) == 1
