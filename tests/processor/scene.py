"""A spool, a lake and a processor in one temporary directory, and how tests look into them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from collector.spool import Spool
from linktrail.durable import FileSystem
from linktrail.events import Row
from linktrail.testing.clock import FakeClock
from processor.lake import Lake
from processor.pipeline import FlushPolicy, Processor
from processor.spool_intake import SpoolIntake
from tests.faults.filesystems import QuickFileSystem
from tests.faults.rows import MAKERS, NUMBER_COLUMN

TABLES = tuple(MAKERS)


class KilledError(BaseException):
    """Stands for kill -9: nothing in the program handles it."""


class Scene:
    """Everything between one collector and one lake."""

    def __init__(self, path: Path, *, filesystem: FileSystem | None = None, policy: FlushPolicy | None = None) -> None:
        """Make the spool; the lake is made by the first processor."""
        self.path = path
        self.filesystem = filesystem or QuickFileSystem()
        self.clock = FakeClock()
        self.policy = policy
        self.spool = self.collector()

    @property
    def lake_path(self) -> Path:
        """Where the lake is."""
        return self.path / "lake"

    def collector(self) -> Spool:
        """Start a collector."""
        spool = Spool.open(self.path / "spool", filesystem=QuickFileSystem(), clock=self.clock, cluster="", node="node", reserve_bytes=0)
        spool.begin_run()
        return spool

    def record(self, table: str, *numbers: int, **changes: Any) -> None:
        """Seal one batch of rows with these numbers."""
        self.record_rows(table, [{**MAKERS[table](number), **changes} for number in numbers])

    def record_rows(self, table: str, rows: list[Row]) -> None:
        """Seal ``rows``."""
        self.spool.append(table, rows)
        self.spool.seal()

    def processor(self, filesystem: FileSystem | None = None) -> Processor:
        """Start a processor."""
        filesystem = filesystem or self.filesystem
        lake = Lake.open_for_writing(self.lake_path, filesystem=filesystem)
        return Processor(SpoolIntake(self.path / "spool", filesystem=filesystem), lake, clock=self.clock, policy=self.policy)

    def numbers(self, table: str) -> list[int]:
        """Return the numbers of the rows in the lake, sorted; twice what is there twice."""
        return sorted(number for row in self.rows(table) if (number := row[NUMBER_COLUMN[table]]) is not None)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows in the lake."""
        found: list[dict[str, Any]] = Lake.open(self.lake_path).read(table).to_pylist()
        return found

    def gaps(self) -> list[dict[str, Any]]:
        """Return the gap rows in the lake, by position."""
        return sorted((row for row in self.rows("coverage") if row["kind"] == "gap"), key=lambda row: (row["source_offset"], row["gap_id"]))

    def kinds(self) -> Counter[str]:
        """Count the coverage rows by kind."""
        return Counter(row["kind"] for row in self.rows("coverage"))


def fill(scene: Scene, *numbers: int) -> None:
    """Record one row of every table for each number."""
    for number in numbers:
        for table in TABLES:
            scene.record(table, number)
