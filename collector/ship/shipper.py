"""The shipper: from the spool to Kafka, in order, each batch until it is acknowledged by all replicas in sync.

How. The spool is the truth and the producer a pipe (``collector.ship.pipe``). The cursor is the spool's own ``acknowledged`` file: it
moves over the contiguous run of acknowledged batches, durably, and only then may the collector trim. Whatever breaks (an outage, an
error, no answer) ends in the same way: the producer is dropped, and everything from the cursor on is sent again through a new one, after
a pause with jitter. What Kafka then has twice, the processor knows by the numbers in the batches.

An outage costs nothing but space in the spool, for as long as that lasts; what the recorder does then is its policy.
A batch that no broker takes because of its size, or that the disk cannot give back, is set aside in ``quarantine/``; the processor
finds its number missing and states the gap. A batch that cannot be decoded is sent as it is: the processor keeps it as a dead letter.
"""

from __future__ import annotations

import errno
import logging
import random
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.ship.pipe import Pipe, TooLargeForTopicError, Window
from collector.spool_directory import Identity, failed
from collector.spool_reader import SpoolReader
from linktrail import batch
from linktrail.broker import Connection, record_headers, record_key
from linktrail.clock import NANOSECONDS, Clock, Instant
from linktrail.durable import FileSystem
from linktrail.errors import BatchError, BrokerError, LinktrailError, SpoolError

_log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.1
_FIRST_LOOK: Final = 0.02  # while batches come: one look and one request for several cost what they cost for one
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0  # so brokers that are back are found within 15 s, by a fleet with a few connections a second


@dataclass(slots=True)
class ShipperStatus:
    """What the shipper does. Times are ns UTC, sizes bytes.

    ``ready``: connected, and answers are good and come in the time that a request may take.
    ``sent`` counts records given to a producer (those sent again too), ``acknowledged`` batches that are durable in Kafka;
    ``set_aside`` batches that can never be sent; ``failures`` by class of error.
    """

    ready: bool = False
    trouble: str | None = None
    sent: int = 0
    acknowledged: int = 0
    acknowledged_bytes: int = 0
    on_the_way: int = 0
    next_offset: int = 0
    set_aside: int = 0
    producers: int = 0
    last_acknowledged_at: int | None = None
    failures: dict[str, int] = field(default_factory=dict)


class Shipper:
    """Ships one spool. ``run`` is the loop of a thread or process of its own; ``status`` may be read from any thread."""

    def __init__(self, path: Path, connection: Connection, *, clock: Clock, filesystem: FileSystem, window: Window | None = None) -> None:
        """Ship the spool at ``path``; nothing is opened yet."""
        self.status = ShipperStatus()
        self.beat = clock.now()  # the last sign of life
        self._reader = SpoolReader(path, filesystem=filesystem)
        self._connection = connection
        self._clock = clock
        self._window = window or Window()
        self._chance = random.SystemRandom()
        self._sizes: dict[int, int] = {}

    def run(self, stop: threading.Event) -> None:
        """Ship until ``stop`` is set. Every failure is waited out and told in ``status``; nothing is raised but defects."""
        pause = _FIRST_PAUSE
        while not stop.is_set():
            self.beat = self._clock.now()
            before = self.status.acknowledged
            try:
                self._ship(stop)
            except LinktrailError as error:
                self._say(error)
                pause = _FIRST_PAUSE if self.status.acknowledged > before else pause
                stop.wait(pause * self._chance.uniform(0.5, 1.5))
                pause = min(pause * 2, _LONGEST_PAUSE)
        self.status.ready = False

    def _say(self, error: LinktrailError) -> None:
        name = type(error).__name__
        self.status.failures = {**self.status.failures, name: self.status.failures.get(name, 0) + 1}  # replaced: others may be reading it
        self._tell(error)

    def _tell(self, error: LinktrailError) -> None:
        if self.status.trouble is None:
            _log.warning("%s %s", error.message, error.advice)
        self.status.ready, self.status.trouble = False, error.message

    def acknowledged(self) -> int:
        """Return the offset below which all is acknowledged. Raises ``SpoolError``."""
        return self._reader.acknowledged()

    # --- with one producer ----------------------------------------------------------------------------------------

    def _ship(self, stop: threading.Event) -> None:
        """Ship through one producer, from the cursor on, until ``stop``. Raises what ends its use."""
        identity = self._reader.identity()
        connection = self._connection.for_node(identity.cluster, identity.node)
        pipe = Pipe.open(connection, self._window, client_id=f"linktrail-{identity.node}"[:200])
        self.status.producers += 1
        try:
            self._sizes.clear()
            waiting: deque[int] = deque()
            position = self._reader.acknowledged()
            pause, look_at = _FIRST_LOOK, 0
            while not stop.is_set():
                self.beat = now = self._clock.now()
                if not waiting and now.monotonic >= look_at:
                    waiting.extend(self._look(identity, position))
                    look_at = now.monotonic + round(pause * NANOSECONDS)
                while waiting and self._send(pipe, identity, waiting[0]):
                    position = waiting.popleft() + 1
                idle = not pipe.count and not waiting
                pause = min(pause * 2, _LOOK_SECONDS) if idle else _FIRST_LOOK
                rest = _LOOK_SECONDS if waiting else max(0, look_at - self._clock.now().monotonic) / NANOSECONDS
                self._advance(pipe, identity, rest if pipe.count else 0.0)
                if idle:
                    self._well()
                    stop.wait(rest)
            self._finish(pipe, identity)
        finally:
            self.status.on_the_way = 0
            pipe.close()

    def _look(self, identity: Identity, position: int) -> list[int]:
        """Return the offsets from ``position`` on, after making sure that no power loss can take them back."""
        found = self._reader.offsets(position)
        if found:
            if self._reader.identity().id != identity.id:
                raise SpoolError(path=self._reader.path, what="it was replaced by another spool while it was being shipped")
            self._reader.make_names_durable()
            # Listed again: a directory that grows while it is listed may show a later file without an earlier one.
            found = [offset for offset in self._reader.offsets(position) if offset <= found[-1]]
        return found

    def _send(self, pipe: Pipe, identity: Identity, offset: int) -> bool:
        """Send the batch at ``offset`` if there is room; tell whether it is done with."""
        if not pipe.has_room(self._sizes.get(offset, 0)):
            return False
        data = self._read(offset)
        if data is None:
            return True
        self._sizes[offset] = len(data)
        if not pipe.has_room(len(data)):
            return False
        key = record_key(identity.cluster, identity.node)
        try:
            header = batch.read_header(data, f"{offset} of the spool")
        except BatchError:
            header = None  # damaged on disk, or of a newer linktrail: the processor judges
        headers = record_headers(header, spool=identity.id, offset=offset, key=key)
        try:
            pipe.send(offset, data, key, headers, self._clock.now().monotonic)
        except TooLargeForTopicError as error:
            self._set_aside(offset, str(error))
            return True
        self.status.sent += 1
        self.status.on_the_way = pipe.count
        return True

    def _read(self, offset: int) -> bytes | None:
        """Return the bytes, ``None`` when they are gone or cannot be read for good."""
        try:
            return self._reader.read(offset)
        except SpoolError as error:
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO):
                raise  # a want of memory or descriptors passes; a bad block does not
            self._set_aside(offset, error.message)
            return None

    def _set_aside(self, offset: int, why: str) -> None:
        try:
            kept = self._reader.quarantine(offset)
        except OSError as error:
            raise failed(self._reader.path, f"batch {offset} cannot be set aside", error) from error
        self.status.set_aside += 1
        _log.error("batch %d of the spool can never be sent (%s); it is kept in %s", offset, why, kept)

    def _advance(self, pipe: Pipe, identity: Identity, seconds: float) -> None:
        """Take in answers, and move the cursor over what is acknowledged."""
        try:
            upto = pipe.collect(seconds)
        except TooLargeForTopicError as error:
            self._set_aside(error.offset, str(error))
            raise BrokerError(brokers=self._connection, what=f"a batch is too large for the topic ({error})") from error
        self.status.on_the_way = pipe.count
        if upto is not None:
            try:
                self._reader.acknowledge(identity.id, upto)
            except OSError as error:
                raise failed(self._reader.path, "what was shipped cannot be acknowledged", error) from error
            for offset in [offset for offset in self._sizes if offset < upto]:
                self.status.acknowledged += 1
                self.status.acknowledged_bytes += self._sizes.pop(offset)
            self.status.next_offset = upto
            self.status.last_acknowledged_at = self._clock.now().wall
            self._well()
        elif (waited := pipe.waited(self._clock.now().monotonic)) > self._window.stall_seconds:
            raise BrokerError(brokers=self._connection, what=f"no answer for {waited:.0f} s; the producer is replaced")
        elif waited > self._window.request_seconds and self.status.ready:  # it is told long before anything is done about it
            self._tell(BrokerError(brokers=self._connection, what=f"no answer for {waited:.0f} s"))

    def _well(self) -> None:
        self.status.ready, self.status.trouble = True, None

    def _finish(self, pipe: Pipe, identity: Identity) -> None:
        """Give what is on its way a moment to be acknowledged: it spares duplicates, nothing else hangs on it."""
        end = self._clock.now().monotonic + 2_000_000_000
        while pipe.count and self._clock.now().monotonic < end:
            self._advance(pipe, identity, _LOOK_SECONDS)


class Shipping:
    """A shipper at work in a thread of its own."""

    def __init__(self, shipper: Shipper) -> None:
        """Begin."""
        self._shipper = shipper
        self._stop = threading.Event()
        self._thread = threading.Thread(target=shipper.run, args=(self._stop,), name="shipper", daemon=True)
        self._thread.start()

    @property
    def status(self) -> ShipperStatus:
        """What it does now; ``ready`` is false once the thread has ended."""
        if not self._thread.is_alive():
            self._shipper.status.ready = False
        return self._shipper.status

    @property
    def beat(self) -> Instant | None:
        """The last sign of life of its thread; ``None`` once that has ended."""
        return self._shipper.beat if self._thread.is_alive() else None

    def wait_until(self, offset: int, stop: threading.Event) -> None:
        """Wait until every batch below ``offset`` is acknowledged, or ``stop`` is set, or the shipper has ended."""
        while self._thread.is_alive() and self._shipper.acknowledged() < offset and not stop.wait(_LOOK_SECONDS):
            continue

    def close(self, seconds: float = 10.0) -> None:
        """End it, at the latest after ``seconds``."""
        self._stop.set()
        self._thread.join(seconds)


def start_shipping(path: Path, connection: Connection, *, clock: Clock, filesystem: FileSystem) -> Shipping:
    """Ship the spool at ``path`` in a thread until the result is closed. Raises ``SecretFileError`` when a secret cannot be used."""
    connection.options()  # a wrong secret file is told at the start
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # the library says every failed try; the shipper says the outage once
    return Shipping(Shipper(path, connection, clock=clock, filesystem=filesystem))
