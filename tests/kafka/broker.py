"""An Apache Kafka of the tests' own: KRaft nodes on loopback, with small heaps, that can be killed, frozen and started again.

Every node listens on its own free ports below 127.0.0.1: ``PLAIN`` for the test itself, ``PROXIED``, which is advertised at another
port (where ``tests.kafka.proxy`` listens, so that every byte passes it), and where asked for ``MUTUAL`` (TLS on both sides)
and ``SASL`` (TLS with SCRAM or unsecured OAUTHBEARER tokens).
"""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.kafka.distribution import classpath

USER: Final = "collector"
SECRET: Final = "spool-and-lake"  # noqa: S105 - of a broker that lives for one test run, on loopback
SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_START_SECONDS: Final = 60
_JAVA: Final = ("-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true")


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Node:
    """One broker and controller. ``start`` it, then talk to ``address``."""

    def __init__(self, path: Path, number: int = 1, *, certificates: Path | None = None) -> None:
        """Keep everything of node ``number`` below ``path``; ``certificates`` (``tests.kafka.certificates``) adds the TLS listeners."""
        self.path = path
        self.number = number
        self.controller = free_port()
        self.ports = {name: free_port() for name in ("PLAIN", "PROXIED", *(("MUTUAL", "SASL") if certificates else ()))}
        self.proxy_port = free_port()
        self._certificates = certificates
        self._process: subprocess.Popen[bytes] | None = None

    def listener(self, name: str) -> str:
        """Return the address of one listener as a client names it."""
        return f"127.0.0.1:{self.ports[name]}"

    @property
    def address(self) -> str:
        """The address for the test itself."""
        return self.listener("PLAIN")

    @property
    def proxied(self) -> str:
        """The address that the proxy must listen on."""
        return f"127.0.0.1:{self.proxy_port}"

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        assert self._process is not None
        return self._process.pid

    def configure(self, voters: Sequence[Node], cluster: str) -> None:
        """Write the configuration and format the data directory, once."""
        self.path.mkdir(parents=True)
        (self.path / "server.properties").write_text(self._properties(voters), encoding="ascii")
        self._run_tool(
            "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(self.path / "server.properties"), *self._users()
        )

    def _users(self) -> tuple[str, ...]:
        kinds = SCRAM if self._certificates else ()
        return tuple(word for kind in kinds for word in ("--add-scram", f"{kind}=[name={USER},password={SECRET}]"))

    def _properties(self, voters: Sequence[Node]) -> str:
        listeners = [f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()]
        advertised = [f"{name}://127.0.0.1:{self.proxy_port if name == 'PROXIED' else port}" for name, port in self.ports.items()]
        copies = min(3, len(voters))
        lines = {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": ",".join(f"{node.number}@127.0.0.1:{node.controller}" for node in voters),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAIN",
            "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{self.controller}"]),
            "advertised.listeners": ",".join(advertised),
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,PROXIED:PLAINTEXT,MUTUAL:SSL,SASL:SASL_SSL",
            "log.dirs": self.path / "data",
            "num.partitions": 1,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "log.cleaner.dedupe.buffer.size": 8 << 20,
            "message.max.bytes": 1 << 20,
            "controlled.shutdown.enable": "false",
            "broker.session.timeout.ms": 4000,
            "broker.heartbeat.interval.ms": 500,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1000,
            "replica.lag.time.max.ms": 3000,
            **self._security(),
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def _security(self) -> dict[str, object]:
        if self._certificates is None:
            return {}
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        bearer = 'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._certificates / "server.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self._certificates / "ca.pem",
            "listener.name.mutual.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": ",".join([*SCRAM, "OAUTHBEARER"]),
            **{f"listener.name.sasl.{kind.lower()}.sasl.jaas.config": scram for kind in SCRAM},
            "listener.name.sasl.oauthbearer.sasl.jaas.config": bearer,
        }

    # --- running --------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the process; ``wait_ready`` says when it answers."""
        with (self.path / "log").open("ab") as log:
            words = ["java", *_JAVA, "-cp", classpath(), "kafka.Kafka", str(self.path / "server.properties")]
            self._process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, cwd=self.path)

    def wait_ready(self) -> None:
        """Wait until the node answers a metadata request."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert self._process is not None
            assert self._process.poll() is None, f"Kafka ended: {(self.path / 'log').read_text(errors='replace')[-2000:]}"
            try:
                socket.create_connection(("127.0.0.1", self.ports["PLAIN"]), 1).close()
                with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.address, bootstrap_timeout_ms=1000)) as admin:
                    if admin.describe_cluster()["brokers"]:
                        return
            except (KafkaError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def start(self) -> None:
        """Start and wait."""
        self.launch()
        self.wait_ready()

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it if it runs; its data is of no more use, so nothing is waited for."""
        if self._process is not None:
            self.kill()

    @staticmethod
    def _run_tool(name: str, *arguments: str) -> None:
        done = subprocess.run(["java", *_JAVA, "-cp", classpath(), name, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def cluster_id() -> str:
    """Return a new cluster id, as Kafka writes them."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def start_nodes(path: Path, count: int, *, certificates: Path | None = None) -> list[Node]:
    """Format and start a cluster of ``count`` nodes below ``path``."""
    nodes = [Node(path / f"node-{number}", number, certificates=certificates) for number in range(1, count + 1)]
    cluster = cluster_id()
    for node in nodes:
        node.configure(nodes, cluster)
    try:
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_ready()
    except BaseException:
        for node in nodes:
            node.stop()
        raise
    return nodes
