"""What a store keeps beside its layers: metadata, content blobs, logs, volumes and whatever else lies below its root.

``beside`` lists it: every directory that holds no layer is a tree to be measured (``collector.samples`` paces that), and what lies loose on
the way down to the layers is added up at once, with the directories of that way themselves. Together with the layers and temporary
directories that is all of the store, so that a sum over the samples can be held against what the filesystem says.

No link is followed, and nothing on another filesystem than the directory that lists it is counted. Cost: one listing a directory on the
way to the layers, one ``lstat`` an entry that is no layer.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.measure import BLOCK, Size
from collector.safe import open_root
from linktrail.errors import LinktrailError

_ROLES: Final = {
    "containers": "logs",
    "overlay-containers": "logs",
    "io.containerd.content.v1.content": "content",
    "volumes": "volumes",
    "overlay-images": "metadata",
    "overlay-layers": "metadata",
    "libpod": "metadata",
    "image": "metadata",
    "buildkit": "metadata",
    "network": "metadata",
    "io.containerd.metadata.v1.bolt": "metadata",
}
LOOSE: Final = "*"


@dataclass(slots=True)
class Beside:
    """Directories to measure (paths relative to the root), and the sizes of what lies loose, by ``<directory>/*``."""

    directories: list[str] = field(default_factory=list)
    loose: dict[str, Size] = field(default_factory=dict)


def role_of(path: str) -> str:
    """Return what ``path`` holds: metadata, content, logs, volumes or other."""
    top, _, below = path.partition("/")
    return _ROLES.get(top, "metadata" if LOOSE in {top, below} or below == "l" else "other")


def beside(root: Path, measured: Collection[str], home: str) -> Beside:
    """Return what lies beside the trees at the paths ``measured`` and on the way to ``home``. What cannot be read is left out."""
    way = {""}
    for path in (f"{home}/", *measured):
        parent = path.rpartition("/")[0]
        while parent not in way:
            way.add(parent)
            parent = parent.rpartition("/")[0]
    found = Beside()
    trees = frozenset(measured)
    for path in sorted(way):
        try:
            _list(root, path, trees, way, found)
        except (OSError, LinktrailError):  # gone, or no directory: the survey says so
            continue
    return found


def _list(root: Path, path: str, trees: Collection[str], way: Collection[str], found: Beside) -> None:
    with open_root(root) as top, top.directory(*(path.split("/") if path else ())) as opened, os.scandir(opened.fd) as entries:
        own = os.fstat(opened.fd)
        blocks, apparent, inodes = own.st_blocks, 0, 1
        for entry in entries:
            name = f"{path}/{entry.name}" if path else entry.name
            if name in trees or name in way:
                continue
            facts = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                if facts.st_dev == own.st_dev:
                    found.directories.append(name)
                continue
            blocks, apparent, inodes = blocks + facts.st_blocks, apparent + facts.st_size, inodes + 1
    found.loose[f"{path}/{LOOSE}" if path else LOOSE] = Size(blocks * BLOCK, apparent, inodes, 0, 0)
