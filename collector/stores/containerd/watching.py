"""What to watch of a containerd root, and what a change there means.

containerd writes its databases in place (pages, then one meta page; several writes a transaction): a watch sees MODIFY of ``meta.db``
and ``metadata.db`` and never a rename. The directory of a snapshot is made as ``new-<random>`` and renamed to its number *before* the
databases say anything of it; a commit changes no directory at all. Blobs appear by rename, downloads as directories.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from collector.links import Link, LinkKind
from collector.safe import Directory, open_root, words
from collector.stores.changes import appeared, is_directory, relative
from collector.stores.containerd.files import snapshotters_in
from collector.stores.containerd.layout import (
    BLOBS,
    CONTENT,
    DATABASE,
    INGEST,
    META,
    META_DIRECTORY,
    META_NAME,
    SNAPSHOTTER,
    database_of,
    home_of,
    is_temporary,
    layout_of,
    qualified,
    snapshotter_of,
)
from collector.stores.containerd.survey import is_store
from collector.stores.protocol import LOOK_AGAIN, NOISE, Change, Meaning, Purpose, WatchItem, WatchPlan
from linktrail.errors import NoStoreError, StoreUnreadableError

_APPEARED: Final = ("created", "moved_in")
_CONTENT: Final = (f"{CONTENT}/{INGEST}", f"{CONTENT}/{BLOBS}", f"{CONTENT}/{BLOBS}/sha256")


def plan(root: Path) -> WatchPlan:
    """Return what to watch now, in the order of worth. Raises ``NoStoreError`` or ``StoreUnreadableError``."""
    with open_root(root) as opened:
        try:
            if not is_store(opened):
                raise NoStoreError(root=root, what="neither meta.db nor a snapshotter's metadata.db in it")
            base = opened.path
            items = [WatchItem(base / place, purpose) for place, purpose in _places(opened) if is_directory(opened, place)]
            databases = (META, *map(database_of, snapshotters_in(opened)))
        except OSError as error:
            raise StoreUnreadableError(root=root, what=words(error)) from error
    return WatchPlan(base, tuple(items), tuple(base / path for path in databases))


def _places(opened: Directory) -> Iterator[tuple[str, Purpose]]:
    yield META_DIRECTORY, Purpose.METADATA
    snapshotters = snapshotters_in(opened)
    yield from ((home_of(name), Purpose.METADATA) for name in snapshotters)
    for name in snapshotters:
        yield from ((f"{home_of(name)}/{place}", Purpose.PLUMBING) for place in layout_of(name).places)
    yield "", Purpose.PLUMBING
    yield from ((place, Purpose.PLUMBING) for place in _CONTENT)


def interpret(root: Path, change: Change) -> Meaning:
    """Say what ``change`` means for the store at ``root`` (named as given, or resolved as in the plan)."""
    place = relative(root, change.directory)
    if place is None:
        return NOISE
    if not change.name:  # the watched directory itself: its end is news, its reading is not
        return NOISE if change.action in ("attributes", "modified") else LOOK_AGAIN
    if place == META_DIRECTORY:
        return LOOK_AGAIN if change.name == META_NAME else NOISE
    if place == "":
        return _in_root(change)
    first = place.partition("/")[0]
    snapshotter = snapshotter_of(first)
    if snapshotter is not None:
        return _in_snapshotter(change, place, snapshotter)
    return _in_content(change, place) if first == CONTENT else NOISE


def _in_root(change: Change) -> Meaning:
    if change.action == "attributes" or not (change.name in (META_DIRECTORY, CONTENT) or change.name.startswith(SNAPSHOTTER)):
        return NOISE
    return appeared(change, Purpose.PLUMBING if change.name == CONTENT else Purpose.METADATA)


def _in_snapshotter(change: Change, place: str, snapshotter: str) -> Meaning:
    home = home_of(snapshotter)
    layout = layout_of(snapshotter)
    if place == home:
        if change.name == DATABASE:
            return LOOK_AGAIN
        known = change.is_directory and change.name in layout.places and change.action != "attributes"
        return appeared(change, Purpose.PLUMBING) if known else NOISE
    if place == home.rpartition("/")[0]:  # stargz: the directory that the database lies in
        return appeared(change, Purpose.METADATA) if change.is_directory and change.name == layout.below else NOISE
    if place not in {f"{home}/{name}" for name in layout.places} or change.action == "attributes":
        return NOISE
    kind = LinkKind.TEMPORARY_DIRECTORY if is_temporary(change.name) else LinkKind.LAYER_DIRECTORY
    return Meaning(relevant=True, link=Link(kind, qualified(snapshotter, change.name), f"{place}/{change.name}"))


def _in_content(change: Change, place: str) -> Meaning:
    if change.action == "attributes":
        return NOISE
    path = f"{place}/{change.name}"
    if place == CONTENT:
        return appeared(change, Purpose.PLUMBING) if change.is_directory else NOISE
    if place == f"{CONTENT}/{INGEST}":
        return Meaning(relevant=True, link=Link(LinkKind.INGEST, change.name, path)) if change.is_directory else NOISE
    if place == f"{CONTENT}/{BLOBS}":
        return appeared(change, Purpose.PLUMBING) if change.is_directory else NOISE
    if place.startswith(f"{CONTENT}/{BLOBS}/") and not change.is_directory and change.action != "modified":
        return Meaning(relevant=True, link=Link(LinkKind.CONTENT, f"{place.rpartition('/')[2]}:{change.name}", path))
    return NOISE
