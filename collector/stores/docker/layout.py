"""Where Docker keeps what below its data root, what its names look like, and how large any of it may be.

Source of the names: moby (layer/filestore.go, layer/layer_store.go, image/fs.go, reference/store.go, container/container.go,
daemon/graphdriver/overlay2, builder/builder-next/adapters/snapshot) as of 20.10 to 28, and real stores of Docker 20.10. Paths are
relative to the data root.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

from collector.stores.overlay import names
from collector.stores.overlay.layers import Layout

OVERLAY: Final = "overlay2"
LAYOUT: Final = Layout(OVERLAY, {names.LINK: names.is_short_name, names.LOWER: names.is_lower}, ("diff", "work", "committed"))

IMAGE: Final = "image/overlay2"
REPOSITORIES_NAME: Final = "repositories.json"
REPOSITORIES: Final = f"{IMAGE}/{REPOSITORIES_NAME}"
TEMPORARIES: Final = "tmp"
LAYERDB: Final = f"{IMAGE}/layerdb"
LAYERS: Final = f"{LAYERDB}/sha256"
MOUNTS: Final = f"{LAYERDB}/mounts"
WRITE_SETS: Final = f"{LAYERDB}/{TEMPORARIES}"
IMAGES: Final = f"{IMAGE}/imagedb/content/sha256"
IMAGE_METADATA: Final = f"{IMAGE}/imagedb/metadata/sha256"
CONTAINERS: Final = "containers"
CONFIG: Final = "config.v2.json"
BUILDKIT: Final = "buildkit"
SNAPSHOTS_NAME: Final = "snapshots.db"
LEASES_NAME: Final = "containerdmeta.db"
CACHE_NAME: Final = "metadata_v2.db"
DATABASES: Final = (SNAPSHOTS_NAME, LEASES_NAME, CACHE_NAME)
SNAPSHOTS: Final = f"{BUILDKIT}/{SNAPSHOTS_NAME}"
LEASES: Final = f"{BUILDKIT}/{LEASES_NAME}"
CACHE: Final = f"{BUILDKIT}/{CACHE_NAME}"

DRIVER: Final = "overlay2"
CACHE_ID: Final = "cache-id"
DIFF: Final = "diff"
PARENT: Final = "parent"
SIZE: Final = "size"
TAR_SPLIT: Final = "tar-split.json.gz"
TAR_SPLIT_ITEM: Final = "tar-split"
MOUNT_ID: Final = "mount-id"
INIT_ID: Final = "init-id"

SMALL_BYTES: Final = 4 << 10  # cache-id, diff, parent, size, mount-id, init-id
IMAGE_BYTES: Final = 16 << 20
CONFIG_BYTES: Final = 16 << 20
REPOSITORIES_BYTES: Final = 64 << 20
DATABASE_BYTES: Final = 256 << 20
RECORD_ENTRIES: Final = 100  # names in one entry of layerdb

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
_DIRECTORY_ID: Final = re.compile(r"(?:[0-9a-f]{64}(?:-init)?|[0-9a-z]{25})\Z")
_REMOVING: Final = re.compile(r"([0-9a-f]{64})-(?:[0-9a-f]{64}-)?removing\Z")
_BUILD_ID: Final = re.compile(r"[0-9a-z]{25}\Z")
_ENGINE_CHECK: Final = re.compile(r"(?:compat|opaque-bug-check|metacopy-check|check-overlayfs-support|userxattr-check)[0-9]+\Z")
_REMAPPED: Final = re.compile(r"[0-9]+\.[0-9]+\Z")


def is_digest(text: str) -> bool:
    """Tell whether ``text`` is a digest as Docker writes it: ``sha256:`` and 64 hexadecimal digits."""
    return _DIGEST.match(text) is not None


def is_hex(name: str) -> bool:
    """Tell whether ``name`` is 64 hexadecimal digits, as the ids of images and containers are on disk."""
    return _HEX.match(name) is not None


def is_directory_id(name: str) -> bool:
    """Tell whether ``name`` has the form of a directory in overlay2: of a layer, of a container, its ``-init``, or of BuildKit."""
    return _DIRECTORY_ID.match(name) is not None


def is_build_id(name: str) -> bool:
    """Tell whether BuildKit chose ``name``: 25 characters of base 36."""
    return _BUILD_ID.match(name) is not None


def is_engine_check(name: str) -> bool:
    """Tell whether ``name`` is a directory in which the engine tries a feature of the kernel, for some milliseconds."""
    return _ENGINE_CHECK.match(name) is not None


def removed_chain(name: str) -> str | None:
    """Return the chain id whose record a removal renamed to ``name`` (``<chain>-<random>-removing``), or ``None``."""
    found = _REMOVING.match(name)
    return f"sha256:{found[1]}" if found else None


def chain_ids(diff_ids: tuple[str, ...]) -> list[str]:
    """Return the chain id of each layer of an image, base first (OCI image specification, "Layer ChainID")."""
    chains: list[str] = []
    for diff in diff_ids:
        chains.append(f"sha256:{hashlib.sha256(f'{chains[-1]} {diff}'.encode()).hexdigest()}" if chains else diff)
    return chains


def usual_roots() -> tuple[Path, ...]:
    """Return where Docker keeps its data: as root, with remapped users, as a snap, and without root (all of /home for the root user)."""
    system = Path("/var/lib/docker")
    remapped = sorted(_children(system, _REMAPPED))
    homes = sorted(_children(Path("/home"), re.compile(r".+\Z"))) if os.geteuid() == 0 else []
    own = Path(os.path.expanduser("~"))  # noqa: PTH111 - never raises, unlike Path.home
    rootless = [home / ".local/share/docker" for home in dict.fromkeys([own, *homes])]
    return (system, *remapped, Path("/var/snap/docker/common/var-lib-docker"), *rootless)


def _children(directory: Path, form: re.Pattern[str]) -> list[Path]:
    try:
        return [directory / name for name in os.listdir(directory) if form.match(name)]  # noqa: PTH208 - names only
    except OSError:
        return []
