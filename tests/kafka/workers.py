"""A shipper and a processor as processes of their own, to be killed or frozen."""

from __future__ import annotations

import logging
import threading
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from collector.ship.shipper import Shipper
from linktrail.broker import Connection
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from processor.kafka_feed import KafkaFeed, Membership
from processor.lake import Lake
from processor.pipeline import FlushPolicy, Processor
from tests.kafka.running import EAGER, QUICK


def ship(path: Path, connection: Connection, working: Pipe) -> None:
    """Ship the spool at ``path`` for ever."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    working.send("shipping")
    Shipper(path, connection, clock=SystemClock(), filesystem=LocalFileSystem(), window=QUICK).run(threading.Event())


def process(lake: Path, connection: Connection, membership: Membership, policy: FlushPolicy | None, working: Pipe) -> None:
    """Commit for ever; says (position, rows that wait) after each round that changed them."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    clock = SystemClock()
    feed = KafkaFeed(connection, membership, clock=clock)
    processor = Processor(feed, Lake.open_for_writing(lake, filesystem=LocalFileSystem()), clock=clock, policy=policy or EAGER)
    threading.Thread(target=tell, args=(processor, working), daemon=True).start()
    processor.run(threading.Event())


def tell(processor: Processor, working: Pipe) -> None:
    """Say (position, rows that wait) whenever they changed."""
    pause = threading.Event()
    before: tuple[int, int] | None = None
    while True:
        now = (processor.position, processor.waiting)
        if now != before:
            working.send(now)
            before = now
        pause.wait(0.02)
