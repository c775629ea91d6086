"""One partition of a Kafka topic as an intake: what was polled and not taken yet, and where it goes on.

The source is ``kafka/<topic>/<partition>/<topic id>``; the feed that has the partition talks to the brokers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from processor.dead_letters import Letter
from processor.intake import Record

if TYPE_CHECKING:
    from processor.kafka_feed import KafkaFeed


class Partition:
    """One partition as an intake."""

    def __init__(self, feed: KafkaFeed, number: int, topic_id: str) -> None:
        """Partition ``number`` of the topic of ``feed``."""
        self.number = number
        self.next_offset = 0
        self._feed = feed
        self._topic = feed.connection.settings.topic
        self._topic_id = topic_id
        self._missing = 0
        self._waiting: deque[Any] = deque()
        self._taken: dict[int, Letter] = {}

    @property
    def source(self) -> str:
        """``kafka/<topic>/<partition>/<topic id>``."""
        return f"kafka/{self._topic}/{self.number}/{self._topic_id}"

    def receive(self, records: Sequence[Any]) -> None:
        """Keep what was polled until it is taken."""
        self._waiting.extend(records)

    def clear(self) -> None:
        """Forget what was polled."""
        self._waiting.clear()
        self._taken.clear()

    def seek(self, offset: int) -> None:
        """Go on at ``offset``; what retention removed is counted. Raises ``TopicRewoundError`` and ``BrokerError``."""
        self.clear()
        start = self._feed.seek(self.number, offset)
        self._missing = start - offset
        self.next_offset = start

    def take(self, limit: int) -> list[Record]:
        """Return up to ``limit`` records that were polled."""
        self._taken.clear()
        records: list[Record] = []
        while self._waiting and len(records) < limit:
            letter = Letter.of(self._waiting.popleft())
            if letter.offset < self.next_offset:
                continue
            self.next_offset = letter.offset + 1
            self._taken[letter.offset] = letter
            records.append(letter.record(self.source, self._missing))
            self._missing = 0
        return records

    def acknowledge(self, next_offset: int) -> None:
        """Tell the group, for lag tools."""
        self._feed.acknowledge(self.number, next_offset)

    def set_aside(self, record: Record, why: str) -> str:
        """Send the record to the dead letters, and wait until it is durable there. Raises ``BrokerError``."""
        return self._feed.letters.send(self._taken[record.offset], why)
