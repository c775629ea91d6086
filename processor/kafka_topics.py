"""The topics that a processor reads, as the brokers have them now: the shared one, and those of single nodes (``linktrail.node_topic``).

The processor looks them up itself, by name and id, and subscribes to no pattern: the client would notice a new topic only with its
metadata (after minutes), in its own thread, by a join that can be lost between two polls (trap 10 in ``tests/kafka/test_traps.py``).
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError

from linktrail.broker import Connection
from linktrail.broker_client import connect
from linktrail.errors import BrokerError, TopicMissingError, UsageError
from linktrail.node_topic import owner_of

Topics = Mapping[str, "Topic"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. ``owner`` is (cluster, node) where it is one node's alone."""

    name: str
    id: str
    partitions: frozenset[int]
    owner: tuple[str, str] | None

    @property
    def places(self) -> list[TopicPartition]:
        """Its partitions, as the client names them."""
        return [TopicPartition(self.name, number) for number in sorted(self.partitions)]


def find_topics(connection: Connection) -> Topics:
    """Ask the brokers; by name. Raises ``BrokerError``, ``TopicMissingError`` when there is none, and ``SecretFileError``."""
    shared = connection.settings.topic
    try:
        with contextlib.closing(connect(KafkaAdminClient, connection)) as admin:
            described = admin.describe_topics()  # all that this client may see
    except (KafkaError, OSError) as error:
        raise BrokerError(brokers=connection, what=f"topics cannot be listed ({describe(error)})") from error
    found: dict[str, Topic] = {}
    for item in described:
        name, owner = str(item["name"]), owner_of(shared, str(item["name"]))
        partitions = frozenset(int(part["partition_index"]) for part in item["partitions"])
        if item["error_code"] == 0 and partitions and (owner or name == shared):
            found[name] = Topic(name, str(item["topic_id"]), partitions, owner)
    if not found:
        raise TopicMissingError(brokers=connection, topic=shared)
    return found


def have_changed(connection: Connection, known: Topics) -> bool:
    """Tell, and log, whether there are other topics than ``known``; false when that cannot be seen now. Raises ``SecretFileError``."""
    try:
        found = find_topics(connection)
    except TopicMissingError:
        found = {}
    except BrokerError as error:
        _log.info("%s Whether there are new ones shows later.", error.message)  # the next poll meets the same, or it passes
        return False
    if found == known:
        return False
    new, gone = (", ".join(sorted(names)) or "none" for names in (found.keys() - known.keys(), known.keys() - found.keys()))
    _log.info("topics have changed, %d are read; new: %s; gone: %s", len(found), new, gone)
    return True


def chosen(topics: Topics, shared: str, numbers: Collection[int] | None) -> set[TopicPartition]:
    """Return the partitions of a processor that has ``numbers`` of the ``shared`` topic (``None``: all) and its part of those of nodes.

    The partitions of nodes are dealt by a checksum of their names: processors that have all numbers between them have every node. Raises
    ``UsageError`` for a number that the shared topic has not.
    """
    places = {place for topic in topics.values() for place in topic.places}
    if numbers is None:
        return places
    present = topics[shared].partitions if shared in topics else frozenset[int]()
    if missing := set(numbers) - present:
        raise UsageError(what=f"topic {shared} has no partition {min(missing)}")
    dealt = sorted(present)
    return {place for place in places if (place.partition if place.topic == shared else dealt[_deal(place) % len(dealt)]) in numbers}


def _deal(place: TopicPartition) -> int:
    return zlib.crc32(f"{place.topic}/{place.partition}".encode())


def describe(error: BaseException) -> str:
    """Return one line about an error of the library."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
