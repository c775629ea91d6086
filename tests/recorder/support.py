"""What the recorder's tests share: a watcher and a clock that tests drive, a rig of real parts around them, and the rows in a spool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from collector.ledger import Ledger
from collector.links import Link, LinkKey, LinkState, Survey
from collector.recorder import Recorder
from collector.rows import interval_of, link_of, rows_of
from collector.settings import Settings
from collector.source import Source
from collector.spool import LIMIT_BYTES, Spool
from collector.spool_reader import SpoolReader
from collector.stores import driver_for
from collector.stores.protocol import Change, WatchPlan
from collector.versions import VersionKeeper
from collector.watch.interface import Cause, Loss, Report, WatchBatch
from linktrail.batch import decode
from linktrail.clock import NANOSECONDS, Instant
from linktrail.durable import FileSystem, LocalFileSystem
from linktrail.events import Row
from linktrail.testing.clock import FakeClock
from tests.recorder.playground import Playground


class TickingClock(FakeClock):
    """A clock that moves a microsecond whenever it is asked, so that no two instants are equal."""

    def now(self) -> Instant:
        """Return both clocks."""
        self.advance(1e-6)
        return super().now()


class ScriptedWatcher:
    """A watcher that tells what the test says."""

    mode = "inotify"

    def __init__(self, clock: FakeClock) -> None:
        """Begin with nothing to tell."""
        self.clock = clock
        self.reports: list[Report] = []
        self.plans: dict[Path, WatchPlan] = {}
        self.uncovered: tuple[Path, ...] = ()
        self.stopped = False
        self._asked = clock.now()

    @property
    def watches(self) -> int:
        """Number of directories covered."""
        return len(self.covered)

    @property
    def covered(self) -> frozenset[Path]:
        """The directories of all plans that are there."""
        return frozenset(item.path for plan in self.plans.values() for item in plan.items if item.path.is_dir())

    @property
    def settled(self) -> Instant:
        """Until it was last asked, or until the first of what was not told yet."""
        return min((report.after for report in self.reports), key=lambda instant: instant.monotonic, default=self._asked)

    def start(self) -> None:
        """Begin."""

    def cover(self, plan: WatchPlan) -> None:
        """Take over the plan."""
        self.plans[plan.root] = plan

    def uncover(self, root: Path) -> None:
        """Forget a plan."""
        self.plans.pop(root, None)

    def take(self, timeout_seconds: float) -> list[Report]:
        """Tell everything; wait on the fake clock when there is nothing."""
        reports, self.reports = self.reports, []
        self._asked = self.clock.now()
        if not reports:
            self.clock.advance(timeout_seconds)
        return reports

    def stop(self) -> None:
        """End."""
        self.stopped = True


class QuickFileSystem(LocalFileSystem):
    """The machine's filesystem without waiting for the disk: for tests that run hundreds of times and lose no power."""

    def write_new(self, path: Path, data: bytes) -> None:
        """Create and write, no fsync."""
        with path.open("xb") as file:
            file.write(data)

    def sync_file(self, path: Path) -> None:
        """Do nothing."""

    def sync_directory(self, path: Path) -> None:
        """Do nothing."""


class Rig:
    """A store, a spool, a ledger and a recorder around scripted time and events."""

    def __init__(
        self,
        where: Path,
        *,
        layers: int = 3,
        settings: Settings | None = None,
        filesystem: FileSystem | None = None,
        limit_bytes: int = LIMIT_BYTES,
        versions: bool = False,
    ) -> None:
        """Make the store and start nothing; with ``versions``, what its metadata files hold in between is read when the test says so."""
        self.versions = versions
        self.keeper: VersionKeeper | None = None
        self.where = where
        self.clock = TickingClock()
        self.store = Playground.filled(where / "store", layers)
        self.root = self.store.root  # what is recorded
        self.settings = settings or Settings(drain=0.0)
        self.filesystem = filesystem or QuickFileSystem()
        self.limit_bytes = limit_bytes

    @property
    def name(self) -> str:
        """The store root as in rows."""
        return str(self.root)

    def start(self, *, watcher: ScriptedWatcher | None = None) -> Recorder:
        """Open spool and ledger and start a recorder, as the program does."""
        state = self.where / "state"
        self.filesystem.make_directory(state)
        self.spool = Spool.open(
            state / "spool",
            filesystem=self.filesystem,
            clock=self.clock,
            cluster="",
            node="n1",
            limit_bytes=self.limit_bytes,
            reserve_bytes=0,
            least_offset=Ledger.least_offset(state / "ledger", self.filesystem),
        )
        self.ledger = Ledger.open(state / "ledger", self.spool.reader, filesystem=self.filesystem)
        driver = driver_for(self.root)
        assert driver is not None
        self.source = Source(driver, self.root)
        self.watcher = watcher or ScriptedWatcher(self.clock)
        self.keeper = VersionKeeper(self.clock, threaded=False) if self.versions else None
        self.recorder = Recorder(
            [self.source],
            watcher=self.watcher,
            spool=self.spool,
            ledger=self.ledger,
            clock=self.clock,
            settings=self.settings,
            keeper=self.keeper,
        )
        self.recorder.start()
        return self.recorder

    def crash(self) -> None:
        """Lose everything that is not in the spool or the ledger's file."""
        if self.keeper is not None:
            self.keeper.stop()
        self.spool.close()

    def survey(self) -> Survey:
        """Read the store as it stands."""
        return self.source.survey(self.clock)

    # --- events ---------------------------------------------------------------------------------------------------

    def event(self, action: str, path: str, *, directory: bool = False, width: float = 0.001) -> tuple[int, int]:
        """Tell of an event on ``path``, with a bracket of ``width`` seconds around now; return the bracket (ns UTC)."""
        after = self.clock.now()
        self.clock.advance(width)
        return self.event_at(action, path, after, self.clock.now(), directory=directory)

    def event_at(
        self, action: str, path: str, after: Instant, before: Instant, *, directory: bool = False, cookie: int = 0
    ) -> tuple[int, int]:
        """Tell of an event with a given bracket."""
        place, _, name = path.rpartition("/")
        change = Change(self.root / place if place else self.root, name, action, directory, cookie)
        self.watcher.reports.append(WatchBatch((change,), after, before))
        return after.wall, before.wall

    def lose(self, cause: Cause, paths: Sequence[Path] = ()) -> Loss:
        """Tell of a loss during the last millisecond."""
        after = self.clock.now()
        self.clock.advance(0.001)
        loss = Loss(cause, f"test: {cause}", after, self.clock.now(), tuple(paths))
        self.watcher.reports.append(loss)
        return loss

    def lose_nothing_but_look(self) -> None:
        """Tell of an event that makes the recorder read the store."""
        self.event("modified", "overlay-layers/layers.json")

    def settle(self, seconds: float = 3.0, step: float = 0.2) -> None:
        """Step the recorder for a while."""
        end = self.clock.now().monotonic + round(seconds * 1e9)
        while self.clock.now().monotonic < end:
            self.recorder.step(step)

    # --- rows -----------------------------------------------------------------------------------------------------

    def rows(self, table: str | None = None) -> list[Row]:
        """Return the sealed rows, of one table if named."""
        return [row for name, row in spool_rows(self.where / "state/spool") if table in (None, name)]

    def sealed(self, table: str) -> list[Row]:
        """Seal, and return the rows of one table."""
        self.recorder.outbox.seal()
        return self.rows(table)


def spool_rows(path: Path, only: int | None = None) -> list[tuple[str, Row]]:
    """Return (table, row) of every batch in a spool, in order, or of the one at an offset."""
    found = []
    for offset, data in SpoolReader(path).batches(only or 0):
        if only not in (None, offset):
            break
        header, table = decode(data, str(offset))
        found += [(header.table, row) for row in rows_of(table)]
    return found


def fold(rows: Iterable[Row]) -> dict[LinkKey, Link]:
    """Return what stands after ``links`` rows, checking each step: nothing is created twice, and every step starts from the last."""
    standing: dict[LinkKey, Link] = {}
    for row in rows:
        link = link_of(row)
        before = standing.get(link.key)
        action = row["action"]
        assert (before is None) == (action in {"created", "observed"}), (action, link.key)
        interval = interval_of(row)
        assert interval.after is None or interval.after <= interval.before
        if action in {"removed", "retargeted", "changed"}:
            assert before is not None
            assert row["previous_target"] == before.target
        if link.state is LinkState.REMOVED:
            assert action == "removed"
            del standing[link.key]
        else:
            standing[link.key] = link
    return standing


def plain(links: Mapping[LinkKey, Link]) -> dict[LinkKey, Link]:
    """Return links without owners, which are no part of what is compared."""
    return {key: replace(link, owner=Link(link.kind, "", "").owner) for key, link in links.items()}


def of_link(rows: Iterable[Row], subject: str) -> list[Row]:
    """Return the rows of one subject."""
    return [row for row in rows if row["subject"] == subject]


def bounds(row: Row) -> tuple[int, int]:
    """Return the interval of a row that has both bounds (ns UTC)."""
    after, before = row["occurred_after"], row["occurred_before"]
    assert isinstance(after, int)
    assert isinstance(before, int)
    return after, before


def number(row: Row, column: str) -> int:
    """Return a column that must hold a number."""
    value = row[column]
    assert isinstance(value, int)
    return value


def at(seconds: float, *, set_by: float = 0) -> Instant:
    """Return an instant ``seconds`` after boot, by a wall clock that was set by ``set_by`` seconds."""
    return Instant(round((1_000_000 + seconds + set_by) * NANOSECONDS), round(seconds * NANOSECONDS))


def wall(seconds: float) -> int:
    """Return the wall time of ``at``."""
    return at(seconds).wall
