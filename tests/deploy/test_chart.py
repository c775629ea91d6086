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
from linktrail.command import _BY_NAME, load
from tests.deploy.places import CHART, DEPLOY, OVERLAYS, documents

MINORS = sorted({tuple(map(int, version.split(".")[:2])) for version in all_versions()})[-3:]
KINDS_OF_STRIMZI = {"KafkaTopic", "KafkaUser"}
VARIANTS = {
    "as it is": (),
    "everything": (
        "engine=crio",
        "strimzi.enabled=true",
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


def of(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the one document of ``kind``."""
    [one] = [document for document in found if document["kind"] == kind]
    return one


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
    ],
)
def test_wrong_values_are_refused(helm: str, setting: str) -> None:
    """By values.schema.json, before anything is applied."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        template(helm, setting)
    assert "values don't meet the specifications of the schema" in caught.value.stderr


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
    """Partitions, copies and settings of deploy/kafka/topics.yaml; a collector may write events and nothing else."""
    found = rendered(helm, "everything")
    declared = yaml.safe_load((DEPLOY / "kafka" / "topics.yaml").read_text())["topics"]
    topics = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "KafkaTopic"}
    assert topics == {
        name: {"partitions": one["partitions"], "replicas": one["replication"], "config": one["config"]} for name, one in declared.items()
    }
    users = {one["metadata"]["name"]: one["spec"]["authorization"]["acls"] for one in found if one["kind"] == "KafkaUser"}
    assert {acl["resource"]["name"]: acl["operations"] for acl in users["linktrail-collector"]} == {
        "linktrail.events.v1": ["Write", "Describe", "DescribeConfigs"],
        "linktrail.dlq.v1": ["Describe", "DescribeConfigs"],
    }
    assert of(found, "DaemonSet")["spec"]["template"]["spec"]["priorityClassName"] == "system-node-critical"
