"""Where things are in a containerd root, and the one name that a snapshot has in links.

A snapshotter is a plugin with a directory of its own. Most keep ``metadata.db`` and ``snapshots/<number>`` in it; stargz puts both one
level deeper, btrfs keeps active and read-only snapshots apart, native has no ``fs`` below the number, devmapper and zfs have no
directories at all. What a layout does not say is not claimed.

Source: containerd, plugins/snapshots/* and core/snapshots/storage/bolt.go (keys are ``<namespace>/<number>/<name>``,
core/metadata/snapshot.go).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

META_DIRECTORY: Final = "io.containerd.metadata.v1.bolt"
META_NAME: Final = "meta.db"
META: Final = f"{META_DIRECTORY}/{META_NAME}"
CONTENT: Final = "io.containerd.content.v1.content"
BLOBS: Final = "blobs"
INGEST: Final = "ingest"
SNAPSHOTTER: Final = "io.containerd.snapshotter.v1."
DATABASE: Final = "metadata.db"
OVERLAYFS: Final = "overlayfs"
NEW: Final = "new-"  # being made
GONE: Final = "rm-"  # being removed (native, btrfs)
UNPACKING: Final = "extract-"

_KEY: Final = re.compile(r"([^/]+)/(\d+)/(.+)", re.DOTALL)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,19}")
_ENGINE_ROOTS: Final = (
    "/var/lib/containerd",
    "/var/lib/rancher/k3s/agent/containerd",
    "/var/lib/rancher/rke2/agent/containerd",
    "/var/snap/microk8s/common/var/lib/containerd",
    "/var/lib/k0s/containerd",
    "/var/lib/docker/containerd/daemon",
)


class Layout(NamedTuple):
    """How one snapshotter lays out its directory.

    ``places`` are the directories that hold snapshots by number, beside the database; ``content`` is the directory in a snapshot that
    holds its files, ``""`` where that is the snapshot itself, ``None`` where it is not known.
    """

    below: str = ""
    places: tuple[str, ...] = ("snapshots",)
    content: str | None = None

    @property
    def home(self) -> tuple[str, ...]:
        """The steps from the plugin's directory to the database."""
        return (self.below,) if self.below else ()


LAYOUTS: Final = {
    OVERLAYFS: Layout(content="fs"),
    "fuse-overlayfs": Layout(content="fs"),
    "native": Layout(content=""),
    "btrfs": Layout(places=("active", "view", "snapshots"), content=""),
    "stargz": Layout(below="snapshotter", content="fs"),
}
_OTHER: Final = Layout()


class Key(NamedTuple):
    """A key of metadata.db, taken apart; all but ``text`` are ``None`` for one that meta.db did not make."""

    text: str
    namespace: str | None = None
    name: str | None = None


def layout_of(snapshotter: str) -> Layout:
    """Return the layout of a snapshotter; an unknown one is taken to keep ``metadata.db`` and perhaps ``snapshots/``."""
    return LAYOUTS.get(snapshotter, _OTHER)


def snapshotter_of(directory: str) -> str | None:
    """Return which snapshotter a directory of the root belongs to, if any."""
    name = directory.removeprefix(SNAPSHOTTER)
    return name if name and name != directory else None


def home_of(snapshotter: str) -> str:
    """Return the path of the directory with the database of a snapshotter."""
    return "/".join((f"{SNAPSHOTTER}{snapshotter}", *layout_of(snapshotter).home))


def database_of(snapshotter: str) -> str:
    """Return the path of the database of a snapshotter."""
    return f"{home_of(snapshotter)}/{DATABASE}"


def qualified(snapshotter: str, name: str) -> str:
    """Return ``name`` (a key or a directory number) as it stands in links.

    Numbers and keys are unique in one snapshotter only, so those of others than overlayfs, the usual one, carry its name.
    """
    return name if snapshotter == OVERLAYFS else f"{snapshotter}:{name}"


def taken_apart(key: str) -> Key:
    """Take a key of metadata.db apart."""
    match = _KEY.fullmatch(key)
    return Key(key, match[1], match[3]) if match else Key(key)


def is_number(name: str) -> bool:
    """Tell whether ``name`` is the name of a snapshot's directory."""
    return _NUMBER.fullmatch(name) is not None


def is_temporary(name: str) -> bool:
    """Tell whether ``name`` is that of a directory in the making or on its way out."""
    return name.startswith((NEW, GONE))


def inside(*buckets: str) -> str:
    """Return the path of a place inside meta.db: the file, then the buckets below ``v1``."""
    return f"{META}#{'/'.join(buckets)}"


def usual_roots() -> tuple[Path, ...]:
    """Return where containerd, k3s, RKE2, microk8s, k0s, Docker and rootless nerdctl keep containerd's store."""
    return tuple(Path(root) for root in (*_ENGINE_ROOTS, Path("~/.local/share/containerd").expanduser()))
