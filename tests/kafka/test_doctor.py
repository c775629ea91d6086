"""What the doctor says of real brokers: topics that are there, and those that are not."""

from __future__ import annotations

import json

import pytest

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
