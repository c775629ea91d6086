"""Three nodes, three replicas, two of them needed for an acknowledgement: leaders go, and nothing that was issued is lost.

How long a leader that hangs (its connections stay open) may hold shipping and reading up follows from what is set, in seconds:

* ``_SESSION`` until the controller takes it for dead and another leads. Where it was the controller too, the others notice after
  ``_ELECTION``, and the new controller waits for as long anew.
* ``_REQUEST`` for the request that it does not answer. Then metadata may still name it: one try to connect takes up to ``_SETUP``, and a
  second one twice that.
* A producer that is made meanwhile asks the brokers in turn (``_BEGINNING`` for the one that hangs) and needs an id. When the one that
  hangs was the controller, the others wait ``_CONTROLLER`` for it before they ask the new one: Kafka's ``controller.socket.timeout.ms``.

``_WORST`` is the sum; a producer that has its id takes some 7 of it. The last is why none must be replaced too early: ``STEADY`` waits for
longer than ``_CONTROLLER``, as the default window does.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from collector.ship.pipe import Window
from linktrail.broker import Connection
from processor.kafka_feed import Membership
from tests.kafka.broker import Node, start_nodes
from tests.kafka.conftest import need_kafka, new_topics
from tests.kafka.history import Issuer, read_all
from tests.kafka.running import IMPATIENT, Working, settle, shipping, until, working

_log = logging.getLogger(__name__)
_SESSION: Final = 4.0  # broker.session.timeout.ms of tests.kafka.broker
_ELECTION: Final = 2.0  # controller.quorum.fetch.timeout.ms and twice controller.quorum.election.timeout.ms there
_REQUEST: Final = 2.0
_SETUP: Final = 3.6  # linktrail.broker_client, with the jitter of the library
_CONTROLLER: Final = 30.0
_BEGINNING: Final = 5.0  # linktrail.broker_client
_WORST: Final = _ELECTION + 2 * _SESSION + _REQUEST + 3 * _SETUP + _BEGINNING + _CONTROLLER
STEADY: Final = Window(request_seconds=_REQUEST, stall_seconds=_CONTROLLER + 10)
IN_SYNC: Final = {"min.insync.replicas": "2"}


@pytest.fixture
def nodes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[list[Node]]:
    """A cluster of three, to be killed. What the clients say is shown when the test fails."""
    need_kafka()
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, logger="kafka")
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


def controller_of(nodes: list[Node]) -> Node:
    """Return the active controller."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=[node.address for node in nodes])) as admin:
        quorum = admin.describe_metadata_quorum()
    number: int = quorum["topics"][0]["partitions"][0]["leader_id"]
    return nodes[number - 1]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("controls", [False, True], ids=["a node", "the controller, in a group"])
def test_leaders_change_under_shipper_and_processor(tmp_path: Path, nodes: list[Node], controls: bool) -> None:
    """The leader is frozen, so that nobody closes its connections, and comes back; then the next leader is killed for good."""
    connection = led_by_the_controller(nodes, controls=controls)
    membership = Membership(group="members", session_seconds=6.0, request_seconds=3.0) if controls else IMPATIENT
    issuer = Issuer(tmp_path / "spool")
    with shipping(issuer.path, connection, STEADY) as shipper, working(tmp_path / "lake", connection, membership) as processor:

        def goes_on(doing: str) -> None:
            """All that was issued is shipped and read in time."""
            count = issuer.spool.next_offset
            begun = time.monotonic()
            until(lambda: issuer.spool.acknowledged() == count, _WORST, lambda: f"shipped {doing}: {shipper.status}\n{state(connection)}")
            until(lambda: processor.processor.position >= count, _WORST, lambda: f"read {doing}: {told(processor)}\n{state(connection)}")
            _log.info("%s: shipped and read within %.1f s", doing, time.monotonic() - begun)

        issuer.issue(10)
        goes_on("before anything happens")
        frozen = leader_of(connection, nodes)
        frozen.freeze()
        _log.info("node %d leads, and is frozen", frozen.number)
        issuer.issue(20)
        goes_on("past a frozen leader")
        assert shipper.status.producers == 1, "a producer that has its id is kept: another might have to wait for one"
        frozen.thaw()
        issuer.issue(20)
        goes_on("after it came back")
        until(lambda: in_sync(connection) == 3, 60, lambda: f"the replicas are in sync again: {state(connection)}")
        leader_of(connection, nodes).kill()
        issuer.issue(20)
        goes_on("past a killed leader")
    settle(tmp_path / "lake", connection, issuer)


@pytest.mark.timeout(300)
def test_a_shipper_that_starts_beside_a_broker_that_hangs(tmp_path: Path, nodes: list[Node]) -> None:
    """The node that hangs leads the partition, and is the controller that new producers have their ids from."""
    connection = led_by_the_controller(nodes, controls=True)
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(20)
    frozen = controller_of(nodes)
    frozen.freeze()
    begun = time.monotonic()
    with shipping(issuer.path, connection, STEADY) as shipper:
        until(lambda: issuer.spool.acknowledged() == 20, _WORST, lambda: f"shipped: {shipper.status}\n{state(connection)}")
        _log.info("shipped within %.1f s: %s", time.monotonic() - begun, shipper.status)
        assert shipper.status.producers == 1, "one that waits for its id is given the time"
    frozen.thaw()
    settle(tmp_path / "lake", connection, issuer)


@pytest.mark.timeout(300)
def test_nothing_is_acknowledged_that_one_node_has_alone(tmp_path: Path, nodes: list[Node]) -> None:
    """Two of three are killed: the one that is left leads on and writes, and no batch counts as shipped until a second one has it too."""
    connection = led_by_the_controller(nodes, controls=False)
    issuer = Issuer(tmp_path / "spool")
    with shipping(issuer.path, connection, STEADY) as shipper:
        issuer.issue(10)
        until(lambda: issuer.spool.acknowledged() == 10, _WORST)
        leader = leader_of(connection, nodes)
        others = [node for node in nodes if node is not leader]
        for node in others:
            node.kill()
        issuer.issue(20)
        until(lambda: not shipper.status.ready, 5 * _REQUEST, lambda: f"it is told: {shipper.status}")
        time.sleep(2 * _REQUEST)
        assert issuer.spool.acknowledged() == 10
        for node in others:
            node.launch()
        for node in others:
            node.wait_ready()
        until(lambda: issuer.spool.acknowledged() == 30, _WORST, lambda: f"shipped: {shipper.status}\n{state(connection)}")
        assert shipper.status.producers == 1
    records = read_all(connection, connection.settings.topic)
    sent = [dict(record.headers)["ce_id"] for record in records]
    assert len(sent) == len(set(sent)) == 30, "what was sent again and again is there once: one producer, which is idempotent"
    settle(tmp_path / "lake", connection, issuer)


def led_by_the_controller(nodes: list[Node], *, controls: bool) -> Connection:
    """Make topics whose events are led by the controller, or by another node; every node has them."""
    controller = controller_of(nodes)
    order = sorted(nodes, key=lambda node: (node is controller) != controls)
    made = new_topics(nodes[0].address, 1, copies=3, configs=IN_SYNC, nodes=[node.number for node in order])
    return Connection(tuple(node.address for node in nodes), made.settings)


def in_sync(connection: Connection) -> int:
    """Return how many replicas of partition 0 are in sync."""
    time.sleep(0.2)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=list(connection.brokers))) as admin:
        [topic] = admin.describe_topics([connection.settings.topic])
    replicas: list[int] = topic["partitions"][0]["isr_nodes"]
    return len(replicas)


def state(connection: Connection) -> str:
    """Return what the brokers say of partition 0, to be told when a test fails."""
    try:
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=list(connection.brokers))) as admin:
            return f"{admin.describe_topics([connection.settings.topic])}\n{admin.describe_metadata_quorum()}"
    except KafkaError as error:
        return f"the brokers do not say: {error!r}"


def told(processor: Working) -> str:
    """Return where a processor is, to be told when a test fails."""
    return f"position {processor.processor.position}, {processor.processor.trouble!r}, ended by {processor.error!r}"
