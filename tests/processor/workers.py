"""A collector and a processor as processes of their own, to be killed."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection
from pathlib import Path

from collector.spool import Spool
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from processor.lake import Lake
from processor.pipeline import FlushPolicy, Processor
from processor.spool_intake import SpoolIntake
from tests.faults.rows import MAKERS

EAGER = FlushPolicy(urgent_seconds=0.0, idle_seconds=0.0, poll_seconds=0.01, take=5)


def collect(path: Path, first: int, promised: Connection) -> None:
    """Seal rows numbered from ``first`` for ever, and send after each seal the number below which all are promised."""
    clock = SystemClock()
    spool = Spool.open(path / "spool", filesystem=LocalFileSystem(), clock=clock, cluster="", node="n", reserve_bytes=0)
    spool.begin_run()
    number = first
    while True:
        for table, maker in MAKERS.items():
            spool.append(table, [maker(one, clock.now().wall) for one in range(number, number + 3)])
        spool.seal()
        number += 3
        promised.send(number)
        spool.trim(spool.acknowledged())
        clock.sleep(0.02)


def process(path: Path, working: Connection) -> None:
    """Commit for ever; sends once the lake is open."""
    filesystem = LocalFileSystem()
    lake = Lake.open_for_writing(path / "lake", filesystem=filesystem)
    processor = Processor(SpoolIntake(path / "spool", filesystem=filesystem), lake, clock=SystemClock(), policy=EAGER)
    working.send(0)
    processor.run(threading.Event())
