"""The broker that all tests of one worker share, and topics of one's own in it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from linktrail.broker import Connection
from tests.kafka.broker import Node, start_nodes
from tests.kafka.certificates import make_certificates
from tests.kafka.distribution import classpath
from tests.kafka.proxy import Proxy
from tests.needs import need_jars

TopicMaker = Callable[..., Connection]
logging.getLogger("kafka").setLevel(logging.CRITICAL)  # outages are the point here, and the library says every failed try


def need_kafka() -> None:
    """Go on only where Apache Kafka can be run; otherwise skip and say why (fail under CI=true)."""
    need_jars(classpath)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node of our own with all listeners, for this worker's tests. It may be frozen, but must be left running."""
    need_kafka()
    path = tmp_path_factory.mktemp("kafka")
    certificates = make_certificates(path / "certificates")
    [started] = start_nodes(path, 1, certificates=certificates)
    yield started
    started.stop()


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    """One node for this test alone, to be killed."""
    need_kafka()
    [started] = start_nodes(tmp_path / "kafka", 1)
    yield started
    started.stop()


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    """The fault proxy before the shared node; ``through`` gives the connection that leads over it."""
    with Proxy(node.proxy_port, node.ports["PROXIED"]) as opened:
        yield opened


def through(connection: Connection, node: Node) -> Connection:
    """Return ``connection`` by way of the proxy."""
    return dataclasses.replace(connection, brokers=(node.proxied,))


@dataclass(frozen=True, slots=True)
class Brokers:
    """Where the tests' broker is: our own, or the one that LINKTRAIL_TEST_KAFKA names."""

    address: str

    def admin(self) -> contextlib.closing[KafkaAdminClient]:
        """Return an admin client for a ``with`` statement."""
        return contextlib.closing(KafkaAdminClient(bootstrap_servers=self.address))


@pytest.fixture(scope="session")
def brokers(request: pytest.FixtureRequest) -> Brokers:
    """Whatever broker there is."""
    named = os.environ.get("LINKTRAIL_TEST_KAFKA")
    if named:
        return Brokers(named)
    started: Node = request.getfixturevalue("node")
    return Brokers(started.address)


@pytest.fixture
def make_topics(brokers: Brokers) -> TopicMaker:
    """Return a function that makes an events topic and a dead-letter topic of new names, and the connection that uses them."""

    def make(partitions: int = 1, configs: dict[str, str] | None = None) -> Connection:
        return new_topics(brokers.address, partitions, configs=configs)

    return make


def new_topics(
    address: str, partitions: int = 1, *, copies: int = 1, configs: dict[str, str] | None = None, nodes: Sequence[int] = ()
) -> Connection:
    """Make both topics at ``address`` and return the connection that uses them. Of ``nodes`` the first leads the events, all have them."""
    name = f"t{uuid.uuid4().hex[:12]}"
    settings = {"max.message.bytes": str(8 << 20)} | (configs or {})
    placed = {"assignments": {number: list(nodes) for number in range(partitions)}}
    topics = {
        f"{name}.events": {**(placed if nodes else {"num_partitions": partitions, "replication_factor": copies}), "configs": settings},
        f"{name}.dlq": {"num_partitions": 1, "replication_factor": copies, "configs": {"max.message.bytes": str(9 << 20)}},
    }
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=address)) as admin:
        admin.create_topics(topics, wait_for_metadata=True)
    return Connection.of(address, [f"topic={name}.events", f"dead-letter-topic={name}.dlq"], {})
