"""Shippers and processors at work in threads, and waiting for what they do."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from collector.ship import Shipping
from collector.ship.pipe import Window
from collector.ship.shipper import Shipper
from linktrail.broker import Connection
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from linktrail.errors import LinktrailError
from processor.kafka_feed import KafkaFeed, Membership
from processor.lake import Lake
from processor.pipeline import FlushPolicy, Processor
from tests.kafka.history import Issuer, check, find

EAGER = FlushPolicy(urgent_seconds=0.2, idle_seconds=0.2, poll_seconds=0.05, finish_seconds=5)
IMPATIENT = Membership(request_seconds=3.0)
QUICK = Window(request_seconds=2.0, stall_seconds=5.0)


def until(condition: Callable[[], bool], seconds: float = 60.0, what: str | Callable[[], str] = "") -> None:
    """Wait until ``condition`` holds; fail after ``seconds``. ``what`` is waited for, or tells how things are when they fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what or condition}"
        time.sleep(0.05)


@contextlib.contextmanager
def shipping(path: Path, connection: Connection, window: Window = QUICK) -> Iterator[Shipping]:
    """Ship the spool at ``path`` meanwhile."""
    at_work = Shipping(Shipper(path, connection, clock=SystemClock(), filesystem=LocalFileSystem(), window=window))
    try:
        yield at_work
    finally:
        at_work.close()


def ship(issuer: Issuer, connection: Connection, seconds: float = 30.0) -> None:
    """Ship all that was issued."""
    with shipping(issuer.path, connection) as at_work:
        wanted = issuer.spool.next_offset
        until(lambda: issuer.spool.acknowledged() == wanted, seconds, lambda: f"shipped: {at_work.status}")


class Working:
    """A processor in a thread of its own."""

    def __init__(self, lake: Path, connection: Connection, membership: Membership | None = None, policy: FlushPolicy = EAGER) -> None:
        """Open the lake and begin."""
        clock = SystemClock()
        self.feed = KafkaFeed(connection, membership or Membership(), clock=clock)
        self.processor = Processor(self.feed, Lake.open_for_writing(lake, filesystem=LocalFileSystem()), clock=clock, policy=policy)
        self.error: LinktrailError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.processor.run(self._stop)
        except LinktrailError as error:
            self.error = error
        finally:
            self.feed.close()
            self.feed.letters.close()

    def stop(self) -> None:
        """End it in order."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def working(lake: Path, connection: Connection, membership: Membership | None = None, policy: FlushPolicy = EAGER) -> Iterator[Working]:
    """Process meanwhile."""
    at_work = Working(lake, connection, membership, policy)
    try:
        yield at_work
    finally:
        at_work.stop()


def process_all(lake: Path, connection: Connection, membership: Membership | None = None) -> Processor:
    """Commit everything that is in the topic now, in this thread."""
    clock = SystemClock()
    feed = KafkaFeed(connection, membership or Membership(), clock=clock)
    try:
        processor = Processor(feed, Lake.open_for_writing(lake, filesystem=LocalFileSystem()), clock=clock, policy=EAGER)
        processor.drain()
    finally:
        feed.close()
        feed.letters.close()
    return processor


def settle(lake: Path, connection: Connection, *issuers: Issuer) -> None:
    """Ship and commit all that is left, and check the history."""
    for issuer in issuers:
        ship(issuer, connection)
    process_all(lake, connection)
    check(find(lake, connection), *issuers)
