"""Partitions of a Kafka topic as a feed: assigned by configuration, or by a consumer group.

Source names are ``kafka/<topic>/<partition>/<topic id>``: a topic that is deleted and made anew has another id, so no offset of the old
one is applied to it. Every position comes from the lake; what is committed to the group serves lag tools alone.

Promises. A record is handed out only after its partition was sought to the lake's position. A position that retention has removed is
counted in ``Record.missing`` of the next record. A partition that ends before the lake's position is refused (``TopicRewoundError``).
Partitions are given up only after the processor had the chance to commit (``giving_up``), under the guard; when it cannot be had within
``_HAND_OVER_SECONDS`` (a long commit is under way) that commit either is in time or is refused by the lake.

Traps of kafka-python that are stepped round here: constructors that connect (built in ``wait``, tried again for ever), resetting to the
latest offset, committing by itself, polling for 0 ms (joins nothing), a join lost between two polls (metadata is read first, polls
are long, and a member without partitions for ``_IDLE_SECONDS`` is replaced).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from kafka import KafkaAdminClient, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from linktrail.broker import Connection
from linktrail.clock import NANOSECONDS, Clock
from linktrail.errors import BrokerError, NewerSchemaError, TopicMissingError, TopicRewoundError, UsageError
from processor.dead_letters import DeadLetters
from processor.intake import Intake
from processor.kafka_consumer import BOOTSTRAP_MS, Membership, make_consumer
from processor.kafka_partition import Partition

__all__ = ["KafkaFeed", "Membership", "Partition"]

_log = logging.getLogger(__name__)
_POLL_MS: Final = 500
_JOIN_MS: Final = 1_000
_ANSWER_MS: Final = 10_000
_IDLE_SECONDS: Final = 60.0
_HAND_OVER_SECONDS: Final = 20.0


class KafkaFeed:
    """The partitions this processor has. For the one thread of the processor; the client's own thread only gives them up."""

    def __init__(self, connection: Connection, membership: Membership, *, clock: Clock) -> None:
        """Nothing is opened yet: ``wait`` connects, and connects again."""
        self.giving_up: Callable[[], None] | None = None
        self.generation = 0
        self.letters = DeadLetters(connection)
        self.connection = connection
        self._membership = membership
        self._clock = clock
        self._guard = threading.RLock()
        self._consumer: Any = None
        self._topic_id = ""
        self._partitions: dict[int, Partition] = {}
        self._sought = False
        self._last_poll = clock.now().monotonic
        self._assigned_at = self._last_poll

    @property
    def guard(self) -> AbstractContextManager[object]:
        """The lock that a round of the processor holds."""
        return self._guard

    @property
    def intakes(self) -> Sequence[Partition]:
        """The partitions there are now, by number."""
        return [self._partitions[number] for number in sorted(self._partitions)]

    # --- records --------------------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Poll, and distribute what came to the partitions. Raises ``BrokerError`` and ``TopicMissingError``."""
        if self._partitions and not self.may_commit():
            _log.warning("this processor stood still for longer than its session; its partitions are another's by now")
            self.close()
        if self._consumer is None:
            self._connect()
        if self._partitions and not self._sought:
            return  # nothing can come before they are sought
        joining = bool(self._membership.group) and not self._partitions
        try:
            found = self._consumer.poll(timeout_ms=_JOIN_MS if joining else _POLL_MS)
        except OffsetOutOfRangeError:
            with self._guard:
                self._change()  # retention was faster: sought again, from what is left
            return
        except KafkaError as error:
            self.close()
            raise BrokerError(brokers=self.connection, what=f"cannot read ({_describe(error)})") from error
        with self._guard:
            self._last_poll = self._clock.now().monotonic
            if self._sought:
                for place, records in found.items():
                    if place.partition in self._partitions:
                        self._partitions[place.partition].receive(records)
            self._watch_idle()

    def _watch_idle(self) -> None:
        """Replace a member that sits without partitions, in case its join was lost; several members more than partitions do so in turn."""
        if self._partitions or not self._membership.group:
            self._assigned_at = self._last_poll
        elif self._last_poll - self._assigned_at > _IDLE_SECONDS * NANOSECONDS:
            _log.warning("no partition of %s was assigned for %.0f s; joining anew", self.connection.settings.topic, _IDLE_SECONDS)
            self.close()

    def seek(self, number: int, offset: int) -> int:
        """Go on at ``offset`` of a partition, or at its start where that is later; return where. Raises ``BrokerError``."""
        place = self._place(number)
        with self._asking("cannot seek"):
            first = self._consumer.beginning_offsets([place], timeout_ms=_ANSWER_MS)[place]
            end = self._consumer.end_offsets([place], timeout_ms=_ANSWER_MS)[place]
            if offset > end:
                topic = self.connection.settings.topic
                raise TopicRewoundError(brokers=self.connection, topic=topic, partition=number, end=end, position=offset)
            start: int = max(first, offset)
            self._consumer.seek(place, start)
        return start

    def confirm(self) -> bool:
        """Tell whether the group still counts this processor in, by committing the positions just sought."""
        generation = self.generation
        offsets = {self._place(partition.number): OffsetAndMetadata(partition.next_offset, "", -1) for partition in self.intakes}
        if self._membership.group and offsets:
            try:
                with self._asking("these partitions are no longer of this member"):
                    self._consumer.commit(offsets, timeout_ms=_ANSWER_MS)
            except BrokerError as error:
                _log.warning(error.message)
                self.close()
                return False
        if self.generation != generation:
            return False
        for place in offsets:
            self._consumer.resume(place)
        self._sought = True
        return True

    def may_commit(self) -> bool:
        """Tell whether the last poll is recent enough for the partitions still to be ours."""
        silent = self._clock.now().monotonic - self._last_poll
        return not self._membership.group or silent < self._membership.session_seconds * NANOSECONDS

    def acknowledge(self, number: int, next_offset: int) -> None:
        """Tell the group where the lake is, for lag tools; nothing depends on it, so nothing is waited for."""
        offsets = {self._place(number): OffsetAndMetadata(next_offset, "", -1)}
        with contextlib.suppress(KafkaError):
            self._consumer.commit_async(offsets)

    def hold(self, intake: Intake, error: NewerSchemaError) -> bool:  # noqa: ARG002 - the processor says why
        """Pause one partition."""
        for number in [number for number, partition in self._partitions.items() if partition is intake]:
            self._consumer.pause(self._place(number))
        return True

    def at_end(self) -> bool:
        """Compare the positions with the ends of the partitions. Raises ``BrokerError``."""
        return self._consumer is not None and bool(self._partitions) and self._sought and self.lag() == 0

    def lag(self) -> int:
        """Return how many positions the partitions of this processor have that were not taken yet. Raises ``BrokerError``."""
        with self._guard, self._asking("cannot read the ends of partitions"):
            ends = self._consumer.end_offsets([self._place(number) for number in self._partitions], timeout_ms=_ANSWER_MS)
        return sum(max(0, ends.get(self._place(partition.number), 0) - partition.next_offset) for partition in self.intakes)

    # --- connection and assignment --------------------------------------------------------------------------------

    def _connect(self) -> None:
        topic, membership = self.connection.settings.topic, self._membership
        options = self.connection.options()
        try:
            with contextlib.closing(KafkaAdminClient(**options, bootstrap_timeout_ms=BOOTSTRAP_MS)) as admin:
                described = admin.describe_topics([topic])
            self._consumer = make_consumer(options, membership)
            # Metadata first: a join that metadata starts can be lost between two polls, and the first seek would wait for it by a back-off.
            self._consumer.partitions_for_topic(topic)
        except (KafkaError, OSError) as error:
            raise BrokerError(brokers=self.connection, what=f"no connection ({_describe(error)})") from error
        known = {item["partition_index"] for found in described for item in found["partitions"] if found["error_code"] == 0}
        if not known:
            self.close()
            raise TopicMissingError(brokers=self.connection, topic=topic)
        self._topic_id = str(described[0]["topic_id"])
        now = self._clock.now().monotonic
        self._last_poll = self._assigned_at = now
        if membership.group:
            self._consumer.subscribe([topic], listener=_Listener(self))
            return
        chosen = known if membership.partitions is None else set(membership.partitions)
        if chosen - known:
            self.close()
            raise UsageError(what=f"topic {topic} has no partition {min(chosen - known)}")
        self._consumer.assign([self._place(number) for number in sorted(chosen)])
        self._take_up(chosen)

    def _take_up(self, numbers: set[int]) -> None:
        """Have these partitions, paused at no position until the processor has sought them."""
        with self._guard:
            for number in sorted(numbers):
                self._consumer.pause(self._place(number))
                self._consumer.seek(self._place(number), 0)
            self._partitions = {number: Partition(self, number, self._topic_id) for number in numbers}
            self._change()

    def revoked(self) -> None:
        """Give up all partitions (in the client's thread); first let the processor commit what waits."""
        if not self._guard.acquire(timeout=_HAND_OVER_SECONDS):
            self._drop()
            return
        try:
            if self._partitions and self.giving_up is not None:
                self.giving_up()
            self._drop()
        finally:
            self._guard.release()

    def lost(self) -> None:
        """Drop all partitions: they are another's already (in the client's thread)."""
        self._drop()

    def assigned(self, numbers: set[int]) -> None:
        """Take up partitions (in the client's thread)."""
        self._take_up(numbers)

    def _drop(self) -> None:
        self._partitions = {}
        self._change()

    def _change(self) -> None:
        for partition in self._partitions.values():
            partition.clear()
        self._sought = False
        self.generation += 1

    def close(self) -> None:
        """Leave; the group gives the partitions to others at once. May be called again."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError):  # it is left behind anyhow
                consumer.close(autocommit=False, timeout_ms=_ANSWER_MS)
        with self._guard:
            self._drop()

    def _place(self, number: int) -> Any:  # noqa: ANN401 - the library has no types
        return TopicPartition(self.connection.settings.topic, number)

    @contextlib.contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        """Let go of the guard while the client waits for an answer: its own thread may be waiting for the guard."""
        self._guard.release()
        try:
            yield
        except (KafkaError, ValueError, AttributeError) as error:
            # ValueError: a partition that was just taken away; AttributeError: a consumer that was just closed. Both: begin anew.
            raise BrokerError(brokers=self.connection, what=f"{doing} ({_describe(error)})") from error
        finally:
            self._guard.acquire()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # the library has no types
    """Passes on what the group decides, from the client's thread."""

    def __init__(self, feed: KafkaFeed) -> None:
        self._feed = feed

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        if revoked:
            self._feed.revoked()

    def on_partitions_assigned(self, assigned: set[Any]) -> None:
        self._feed.assigned({place.partition for place in assigned})

    def on_partitions_lost(self, lost: set[Any]) -> None:
        if lost:
            self._feed.lost()


def _describe(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
