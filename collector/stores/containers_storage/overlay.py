"""The overlay directory: layer directories with their link files, short links, and what deletions and downloads left.

One scan of ``overlay/``; what a layer's directory and ``l/`` hold is read by ``collector.stores.overlay``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from collector.links import Link, LinkKind
from collector.safe import Directory, Entry
from collector.stores.containers_storage import layout
from collector.stores.overlay import names
from collector.stores.overlay.layers import Layout, read_home, read_layer
from collector.stores.overlay.parts import Part, Place, Wanted, impostor, read_entries, read_owned_directory
from collector.stores.overlay.standing import Layers
from collector.stores.protocol import Progress

LAYOUT: Final = Layout(layout.OVERLAY, layout.LINK_FORMS, ("diff", "work", "empty"))


def read_overlay(root: Directory, recorded: Collection[str], wanted: Wanted, progress: Progress, layers: Layers) -> dict[str, Part]:
    """Read ``overlay/``; ``recorded`` are the layer ids of the metadata, which also names that look like no layer can have.

    ``layers`` is what is kept of earlier readings.
    """

    def read(overlay: Directory, entry: Entry, path: str) -> Mapping[str, Part]:
        if entry.name in (layout.STAGING, layout.TEMPDIRS):
            return read_temporaries(overlay, entry.name, path)
        part = _read_entry(overlay, entry, path, recorded, layers)
        return {} if part is None else {path: part}

    return read_home(LAYOUT, root, wanted, progress, read)


def read_temporaries(parent: Directory, name: str, path: str) -> dict[str, Part]:
    """Read a directory of temporary directories (staging, tempdirs); lock files beside them are no news."""

    def read(opened: Directory, entry: Entry, where: str) -> Part | None:
        return _read_temporary(opened, entry.name, where) if entry.kind == "directory" else None

    return read_entries(parent, name, path, read)


def _read_entry(overlay: Directory, entry: Entry, path: str, recorded: Collection[str], layers: Layers) -> Part | None:
    name = entry.name
    if entry.kind == "directory":
        if layout.is_engine_check(name):
            return _read_temporary(overlay, name, path)
        where = Place(LinkKind.LAYER_DIRECTORY, path, name)
        return read_owned_directory(overlay, name, where, lambda opened: _read_layer(opened, name, path, layers))
    if name in recorded or names.is_layer_id(name):
        return impostor(overlay, name, Place(LinkKind.LAYER_DIRECTORY, path, name))
    return None


def _read_layer(opened: Directory, name: str, path: str, layers: Layers) -> Part | None:
    """Return what a layer says: what it said before, when nothing in it has changed since. Raises ``OSError``."""
    part = layers.standing(path, opened)
    if part is not None:
        return part
    before = layers.watch(opened, LAYOUT.forms)
    part = read_layer(LAYOUT, opened, name, path)
    if part is not None:
        layers.keep(path, before, part)
    return part


def _read_temporary(parent: Directory, name: str, path: str) -> Part | None:
    where = Place(LinkKind.TEMPORARY_DIRECTORY, path)
    return read_owned_directory(parent, name, where, lambda opened: _held(opened, name, path))


def _held(temporary: Directory, name: str, path: str) -> Part:
    """Read which layers a deferred deletion moved in here: as ``<number>-<layer>``."""
    items = [entry.name for entry in temporary.entries(names.LAYER_ENTRIES).entries]
    held = sorted((layout.moved_layer(item) for item in items if layout.moved_layer(item)), key=str)
    layer = held[0] if held else None
    facts = {"mtime_ns": temporary.facts.st_mtime_ns}
    detail = {"layers": held} if len(held) > 1 else {}
    link = Link(LinkKind.TEMPORARY_DIRECTORY, name, path, layer, layer_id=layer, inode=temporary.facts.st_ino, detail=detail, facts=facts)
    return Part((link,))
