"""What containers/storage itself believes to have mounted: ``overlay-layers/mountpoints.json`` in the run root.

The run root is another directory than the store (on a tmpfs, lost at a reboot), and may serve several stores; so all run roots of the
machine are read, and an entry belongs to the store in whose ``overlay/`` its path lies. Format: a list of ``{"id", "path", "count"}``
(containers/storage layers.go, layerMountPoint); it is written at every mount and unmount of a container.

Links: MOUNT, path ``mountpoints.json#<layer>``: subject=mount point, target=layer; detail {type: recorded, count}; facts {mtime_ns}.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from collector.links import NOBODY, Link, LinkKind, LinkState
from collector.mounts.places import Places
from collector.safe import open_root
from collector.safe_json import parse
from linktrail.errors import StoreError

RECORDED: Final = "recorded"
_DIRECTORY: Final = "overlay-layers"
_FILE: Final = "mountpoints.json"
_BYTES: Final = 16 << 20
_USERS: Final = Path("/run/user")
_USUAL: Final = Path("/run/containers/storage")


def usual_run_roots(configured: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Return where containers/storage keeps what is mounted: for the system, for rootless users, and as ``configured``."""
    users = sorted(_USERS.glob("*/containers")) if os.geteuid() == 0 else [_USERS / str(os.geteuid()) / "containers"]
    return tuple(dict.fromkeys((*configured, _USUAL, *users)))


def recorded_mounts(places: Places, run_roots: Iterable[Path]) -> Iterator[Link]:
    """Yield what the files in ``run_roots`` say of the store of ``places``. A file that cannot be read or understood says nothing."""
    for run_root in run_roots:
        try:
            with open_root(run_root) as root, root.directory(_DIRECTORY) as directory:
                content = directory.read(_FILE, _BYTES)
        except (StoreError, OSError):  # most machines have one run root, and it may be empty
            continue
        if content.state is LinkState.PRESENT and content.facts is not None:
            entries = parse(content.data).value
            for entry in entries if isinstance(entries, list) else ():
                link = _link(places, entry, content.facts.st_mtime_ns)
                if link is not None:
                    yield link


def _link(places: Places, entry: Any, modified: int) -> Link | None:  # noqa: ANN401 - JSON of any shape
    if not isinstance(entry, dict):
        return None
    layer, point, count = entry.get("id"), entry.get("path"), entry.get("count")
    if not isinstance(layer, str) or not isinstance(point, str) or type(count) is not int or count <= 0:
        return None
    if not point.startswith("/") or places.place(point) is None:
        return None
    told = places.link(layer)
    return Link(
        LinkKind.MOUNT,
        point,
        f"{_FILE}#{layer}",
        layer,
        layer_id=layer,
        detail={"type": RECORDED, "count": count},
        facts={"mtime_ns": modified},
        owner=told.owner if told is not None else NOBODY,
    )
