"""A fixture store, recorded once into a lake: what the questions say of it is compared with the store itself."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from collector.program import Options, collect
from collector.settings import Settings
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from processor.lake import Lake
from processor.pipeline import Processor
from processor.spool_intake import SpoolIntake
from tests.stores import unpack


class Recorded(NamedTuple):
    """The root of the store, and the lake with what was recorded of it."""

    root: Path
    lake: Path


def process(spool: Path, lake: Path) -> None:
    """Bring everything in ``spool`` into ``lake``."""
    filesystem = LocalFileSystem()
    opened = Lake.open_for_writing(lake, filesystem=filesystem)
    Processor(SpoolIntake(spool, filesystem=filesystem), opened, clock=SystemClock()).drain()


def record(fixture: str, where: Path) -> Recorded:
    """Unpack ``fixture`` below ``where`` and record it once, with every grace period off."""
    root = unpack(fixture, where / "store")
    again(root, where)
    return Recorded(root, where / "lake")


def again(root: Path, where: Path) -> None:
    """Read the store once more into the same record."""
    assert collect([root], where / "state", Options(once=True, node="n1", settings=Settings(min_age=0))) == 0
    process(where / "state" / "spool", where / "lake")
