"""One producer of kafka-python, used so that none of its traps can lose, reorder or hold back a batch.

* It is a pipe, not a store: at most ``records`` and ``size_bytes`` are on their way, so memory is bounded (kafka-python has no bound).
* ``delivery_timeout_ms`` is infinite. With a finite one a batch that expires after it was sent once leaves the producer silent for
  ever, and a hole in the middle. What does not get through is noticed by ``waited`` instead, and by the errors of the futures.
* Idempotence is stated, so that it is never switched off in silence; ``acks`` is all, topics are never made by sending to them.
* Batches are compressed already: the library compresses nothing.
* The callbacks (which run in the library's thread, and whose exceptions it swallows) only put a line in a queue.
* ``close`` ends the library's thread also when records are undelivered, where the library's own ``close`` raises and leaves it running.
"""

from __future__ import annotations

import contextlib
import math
import queue
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from linktrail.broker import MAX_RECORD_BYTES, Connection, Headers
from linktrail.broker_client import connect
from linktrail.clock import NANOSECONDS
from linktrail.errors import BrokerError

_METADATA_MS: Final = 8_000  # a broker that hangs may be asked first, and after it another
_CLOSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Window:
    """How much may be on its way, and how long without an answer (seconds) before the producer is replaced.

    ``stall_seconds`` is more than three requests may take, and more than the 30 s (``controller.socket.timeout.ms``) that brokers wait for
    a controller that hangs: until then they have no id for a new producer, and the old one has one.
    """

    records: int = 32
    size_bytes: int = 32 << 20
    request_seconds: float = 30.0
    stall_seconds: float = 90.0


class TooLargeForTopicError(Exception):
    """The topic does not take a record of the size of the batch at ``offset``."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(why)
        self.offset = offset


@dataclass(slots=True)
class _Sent:
    offset: int
    size: int
    since: int  # monotonic ns
    done: bool = False


@dataclass(slots=True)
class Pipe:
    """The batches on their way through one producer, in the order of their offsets in the spool. For one thread."""

    connection: Connection
    window: Window
    producer: Any
    size_bytes: int = 0
    _on_the_way: deque[_Sent] = field(default_factory=deque)
    _answers: queue.SimpleQueue[tuple[_Sent, BaseException | None]] = field(default_factory=queue.SimpleQueue)

    @classmethod
    def open(cls, connection: Connection, window: Window, *, client_id: str) -> Pipe:
        """Connect. Raises ``BrokerError`` when no broker answers, each within seconds, and ``SecretFileError``."""
        try:
            producer = connect(
                KafkaProducer,
                connection,
                client_id=client_id,
                acks="all",
                enable_idempotence=True,
                retries=math.inf,
                delivery_timeout_ms=math.inf,
                max_in_flight_requests_per_connection=5,
                request_timeout_ms=round(window.request_seconds * 1000),
                retry_backoff_ms=200,
                reconnect_backoff_max_ms=5_000,
                compression_type=None,
                batch_size=1 << 20,
                linger_ms=2,  # for what the same look found; the partition takes one request at a time
                metrics_enabled=False,  # the shipper counts for itself; a sixth of what the library's thread does
                max_request_size=MAX_RECORD_BYTES,
                max_block_ms=_METADATA_MS,
                allow_auto_create_topics=False,
            )
        except (KafkaError, OSError) as error:
            raise BrokerError(brokers=connection, what=f"no connection ({describe(error)})") from error
        return cls(connection, window, producer)

    @property
    def count(self) -> int:
        """How many records are on their way."""
        return len(self._on_the_way)

    def has_room(self, size: int) -> bool:
        """Tell whether a record of ``size`` bytes may be sent now."""
        return not self._on_the_way or (self.count < self.window.records and self.size_bytes + size <= self.window.size_bytes)

    def send(self, offset: int, data: bytes, key: bytes, headers: Headers, now: int) -> None:
        """Send the batch at ``offset``. Raises ``TooLargeForTopicError`` (nothing was sent) and ``BrokerError``."""
        try:
            future = self.producer.send(self.connection.settings.topic, value=data, key=key, headers=headers)
        except MessageSizeTooLargeError as error:
            raise TooLargeForTopicError(offset, describe(error)) from error
        except KafkaError as error:  # the topic is not there, or its metadata does not come
            raise BrokerError(
                brokers=self.connection, what=f"cannot send to {self.connection.settings.topic} ({describe(error)})"
            ) from error
        sent = _Sent(offset, len(data), now)
        self._on_the_way.append(sent)
        self.size_bytes += sent.size
        answers = self._answers
        future.add_callback(lambda _metadata: answers.put((sent, None)))
        future.add_errback(lambda error: answers.put((sent, error)))

    def collect(self, seconds: float) -> int | None:
        """Take in the answers there are (waiting up to ``seconds`` for one); return the offset up to which all is acknowledged.

        ``None`` when that has not moved. Raises ``TooLargeForTopicError`` when a broker refused a batch for its size, and ``BrokerError``
        for any other refusal; the producer is of no more use then.
        """
        with contextlib.suppress(queue.Empty):
            self._take_answer(*self._answers.get(timeout=seconds) if seconds > 0 else self._answers.get_nowait())
            while True:
                self._take_answer(*self._answers.get_nowait())
        upto = None
        while self._on_the_way and self._on_the_way[0].done:
            sent = self._on_the_way.popleft()
            self.size_bytes -= sent.size
            upto = sent.offset + 1
        return upto

    def _take_answer(self, sent: _Sent, error: BaseException | None) -> None:
        if isinstance(error, MessageSizeTooLargeError):
            raise TooLargeForTopicError(sent.offset, describe(error))
        if error is not None:
            raise BrokerError(brokers=self.connection, what=f"batch {sent.offset} was refused ({describe(error)})")
        sent.done = True

    def waited(self, now: int) -> float:
        """Return for how many seconds the oldest record has waited for its answer, 0 where there is none."""
        return (now - self._on_the_way[0].since) / NANOSECONDS if self._on_the_way else 0.0

    def close(self) -> None:
        """End the producer and its thread, whatever is undelivered."""
        producer = self.producer
        sender = producer._sender  # noqa: SLF001 - the library's close() raises and leaves this thread running
        if self._on_the_way:
            sender.force_close()
            sender.join(_CLOSE_SECONDS)
        with contextlib.suppress(KafkaError):  # nothing of it is needed any more: the spool has every batch that was not acknowledged
            producer.close(timeout=_CLOSE_SECONDS)
        if sender.is_alive():
            sender.force_close()
            sender.join(_CLOSE_SECONDS)


def describe(error: BaseException) -> str:
    """Return one line about an error of the library."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
