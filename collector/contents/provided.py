"""What a container's configuration mounts over its layers: links that lead there lead to what the mount brings.

Read from the files that engines keep beside the container: the OCI configuration of podman and CRI-O, Docker's own. containerd keeps it in
its database only, where it is not looked up here. What cannot be read provides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from collector.contents.expected import normal
from collector.links import StoreKind
from collector.safe import Directory
from collector.safe_json import parse

_LIMIT: Final = 16 << 20
_MOUNTS: Final = 10_000


def provided(root: Directory, kind: StoreKind, container: str) -> frozenset[str]:
    """Return the paths, relative to the container's root, that ``container`` mounts something at."""
    if kind is StoreKind.CONTAINERS_STORAGE:
        return _paths(_destinations(_read(root, ("overlay-containers", container, "userdata"), "config.json").get("mounts")))
    if kind is StoreKind.DOCKER_OVERLAY2:
        points = _read(root, ("containers", container), "config.v2.json").get("MountPoints")
        return _paths(iter(points if isinstance(points, dict) else {}))
    return frozenset()


def _read(root: Directory, steps: tuple[str, ...], name: str) -> dict[str, Any]:
    try:
        with root.directory(*steps) as directory:
            value = parse(directory.read(name, _LIMIT).data).value
    except OSError:
        return {}
    return value if isinstance(value, dict) else {}


def _destinations(mounts: object) -> Iterator[object]:
    for mount in mounts[:_MOUNTS] if isinstance(mounts, list) else ():
        if isinstance(mount, dict):
            yield mount.get("destination")


def _paths(destinations: Iterator[object]) -> frozenset[str]:
    paths = (normal(destination) for destination in destinations if isinstance(destination, str))
    return frozenset(path for path in paths if path)
