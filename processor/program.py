"""The processor program (embedded mode): the spool of a state directory into its lake, until it is told to stop.

It may be started before the collector, which makes the spool; it waits for it. SIGTERM and SIGINT commit what waits and end it.
"""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from typing import Final

from collector.spool_reader import SpoolReader
from linktrail.clock import Clock, SystemClock
from linktrail.durable import FileSystem, LocalFileSystem
from linktrail.errors import SpoolError
from linktrail.state import State
from linktrail.stopping import until_signalled
from processor.lake import Lake
from processor.pipeline import Processor, Progress
from processor.spool_intake import SpoolIntake

_LOOK_SECONDS: Final = 0.2


def process(
    state: State, lake: Path, *, clock: Clock | None = None, filesystem: FileSystem | None = None, stop: threading.Event | None = None
) -> int:
    """Commit batches of ``state``'s spool to ``lake`` until stopped; return the exit code. Raises ``SpoolError`` and ``LakeError``."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    clock, filesystem = clock or SystemClock(), filesystem or LocalFileSystem()
    with until_signalled(stop or threading.Event()) as stopping:
        opened = Lake.open_for_writing(lake.absolute(), filesystem=filesystem)
        while not _has_spool(state.spool, filesystem) and not stopping.wait(_LOOK_SECONDS):
            pass
        if _has_spool(state.spool, filesystem):
            Processor(SpoolIntake(state.spool, filesystem=filesystem), opened, clock=clock).run(stopping)
    return 0


def drain(state: State, lake: Path, *, clock: Clock | None = None, filesystem: FileSystem | None = None) -> Progress:
    """Commit everything that is in the spool now, once. Raises ``SpoolError`` and ``LakeError``."""
    clock, filesystem = clock or SystemClock(), filesystem or LocalFileSystem()
    opened = Lake.open_for_writing(lake.absolute(), filesystem=filesystem)
    return Processor(SpoolIntake(state.spool, filesystem=filesystem), opened, clock=clock).drain()


def _has_spool(path: Path, filesystem: FileSystem) -> bool:
    try:
        SpoolReader(path, filesystem=filesystem).identity()
    except SpoolError:
        if (path / "spool.json").exists():
            raise
        return False
    return True
