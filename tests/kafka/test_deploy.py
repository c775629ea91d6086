"""What ``deploy/`` says of Kafka is what the commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from linktrail.broker import Connection
from linktrail.command import _BY_NAME, load

COMPOSE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file."""
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return dict(document["services"])


def test_kafka_a_collector_and_a_processor(services: dict[str, Any]) -> None:
    """Each with what it waits for; the store is mounted read-only; the brokers are the service's."""
    assert {"kafka", "topics", "collector", "processor"} <= services.keys()
    for name in ("topics", "collector", "processor"):
        assert Connection.of(services[name]["environment"]["LINKTRAIL_KAFKA"], [], {}).brokers == ("kafka:9092",)
        assert services[name]["cap_drop"] == ["ALL"]
    assert services["collector"]["volumes"][0].endswith(":/host/storage:ro")
    assert services["collector"]["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    assert "kafka:9092" in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


@pytest.mark.parametrize("name", ["topics", "collector", "processor", "ask"])
def test_every_command_is_one_that_linktrail_takes(services: dict[str, Any], name: str) -> None:
    """The verb exists, and its words parse."""
    verb, *words = services[name]["command"]
    load(_BY_NAME[verb]).make_context(verb, list(words))


def test_the_broker_is_the_one_that_the_tests_run(services: dict[str, Any]) -> None:
    """The version of the image is that of the artifacts in pom.xml."""
    version = services["kafka"]["image"].rpartition(":")[2]
    assert f"<version>{version}</version>" in Path(__file__).with_name("pom.xml").read_text()
