"""Topics as code: ``linktrail topics diff|apply``, from a declaration in YAML (``deploy/kafka/topics.yaml``).

``topics`` declares topics by name, ``node-topics`` those that nodes have beside one of them (``linktrail.node_topic``).

``diff`` tells what the brokers have otherwise than declared; ``apply`` makes missing topics and sets configuration that differs.
Neither ever deletes a topic, changes its number of partitions (a node's key would lead elsewhere, and its order be lost) or moves
replicas: such differences are told, and are for a person to resolve.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from linktrail.broker import Connection, KafkaBrokers, KafkaSettings
from linktrail.broker_client import connect
from linktrail.errors import BrokerError, TopicsDifferError, UsageError
from linktrail.node_topic import node_topic

_IN_CHECKOUT: Final = Path(__file__).resolve().parents[1] / "deploy" / "kafka" / "topics.yaml"


class Action(StrEnum):
    """What to do with the declaration."""

    DIFF = "diff"
    APPLY = "apply"


@dataclass(frozen=True, slots=True)
class Topic:
    """One declared topic; ``config`` as Kafka names and writes it."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs: ``what`` is ``topic``, ``partitions``, ``replication`` or a configuration key."""

    topic: str
    what: str
    declared: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found or 'not there'}, declared {self.declared}"


def topics(
    action: Annotated[Action, typer.Argument(help="Compare, or make it so.")],
    *,
    kafka: KafkaBrokers = None,
    kafka_set: KafkaSettings = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="The declaration (default: the one linktrail ships).")] = None,
    replication: Annotated[int | None, typer.Option("--replication", min=1, help="Replicas, instead of those declared.")] = None,
    cluster: Annotated[str, typer.Option(envvar="LINKTRAIL_CLUSTER", help="The cluster of the nodes.")] = "",
    node: Annotated[
        list[str] | None, typer.Option("--node", metavar="NAME", help="A node with a topic of its own (topic-per-node); repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Compare the topics of the brokers with their declaration, or make them so. Exit code 1 when a difference is left.

    Examples: linktrail topics apply --kafka kafka-1:9092
              linktrail topics apply --kafka kafka-1:9092 --cluster prod --node worker-1 --node worker-2
    """
    if not kafka:
        raise UsageError(what="--kafka HOST:PORT is needed (or LINKTRAIL_KAFKA)")
    connection = Connection.of(kafka, kafka_set or [])
    declared = with_replication(load(file, [(cluster, name) for name in node or []]), replication)
    try:
        with contextlib.closing(connect(KafkaAdminClient, connection)) as admin:
            found = diff(admin, declared)
            done = apply(admin, declared, found) if action is Action.APPLY else []
            left = diff(admin, declared) if done else found
    except KafkaError as error:
        raise BrokerError(brokers=connection, what=f"{type(error).__name__}: {error}") from error
    _print(done, left, as_json=as_json)
    if left:
        raise TopicsDifferError(what="; ".join(str(difference) for difference in left))
    return 0


def _print(done: list[str], left: list[Difference], *, as_json: bool) -> None:
    if as_json:
        differences = [{"topic": one.topic, "what": one.what, "declared": one.declared, "found": one.found} for one in left]
        sys.stdout.write(json.dumps({"done": done, "differences": differences}) + "\n")
        return
    for line in done:
        sys.stdout.write(f"{line}\n")
    if not left:
        sys.stdout.write("topics are as declared\n")


def load(file: Path | None = None, nodes: Sequence[tuple[str, str]] = ()) -> list[Topic]:
    """Read a declaration, with the topics of ``nodes`` (cluster, node). Raises ``UsageError`` when it is none, and ``TopicNameError``."""
    try:
        text = file.read_text(encoding="utf-8") if file else _shipped()
        return list(_declared(yaml.safe_load(text), nodes))
    except OSError as error:
        raise UsageError(what=f"{file} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            what=f"{file or 'the declaration of topics'} is no declaration of topics ({' '.join(str(error).split())})"
        ) from error


def _declared(document: dict[str, Any], nodes: Sequence[tuple[str, str]]) -> Iterator[Topic]:
    bodies = dict(document["topics"])
    for shared, body in document["node-topics"].items() if nodes else ():
        bodies |= {node_topic(str(shared), cluster, node): body for cluster, node in nodes}
    for name, body in bodies.items():
        config = {str(key): _text(value) for key, value in body["config"].items()}
        yield Topic(str(name), int(body["partitions"]), int(body["replication"]), config)


def _shipped() -> str:
    packaged = resources.files("linktrail") / "topics.yaml"
    return packaged.read_text(encoding="utf-8") if packaged.is_file() else _IN_CHECKOUT.read_text(encoding="utf-8")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_replication(declared: list[Topic], replication: int | None) -> list[Topic]:
    """Return the topics with so many replicas each, and no more of them required in sync than that leaves (one less, at least one)."""
    if replication is None:
        return declared
    least = str(max(1, replication - 1))
    return [Topic(topic.name, topic.partitions, replication, {**topic.config, "min.insync.replicas": least}) for topic in declared]


def diff(admin: Any, declared: list[Topic]) -> list[Difference]:  # noqa: ANN401 - the library has no types
    """Return what the brokers have otherwise than ``declared``. Raises ``KafkaError``."""
    described = {item["name"]: item for item in admin.describe_topics([topic.name for topic in declared]) if item["error_code"] == 0}
    present = [ConfigResource(ConfigResourceType.TOPIC, topic.name, list(topic.config)) for topic in declared if topic.name in described]
    configs = admin.describe_configs(present, config_filter="all")["topic"] if present else {}
    found: list[Difference] = []
    for topic in declared:
        item = described.get(topic.name)
        if item is None:
            found.append(Difference(topic.name, "topic", f"{topic.partitions} partitions", ""))
            continue
        partitions = item["partitions"]
        copies = min((len(partition["replica_nodes"]) for partition in partitions), default=0)
        facts = [("partitions", topic.partitions, len(partitions)), ("replication", topic.replication, copies)]
        found += [Difference(topic.name, what, str(wanted), str(has)) for what, wanted, has in facts if wanted != has]
        values = {key: str(value["value"]) for key, value in configs.get(topic.name, {}).items()}
        found += [
            Difference(topic.name, key, value, values.get(key, "")) for key, value in topic.config.items() if values.get(key) != value
        ]
    return found


def apply(admin: Any, declared: list[Topic], found: list[Difference]) -> list[str]:  # noqa: ANN401 - the library has no types
    """Make missing topics and set configuration that differs; return what was done. Raises ``KafkaError``."""
    done: list[str] = []
    for topic in declared:
        here = [difference for difference in found if difference.topic == topic.name]
        if any(difference.what == "topic" for difference in here):
            body = {"num_partitions": topic.partitions, "replication_factor": topic.replication, "configs": topic.config}
            admin.create_topics({topic.name: body}, wait_for_metadata=True)
            done.append(f"{topic.name}: made, with {topic.partitions} partitions and {topic.replication} replicas")
            continue
        settings = {difference.what: difference.declared for difference in here if difference.what in topic.config}
        if settings:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, settings)])
            done += [f"{topic.name}: {key} set to {value}" for key, value in settings.items()]
    return done
