"""The processor program: the spool of a state directory, or partitions of Kafka, into a lake, until it is told to stop.

It may be started before the collector, which makes the spool, and before the brokers; it waits for them. SIGTERM and SIGINT commit what
waits and end it.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from collector.spool_reader import SpoolReader
from linktrail.clock import Clock, SystemClock
from linktrail.durable import FileSystem, LocalFileSystem
from linktrail.errors import SpoolError
from linktrail.state import State
from linktrail.stopping import until_signalled
from processor.lake import Lake
from processor.pipeline import FlushPolicy, Processor, Progress
from processor.spool_intake import SpoolIntake
from processor.telling import LOOP
from processor.watching import Watching

if TYPE_CHECKING:
    from linktrail.broker import Connection
    from processor.kafka_feed import Membership

_LOOK_SECONDS: Final = 0.2


def process(
    state: State,
    lake: Path,
    *,
    clock: Clock | None = None,
    filesystem: FileSystem | None = None,
    stop: threading.Event | None = None,
    policy: FlushPolicy | None = None,
    watching: Watching | None = None,
) -> int:
    """Commit batches of ``state``'s spool to ``lake`` until stopped; return the exit code. Raises ``SpoolError`` and ``LakeError``."""
    clock, filesystem = clock or SystemClock(), filesystem or LocalFileSystem()
    watching = watching or Watching()
    with until_signalled(stop or threading.Event()) as stopping, watching.board(clock) as board:
        opened = Lake.open_for_writing(lake.absolute(), filesystem=filesystem)
        while not _has_spool(state.spool, filesystem) and not stopping.wait(_LOOK_SECONDS):
            board.beat(LOOP)
            board.put_up({}, ("no collector has made a spool yet",))
        if _has_spool(state.spool, filesystem):
            feed = SpoolIntake(state.spool, filesystem=filesystem)
            processor = Processor(feed, opened, clock=clock, policy=policy)
            watching.attach(board, processor, feed, clock)
            processor.run(stopping)
    return 0


def process_kafka(
    connection: Connection,
    membership: Membership,
    lake: Path,
    *,
    policy: FlushPolicy | None = None,
    drain: bool = False,
    stop: threading.Event | None = None,
    watching: Watching | None = None,
) -> int:
    """Commit batches of Kafka to ``lake`` until stopped, or (``drain``) those that are there now; return the exit code.

    Raises ``LakeError``, ``BrokerError`` (only with ``drain``; otherwise brokers are waited for), ``TopicRewoundError`` and, at the end,
    ``NewerSchemaError`` when a partition had to be held.
    """
    from processor.kafka_feed import KafkaFeed  # noqa: PLC0415 - a processor of a spool needs no library for Kafka

    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # the library says every failed try; the processor says the outage once
    connection.options()  # a wrong secret file is told at the start
    clock = SystemClock()
    watching = watching or Watching()
    with until_signalled(stop or threading.Event()) as stopping, watching.board(clock) as board:
        opened = Lake.open_for_writing(lake.absolute(), filesystem=LocalFileSystem())
        feed = KafkaFeed(connection, membership, clock=clock)
        try:
            processor = Processor(feed, opened, clock=clock, policy=policy)
            if drain:
                processor.drain()
                if processor.held:
                    raise processor.held
            else:
                watching.attach(board, processor, feed, clock)
                processor.run(stopping)
        finally:
            feed.close()
            feed.letters.close()
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
