"""What a fleet needs of Kafka: brokers that answer and admit this client, topics as declared, and the right to write and to read them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from linktrail.broker import Connection
from linktrail.config.resolve import Configuration
from linktrail.doctor import Check, Status
from linktrail.errors import LinktrailError
from linktrail.late import load_late

_BOOTSTRAP_MS: Final = 5_000
_NEEDED: Final = {"DESCRIBE": "be seen by both programs", "WRITE": "be written by collectors", "READ": "be read by processors"}


def checks(configuration: Configuration) -> Iterator[Check]:
    """Yield the checks of Kafka; raises ``MissingExtraError`` where it is configured without its library."""
    brokers = configuration.text("kafka.brokers")
    if brokers is None:
        yield Check("Kafka", Status.NOT_APPLICABLE, "no brokers are configured (kafka.brokers)")
        return
    kafka = load_late("kafka", for_verb="doctor", extra="kafka")
    topics = load_late("linktrail.topics", for_verb="doctor", extra="kafka")
    try:
        connection = Connection.of(brokers)
        options = connection.options()
    except LinktrailError as error:
        yield Check("Kafka", Status.ERROR, error.message, "Neither program connects.", error.advice)
        return
    try:
        with contextlib.closing(kafka.KafkaAdminClient(**options, bootstrap_timeout_ms=_BOOTSTRAP_MS)) as admin:
            security = options["security_protocol"]
            yield Check("Kafka", Status.OK, f"{connection} answers ({security})")
            names = (connection.settings.topic, connection.settings.dead_letter_topic)
            described = {str(item["name"]): item for item in admin.describe_topics(list(names))}
            for name in names:
                yield _topic(name, described.get(name))
            for difference in topics.diff(admin, topics.load()) if set(names) == {one.name for one in topics.load()} else ():
                todo = "linktrail topics diff shows all; linktrail topics apply makes them so, as far as that loses nothing."
                yield Check("Kafka topics", Status.WARNING, str(difference), "It is otherwise than declared.", todo)
    except (kafka.errors.KafkaError, OSError) as error:
        words = f"{connection}: {type(error).__name__}: {error}"
        yield Check("Kafka", Status.ERROR, words, "Batches wait in the spool.", "Look at address, TLS, credentials and network policy.")


def _topic(name: str, item: dict[str, Any] | None) -> Check:
    title = f"Kafka topic {name}"
    if item is None or item["error_code"] != 0:
        code = "" if item is None else f" (error {item['error_code']})"
        todo = "linktrail topics apply makes topics; if it is there, this client may not describe it: an ACL is missing."
        return Check(title, Status.ERROR, f"not there, or not to be seen{code}", "Nothing can be shipped or read.", todo)
    granted = item.get("authorized_operations", item.get("topic_authorized_operations"))
    words = f"{len(item['partitions'])} partitions"
    if not isinstance(granted, (list, tuple, set)):
        return Check(title, Status.OK, f"{words}; the brokers do not tell what is granted")
    missing = [one for one in _NEEDED if one not in granted]
    if missing:
        means = "Without it the topic cannot " + ", nor ".join(_NEEDED[one] for one in missing) + "."
        todo = "Right, where this side needs no more (collectors WRITE, processors READ); else add an ACL."
        return Check(title, Status.WARNING, f"{words}; not granted: {', '.join(missing)}", means, todo)
    return Check(title, Status.OK, f"{words}; {', '.join(_NEEDED)} granted")
