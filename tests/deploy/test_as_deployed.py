"""Collector, Kafka and processor run as the chart says, and as the units say, and record a store.

The arguments, environment, users, capabilities and mounts are read from the rendered manifests and from the units; the broker is a real one
with its authorizer on, and the ACLs of the chart.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from collector.spool_reader import SpoolReader
from linktrail import batch
from linktrail.broker import EVENTS_TOPIC
from linktrail.durable import LocalFileSystem
from linktrail.errors import LinktrailError
from linktrail.node_topic import node_topic
from queries.engine import open_lake
from tests.deploy.fleet import CLUSTER, NODES, Fleet, running
from tests.deploy.places import DEPLOY
from tests.deploy.sandbox import Sandbox, of_pod
from tests.deploy.test_units import settings
from tests.kafka.conftest import need_kafka
from tests.needs import need
from tests.recorder.playground import Playground, layer_id

_PATIENCE = 90
_READ_SEARCH = "0000000000000004"
_WRITES = """
for place in {paths!r}:
    try:
        open(place + "/x", "w").close()
        print(place)
    except OSError as error:
        print(error.strerror)
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, helm: str) -> Iterator[Fleet]:
    """The chart for two nodes, with a guarded broker as it demands."""
    need("bwrap")
    need_kafka()
    with running(tmp_path_factory.mktemp("guarded"), helm) as found:
        yield found


def wait_for(condition: Callable[[], bool], log: Callable[[], str]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, log()
        time.sleep(0.3)


def wait_for_layer(lake: Path, node: str, layer: str, log: Callable[[], str]) -> None:
    """Wait until the lake tells of ``layer`` of ``node``."""

    def told() -> bool:
        with contextlib.suppress(LinktrailError), open_lake(lake) as engine:
            return {"node": node, "layer_id": layer} in engine.rows("SELECT DISTINCT node, layer_id FROM links")
        return False

    wait_for(told, log)


def recorded(state: Path) -> set[str]:
    """Return the layers that the spool of a collector tells of."""
    found: set[str] = set()
    with contextlib.suppress(LinktrailError):
        for _, data in SpoolReader(state / "spool", filesystem=LocalFileSystem()).batches():
            header, rows = batch.decode(data, "the spool")
            found |= set(rows.column("layer_id").to_pylist()) if header.table == "links" else set()
    return found


def probe(pod: dict[str, Any], log: Callable[[], str]) -> None:
    """Ask what the probes of the pod's container ask, until each says yes; /metrics answers on the same port."""
    [container] = pod["containers"]
    [port] = container["ports"]
    paths = [container[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")]
    deadline = time.monotonic() + _PATIENCE
    for path in [*paths, "/metrics"]:
        while True:
            with contextlib.suppress(URLError), urlopen(f"http://127.0.0.1:{port['containerPort']}{path}", timeout=10) as answer:
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


def machine(where: Path) -> Playground:
    """Make the directories of a node, and return the store in it."""
    for directory in ("state", "run", "store"):
        (where / directory).mkdir(parents=True)
    return Playground.filled(where / "store")


def collector_on(fleet: Fleet, where: Path, workload: str, name: str) -> Sandbox:
    """Return how a workload of the chart runs on the node of that name."""
    pod = fleet.pod(workload)
    roots = {"root-0": where / "store", "root-1": where / "run", "proc": Path("/proc"), "state": where / "state"}
    return of_pod(pod, roots | fleet.secrets(where, pod), {"spec.nodeName": name})


@pytest.mark.timeout(500)
def test_as_the_chart_says(tmp_path: Path, fleet: Fleet) -> None:
    """Collectors and processor as rendered for CRI-O, with the credentials and ACLs of their users: changes of both nodes get to the lake.

    The second node is not listed at first: it records without any credentials, and what it recorded arrives once its own pod is there.
    """
    one, other = NODES
    for name in ("processor", "lake"):
        (tmp_path / name).mkdir()
    store, elsewhere = machine(tmp_path / "one"), machine(tmp_path / "other")
    collector = collector_on(fleet, tmp_path / "one", one, one)
    pod = fleet.pod("processor")
    processor = of_pod(pod, {"state": tmp_path / "processor", "lake": tmp_path / "lake"} | fleet.secrets(tmp_path / "secrets", pod), {})
    prove(
        collector,
        _READ_SEARCH,
        writable=["/var/lib/linktrail"],
        read_only=["/", "/var/lib/containers/storage", "/etc/linktrail/kafka-user"],
    )
    prove(processor, "0" * 16, writable=["/lake"], read_only=["/", "/etc/linktrail/kafka-user"])
    (tmp_path / "one" / "state" / "x").unlink()
    (tmp_path / "lake" / "x").unlink()
    logs = [tmp_path / f"{name}.log" for name in ("collector", "processor", "unlisted", "listed")]

    def told() -> str:
        return "\n".join(path.read_text(errors="replace")[-2500:] for path in logs if path.exists())

    with processor.running(logs[1]):
        with collector.running(logs[0]):
            wait_for_layer(tmp_path / "lake", one, layer_id(2), told)
            store.add_layer(7, parent=2)
            wait_for_layer(tmp_path / "lake", one, layer_id(7), told)
            for workload in (one, "processor"):
                probe(fleet.pod(workload), told)
            healthy(collector)
        unlisted = collector_on(fleet, tmp_path / "other", "collector-unlisted", other)
        with unlisted.running(logs[2]):
            probe(fleet.pod("collector-unlisted"), told)
            elsewhere.add_layer(8, parent=2)
            wait_for(lambda: layer_id(8) in recorded(tmp_path / "other" / "state"), told)
        listed = collector_on(fleet, tmp_path / "other", other, other)
        with listed.running(logs[3]):
            wait_for_layer(tmp_path / "lake", other, layer_id(8), told)
    with open_lake(tmp_path / "lake") as engine:
        assert engine.rows("SELECT DISTINCT node, cluster, store_root FROM links ORDER BY node") == [
            {"node": name, "cluster": CLUSTER, "store_root": "/var/lib/containers/storage"} for name in NODES
        ]
        assert engine.rows("SELECT node, run, seq FROM lake.links GROUP BY ALL HAVING count(*) > 1") == []
        sources = engine.rows("SELECT DISTINCT node, split_part(source, '/', 2) AS topic FROM coverage WHERE kind = 'batch' ORDER BY node")
        assert sources == [{"node": name, "topic": node_topic(EVENTS_TOPIC, CLUSTER, name)} for name in NODES]
        assert engine.rows("SELECT cause, message FROM coverage WHERE kind = 'gap' AND origin = 'processor'") == []


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
            tmp_path / "state" / "lake",
            socket.gethostname(),
            layer_id(7),
            lambda: "\n".join(path.read_text()[-2500:] for path in logs if path.exists()),
        )
