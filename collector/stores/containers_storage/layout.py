"""Where containers/storage keeps what, and how large any of it may be.

Source of the names: containers/storage (drivers/overlay/overlay.go, layers.go, images.go, containers.go) as of 1.43 to 1.64, and
real stores of podman 4.3 and 5.4. Paths are relative to the root of the store.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable
from typing import Final

from collector.stores.overlay import names

OVERLAY: Final = "overlay"
LAYERS: Final = "overlay-layers"
IMAGES: Final = "overlay-images"
CONTAINERS: Final = "overlay-containers"

STAGING: Final = "staging"
TEMPDIRS: Final = "tempdirs"
METADATA_TEMPORARIES: Final = "tmp"  # overlay-layers/tmp: where deferred deletions put data files

LAYERS_JSON: Final = f"{LAYERS}/layers.json"
VOLATILE_LAYERS_JSON: Final = f"{LAYERS}/volatile-layers.json"
IMAGES_JSON: Final = f"{IMAGES}/images.json"
CONTAINERS_JSON: Final = f"{CONTAINERS}/containers.json"
VOLATILE_CONTAINERS_JSON: Final = f"{CONTAINERS}/volatile-containers.json"
METADATA_FILES: Final = (LAYERS_JSON, VOLATILE_LAYERS_JSON, IMAGES_JSON, CONTAINERS_JSON, VOLATILE_CONTAINERS_JSON)
VOLATILE_FILES: Final = frozenset({VOLATILE_LAYERS_JSON, VOLATILE_CONTAINERS_JSON})

# A volatile file alone marks no store: in transient mode it lies in the run root, which is none.
MARKS: Final = (
    (LAYERS, ("layers.json", "layers.lock")),
    (IMAGES, ("images.json", "images.lock")),
    (CONTAINERS, ("containers.json", "containers.lock")),
)

TAR_SPLIT: Final = ".tar-split.gz"
TAR_SPLIT_ITEM: Final = "tar-split"
TEMPORARY_PREFIX: Final = ".tmp-"

METADATA_BYTES: Final = 256 << 20
DATA_ENTRIES: Final = 10_000  # data files of one owner


_ENGINE_CHECK: Final = re.compile(r"(?:compat|opaque-bug-check|metacopy-check|multiple-lowerdir-check)[0-9]+\Z")
_MOVED_LAYER: Final = re.compile(r"[0-9]+-(.+)\Z", re.DOTALL)
_PLAIN_ITEM: Final = re.compile(r"[a-z0-9.]+\Z")


def is_engine_check(name: str) -> bool:
    """Tell whether ``name`` is a directory in which the engine tries a feature of the kernel, for some milliseconds."""
    return _ENGINE_CHECK.match(name) is not None


def moved_layer(name: str) -> str | None:
    """Return the layer that a deferred deletion renamed to ``name`` (``<number>-<layer>``), or ``None``."""
    found = _MOVED_LAYER.match(name)
    return found[1].removesuffix(TAR_SPLIT) if found else None


def is_lower_layers(text: str) -> bool:
    """Tell whether ``text`` is a list of layer ids, as ``lower-layers`` holds."""
    return all(part not in {"", ".", ".."} and "/" not in part and part.isprintable() for part in text.split(":"))


LINK_FORMS: Final[dict[str, Callable[[str], bool]]] = {
    names.LINK: names.is_short_name,
    names.LOWER: names.is_lower,
    "lower-layers": is_lower_layers,
}


def data_file_name(item: str) -> str:
    """Return the file name of data item ``item``: itself if plain, else ``=`` and base64 of it."""
    if _PLAIN_ITEM.match(item):
        return item
    return "=" + base64.b64encode(os.fsencode(item)).decode("ascii")


def data_item_name(file: str) -> str:
    """Return the data item that file ``file`` holds; a name that does not decode stands for itself."""
    if not file.startswith("="):
        return file
    try:
        return os.fsdecode(base64.b64decode(file[1:], validate=True))
    except (binascii.Error, ValueError):
        return file
