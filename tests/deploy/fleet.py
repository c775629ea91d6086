"""The chart rendered for two nodes that do not trust each other, and a guarded broker with the topics, users and ACLs that it ships."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.manifests import template
from linktrail.broker import Connection
from tests.deploy.guarded import GuardedNode, start
from tests.deploy.places import ROOT, documents
from tests.kafka.broker import free_port

CLUSTER = "c"  # as tests.kafka.history seals its batches
NODES = ("worker-1", "worker-2.example.internal")
_MOUNTS = "/etc/linktrail/"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The guarded broker with topics and ACLs, the rendered chart, and the passwords of its users."""

    node: GuardedNode
    ca: Path
    manifests: list[dict[str, Any]]
    passwords: Mapping[str, str]

    def pod(self, workload: str) -> dict[str, Any]:
        """Return the pod of ``processor``, ``collector-unlisted``, or the collector of a node by the node's name."""
        [found] = [one for one in self.manifests if one["kind"] in ("Deployment", "DaemonSet") and workload in _names(one)]
        return dict(found["spec"]["template"]["spec"])

    def secrets(self, where: Path, pod: Mapping[str, Any]) -> dict[str, Path]:
        """Return the directories that Kubernetes would mount for the secrets that the volumes of ``pod`` name, and no others."""
        made: dict[str, Path] = {}
        for volume in (one for one in pod["volumes"] if "secret" in one):
            name = volume["secret"]["secretName"]
            file, content = ("ca.crt", self.ca.read_text()) if volume["name"] == "kafka-ca" else ("password", self.passwords[name])
            made[volume["name"]] = where / name
            made[volume["name"]].mkdir(parents=True, exist_ok=True)
            (where / name / file).write_text(content)
            (where / name / file).chmod(volume["secret"]["defaultMode"])
        return made

    def connection(self, where: Path, workload: str) -> Connection:
        """Return the connection that the environment and the secrets of a workload make."""
        pod = self.pod(workload)
        mounted = {f"{_MOUNTS}{name}": str(path) for name, path in self.secrets(where, pod).items()}
        environment = {one["name"]: str(one["value"]) for one in pod["containers"][0]["env"] if "value" in one}
        for name, value in environment.items():
            directory, _, file = value.rpartition("/")
            environment[name] = f"{mounted[directory]}/{file}" if directory in mounted else value
        return Connection.of(environment["LINKTRAIL_KAFKA"], [], environment)


def _names(document: Mapping[str, Any]) -> tuple[str, ...]:
    metadata = document["metadata"]
    return (metadata.get("annotations", {}).get("linktrail/node", ""), metadata["name"].removeprefix("linktrail-"))


@contextmanager
def running(where: Path, helm: str) -> Iterator[Fleet]:
    """Topics, users and ACLs are made as the KafkaTopic and KafkaUser manifests say; ``linktrail topics diff`` finds them as declared."""
    port = free_port()
    values = (
        *(f"cluster={CLUSTER}", "engine=crio", "kafka.auth=scram", "strimzi.enabled=true", f"kafka.nodes={{{','.join(NODES)}}}"),
        *(f"kafka.brokers=127.0.0.1:{port}", "metrics.address=127.0.0.1"),
        *(f"metrics.ports.{program}={free_port()}" for program in ("collector", "processor")),
    )
    manifests = documents("".join(template(helm, *values).values()))
    users = {one["metadata"]["name"]: one["spec"]["authorization"]["acls"] for one in manifests if one["kind"] == "KafkaUser"}
    passwords = {user: secrets.token_urlsafe(12) for user in users}
    node = start(where, passwords, {"SASL": port})
    try:
        for topic in (one for one in manifests if one["kind"] == "KafkaTopic"):
            node.make_topic(topic["metadata"]["name"], topic["spec"])
        for user, rules in users.items():
            node.allow(user, rules)
        words = [sys.executable, "-m", "linktrail", "topics", "diff", "--kafka", node.address, "--replication=1", f"--cluster={CLUSTER}"]
        done = subprocess.run([*words, *(f"--node={one}" for one in NODES)], check=False, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        yield Fleet(node, where / "certificates" / "ca.pem", manifests, passwords)
    finally:
        node.stop()
