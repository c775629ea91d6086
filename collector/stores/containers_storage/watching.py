"""What to watch of a store, and what a change there means.

Metadata files are replaced by rename (watch the directory, not the file); a layer is a directory made in ``overlay/``, a link in
``overlay/l`` and files written in place inside the layer's directory. Lock files, ``.tmp-`` names and whatever else the engine keeps
beside them are noise. An event proves that something existed under a name; what it was, only a survey says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from collector.links import Link, LinkKind
from collector.safe import Entry, open_root
from collector.stores.changes import appeared, is_directory, newest_first, relative
from collector.stores.containers_storage import layout
from collector.stores.containers_storage.survey import is_store
from collector.stores.overlay import names
from collector.stores.overlay.layers import kind_of_file
from collector.stores.protocol import LOOK_AGAIN, NOISE, Change, Meaning, Purpose, WatchItem, WatchPlan
from linktrail.errors import NoStoreError

_METADATA: Final = (layout.LAYERS, layout.IMAGES, layout.CONTAINERS)
_PLUMBING: Final = (
    f"{layout.OVERLAY}/{names.SHORT_LINKS}",
    layout.OVERLAY,
    f"{layout.OVERLAY}/{layout.STAGING}",
    f"{layout.OVERLAY}/{layout.TEMPDIRS}",
)
_LISTS: Final = frozenset(layout.METADATA_FILES)
_ATTRIBUTES: Final = "attributes"
_LAYER_DIRECTORIES: Final = frozenset({"diff", "work", "empty"})


def plan(root: Path) -> WatchPlan:
    """Return what to watch now, in the order of worth. Raises ``NoStoreError`` or ``StoreUnreadableError``.

    The paths are those of the resolved root: a watch that follows no links could not be set on a root that is one.
    """
    with open_root(root) as opened:
        if not is_store(opened):
            raise NoStoreError(root=root, what="no overlay-layers, overlay-images or overlay-containers with metadata in it")
        base = opened.path
        items = [WatchItem(base / place, Purpose.METADATA) for place in _METADATA if is_directory(opened, place)]
        items.append(WatchItem(base, Purpose.PLUMBING))
        items += [WatchItem(base / place, Purpose.PLUMBING) for place in _PLUMBING if is_directory(opened, place)]
        items += [WatchItem(base / layout.OVERLAY / name, Purpose.LAYER) for name in newest_first(opened, root, layout.OVERLAY, _is_layer)]
    return WatchPlan(base, tuple(items), tuple(base / path for path in layout.METADATA_FILES))


def interpret(root: Path, change: Change) -> Meaning:
    """Say what ``change`` means for the store at ``root`` (named as given, or resolved as in the plan)."""
    place = relative(root, change.directory)
    if place is None:
        return NOISE
    if not change.name:  # the watched directory itself: its end is news, its reading is not
        return NOISE if change.action in (_ATTRIBUTES, "modified") else LOOK_AGAIN
    if place == "":
        return _in_root(change)
    if place == layout.OVERLAY:
        return _in_overlay(change)
    first, _, rest = place.partition("/")
    if first == layout.OVERLAY:
        return _below_overlay(change, rest)
    return _in_metadata(change, first) if not rest else NOISE


def _in_root(change: Change) -> Meaning:
    if change.name not in (*_METADATA, layout.OVERLAY) or change.action == _ATTRIBUTES:
        return NOISE
    purpose = Purpose.PLUMBING if change.name == layout.OVERLAY else Purpose.METADATA
    return appeared(change, purpose)


def _in_metadata(change: Change, place: str) -> Meaning:
    name, path = change.name, f"{place}/{change.name}"
    if path in _LISTS:
        return LOOK_AGAIN
    if name.startswith(layout.TEMPORARY_PREFIX):
        return NOISE
    if place == layout.LAYERS:
        if name.endswith(layout.TAR_SPLIT):
            layer = name.removesuffix(layout.TAR_SPLIT)
            return Meaning(relevant=True, link=Link(LinkKind.DATA_FILE, layer, path, layer_id=layer))
        return LOOK_AGAIN if change.is_directory and change.action != _ATTRIBUTES else NOISE
    if change.is_directory and change.action != _ATTRIBUTES:
        return Meaning(relevant=True, link=Link(LinkKind.OWNER_DIRECTORY, name, path))
    return NOISE


def _in_overlay(change: Change) -> Meaning:
    name = change.name
    if name in (names.SHORT_LINKS, layout.STAGING, layout.TEMPDIRS):
        return NOISE if change.action == _ATTRIBUTES else appeared(change, Purpose.PLUMBING)
    if layout.is_engine_check(name) or change.action == _ATTRIBUTES:
        return NOISE
    if change.is_directory:
        link = Link(LinkKind.LAYER_DIRECTORY, name, f"{layout.OVERLAY}/{name}", layer_id=name)
        return appeared(change, Purpose.LAYER, link)
    return LOOK_AGAIN if names.is_layer_id(name) else NOISE


def _below_overlay(change: Change, place: str) -> Meaning:
    name, path = change.name, f"{layout.OVERLAY}/{place}/{change.name}"
    attributes = change.action == _ATTRIBUTES
    if place == names.SHORT_LINKS:
        return NOISE if attributes else Meaning(relevant=True, link=Link(LinkKind.SHORT_LINK, name, path))
    if place in (layout.STAGING, layout.TEMPDIRS):
        real = change.is_directory and not attributes
        return Meaning(relevant=True, link=Link(LinkKind.TEMPORARY_DIRECTORY, name, path)) if real else NOISE
    if "/" not in place and name in layout.LINK_FORMS:
        return Meaning(relevant=True, link=Link(kind_of_file(name), place, path, layer_id=place))
    of_layer = "/" not in place and name in _LAYER_DIRECTORIES and not attributes
    return LOOK_AGAIN if of_layer else NOISE


def _is_layer(entry: Entry) -> bool:
    aside = (names.SHORT_LINKS, layout.STAGING, layout.TEMPDIRS)
    return entry.kind == "directory" and entry.name not in aside and not layout.is_engine_check(entry.name)
