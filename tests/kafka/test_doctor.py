"""What the doctor says of real brokers: topics that are there, and those that are not."""

from __future__ import annotations

import contextlib
import json

import pytest
from kafka import KafkaAdminClient

from linktrail.command import main
from tests.kafka.broker import Node
from tests.kafka.conftest import new_topics


def test_brokers_and_topics(node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers answer, topics are seen with what is granted; a topic that is not there is an error with what to do."""
    names = new_topics(node.address).settings
    for name, text in {
        "CONFIG": "",
        "KAFKA": node.address,
        "KAFKA_TOPIC": names.topic,
        "KAFKA_DEAD_LETTER_TOPIC": "linktrail.none",
    }.items():
        monkeypatch.setenv(f"LINKTRAIL_{name}", text)
    assert main(["doctor", "--json"]) == 1
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["Kafka"]["status"] == "ok"
    assert found["Kafka"]["found"] == f"{node.address} answers (PLAINTEXT)"
    seen = found[f"Kafka topic {names.topic}"]
    assert seen["status"] == "ok", seen
    assert seen["found"].endswith("DESCRIBE, WRITE, READ granted")
    missing = found["Kafka topic linktrail.none"]
    assert missing["status"] == "error"
    assert "topics apply" in missing["todo"]


def test_topics_of_nodes(node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector with a topic of its own is asked for that one; a processor is told how many there are, and whether it may read them."""
    names = new_topics(node.address).settings
    for name, text in {"CONFIG": "", "KAFKA": node.address, "KAFKA_TOPIC": names.topic, "CLUSTER": "c", "NODE": "worker-1"}.items():
        monkeypatch.setenv(f"LINKTRAIL_{name}", text)
    monkeypatch.setenv("LINKTRAIL_KAFKA_DEAD_LETTER_TOPIC", names.dead_letter_topic)

    def ask() -> dict[str, dict[str, str]]:
        main(["doctor", "--json"])
        return {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}

    assert ask()["Kafka topics of nodes"]["status"] == "not applicable"
    own = f"{names.topic}.c.worker-1"
    monkeypatch.setenv("LINKTRAIL_KAFKA_TOPIC_PER_NODE", "yes")
    assert ask()[f"Kafka topic {own}"]["status"] == "error"
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=node.address)) as admin:
        admin.create_topics({own: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    found = ask()
    assert found[f"Kafka topic {own}"]["status"] == "ok"
    assert f"Kafka topic {names.topic}" not in found
    monkeypatch.delenv("LINKTRAIL_KAFKA_TOPIC_PER_NODE")
    assert ask()["Kafka topics of nodes"]["found"] == f"1 beside {names.topic}; READ granted"
