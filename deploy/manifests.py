"""Render the Helm chart into Kustomize: ``python -m deploy.manifests HELM`` (``make manifests``). The chart is the one source.

``base`` holds the namespace and what is the same for every engine, ``overlays/ENGINE`` the collectors for its roots, all with one topic and
one user of Kafka. ``strimzi`` is an example of a fleet whose nodes are kept apart, for two nodes of containerd: base, a collector for each,
topics and users. One's own nodes are rendered from the chart, with ``kafka.nodes``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CHART: Final = HERE / "helm" / "linktrail"
ENGINES: Final = ("containerd", "crio", "k3s", "rke2", "docker")
NEWEST: Final = "1.37.0"
EXAMPLE: Final = ("strimzi.enabled=true", "kafka.nodes={worker-1,worker-2}")
_HEAD: Final = "# Made from deploy/helm/linktrail by make manifests: change the chart, not this.\n"
_COLLECTOR: Final = "templates/collector.yaml"
_SHARED: Final = ("templates/processor.yaml", "templates/networkpolicy.yaml")
_STRIMZI: Final = "templates/strimzi.yaml"
_NAMESPACE: Final = """\
apiVersion: v1
kind: Namespace
metadata:
  name: linktrail
  labels:
    # A collector mounts directories of the node, which no other level allows.
    pod-security.kubernetes.io/enforce: privileged
"""


def template(helm: str, *settings: str, kubernetes: str = NEWEST) -> dict[str, str]:
    """Return the rendered documents by template, each as YAML text. Raises ``subprocess.CalledProcessError`` when helm refuses."""
    words = [helm, "template", "linktrail", str(CHART), "--namespace=linktrail", f"--kube-version={kubernetes}"]
    words += [word for setting in settings for word in ("--set", setting)]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = {}
    for part in re.split(r"^---\n", text, flags=re.MULTILINE):
        if source := re.match(r"# Source: linktrail/(\S+)\n", part):
            body = "".join(f"{line.rstrip()}\n" for line in part[source.end() :].splitlines() if line.strip())
            found[source[1]] = found.get(source[1], "") + "---\n" + body
    return found


def render(helm: str) -> dict[str, str]:
    """Return every generated file below deploy/kustomize, by its path there."""
    made = {"base/namespace.yaml": _HEAD + _NAMESPACE}
    parts = template(helm)
    made["base/linktrail.yaml"] = _HEAD + "".join(parts[name] for name in _SHARED)
    made["base/kustomization.yaml"] = _kustomization("namespace.yaml", "linktrail.yaml")
    example = template(helm, *EXAMPLE)
    made["strimzi/strimzi.yaml"] = _HEAD + example[_STRIMZI]
    made["strimzi/collectors.yaml"] = _HEAD + example[_COLLECTOR]
    made["strimzi/kustomization.yaml"] = _kustomization("../base", "collectors.yaml", "strimzi.yaml")
    for engine in ENGINES:
        made[f"overlays/{engine}/collector.yaml"] = _HEAD + template(helm, f"engine={engine}")[_COLLECTOR]
        made[f"overlays/{engine}/kustomization.yaml"] = _kustomization("../../base", "collector.yaml")
    return made


def _kustomization(*resources: str) -> str:
    return f"{_HEAD}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n" + "".join(
        f"  - {one}\n" for one in resources
    )


def main(helm: str) -> int:
    """Write them all."""
    for name, text in render(helm).items():
        path = HERE / "kustomize" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
