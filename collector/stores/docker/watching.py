"""What to watch of a data root, and what a change there means.

A layer becomes known by the rename of a write set to ``layerdb/sha256/<chain>`` and unknown by the rename to ``...-removing``;
configurations and names are replaced by rename; BuildKit's databases are written in place. A layer's directory is made in
``overlay2``, its link in ``overlay2/l``, files in place inside. An event proves that something existed under a name; what it was,
only a survey says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from collector.links import Link, LinkKind
from collector.safe import Entry, open_root
from collector.stores.changes import appeared, is_directory, newest_first, relative
from collector.stores.docker import layout
from collector.stores.docker.overlay import DOWNLOAD
from collector.stores.docker.survey import NO_STORE, is_store
from collector.stores.overlay import names
from collector.stores.overlay.layers import kind_of_file
from collector.stores.protocol import LOOK_AGAIN, NOISE, Change, Meaning, Purpose, WatchItem, WatchPlan
from linktrail.errors import NoStoreError

_ATTRIBUTES: Final = "attributes"
_APPEARED: Final = ("created", "moved_in")
_TABLES: Final = (
    (layout.IMAGE, Purpose.METADATA),
    (layout.LAYERS, Purpose.PLUMBING),
    (layout.MOUNTS, Purpose.PLUMBING),
    (layout.WRITE_SETS, Purpose.PLUMBING),
    (layout.LAYERDB, Purpose.PLUMBING),
    (layout.IMAGES, Purpose.METADATA),
    (layout.IMAGE_METADATA, Purpose.PLUMBING),
    (layout.CONTAINERS, Purpose.PLUMBING),
    (layout.BUILDKIT, Purpose.METADATA),
    ("", Purpose.PLUMBING),
    (layout.TEMPORARIES, Purpose.PLUMBING),
    (f"{layout.OVERLAY}/{names.SHORT_LINKS}", Purpose.PLUMBING),
    (layout.OVERLAY, Purpose.PLUMBING),
)
_PURPOSES: Final = dict(_TABLES)
_ON_THE_WAY: Final = frozenset(
    place.rsplit("/", depth)[0] for place in _PURPOSES for depth in range(1, place.count("/") + 1)
)  # directories above a table: image, image/overlay2/imagedb, ...


def plan(root: Path) -> WatchPlan:
    """Return what to watch now, in the order of worth. Raises ``NoStoreError`` or ``StoreUnreadableError``.

    The paths are those of the resolved root: a watch that follows no links could not be set on a root that is one.
    """
    with open_root(root) as opened:
        if not is_store(opened):
            raise NoStoreError(root=root, what=NO_STORE)
        base = opened.path
        items = [WatchItem(base / place, purpose) for place, purpose in _TABLES if is_directory(opened, place)]
        items += [
            WatchItem(base / place, Purpose.PLUMBING) for place in sorted(_ON_THE_WAY - _PURPOSES.keys()) if is_directory(opened, place)
        ]
        containers = newest_first(opened, root, layout.CONTAINERS, _is_watched)
        items += [WatchItem(base / layout.CONTAINERS / name, Purpose.METADATA) for name in containers]
        items += [
            WatchItem(base / layout.OVERLAY / name, Purpose.LAYER) for name in newest_first(opened, root, layout.OVERLAY, _is_watched)
        ]
    return WatchPlan(base, tuple(items))


def interpret(root: Path, change: Change) -> Meaning:
    """Say what ``change`` means for the store at ``root`` (named as given, or resolved as in the plan)."""
    place = relative(root, change.directory)
    if place is None:
        return NOISE
    if not change.name:  # the watched directory itself: its end is news, its reading is not
        return NOISE if change.action in (_ATTRIBUTES, "modified") else LOOK_AGAIN
    path = f"{place}/{change.name}" if place else change.name
    if path in _PURPOSES or path in _ON_THE_WAY:
        return NOISE if change.action == _ATTRIBUTES else appeared(change, _PURPOSES.get(path, Purpose.PLUMBING))
    if place == layout.OVERLAY:
        return _in_overlay(change, path)
    if place.startswith(f"{layout.OVERLAY}/"):
        return _below_overlay(change, place.removeprefix(f"{layout.OVERLAY}/"), path)
    return _in_metadata(change, place, path)


def _in_metadata(change: Change, place: str, path: str) -> Meaning:
    name = change.name
    if path == layout.REPOSITORIES or (place == layout.BUILDKIT and name in layout.DATABASES):
        return LOOK_AGAIN
    if change.action == _ATTRIBUTES:
        return NOISE
    if place == layout.CONTAINERS and change.is_directory:
        return appeared(change, Purpose.METADATA, Link(LinkKind.OWNER_DIRECTORY, name, path))
    if place.startswith(f"{layout.CONTAINERS}/") and name == layout.CONFIG:
        return LOOK_AGAIN
    link = _proven(change, place, path)
    return Meaning(relevant=True, link=link) if link else LOOK_AGAIN if place == layout.MOUNTS and change.is_directory else NOISE


def _proven(change: Change, place: str, path: str) -> Link | None:
    """Return the link that a change among records or temporary directories proves to have existed."""
    name = change.name
    if place == layout.IMAGES and layout.is_hex(name):
        return Link(LinkKind.IMAGE_RECORD, f"sha256:{name}", path)
    if place == layout.TEMPORARIES and name.startswith(DOWNLOAD) and change.action != "modified":
        return Link(LinkKind.TEMPORARY_DIRECTORY, name, path)
    if not change.is_directory:
        return None
    if place == layout.LAYERS:
        layer = f"sha256:{name}" if layout.is_hex(name) else name
        return Link(LinkKind.LAYER_RECORD, layer, path, layer_id=layer)
    if place == layout.IMAGE_METADATA:
        return Link(LinkKind.OWNER_DIRECTORY, f"sha256:{name}", path)
    return Link(LinkKind.TEMPORARY_DIRECTORY, name, path) if place in (layout.WRITE_SETS, layout.TEMPORARIES) else None


def _in_overlay(change: Change, path: str) -> Meaning:
    name = change.name
    if layout.is_engine_check(name) or change.action == _ATTRIBUTES:
        return NOISE
    if change.is_directory:
        return appeared(change, Purpose.LAYER, Link(LinkKind.LAYER_DIRECTORY, name, path, layer_id=name))
    return LOOK_AGAIN if layout.is_directory_id(name) else NOISE


def _below_overlay(change: Change, place: str, path: str) -> Meaning:
    attributes = change.action == _ATTRIBUTES
    if place == names.SHORT_LINKS:
        return NOISE if attributes else Meaning(relevant=True, link=Link(LinkKind.SHORT_LINK, change.name, path))
    if "/" in place:
        return NOISE
    if change.name in layout.LAYOUT.forms:
        return Meaning(relevant=True, link=Link(kind_of_file(change.name), place, path, layer_id=place))
    return LOOK_AGAIN if change.name in layout.LAYOUT.items and not attributes else NOISE


def _is_watched(entry: Entry) -> bool:
    return entry.kind == "directory" and entry.name != names.SHORT_LINKS and not layout.is_engine_check(entry.name)
