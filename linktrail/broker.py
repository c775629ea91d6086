"""How linktrail reaches Kafka: names of topics, keys and headers of records, and a connection with its secrets.

Format of a record in ``linktrail.events.v1``: key ``<cluster>/<node>`` (each percent-encoded, so a node's batches stay in one partition and
in order), value one sealed batch as it lies in the spool (``linktrail.batch``), headers as CloudEvents binds events to Kafka in
binary mode. ``ce_id`` is ``<spool id>/<offset>``: the same batch sent again has the same id. With ``topic-per-node`` each node writes a
topic of its own (``linktrail.node_topic``) instead.

A connection is ``--kafka HOST:PORT[,HOST:PORT]`` with settings by ``--kafka-set NAME=VALUE`` or ``LINKTRAIL_KAFKA_NAME``. Secrets are
named by path only, read when they are needed (a rotated one is taken up at the next connection), and a file that everybody on the
machine can read is refused.

References:
    CloudEvents 1.0.2, "Kafka Protocol Binding", binary content mode; extensions "sequence", "partitioning", "recordedtime".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import quote, unquote

import typer

from linktrail import batch
from linktrail.clock import iso
from linktrail.errors import UsageError
from linktrail.node_topic import node_topic
from linktrail.secret_file import read_secret

EVENTS_TOPIC: Final = "linktrail.events.v1"
DEAD_LETTER_TOPIC: Final = "linktrail.dlq.v1"
MAX_RECORD_BYTES: Final = 8 << 20
_ENVIRONMENT: Final = "LINKTRAIL_KAFKA_"
_MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_YES: Final = ("yes", "true", "1")
_NO: Final = ("no", "false", "0")
Headers = list[tuple[str, bytes]]
KafkaBrokers = Annotated[
    str | None, typer.Option("--kafka", metavar="HOST:PORT[,...]", envvar="LINKTRAIL_KAFKA", help="The brokers of a fleet.")
]
KafkaSettings = Annotated[
    list[str] | None,
    typer.Option("--kafka-set", metavar="NAME=VALUE", help="A setting of that connection (docs/fleet.md lists them); repeatable."),
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set about a connection, all as text; each field is a name for ``--kafka-set`` and ``LINKTRAIL_KAFKA_*``."""

    topic: str = EVENTS_TOPIC
    dead_letter_topic: str = DEAD_LETTER_TOPIC
    topic_per_node: str = ""
    tls: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    key_password_file: str = ""
    sasl_mechanism: str = ""
    username: str = ""
    password_file: str = ""
    token_file: str = ""

    @classmethod
    def of(cls, stated: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Return the settings of a command line over those of the environment. Raises ``UsageError`` for an unknown name."""
        names = [field.name for field in fields(cls)]
        values = {name: environment[key] for name in names if (key := _ENVIRONMENT + name.upper()) in environment}
        for item in stated:
            name, separator, value = item.partition("=")
            known = name.strip().replace("-", "_").lower()
            if not separator or known not in names:
                choice = ", ".join(one.replace("_", "-") for one in names)
                raise UsageError(what=f"--kafka-set takes NAME=VALUE with one of the names {choice}, not '{item}'")
            values[known] = value.strip()
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the brokers are, and how to be admitted."""

    brokers: tuple[str, ...]
    settings: Settings

    @classmethod
    def of(cls, brokers: str, stated: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Self:
        """Return the connection a command line states. Raises ``UsageError`` when it contradicts itself."""
        found = tuple(part.strip() for part in brokers.split(",") if part.strip())
        if not found or not all(_is_address(part) for part in found):
            raise UsageError(what=f"--kafka takes HOST:PORT, several with commas between them, not '{brokers}'")
        connection = cls(found, Settings.of(stated, os.environ if environment is None else environment))
        connection._require_sense()
        return connection

    def __str__(self) -> str:
        return ",".join(self.brokers)

    @property
    def has_tls(self) -> bool:
        """Whether bytes are encrypted on the way."""
        settings = self.settings
        return _is_yes(settings.tls) or bool(settings.ca_file or settings.certificate_file)

    def for_node(self, cluster: str, node: str) -> Self:
        """Return the connection whose topic is the one that this node writes. Raises ``TopicNameError``."""
        if not _is_yes(self.settings.topic_per_node):
            return self
        return replace(self, settings=replace(self.settings, topic=node_topic(self.settings.topic, cluster, node)))

    def _require_sense(self) -> None:
        settings = self.settings
        mechanism = settings.sasl_mechanism
        for name, value in (("tls", settings.tls), ("topic-per-node", settings.topic_per_node)):
            if value.lower() not in ("", *_YES, *_NO):
                raise UsageError(what=f"{name} is yes or no, not '{value}'")
        if mechanism and mechanism not in _MECHANISMS:
            raise UsageError(what=f"sasl-mechanism is one of {', '.join(_MECHANISMS)}, not '{mechanism}'")
        if mechanism.startswith("SCRAM") and not (settings.username and settings.password_file):
            raise UsageError(what=f"{mechanism} needs username and password-file")
        if mechanism == "OAUTHBEARER" and not settings.token_file:
            raise UsageError(what="OAUTHBEARER needs token-file")
        if mechanism == "OAUTHBEARER" and not self.has_tls:
            raise UsageError(what="OAUTHBEARER would send its token in the clear: set ca-file, or tls=yes")
        if bool(settings.certificate_file) != bool(settings.key_file):
            raise UsageError(what="certificate-file and key-file belong together")

    def options(self) -> dict[str, Any]:
        """Return the arguments that every client of kafka-python takes, secrets read now. Raises ``SecretFileError``."""
        settings = self.settings
        protocol = ("SASL_" if settings.sasl_mechanism else "") + ("SSL" if self.has_tls else "PLAINTEXT")
        options: dict[str, Any] = {"bootstrap_servers": list(self.brokers), "security_protocol": protocol}
        if protocol == "PLAINTEXT":
            return options
        if self.has_tls:
            options["ssl_cafile"] = settings.ca_file or None
        if settings.certificate_file:
            read_secret(Path(settings.key_file))
            options |= {"ssl_certfile": settings.certificate_file, "ssl_keyfile": settings.key_file}
            if settings.key_password_file:
                options["ssl_password"] = read_secret(Path(settings.key_password_file))
        if settings.sasl_mechanism:
            options["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism.startswith("SCRAM"):
            options |= {"sasl_plain_username": settings.username, "sasl_plain_password": read_secret(Path(settings.password_file))}
        elif settings.sasl_mechanism:
            options["sasl_oauth_token_provider"] = _token_provider(Path(settings.token_file))
        return options


class TokenFile:
    """A token that something else renews in a file (as Kubernetes does); read for every new connection."""

    def __init__(self, path: Path) -> None:
        """Read ``path`` each time."""
        self._path = path

    def token(self) -> str:
        """Return the token that is there now. Raises ``SecretFileError``."""
        return read_secret(self._path)

    def extensions(self) -> dict[str, str]:
        """Return no SASL extensions."""
        return {}


def _token_provider(path: Path) -> TokenFile:
    from kafka.net.sasl.oauth import AbstractTokenProvider  # noqa: PLC0415 - only where tokens are used

    AbstractTokenProvider.register(TokenFile)
    provider = TokenFile(path)
    provider.token()  # a missing file is told at the start, not in a log line of the library
    return provider


def _is_yes(text: str) -> bool:
    return text.lower() in _YES


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65_536  # noqa: PLR2004 - the ports there are


# --- records ----------------------------------------------------------------------------------------------------


def record_key(cluster: str, node: str) -> bytes:
    """Return the key that keeps a node's batches in one partition, in order."""
    return f"{quote(cluster, safe='')}/{quote(node, safe='')}".encode("ascii")


def node_of(key: bytes | None) -> tuple[str, str]:
    """Return (cluster, node) of a record's key; empty where it is not one of ours."""
    cluster, separator, node = (key or b"").decode("ascii", "replace").partition("/")
    return (unquote(cluster, errors="replace"), unquote(node, errors="replace")) if separator else ("", "")


def record_headers(header: batch.Header | None, *, spool: str, offset: int, key: bytes) -> Headers:
    """Return the headers of the batch at ``offset`` of ``spool``; ``header`` is ``None`` for one that cannot be decoded."""
    kind = header.table if header else "unreadable"
    headers = {
        "ce_specversion": "1.0",
        "ce_id": f"{spool}/{offset}",
        "ce_source": f"/linktrail/{key.decode('ascii')}",
        "ce_type": f"linktrail.{kind}.v1",
        "ce_partitionkey": key.decode("ascii"),
        "content-type": "application/vnd.apache.arrow.stream",
        "content-encoding": "zstd",
    }
    if header:
        headers |= {
            "ce_time": iso(header.sealed_at) or "",
            "ce_recordedtime": iso(header.sealed_at) or "",
            "ce_sequence": f"{header.batch:020d}",  # the extension compares text
            "ce_dataschema": f"urn:linktrail:schema:{header.schema_version}",
            "ce_run": header.run,
        }
    return [(name, value.encode()) for name, value in headers.items()]
