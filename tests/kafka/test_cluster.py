"""Three nodes, three replicas, two of them needed for an acknowledgement: leaders go, and nothing that was issued is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from linktrail.broker import Connection
from tests.kafka.broker import Node, start_nodes
from tests.kafka.conftest import need_kafka, new_topics
from tests.kafka.history import Issuer
from tests.kafka.running import IMPATIENT, settle, shipping, until, working


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    """A cluster of three, to be killed."""
    need_kafka()
    started = start_nodes(tmp_path / "kafka", 3)
    yield started
    for node in started:
        node.stop()


def leader_of(connection: Connection, nodes: list[Node]) -> Node:
    """Return the node that leads partition 0 of the events."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=list(connection.brokers))) as admin:
        [topic] = admin.describe_topics([connection.settings.topic])
    number: int = topic["partitions"][0]["leader_id"]
    return nodes[number - 1]


@pytest.mark.timeout(240)
def test_leaders_change_under_shipper_and_processor(tmp_path: Path, nodes: list[Node]) -> None:
    """The leader is frozen, so that nobody closes its connections, and comes back; then the next leader is killed for good."""
    first = new_topics(nodes[0].address, 1, copies=3, configs={"min.insync.replicas": "2"})
    connection = Connection(tuple(node.address for node in nodes), first.settings)
    issuer = Issuer(tmp_path / "spool")
    with shipping(issuer.path, connection) as shipper, working(tmp_path / "lake", connection, IMPATIENT) as processor:
        issuer.issue(10)
        until(lambda: processor.processor.position >= 10, 60)
        frozen = leader_of(connection, nodes)
        frozen.freeze()
        issuer.issue(20)
        until(lambda: issuer.spool.acknowledged() == 30, 60, f"shipped past a frozen leader: {shipper.status}")
        until(lambda: processor.processor.position >= 30, 60, "read past a frozen leader")
        frozen.thaw()
        issuer.issue(20)
        until(lambda: issuer.spool.acknowledged() == 50, 60, f"shipped after it came back: {shipper.status}")
        until(lambda: in_sync(connection) == 3, 60, "the replicas are in sync again")
        leader_of(connection, nodes).kill()
        issuer.issue(20)
        until(lambda: issuer.spool.acknowledged() == 70, 60, f"shipped past a killed leader: {shipper.status}")
        until(lambda: processor.processor.position >= 70, 60, f"read past a killed leader: {processor.processor.trouble}")
    settle(tmp_path / "lake", connection, issuer)


def in_sync(connection: Connection) -> int:
    """Return how many replicas of partition 0 are in sync."""
    time.sleep(0.2)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=list(connection.brokers))) as admin:
        [topic] = admin.describe_topics([connection.settings.topic])
    replicas: list[int] = topic["partitions"][0]["isr_nodes"]
    return len(replicas)
