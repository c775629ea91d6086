"""One run of upkeep over a lake, and upkeep as a schedule beside a processor."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from linktrail.clock import NANOSECONDS, Clock
from linktrail.durable import FileSystem
from linktrail.errors import FencedError, LakeError
from linktrail.schema import TABLES
from processor.lake import Lake
from processor.upkeep.compact import MOST_SMALL, compact
from processor.upkeep.retain import first_kept_day, retain
from processor.upkeep.rollup import roll_up
from processor.upkeep.vacuum import GRACE_HOURS, vacuum

_log = logging.getLogger(__name__)
KEEP_DAYS: Final = 400
FOLD_AFTER: Final = 20  # log entries
SWEEP_EVERY: Final = 3600 * NANOSECONDS


@dataclass(frozen=True, slots=True)
class UpkeepPolicy:
    """``keep_days`` whole days are kept besides today (``None``: all); ``most_small`` files of like size may lie in an open day.

    ``grace_hours`` may be 0 only where nobody else is at work: vacuum would take what others have written and not committed yet.
    """

    keep_days: int | None = KEEP_DAYS
    grace_hours: int = GRACE_HOURS
    most_small: int = MOST_SMALL


@dataclass(slots=True)
class Done:
    """What one run did: files merged away and made, days summed up, rows let go and carried by table, files removed."""

    merged: int = 0
    made: int = 0
    days: int = 0
    retained: dict[str, tuple[int, int]] = field(default_factory=dict)
    vacuumed: int = 0

    def __str__(self) -> str:
        went = sum(gone for gone, _ in self.retained.values())
        carried = sum(kept for _, kept in self.retained.values())
        return (
            f"{self.merged} files merged into {self.made}; sizes of {self.days} day(s) summed up; "
            f"{went} rows beyond the horizon gone, {carried} carried; {self.vacuumed} unreferenced files removed"
        )


def maintain(path: Path, *, filesystem: FileSystem, clock: Clock, policy: UpkeepPolicy | None = None, sweep: bool = True) -> Done:
    """Bring the lake at ``path`` into shape once.

    Without ``sweep`` unreferenced files are left for the next time, because looking for them lists all files there are.

    Raises ``FencedError`` (another maintainer is at it), ``LakeFullError``, ``LakeError``.
    """
    policy = policy or UpkeepPolicy()
    done = Done()
    lake = Lake.open_for_writing(path, filesystem=filesystem)
    daily = lake.derived("usage_daily")
    everything = {**lake.tables, daily.name: daily}
    now = clock.now().wall
    for table in everything.values():
        table.refresh()
        gone, come = compact(table, now, most=policy.most_small)
        done.merged, done.made = done.merged + gone, done.made + come
    for table in everything.values():
        table.refresh()
    done.days = roll_up(lake.tables["usage"], daily, now)
    if policy.keep_days is not None:
        done.retained = retain({name: lake.tables[name] for name in TABLES}, first_kept_day(now, policy.keep_days))
    for table in everything.values():
        if sweep:
            done.vacuumed += vacuum(table, policy.grace_hours)
        table.fold_log(FOLD_AFTER)
    return done


def run(
    path: Path, stop: threading.Event, *, every: float, filesystem: FileSystem, clock: Clock, policy: UpkeepPolicy | None = None
) -> None:
    """Maintain the lake every ``every`` seconds until ``stop`` is set, and look for garbage every hour.

    What goes wrong is said, and tried again the next time.
    """
    swept: int | None = None
    while not stop.wait(every):
        now = clock.now().monotonic
        sweep = swept is None or now - swept >= SWEEP_EVERY
        try:
            done = maintain(path, filesystem=filesystem, clock=clock, policy=policy, sweep=sweep)
        except FencedError:
            _log.info("another maintainer keeps the lake; this one leaves it to that for now")
        except LakeError as error:
            _log.warning("upkeep of the lake: %s %s", error.message, error.advice)
        else:
            swept = now if sweep else swept
            _log.info("upkeep of the lake: %s", done)
