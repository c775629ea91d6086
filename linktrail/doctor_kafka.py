"""What a fleet needs of Kafka: brokers that answer and admit this client, topics as declared, and the right to write and to read them.

A node that writes a topic of its own is asked for that one. Beside the shared topic the topics of nodes that can be seen are counted: a
collector sees its own at most, a processor all, and it must be allowed to read each.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

from linktrail.broker import Connection
from linktrail.config.resolve import Configuration
from linktrail.doctor import Check, Status
from linktrail.errors import LinktrailError
from linktrail.late import load_late
from linktrail.node_topic import owner_of

_NEEDED: Final = {"DESCRIBE": "be seen by both programs", "WRITE": "be written by collectors", "READ": "be read by processors"}


def checks(configuration: Configuration) -> Iterator[Check]:
    """Yield the checks of Kafka; raises ``MissingExtraError`` where it is configured without its library."""
    brokers = configuration.text("kafka.brokers")
    if brokers is None:
        yield Check("Kafka", Status.NOT_APPLICABLE, "no brokers are configured (kafka.brokers)")
        return
    kafka = load_late("kafka", for_verb="doctor", extra="kafka")
    clients = load_late("linktrail.broker_client", for_verb="doctor", extra="kafka")
    topics = load_late("linktrail.topics", for_verb="doctor", extra="kafka")
    identity = (configuration.text("cluster") or "", configuration.text("node") or socket.gethostname())
    try:
        shared = Connection.of(brokers)
        connection = shared.for_node(*identity)
        options = connection.options()
    except LinktrailError as error:
        yield Check("Kafka", Status.ERROR, error.message, "Neither program connects.", error.advice)
        return
    try:
        with contextlib.closing(clients.connect(kafka.KafkaAdminClient, connection)) as admin:
            security = options["security_protocol"]
            yield Check("Kafka", Status.OK, f"{connection} answers ({security})")
            names = (connection.settings.topic, connection.settings.dead_letter_topic)
            described = {str(item["name"]): item for item in admin.describe_topics(list(names))}
            for name in names:
                yield _topic(name, described.get(name))
            if connection == shared:
                yield _node_topics(shared.settings.topic, {str(item["name"]): item for item in admin.describe_topics()})
            declared = [one for one in topics.load(nodes=[identity]) if one.name in names]
            for difference in topics.diff(admin, declared) if len(declared) == len(names) else ():
                todo = "linktrail topics diff shows all; linktrail topics apply makes them so, as far as that loses nothing."
                yield Check("Kafka topics", Status.WARNING, str(difference), "It is otherwise than declared.", todo)
    except (kafka.errors.KafkaError, OSError) as error:
        words = f"{connection}: {type(error).__name__}: {error}"
        yield Check("Kafka", Status.ERROR, words, "Batches wait in the spool.", "Look at address, TLS, credentials and network policy.")


def _node_topics(shared: str, described: Mapping[str, dict[str, Any]]) -> Check:
    title = "Kafka topics of nodes"
    names = sorted(name for name, item in described.items() if item["error_code"] == 0 and owner_of(shared, name))
    if not names:
        return Check(title, Status.NOT_APPLICABLE, f"none beside {shared} that this client sees", "Every node writes the shared topic.")
    unread = [name for name in names if "READ" not in (_granted(described[name]) or _NEEDED)]
    words = f"{len(names)} beside {shared}"
    if unread:
        means = "A processor that may not read them does not commit what these nodes record."
        todo = f"Right on a collector. A processor's ACL: Read and Describe on the prefix {shared}."
        return Check(title, Status.WARNING, f"{words}; READ not granted: {', '.join(unread[:5])} ({len(unread)})", means, todo)
    return Check(title, Status.OK, f"{words}; READ granted")


def _topic(name: str, item: dict[str, Any] | None) -> Check:
    title = f"Kafka topic {name}"
    if item is None or item["error_code"] != 0:
        code = "" if item is None else f" (error {item['error_code']})"
        todo = "linktrail topics apply makes topics; if it is there, this client may not describe it: an ACL is missing."
        return Check(title, Status.ERROR, f"not there, or not to be seen{code}", "Nothing can be shipped or read.", todo)
    granted = _granted(item)
    words = f"{len(item['partitions'])} partitions"
    if granted is None:
        return Check(title, Status.OK, f"{words}; the brokers do not tell what is granted")
    missing = [one for one in _NEEDED if one not in granted]
    if missing:
        means = "Without it the topic cannot " + ", nor ".join(_NEEDED[one] for one in missing) + "."
        todo = "Right, where this side needs no more (collectors WRITE, processors READ); else add an ACL."
        return Check(title, Status.WARNING, f"{words}; not granted: {', '.join(missing)}", means, todo)
    return Check(title, Status.OK, f"{words}; {', '.join(_NEEDED)} granted")


def _granted(item: dict[str, Any]) -> set[str] | None:
    """Return the operations that this client may do on a topic; ``None`` where the brokers do not tell."""
    found = item.get("authorized_operations", item.get("topic_authorized_operations"))
    return {str(one) for one in found} if isinstance(found, (list, tuple, set)) else None
