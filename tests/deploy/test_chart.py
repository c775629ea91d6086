"""The chart and what is rendered from it: valid for the three newest Kubernetes minors, never stale, and as careful as it says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions

from deploy.manifests import ENGINES, NEWEST, render, template
from linktrail.broker import EVENTS_TOPIC
from linktrail.command import _BY_NAME, load
from linktrail.node_topic import node_topic
from tests.deploy.places import CHART, DEPLOY, OVERLAYS, documents

MINORS = sorted({tuple(map(int, version.split(".")[:2])) for version in all_versions()})[-3:]
KINDS_OF_STRIMZI = {"KafkaTopic", "KafkaUser"}
NODES = ("worker-1", "ip-10-0-0-1.eu-central-1.compute.internal")
VARIANTS = {
    "as it is": (),
    "everything": (
        "engine=crio",
        "strimzi.enabled=true",
        f"kafka.nodes={{{','.join(NODES)}}}",
        "collector.watch=fanotify",
        "collector.openFiles=true",
        "collector.seLinuxType=spc_t",
        "processor.replicas=3",
        "lake.url=s3://bucket/lake",
        "lake.optionsSecret=options",
        "lake.optionNames={aws_access_key_id}",
        "kafka.auth=scram",
        "kafka.peers[0].podSelector.matchLabels.app=kafka",
    ),
    "without credentials": (
        "kafka.auth=none",
        "metrics.enabled=false",
        "networkPolicy.enabled=false",
        "processor.enabled=false",
        "roots={/data/containerd}",
    ),
}


def rendered(helm: str, variant: str) -> list[dict[str, Any]]:
    """Return the documents of the chart in one of ``VARIANTS``."""
    return documents("".join(template(helm, *VARIANTS[variant]).values()))


def workloads(found: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield pod and container of each workload."""
    for document in found:
        if document["kind"] in ("DaemonSet", "Deployment"):
            pod = document["spec"]["template"]["spec"]
            yield pod, pod["containers"][0]


def test_three_minors_are_known() -> None:
    """The newest is what the manifests are rendered for."""
    assert len(MINORS) == 3
    assert NEWEST.startswith(".".join(map(str, MINORS[-1])))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("minor", MINORS, ids=str)
def test_what_is_rendered_is_valid(helm: str, variant: str, minor: tuple[int, int]) -> None:
    """By the schema of that Kubernetes, unknown fields refused."""
    for document in rendered(helm, variant):
        if document["kind"] not in KINDS_OF_STRIMZI:
            kubernetes_validate.validate(document, ".".join(map(str, minor)), strict=True)


def test_committed_manifests_are_valid() -> None:
    """Those of deploy/kustomize too, without helm."""
    found = [
        one for path in (DEPLOY / "kustomize").rglob("*.yaml") if path.name != "kustomization.yaml" for one in documents(path.read_text())
    ]
    assert len(found) > 12
    for document in found:
        if document["kind"] not in KINDS_OF_STRIMZI:
            for minor in MINORS:
                kubernetes_validate.validate(document, ".".join(map(str, minor)), strict=True)


def test_committed_manifests_are_what_the_chart_says(helm: str) -> None:
    """Else: make manifests."""
    there = {str(path.relative_to(DEPLOY / "kustomize")): path.read_text() for path in (DEPLOY / "kustomize").rglob("*.yaml")}
    assert there == render(helm), "make manifests"


def test_every_overlay_names_what_there_is() -> None:
    """Each resource of each kustomization is a file or a directory with one, and every document in it is once there."""
    assert {path.name for path in OVERLAYS.iterdir()} == set(ENGINES)
    for path in (DEPLOY / "kustomize").rglob("kustomization.yaml"):
        for resource in yaml.safe_load(path.read_text())["resources"]:
            target = path.parent / resource
            assert target.is_file() or (target / "kustomization.yaml").is_file(), target


def test_helm_lint(helm: str) -> None:
    """No error and no warning, for the defaults and for each engine."""
    for engine in ENGINES:
        words = [helm, "lint", "--strict", "--set", f"engine={engine}", f"--kube-version={NEWEST}", str(CHART)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "setting",
    [
        "engine=rkt",
        "kafka.brokers=kafka",
        "kafka.auth=plain",
        "processor.replicas=13",
        "collector.unknown=1",
        "roots={relative}",
        "lake.url=/lake",
        "image.collector.digest=latest",
        "collector.resources.limits=null",
        "kafka.nodes={Worker-1}",
        "kafka.nodes={a,a}",
        "kafka.nodes={a..b}",
    ],
)
def test_wrong_values_are_refused(helm: str, setting: str) -> None:
    """By values.schema.json, before anything is applied."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        template(helm, setting)
    assert "values don't meet the specifications of the schema" in caught.value.stderr


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["strimzi.enabled=true"], "list the nodes in kafka.nodes"),
        (["strimzi.enabled=true", "kafka.nodes={a}", "kafka.auth=none"], "set kafka.auth to tls or scram"),
        (["kafka.nodes={a}", f"kafka.collectorUser={'u' * 60}"], "64 characters that a certificate takes"),
        ([f"kafka.nodes={{{'n' * 230}}}"], "249 characters that Kafka takes"),
    ],
)
def test_nodes_that_cannot_be_kept_apart_are_refused(helm: str, settings: list[str], why: str) -> None:
    """ACLs without nodes or without credentials keep nobody apart: one clear message, and nothing is rendered."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        template(helm, *settings)
    assert why in caught.value.stderr


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_granted_that_is_not_said(helm: str, variant: str) -> None:
    """No capability but those named, no privilege, no token, nothing of the node writable but the state, no secret for everybody."""
    granted = {
        "as it is": {"DAC_READ_SEARCH"},
        "everything": {"DAC_READ_SEARCH", "SYS_ADMIN", "SYS_PTRACE"},
        "without credentials": {"DAC_READ_SEARCH"},
    }
    found = rendered(helm, variant)
    for pod, container in workloads(found):
        context = container["securityContext"]
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostPID", "hostNetwork", "hostIPC"} & pod.keys()
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is context["privileged"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
        assert (
            {"cpu", "memory", "ephemeral-storage"} == container["resources"]["limits"].keys() == container["resources"]["requests"].keys()
        )
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        for volume in pod["volumes"]:
            if "hostPath" in volume and volume["name"] != "state":
                assert mounts[volume["name"]]["readOnly"] is True
                assert volume["hostPath"]["type"] == "Directory"
            if "secret" in volume:
                assert not volume["secret"]["defaultMode"] & 0o007
        if container["name"] == "collector":
            assert pod["priorityClassName"] == "system-node-critical"
            assert set(context["capabilities"]["add"]) == granted[variant]
            assert all(mount["mountPropagation"] == "HostToContainer" for name, mount in mounts.items() if name.startswith("root-"))
        else:
            assert "add" not in context["capabilities"]
            assert pod["securityContext"]["runAsNonRoot"] is True


def test_every_capability_says_which_call_needs_it() -> None:
    """A comment stands above each, in the template and in what is rendered."""
    for path in (CHART / "templates" / "collector.yaml", *OVERLAYS.glob("*/collector.yaml")):
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip() and "{{" not in line]
        added = lines[lines.index("add:") + 1 : lines.index("volumeMounts:")]
        capabilities = [number for number, line in enumerate(added) if re.fullmatch(r"- [A-Z_]+", line)]
        assert capabilities
        assert all(added[number - 1].startswith("# ") for number in capabilities)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_command_is_one_that_linktrail_takes(helm: str, variant: str) -> None:
    """The words parse, and each variable is one that some option or setting reads."""
    for _, container in workloads(rendered(helm, variant)):
        verb, *words = container["args"]
        load(_BY_NAME[verb]).make_context(verb, list(words))


def test_the_network_is_kafka_and_names_alone(helm: str) -> None:
    """Out: port 53 and the brokers'; in: who scrapes."""
    for variant in ("as it is", "everything"):
        for policy in (one for one in rendered(helm, variant) if one["kind"] == "NetworkPolicy"):
            ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
            is_store = variant == "everything" and policy["metadata"]["name"].endswith("processor")
            assert ports == {53, 9093} | ({443} if is_store else set())
            assert [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]] == [
                9478 if policy["metadata"]["name"].endswith("processor") else 9477
            ]


def test_strimzi_topics_are_those_declared(helm: str) -> None:
    """Partitions, copies and settings of deploy/kafka/topics.yaml, those of nodes too; names as linktrail writes them."""
    found = rendered(helm, "everything")
    whole = yaml.safe_load((DEPLOY / "kafka" / "topics.yaml").read_text())
    of_nodes = {node_topic(EVENTS_TOPIC, "default", node): whole["node-topics"][EVENTS_TOPIC] for node in NODES}
    declared = whole["topics"] | of_nodes
    topics = {one["spec"].pop("topicName", one["metadata"]["name"]): one["spec"] for one in found if one["kind"] == "KafkaTopic"}
    assert topics == {
        name: {"partitions": one["partitions"], "replicas": one["replication"], "config": one["config"]} for name, one in declared.items()
    }


def test_of_strimzi_users_each_has_what_it_needs(helm: str) -> None:
    """A collector writes the topic of its node, the processor reads all of them, and nobody writes the shared one."""
    found = rendered(helm, "everything")
    users = {one["metadata"].get("annotations", {}).get("linktrail/node", ""): one for one in found if one["kind"] == "KafkaUser"}
    assert users.keys() == {"", *NODES}
    granted = {
        node: {
            (acl["resource"]["patternType"], acl["resource"]["name"]): set(acl["operations"]) - {"Describe", "DescribeConfigs"}
            for acl in user["spec"]["authorization"]["acls"]
        }
        for node, user in users.items()
    }
    dead = ("literal", "linktrail.dlq.v1")
    for node in NODES:
        assert granted[node] == {("literal", node_topic(EVENTS_TOPIC, "default", node)): {"Write"}, dead: set()}
    assert granted[""] == {
        ("literal", EVENTS_TOPIC): {"Read"},
        ("prefix", f"{EVENTS_TOPIC}."): {"Read"},
        dead: {"Write"},
        ("literal", "linktrail"): {"Read"},
    }
    assert all(user["spec"]["authentication"] == {"type": "scram-sha-512"} for user in users.values())


@pytest.mark.parametrize("cluster", ["default", "prod.eu-1", "Prod_2", "a_.b._"])
def test_names_of_nodes_neither_meet_nor_grow_too_long(helm: str, cluster: str) -> None:
    """Topics as linktrail writes them, whatever is in the name of the cluster; of nodes that differ late or by a dot, all names differ."""
    nodes = ["a-b", "a.b", *(f"{'n' * 60}.{end}.example" for end in "xy"), "ip-192-168-100-200.eu-central-1.compute.internal"]
    found = documents("".join(template(helm, f"cluster={cluster}", "strimzi.enabled=true", f"kafka.nodes={{{','.join(nodes)}}}").values()))
    listed = [one for one in found if "linktrail/node" in one["metadata"].get("annotations", {})]
    assert len(listed) == 3 * len(nodes)
    assert len({(one["kind"], one["metadata"]["name"]) for one in listed}) == len(listed)
    assert {one["spec"]["topicName"] for one in listed if one["kind"] == "KafkaTopic"} == {
        node_topic(EVENTS_TOPIC, cluster, node) for node in nodes
    }
    users = {one["metadata"]["name"] for one in listed if one["kind"] == "KafkaUser"}
    assert all(len(user) <= 64 for user in users)
    pods = [one["spec"] for one in found if one["kind"] == "DaemonSet"]
    labels = [pod["selector"]["matchLabels"]["linktrail/node"] for pod in pods]
    assert len(set(labels)) == len(nodes) + 1
    assert max(map(len, labels)) <= 63
    mounted = [
        volume["secret"]["secretName"] for pod in pods for volume in pod["template"]["spec"]["volumes"] if volume["name"] == "kafka-user"
    ]
    assert sorted(mounted) == sorted(users)
