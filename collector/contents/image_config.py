"""Image configurations: which layers they list, and which steps made them.

Where they lie: containers-storage keeps each as big data of its image under its digest, Docker in its image database, containerd in the
content store, with a label that leads to the snapshot. Source: OCI image specification, config.md and "Layer ChainID".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.links import LinkKind, Survey
from collector.safe import Directory
from collector.safe_json import parse

BLOBS: Final = ("io.containerd.content.v1.content", "blobs", "sha256")
DOCKER_IMAGES: Final = ("image", "overlay2", "imagedb", "content", "sha256")
SHA256: Final = "sha256:"
_LIMIT: Final = 4 << 20
_MOST: Final = 10_000  # layers, steps
_LONGEST: Final = 1_000  # characters of a step


def containerd_configurations(survey: Survey) -> list[str]:
    """Return the digests of the configurations whose snapshots containerd's labels name."""
    labels = survey.of_kind(LinkKind.LABEL_REFERENCE)
    return sorted({link.subject for link in labels if "gc.ref.snapshot." in str(link.detail.get("label"))})


def read_configuration(root: Directory, steps: Sequence[str], name: str) -> Mapping[str, Any]:
    """Return the configuration in file ``name`` (a digest, or its digits) below ``steps``; nothing where it cannot be read.

    Other findings speak of that.
    """
    try:
        with root.directory(*steps) as directory:
            value = parse(directory.read(name.removeprefix(SHA256), _LIMIT).data).value
    except OSError:
        return {}
    return value if isinstance(value, dict) else {}


def diff_ids(configuration: Mapping[str, Any]) -> list[str]:
    """Return the digests of the layers, the lowest first."""
    rootfs = configuration.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return [diff for diff in found[:_MOST] if isinstance(diff, str)] if isinstance(found, list) else []


def chain_ids(diffs: Sequence[str]) -> list[str]:
    """Return the name of each layer together with those below it."""
    chains: list[str] = []
    for diff in diffs:
        whole = f"{chains[-1]} {diff}" if chains else ""
        chains.append(f"{SHA256}{hashlib.sha256(whole.encode(errors='replace')).hexdigest()}" if chains else diff)
    return chains


def commands(configuration: Mapping[str, Any]) -> list[str]:
    """Return what made each layer, the lowest first; a step may say nothing of itself."""
    history = configuration.get("history")
    steps = [step for step in history[:_MOST] if isinstance(step, dict)] if isinstance(history, list) else []
    return [str(step.get("created_by") or "")[:_LONGEST] for step in steps if not step.get("empty_layer")]
