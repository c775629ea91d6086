"""A real Kafka with its authorizer on, and the users and ACLs of the chart's KafkaUser manifests in it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from tests.kafka.broker import Node, cluster_id
from tests.kafka.certificates import make_certificates

_PATTERNS: Final = {"literal": ACLResourcePatternType.LITERAL, "prefix": ACLResourcePatternType.PREFIXED}


class GuardedNode(Node):
    """A node where nothing is allowed that no ACL allows; the test itself (the unauthenticated listener) may do everything."""

    passwords: Mapping[str, str]

    def _users(self) -> tuple[str, ...]:
        return tuple(
            word for name, secret in self.passwords.items() for word in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={secret}]")
        )

    def _security(self) -> dict[str, object]:
        return super()._security() | {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }

    def allow(self, user: str, rules: list[dict[str, Any]]) -> None:
        """Give ``user`` what the ``acls`` of a KafkaUser say."""
        found = [
            ACL(
                principal=f"User:{user}",
                host=rule["host"],
                operation=ACLOperation[re.sub(r"(?<!^)(?=[A-Z])", "_", operation).upper()],
                permission_type=ACLPermissionType.ALLOW,
                resource_pattern=ResourcePattern(
                    ResourceType[rule["resource"]["type"].upper()], rule["resource"]["name"], _PATTERNS[rule["resource"]["patternType"]]
                ),
            )
            for rule in rules
            for operation in rule["operations"]
        ]
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.address)) as admin:
            made = admin.create_acls(found)
        assert not made["failed"], made

    def make_topic(self, name: str, spec: dict[str, Any]) -> None:
        """Make what the ``spec`` of a KafkaTopic says, on the one broker there is."""
        body = {
            "num_partitions": spec["partitions"],
            "replication_factor": 1,
            "configs": {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in spec["config"].items()}
            | {"min.insync.replicas": "1"},
        }
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.address)) as admin:
            admin.create_topics({spec.get("topicName", name): body}, wait_for_metadata=True)


def start(path: Path, passwords: Mapping[str, str], ports: Mapping[str, int]) -> GuardedNode:
    """Format and start one with these users, listening on these ports; its authority is ``certificates/ca.pem`` below ``path``."""
    node = GuardedNode(path / "node", certificates=make_certificates(path / "certificates"))
    node.passwords = passwords
    node.ports |= ports
    node.configure([node], cluster_id())
    try:
        node.start()
    except BaseException:
        node.stop()
        raise
    return node
