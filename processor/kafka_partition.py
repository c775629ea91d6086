"""One partition of a Kafka topic as an intake: what was polled and not taken yet, and where it goes on.

The source is ``kafka/<topic>/<partition>/<topic id>``; the feed that has the partition talks to the brokers. A record of another key in
the topic of a single node is told to be foreign.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from processor.dead_letters import Letter
from processor.intake import Record

if TYPE_CHECKING:
    from kafka import TopicPartition

    from processor.kafka_feed import KafkaFeed
    from processor.kafka_topics import Topic


class Partition:
    """One partition as an intake."""

    def __init__(self, feed: KafkaFeed, place: TopicPartition, topic: Topic) -> None:
        """The partition at ``place`` of ``topic``, which ``feed`` has."""
        self.place = place
        self.next_offset = 0
        self._feed = feed
        self._topic = topic
        self._missing = 0
        self._waiting: deque[Any] = deque()
        self._taken: dict[int, Letter] = {}

    @property
    def source(self) -> str:
        """``kafka/<topic>/<partition>/<topic id>``."""
        return f"kafka/{self.place.topic}/{self.place.partition}/{self._topic.id}"

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
        start = self._feed.seek(self.place, offset)
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
            records.append(letter.record(self.source, self._missing, self._topic.owner))
            self._missing = 0
        return records

    def acknowledge(self, next_offset: int) -> None:
        """Tell the group, for lag tools."""
        self._feed.acknowledge(self.place, next_offset)

    def set_aside(self, record: Record, why: str) -> str:
        """Send the record to the dead letters, and wait until it is durable there. Raises ``BrokerError``."""
        return self._feed.letters.send(self._taken[record.offset], why)
