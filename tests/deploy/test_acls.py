"""Nodes that do not trust each other, with the topics, users and ACLs that the chart ships, on a real broker with its authorizer on.

The brokers refuse every topic but a node's own; what a node writes there under another's name, Kafka accepts and the processor refuses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from linktrail.broker import DEAD_LETTER_TOPIC, EVENTS_TOPIC, Connection, record_key
from linktrail.node_topic import node_topic
from linktrail.schema import TABLES
from processor.dead_letters import ERROR_HEADER
from processor.kafka_feed import Membership
from processor.lake import Lake
from tests.deploy.fleet import CLUSTER, NODES, Fleet, running
from tests.kafka.conftest import need_kafka
from tests.kafka.history import Issuer, check, find, read_all
from tests.kafka.running import process_all, ship, shipping, until
from tests.kafka.test_records import files

A, B = NODES
TOPIC_OF = {node: node_topic(EVENTS_TOPIC, CLUSTER, node) for node in NODES}
KEY_OF = {node: record_key(CLUSTER, node) for node in NODES}


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory, helm: str) -> Iterator[Fleet]:
    """A broker of its own for each test: they run in any order, and count records."""
    need_kafka()
    with running(tmp_path_factory.mktemp("guarded"), helm) as found:
        yield found


def send(connection: Connection, topic: str, key: bytes, *values: bytes) -> list[int]:
    """Send records and return their offsets. Raises what the broker answers."""
    with contextlib.closing(
        KafkaProducer(**connection.options(), retries=0, max_block_ms=15_000, allow_auto_create_topics=False)
    ) as producer:
        return [int(producer.send(topic, value, key=key).get(20).offset) for value in values]


def may_read(connection: Connection, topic: str) -> bool:
    """Tell whether a topic can be read; false when the brokers say that it is not allowed, or do not show it at all."""
    with contextlib.closing(KafkaConsumer(topic, **connection.options(), auto_offset_reset="earliest")) as consumer:
        if not consumer.partitions_for_topic(topic):
            return False
        try:
            for _ in range(20):
                if consumer.poll(500):
                    return True
        except KafkaError as error:
            if "uthoriz" not in type(error).__name__:
                raise
            return False
    raise AssertionError(f"neither read nor refused: {topic}")


def nodes_in(lake: Path) -> set[str]:
    """Return whose rows are in the lake, of all tables."""
    opened = Lake.open(lake)
    return {node for name in TABLES for node in opened.read(name).column("node").to_pylist()}


@pytest.mark.timeout(240)
def test_no_node_writes_another_nodes_history(tmp_path: Path, fleet: Fleet) -> None:
    """All that node A's credentials can do: its own recording arrives, nothing of B's ever does by them, and B's own does, once."""
    a, b, processor = (fleet.connection(tmp_path / "secrets", workload) for workload in (A, B, "processor"))
    everything = Connection.of(fleet.node.address, [], {})  # the test itself, which may read dead letters
    hostile, victim = Issuer(tmp_path / "a", node=A), Issuer(tmp_path / "b", node=B)
    for issuer in (hostile, victim):
        issuer.issue(8)
    stolen = files(victim)
    ship(hostile, a)
    for topic in (TOPIC_OF[B], EVENTS_TOPIC, DEAD_LETTER_TOPIC):
        for key in KEY_OF.values():
            with pytest.raises(TopicAuthorizationFailedError):
                send(a, topic, key, *stolen[:1])
    with pytest.raises(KafkaError):
        send(a, f"{EVENTS_TOPIC}.{CLUSTER}.worker-9", KEY_OF[A], *stolen[:1])
    with shipping(victim.path, a) as impostor:  # a collector that says it is B
        until(lambda: "TopicAuthorizationFailed" in (impostor.status.trouble or ""), 30, "refused")
    assert victim.spool.acknowledged() == 0

    assert send(a, TOPIC_OF[A], KEY_OF[B], *stolen) == list(range(8, 16)), "Kafka takes any key"
    assert send(a, TOPIC_OF[A], KEY_OF[A], *stolen) == list(range(16, 24))
    membership = Membership(group="linktrail")
    done = process_all(tmp_path / "lake", processor, membership)
    assert (done.totals.batches, done.totals.set_aside) == (8, 16)
    assert nodes_in(tmp_path / "lake") == {A}
    letters = read_all(everything, DEAD_LETTER_TOPIC)
    assert [letter.value for letter in letters] == stolen * 2
    assert all(f"the topic is that of {CLUSTER}/{A} alone".encode() in dict(letter.headers)[ERROR_HEADER] for letter in letters)

    ship(victim, b)
    hostile.issue(4)
    ship(hostile, a)
    assert process_all(tmp_path / "lake", processor, membership).totals.batches == 12
    check(found := find(tmp_path / "lake", everything), hostile, victim)
    assert len(found.lake) == len(hostile.issued) + len(victim.issued)
    assert [(gap["cause"], gap["node"]) for gap in found.gaps] == [("batch-foreign", A)] * 16
    assert nodes_in(tmp_path / "lake") == {A, B}


def test_a_collector_reads_nothing(tmp_path: Path, fleet: Fleet) -> None:
    """Its own topic neither, nor another's, the shared one and the dead letters; the processor reads all of them but those."""
    a, processor = (fleet.connection(tmp_path / "secrets", workload) for workload in (A, "processor"))
    for node in NODES:
        send(Connection.of(fleet.node.address, [], {}), TOPIC_OF[node], KEY_OF[node], b"something")
    for topic in (*TOPIC_OF.values(), EVENTS_TOPIC, DEAD_LETTER_TOPIC):
        assert not may_read(a, topic)
    assert all(may_read(processor, topic) for topic in TOPIC_OF.values())
    assert not may_read(processor, DEAD_LETTER_TOPIC)
    for topic in (*TOPIC_OF.values(), EVENTS_TOPIC):
        with pytest.raises(TopicAuthorizationFailedError):
            send(processor, topic, KEY_OF[A], b"something")


def test_each_pod_is_bound_to_its_node_and_has_that_ones_secret_alone(fleet: Fleet) -> None:
    """By the name of the node, which its kubelet cannot change; a kubelet is given no secret but those of pods that are bound to it."""
    seen: set[str] = set()
    for node in NODES:
        pod = fleet.pod(node)
        [term] = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        users = {volume["secret"]["secretName"] for volume in pod["volumes"] if volume.get("secret") and volume["name"] != "kafka-ca"}
        assert len(users) == 1
        assert not users & seen
        assert not any("projected" in volume for volume in pod["volumes"])
        seen |= users
        granted = {
            (rule["resource"]["name"], operation)
            for user in fleet.manifests
            if user["kind"] == "KafkaUser" and user["metadata"]["name"] in users
            for rule in user["spec"]["authorization"]["acls"]
            for operation in rule["operations"]
            if not operation.startswith("Describe")
        }
        assert granted == {(TOPIC_OF[node], "Write")}
    unlisted = fleet.pod("collector-unlisted")
    [term] = unlisted["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in NODES]}
    assert not any("secret" in volume for volume in unlisted["volumes"])
    assert not any(one["name"].startswith("LINKTRAIL_KAFKA") for one in unlisted["containers"][0]["env"])
