"""Partitions of Kafka topics as a feed: assigned by configuration, or by a consumer group.

The topics are the shared one and those of single nodes (``processor.kafka_topics``). They are looked up every ``LOOK_SECONDS``; when one
is new, gone or made anew, what waits is committed and everything begins again with them.

Source names are ``kafka/<topic>/<partition>/<topic id>``: a topic that is deleted and made anew has another id, so no offset of the old
one is applied to it. Every position comes from the lake; what is committed to the group serves lag tools alone.

Promises. A record is handed out only after its partition was sought to the lake's position. A position that retention has removed is
counted in ``Record.missing`` of the next record. A partition that ends before the lake's position is refused (``TopicRewoundError``).
Partitions are given up only after the processor had the chance to commit (``giving_up``), under the guard; when it cannot be had within
``_HAND_OVER_SECONDS`` (a long commit is under way) that commit either is in time or is refused by the lake.

Traps of kafka-python that are stepped round here: constructors that connect (built in ``wait``, tried again for ever), resetting to the
latest offset, committing by itself, polling for 0 ms (joins nothing), a join lost between two polls (metadata is read first, polls
are long, and a member without partitions for ``_IDLE_SECONDS`` is replaced), asking for more only when all that came was used (the next
records are asked for as soon as some come).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from kafka import TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from linktrail.broker import Connection
from linktrail.clock import NANOSECONDS, Clock
from linktrail.errors import BrokerError, NewerSchemaError, TopicRewoundError
from processor.dead_letters import DeadLetters
from processor.intake import Intake
from processor.kafka_consumer import Membership, make_consumer
from processor.kafka_partition import Partition
from processor.kafka_topics import Topics, chosen, describe, find_topics, have_changed
from processor.memory import keep_freed_memory

__all__ = ["KafkaFeed", "Membership", "Partition"]

_log = logging.getLogger(__name__)
_POLL_MS: Final = 500
_JOIN_MS: Final = 1_000
_ANSWER_MS: Final = 10_000
_IDLE_SECONDS: Final = 60.0
_HAND_OVER_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 30.0  # a topic that is made is read after so long, and a join of the group


class KafkaFeed:
    """The partitions this processor has. For the one thread of the processor; the client's own thread only gives them up."""

    def __init__(self, connection: Connection, membership: Membership, *, clock: Clock) -> None:
        """Nothing is opened yet: ``wait`` connects, and connects again."""
        keep_freed_memory()
        self.giving_up: Callable[[], None] | None = None
        self.generation = 0
        self.letters = DeadLetters(connection)
        self.connection = connection
        self._membership = membership
        self._clock = clock
        self._guard = threading.RLock()
        self._consumer: Any = None
        self._topics: Topics = {}
        self._partitions: dict[TopicPartition, Partition] = {}
        self._bounds: dict[TopicPartition, tuple[int, int]] = {}  # first offset and end of each partition, until all are sought
        self._ends: dict[TopicPartition, int] = {}  # as last asked
        self._acknowledged: dict[TopicPartition, int] = {}
        self._sought = False
        self._last_poll = self._last_look = clock.now().monotonic
        self._assigned_at = self._last_poll

    @property
    def guard(self) -> AbstractContextManager[object]:
        """The lock that a round of the processor holds."""
        return self._guard

    @property
    def intakes(self) -> Sequence[Partition]:
        """The partitions there are now, by topic and number."""
        return [self._partitions[place] for place in sorted(self._partitions)]

    # --- records --------------------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Poll, and distribute what came to the partitions. Raises ``BrokerError`` and ``TopicMissingError``."""
        if self._partitions and not self.may_commit():
            _log.warning("this processor stood still for longer than its session; its partitions are another's by now")
            self.close()
        if self._consumer is not None and self._have_topics_changed():
            self.revoked()  # as if they went to another: what waits is committed
            self.close()
        if self._consumer is None:
            self._connect()
        self._tell_acknowledged()
        if self._partitions and not self._sought:
            return  # nothing can come before they are sought
        joining = bool(self._membership.group) and not self._partitions
        try:
            found = self._consumer.poll(timeout_ms=_JOIN_MS if joining else _POLL_MS)
            if found:
                self._consumer._fetcher.send_fetches()  # noqa: SLF001 - see above
        except OffsetOutOfRangeError:
            with self._guard:
                self._change()  # retention was faster: sought again, from what is left
            return
        except KafkaError as error:
            self.close()
            raise BrokerError(brokers=self.connection, what=f"cannot read ({describe(error)})") from error
        with self._guard:
            self._last_poll = self._clock.now().monotonic
            if self._sought:
                for place, records in found.items():
                    if place in self._partitions:
                        self._partitions[place].receive(records)
            self._watch_idle()

    def _watch_idle(self) -> None:
        """Replace a member that sits without partitions, in case its join was lost; several members more than partitions do so in turn."""
        if self._partitions or not self._membership.group:
            self._assigned_at = self._last_poll
        elif self._last_poll - self._assigned_at > _IDLE_SECONDS * NANOSECONDS:
            _log.warning("no partition of %s was assigned for %.0f s; joining anew", self.connection.settings.topic, _IDLE_SECONDS)
            self.close()

    def seek(self, place: TopicPartition, offset: int) -> int:
        """Go on at ``offset`` of a partition, or at its start where that is later; return where. Raises ``BrokerError``."""
        if place not in self._bounds or offset > self._bounds[place][1]:  # those that are known may be older than the offset
            self._bounds |= self._ask_bounds()
        first, end = self._bounds[place]
        if offset > end:
            raise TopicRewoundError(brokers=self.connection, topic=place.topic, partition=place.partition, end=end, position=offset)
        start = max(first, offset)
        with self._asking("cannot seek"):
            self._consumer.seek(place, start)
        return start

    def _ask_bounds(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return where each partition begins and ends, all in two requests: there is one of every node. Raises ``BrokerError``."""
        generation, places = self.generation, list(self._partitions)
        with self._asking("cannot seek"):
            firsts = self._consumer.beginning_offsets(places, timeout_ms=_ANSWER_MS)
            ends = self._consumer.end_offsets(places, timeout_ms=_ANSWER_MS)
        if self.generation != generation:
            raise BrokerError(brokers=self.connection, what="cannot seek (the partitions moved meanwhile)")
        self._ends |= ends
        return {place: (firsts[place], ends[place]) for place in places}

    def confirm(self) -> bool:
        """Tell whether the group still counts this processor in, by committing the positions just sought."""
        generation, self._bounds = self.generation, {}
        offsets = {partition.place: OffsetAndMetadata(partition.next_offset, "", -1) for partition in self.intakes}
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

    def acknowledge(self, place: TopicPartition, next_offset: int) -> None:
        """Tell the group where the lake is, for lag tools, all partitions at once with the next ``wait``."""
        self._acknowledged[place] = next_offset

    def _tell_acknowledged(self) -> None:
        """Nothing depends on it, so nothing is waited for."""
        with self._guard:
            told, self._acknowledged = self._acknowledged, {}
        if told and self._consumer is not None:
            with contextlib.suppress(KafkaError):
                self._consumer.commit_async({place: OffsetAndMetadata(offset, "", -1) for place, offset in told.items()})

    def hold(self, intake: Intake, error: NewerSchemaError) -> bool:  # noqa: ARG002 - the processor says why
        """Pause one partition."""
        for place in [place for place, partition in self._partitions.items() if partition is intake]:
            self._consumer.pause(place)
        return True

    def find_end(self) -> None:
        """Ask for the ends of the partitions; those that are not sought yet are asked then. Raises ``BrokerError``."""
        if self._partitions and self._sought:
            self.lag()

    def at_end(self) -> bool:
        """Compare the positions with the ends as last asked: an answer of the broker may have to wait for one to the next fetch."""
        return self._consumer is not None and bool(self._partitions) and self._sought and self._behind() == 0

    def lag(self) -> int:
        """Return how many positions the partitions of this processor have that were not taken yet. Raises ``BrokerError``."""
        with self._guard, self._asking("cannot read the ends of partitions"):
            self._ends |= self._consumer.end_offsets(list(self._partitions), timeout_ms=_ANSWER_MS)
        return self._behind()

    def _behind(self) -> int:
        return sum(max(0, self._ends.get(partition.place, 0) - partition.next_offset) for partition in self.intakes)

    # --- connection and assignment --------------------------------------------------------------------------------

    def _have_topics_changed(self) -> bool:
        now = self._clock.now().monotonic
        if now - self._last_look < LOOK_SECONDS * NANOSECONDS:
            return False
        self._last_look = now
        return have_changed(self.connection, self._topics)

    def _connect(self) -> None:
        membership = self._membership
        self._last_look = self._clock.now().monotonic
        self._topics = find_topics(self.connection)
        places = chosen(self._topics, self.connection.settings.topic, membership.partitions)
        try:
            self._consumer = make_consumer(self.connection, membership)
            for topic in self._topics:  # first: a join that metadata starts can be lost between two polls, a seek would wait for a back-off
                self._consumer.partitions_for_topic(topic)
        except (KafkaError, OSError) as error:
            self.close()
            raise BrokerError(brokers=self.connection, what=f"no connection ({describe(error)})") from error
        now = self._clock.now().monotonic
        self._last_poll = self._assigned_at = now
        if membership.group:
            self._consumer.subscribe(list(self._topics), listener=_Listener(self))
            return
        self._consumer.assign(sorted(places))
        self._take_up(places)

    def _take_up(self, places: set[TopicPartition]) -> None:
        """Have these partitions, paused at no position until the processor has sought them."""
        with self._guard:
            for place in sorted(places):
                self._consumer.pause(place)
                self._consumer.seek(place, 0)
            self._partitions = {place: Partition(self, place, self._topics[place.topic]) for place in places}
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

    def assigned(self, places: set[TopicPartition]) -> None:
        """Take up partitions (in the client's thread)."""
        self._take_up(places)

    def _drop(self) -> None:
        self._partitions = {}
        self._change()

    def _change(self) -> None:
        for partition in self._partitions.values():
            partition.clear()
        self._bounds = {}
        self._acknowledged = {}
        self._sought = False
        self.generation += 1

    def close(self) -> None:
        """Leave; the group gives the partitions to others at once. May be called again."""
        self._tell_acknowledged()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError):  # it is left behind anyhow
                consumer.close(autocommit=False, timeout_ms=_ANSWER_MS)
        with self._guard:
            self._drop()

    @contextlib.contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        """Let go of the guard while the client waits for an answer: its own thread may be waiting for the guard."""
        self._guard.release()
        try:
            yield
        except (KafkaError, ValueError, AttributeError) as error:
            # ValueError: a partition that was just taken away; AttributeError: a consumer that was just closed. Both: begin anew.
            raise BrokerError(brokers=self.connection, what=f"{doing} ({describe(error)})") from error
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
        self._feed.assigned(set(assigned))

    def on_partitions_lost(self, lost: set[Any]) -> None:
        if lost:
            self._feed.lost()
