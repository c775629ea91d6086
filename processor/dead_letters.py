"""Records that cannot be used, kept whole in a topic of their own.

Format of a record in ``linktrail.dlq.v1``: the raw bytes as they were as value, key ``<topic>/<partition>/<offset>``, the original
headers, and ``linktrail_error`` (why), ``linktrail_topic``, ``linktrail_partition``, ``linktrail_offset``, ``linktrail_timestamp`` (ms
UTC, of the original) and ``linktrail_key``. A processor that is killed between sending one and the commit that says so sends it again:
the key tells them to be one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError

from linktrail.broker import MAX_RECORD_BYTES, Connection, Headers, node_of, record_key
from linktrail.broker_client import connect
from linktrail.errors import BrokerError
from processor.intake import Record

ERROR_HEADER: Final = "linktrail_error"
_ANSWER_SECONDS: Final = 30.0
_REQUEST_MS: Final = 10_000  # where the leader hangs, the next one is asked in time
_METADATA_MS: Final = 8_000
_ROOM_FOR_HEADERS: Final = 1 << 20
_LONGEST_REASON: Final = 2_000


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of Kafka as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]

    @classmethod
    def of(cls, record: Any) -> Self:  # noqa: ANN401 - the library has no types
        """Take what is needed of a record of kafka-python; one without a value (a tombstone) is empty."""
        headers = tuple((name, value) for name, value in record.headers if value is not None)
        return cls(record.topic, record.partition, record.offset, record.timestamp, record.key, bytes(record.value or b""), headers)

    @property
    def position(self) -> str:
        """``<topic>/<partition>/<offset>``."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def record(self, source: str, missing: int, owner: tuple[str, str] | None) -> Record:
        """Return it as the processor takes it; ``owner`` is the node that the topic belongs to, if it is one's alone."""
        where = f"{source} offset {self.offset}"
        if owner is None:
            return Record(self.offset, self.value, where, missing, *node_of(self.key))
        foreign = ""
        if self.key != record_key(*owner):
            key = (self.key or b"").decode("ascii", "backslashreplace")[:200]
            foreign = f"its key is '{key}', and the topic is that of {'/'.join(owner)} alone"
        return Record(self.offset, self.value, where, missing, *owner, owned=True, foreign=foreign)


class DeadLetters:
    """The way into the topic of dead letters; connects when the first is sent."""

    def __init__(self, connection: Connection) -> None:
        """Send by ``connection``."""
        self._connection = connection
        self._producer: Any = None

    def send(self, letter: Letter, why: str) -> str:
        """Keep ``letter`` durably and return where. Raises ``BrokerError``; then it may be there or not."""
        topic = self._connection.settings.dead_letter_topic
        own = {
            ERROR_HEADER: why[:_LONGEST_REASON],
            "linktrail_topic": letter.topic,
            "linktrail_partition": str(letter.partition),
            "linktrail_offset": str(letter.offset),
            "linktrail_timestamp": str(letter.timestamp),
        }
        headers: Headers = [*letter.headers, *((name, value.encode("utf-8", "replace")) for name, value in own.items())]
        if letter.key is not None:
            headers.append(("linktrail_key", letter.key))
        try:
            if self._producer is None:
                self._producer = self._connect()
            future = self._producer.send(topic, value=letter.value, key=letter.position.encode(), headers=headers)
            kept = future.get(timeout=_ANSWER_SECONDS)
        except (KafkaError, OSError) as error:
            self.close()
            what = f"{letter.position} cannot be kept in {topic} ({type(error).__name__}: {error})"
            raise BrokerError(brokers=self._connection, what=what) from error
        return f"{topic}/{kept.partition}/{kept.offset}"

    def _connect(self) -> Any:  # noqa: ANN401 - the library has no types
        return connect(
            KafkaProducer,
            self._connection,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=float("inf"),
            request_timeout_ms=_REQUEST_MS,
            compression_type=None,
            max_request_size=MAX_RECORD_BYTES + _ROOM_FOR_HEADERS,
            max_block_ms=_METADATA_MS,
            allow_auto_create_topics=False,
        )

    def close(self) -> None:
        """End the producer and its thread, whatever is undelivered."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        producer._sender.force_close()  # noqa: SLF001 - the library's close() raises and leaves this thread running
        with contextlib.suppress(KafkaError):
            producer.close(timeout=2)
