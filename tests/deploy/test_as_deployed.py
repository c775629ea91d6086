"""Collector, Kafka and processor run as the chart says, and as the units say, and record a store; what ACLs can and cannot do.

The arguments, environment, users, capabilities and mounts are read from the rendered manifests and from the units; the broker is a real one
with its authorizer on, and the ACLs of the chart.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from deploy.manifests import template
from linktrail.errors import LinktrailError
from queries.engine import open_lake
from tests.deploy.guarded import PASSWORDS, GuardedNode, start
from tests.deploy.places import DEPLOY, ROOT, documents
from tests.deploy.sandbox import Sandbox, of_pod
from tests.deploy.test_units import settings
from tests.kafka.broker import free_port
from tests.kafka.conftest import need_kafka
from tests.needs import need
from tests.recorder.playground import Playground, layer_id

_PATIENCE = 90
_EVENTS = "linktrail.events.v1"
_READ_SEARCH = "0000000000000004"
_WRITES = """
for place in {paths!r}:
    try:
        open(place + "/x", "w").close()
        print(place)
    except OSError as error:
        print(error.strerror)
"""


class Fleet(NamedTuple):
    """The guarded broker with topics and ACLs, and the rendered chart."""

    node: GuardedNode
    ca: Path
    manifests: list[dict[str, Any]]

    def pod(self, kind: str) -> dict[str, Any]:
        """Return the pod of the workload of that kind."""
        [found] = [one for one in self.manifests if one["kind"] == kind]
        return dict(found["spec"]["template"]["spec"])

    def secrets(self, where: Path, user: str) -> dict[str, Path]:
        """Return the directories that Kubernetes would mount for the secrets of ``user``."""
        for name, file, content in (("kafka-ca", "ca.crt", self.ca.read_text()), ("kafka-user", "password", PASSWORDS[user])):
            (where / user / name).mkdir(parents=True)
            (where / user / name / file).write_text(content)
            (where / user / name / file).chmod(0o440)
        return {name: where / user / name for name in ("kafka-ca", "kafka-user")}

    def credentials(self, user: str) -> dict[str, object]:
        """Return the settings of a client that is ``user``."""
        return {
            "bootstrap_servers": self.node.listener("SASL"),
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(self.ca),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": PASSWORDS[user],
        }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, helm: str) -> Iterator[Fleet]:
    """Topics made by ``linktrail topics``, users and ACLs as in the KafkaUser manifests."""
    need("bwrap")
    need_kafka()
    where = tmp_path_factory.mktemp("guarded")
    node = start(where)
    try:
        values = (
            *("engine=crio", "kafka.auth=scram", "strimzi.enabled=true", f"kafka.brokers=127.0.0.1:{node.ports['SASL']}"),
            *("metrics.address=127.0.0.1", f"metrics.ports.collector={free_port()}", f"metrics.ports.processor={free_port()}"),
        )
        manifests = documents("".join(template(helm, *values).values()))
        words = [sys.executable, "-m", "linktrail", "topics", "apply", "--kafka", node.address, "--replication", "1"]
        subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
        for user in (one for one in manifests if one["kind"] == "KafkaUser"):
            node.allow(user["metadata"]["name"], user["spec"]["authorization"]["acls"])
        yield Fleet(node, where / "certificates" / "ca.pem", manifests)
    finally:
        node.stop()


def wait_for_layer(lake: Path, layer: str, log: Callable[[], str]) -> None:
    """Wait until the lake tells of ``layer``."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(LinktrailError), open_lake(lake) as engine:
            if layer in {row["layer_id"] for row in engine.rows("SELECT DISTINCT layer_id FROM links")}:
                return
        assert time.monotonic() < deadline, log()
        time.sleep(0.3)


def probe(pod: dict[str, Any], log: Callable[[], str]) -> None:
    """Ask what the probes of the pod's container ask, until each says yes; /metrics answers on the same port."""
    [container] = pod["containers"]
    [port] = container["ports"]
    paths = [container[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")]
    deadline = time.monotonic() + _PATIENCE
    for path in [*paths, "/metrics"]:
        while True:
            with contextlib.suppress(HTTPError), urlopen(f"http://127.0.0.1:{port['containerPort']}{path}", timeout=10) as answer:
                assert path != "/metrics" or b"linktrail_build_info" in answer.read()
                break
            assert time.monotonic() < deadline, f"{path}: {log()}"
            time.sleep(0.3)


def healthy(sandbox: Sandbox) -> None:
    """``linktrail doctor`` inside, beside the running program, finds no error."""
    words = sandbox.words(sys.executable, "-m", "linktrail", "doctor", "--json")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def prove(sandbox: Sandbox, capabilities: str, *, writable: list[str], read_only: list[str]) -> None:
    """What the sandbox claims is so: effective capabilities, and where it can write."""
    assert sandbox.ask("print([l.split()[1] for l in open('/proc/self/status') if l.startswith('CapEff')][0])") == capabilities
    assert sandbox.ask(_WRITES.format(paths=writable)).splitlines() == writable
    assert set(sandbox.ask(_WRITES.format(paths=read_only)).splitlines()) <= {"Read-only file system", "Permission denied"}


@pytest.mark.timeout(400)
def test_as_the_chart_says(tmp_path: Path, fleet: Fleet) -> None:
    """DaemonSet and Deployment as rendered for CRI-O, with the credentials and ACLs of their users: a change gets to the lake."""
    for name in ("state", "processor", "lake", "run", "store"):
        (tmp_path / name).mkdir()
    store = Playground.filled(tmp_path / "store")
    roots = {"root-0": store.root, "root-1": tmp_path / "run", "proc": Path("/proc"), "state": tmp_path / "state"}
    collector = of_pod(fleet.pod("DaemonSet"), roots | fleet.secrets(tmp_path, "linktrail-collector"), {"spec.nodeName": "worker-1"})
    places = {"state": tmp_path / "processor", "lake": tmp_path / "lake"}
    processor = of_pod(fleet.pod("Deployment"), places | fleet.secrets(tmp_path, "linktrail-processor"), {})
    prove(
        collector,
        _READ_SEARCH,
        writable=["/var/lib/linktrail"],
        read_only=["/", "/var/lib/containers/storage", "/etc/linktrail/kafka-user"],
    )
    prove(processor, "0" * 16, writable=["/lake"], read_only=["/", "/etc/linktrail/kafka-user"])
    (tmp_path / "state" / "x").unlink()
    (tmp_path / "lake" / "x").unlink()
    logs = [tmp_path / "collector.log", tmp_path / "processor.log"]

    def told() -> str:
        return "\n".join(path.read_text(errors="replace")[-2500:] for path in logs)

    with collector.running(logs[0]), processor.running(logs[1]):
        wait_for_layer(tmp_path / "lake", layer_id(2), told)
        store.add_layer(7, parent=2)
        wait_for_layer(tmp_path / "lake", layer_id(7), told)
        for kind in ("DaemonSet", "Deployment"):
            probe(fleet.pod(kind), told)
        healthy(collector)
    with open_lake(tmp_path / "lake") as engine:
        assert engine.rows("SELECT DISTINCT node, cluster, store_root FROM links") == [
            {"node": "worker-1", "cluster": "default", "store_root": "/var/lib/containers/storage"}
        ]


def unit_sandbox(name: str, state: Path, store: Path) -> Sandbox:
    """Return how a unit runs on a host that has one store, at the usual place."""
    unit = settings(DEPLOY / "systemd" / f"linktrail-{name}.service")
    variables = dict(word.split("=", 1) for word in unit["Environment"].split())
    hidden = "/var/lib/containers" in unit.get("InaccessiblePaths", "")
    mounts = [(state, f"/var/lib/{unit['StateDirectory']}", True), *(() if hidden else ((store, "/var/lib/containers/storage", False),))]
    assert unit["User"] == "root"
    return Sandbox(
        tuple(unit["ExecStart"].split()[1:]),
        variables,
        0,
        tuple(unit["CapabilityBoundingSet"].split()),
        tuple(mounts),
        own_processes=False,
        hidden=("/var/lib/containers",) if hidden else (),
    )


@pytest.mark.timeout(300)
def test_as_the_units_say(tmp_path: Path) -> None:
    """Both units on one host: the collector finds the store at its usual place, the processor without any capability commits it."""
    need("bwrap")
    (tmp_path / "state").mkdir(mode=0o700)
    store = Playground.filled(tmp_path / "store")
    collector, processor = (unit_sandbox(name, tmp_path / "state", store.root) for name in ("collector", "processor"))
    prove(collector, _READ_SEARCH, writable=["/var/lib/linktrail"], read_only=["/", "/var/lib/containers/storage"])
    prove(processor, "0" * 16, writable=["/var/lib/linktrail"], read_only=["/", "/var/lib/containers"])
    (tmp_path / "state" / "x").unlink()
    logs = [tmp_path / "collector.log", tmp_path / "processor.log"]
    with collector.running(logs[0]), processor.running(logs[1]):
        store.add_layer(7, parent=2)
        wait_for_layer(
            tmp_path / "state" / "lake", layer_id(7), lambda: "\n".join(path.read_text()[-2500:] for path in logs if path.exists())
        )


# --- what ACLs can and cannot do ----------------------------------------------------------------------------------


def send(fleet: Fleet, user: str, topic: str, key: bytes) -> int:
    """Send one record as ``user``; return its offset. Raises what the broker answers."""
    with contextlib.closing(KafkaProducer(**fleet.credentials(user), retries=0, max_block_ms=15_000)) as producer:
        return int(producer.send(topic, b"not a batch", key=key).get(20).offset)


def read(fleet: Fleet, user: str, topic: str) -> None:
    """Try to read as ``user`` for ten seconds; fails when something is read. Raises what the broker answers."""
    with contextlib.closing(KafkaConsumer(topic, **fleet.credentials(user), auto_offset_reset="earliest")) as consumer:
        for _ in range(20):
            assert not consumer.poll(500), f"{user} read {topic}"


def test_a_collector_may_write_events_and_nothing_else(fleet: Fleet) -> None:
    """It reads no events, its own neither, writes no dead letters and makes no topic."""
    with pytest.raises(TopicAuthorizationFailedError):
        send(fleet, "linktrail-collector", "linktrail.dlq.v1", b"default/n1")
    with pytest.raises(KafkaError) as caught:
        read(fleet, "linktrail-collector", _EVENTS)
    assert "uthoriz" in type(caught.value).__name__
    with pytest.raises(KafkaError):
        send(fleet, "linktrail-collector", "a.topic.of.its.own", b"k")


def test_an_acl_knows_topics_and_not_keys(fleet: Fleet) -> None:
    """With one topic for all nodes a collector's credentials do write under another node's key: docs/security.md says so."""
    assert send(fleet, "linktrail-collector", _EVENTS, b"default/another-node") >= 0


def test_with_a_topic_for_each_node_no_node_writes_anothers(fleet: Fleet) -> None:
    """What ACLs can do where nodes do not trust each other: a topic and a user of each node's own."""
    for name in "ab":
        topic = f"{_EVENTS}.node-{name}"
        fleet.node.make_topic(topic)
        fleet.node.allow(f"node-{name}", [{"resource": {"type": "topic", "name": topic}, "operations": ["Write", "Describe"], "host": "*"}])
    assert send(fleet, "node-a", f"{_EVENTS}.node-a", b"prod/node-a") == 0
    for topic in (f"{_EVENTS}.node-b", _EVENTS):
        with pytest.raises(TopicAuthorizationFailedError):
            send(fleet, "node-a", topic, b"prod/node-b")
