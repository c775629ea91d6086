from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from linktrail.broker import DEAD_LETTER_TOPIC, EVENTS_TOPIC, MAX_RECORD_BYTES
from linktrail.command import main
from linktrail.node_topic import node_topic
from linktrail.topics import load, with_replication
from tests.kafka.conftest import Brokers


@pytest.fixture
def declaration(tmp_path: Path) -> tuple[str, Path]:
    """A declaration of one topic of a new name."""
    name = f"t{uuid.uuid4().hex[:12]}"
    file = tmp_path / "topics.yaml"
    file.write_text(
        f"topics:\n  {name}:\n    partitions: 2\n    replication: 1\n    config: {{retention.ms: 1000000, cleanup.policy: delete}}\n"
    )
    return name, file


def test_the_shipped_declaration_says_what_linktrail_needs() -> None:
    """Both topics, records as large as the shipper sends, two replicas for every acknowledgement, no election that loses some."""
    topics = {topic.name: topic for topic in load()}
    assert set(topics) == {EVENTS_TOPIC, DEAD_LETTER_TOPIC}
    for topic in topics.values():
        assert topic.replication == 3
        assert topic.config["min.insync.replicas"] == "2"
        assert topic.config["unclean.leader.election.enable"] == "false"
        assert topic.config["cleanup.policy"] == "delete"
        assert int(topic.config["max.message.bytes"]) >= MAX_RECORD_BYTES
    assert int(topics[DEAD_LETTER_TOPIC].config["max.message.bytes"]) > MAX_RECORD_BYTES
    assert with_replication(load(), 1)[0].config["min.insync.replicas"] == "1"


def test_apply_makes_and_diff_agrees(declaration: tuple[str, Path], brokers: Brokers, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing: exit code 1 and said; applied: made, and nothing differs; changed by hand: said, and set back."""
    name, file = declaration
    words = ["--kafka", brokers.address, "--file", str(file)]
    assert main(["topics", "diff", *words]) == 1
    assert f"{name}: topic is not there" in capsys.readouterr().err
    assert main(["topics", "apply", *words]) == 0
    assert f"{name}: made, with 2 partitions" in capsys.readouterr().out
    assert main(["topics", "diff", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"done": [], "differences": []}
    file.write_text(file.read_text().replace("1000000", "2000000"))
    assert main(["topics", "diff", *words]) == 1
    assert f"{name}: retention.ms is 1000000, declared 2000000" in capsys.readouterr().err
    assert main(["topics", "apply", *words]) == 0
    assert f"{name}: retention.ms set to 2000000" in capsys.readouterr().out


def test_partitions_are_never_grown(declaration: tuple[str, Path], brokers: Brokers, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys would lead elsewhere, so apply leaves them and says so."""
    name, file = declaration
    words = ["--kafka", brokers.address, "--file", str(file)]
    assert main(["topics", "apply", *words]) == 0
    file.write_text(file.read_text().replace("partitions: 2", "partitions: 5"))
    assert main(["topics", "apply", *words]) == 1
    assert f"{name}: partitions is 2, declared 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "topics: [1]", "topics: {a: {partitions: x}}", "{", "\x00", "topics:\n  a: {partitions: 1, replication: 1}\n"]
)
def test_what_is_no_declaration_is_a_usage_error(tmp_path: Path, text: str) -> None:
    """One clear error, before any broker is asked."""
    file = tmp_path / "topics.yaml"
    file.write_text(text)
    assert main(["topics", "diff", "--kafka", "127.0.0.1:1", "--file", str(file)]) == 2


def test_no_broker_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and what was tried."""
    assert main(["topics", "diff", "--kafka", "127.0.0.1:1"]) == 1
    assert "Kafka at 127.0.0.1:1" in capsys.readouterr().err


def test_topics_of_nodes_are_declared_alike(tmp_path: Path, brokers: Brokers, capsys: pytest.CaptureFixture[str]) -> None:
    """One for each node that is named, beside the shared one; without names they are nobody's concern."""
    shared = f"t{uuid.uuid4().hex[:12]}"
    file = tmp_path / "topics.yaml"
    body = "{partitions: %d, replication: 1, config: {retention.ms: 1000000}}"
    file.write_text(f"topics:\n  {shared}: {body % 3}\nnode-topics:\n  {shared}: {body % 1}\n")
    words = ["--kafka", brokers.address, "--file", str(file)]
    nodes = ["--cluster", "prod", "--node", "a.example", "--node", "b"]
    assert main(["topics", "apply", *words]) == 0
    assert main(["topics", "diff", *words, *nodes]) == 1
    said = capsys.readouterr().err
    assert f"{shared}.prod.a.example: topic is not there" in said
    assert main(["topics", "apply", *words, *nodes]) == 0
    assert f"{shared}.prod.b: made, with 1 partitions" in capsys.readouterr().out
    assert main(["topics", "diff", *words, *nodes]) == 0


def test_the_shipped_declaration_of_a_nodes_topic() -> None:
    """One partition, and in all else as the shared one."""
    topics = {topic.name: topic for topic in load(nodes=[("prod", "worker-1")])}
    own = topics[node_topic(EVENTS_TOPIC, "prod", "worker-1")]
    assert (own.partitions, own.replication, own.config) == (1, 3, topics[EVENTS_TOPIC].config)
