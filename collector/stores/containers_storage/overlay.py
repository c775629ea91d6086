"""The overlay directory: layer directories with their link files, short links, and what deletions and downloads left.

One scan of ``overlay/``; what a layer's directory and ``l/`` hold is read by ``collector.stores.overlay``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from collector.links import Link, LinkKind
from collector.safe import Directory, Entry
from collector.stores.containers_storage import layout
from collector.stores.overlay import names
from collector.stores.overlay.layers import Layout, look_again_at_dangling, read_layer, read_short_links
from collector.stores.overlay.parts import Part, Place, Wanted, impostor, problem, read_owned_directory
from collector.stores.overlay.standing import Layers
from collector.stores.protocol import Progress

LAYOUT: Final = Layout(layout.OVERLAY, layout.LINK_FORMS, ("diff", "work", "empty"))
_EVERY: Final = 256


def read_overlay(root: Directory, recorded: Collection[str], wanted: Wanted, progress: Progress, layers: Layers) -> dict[str, Part]:
    """Read ``overlay/``; ``recorded`` are the layer ids of the metadata, which also names that look like no layer can have.

    ``layers`` is what is kept of earlier readings.
    """
    try:
        overlay = root.directory(layout.OVERLAY)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {layout.OVERLAY: problem(layout.OVERLAY, error)}
    with overlay:
        try:
            listing = overlay.entries()
        except OSError as error:
            return {layout.OVERLAY: problem(layout.OVERLAY, error)}
        parts: dict[str, Part] = {}
        if not listing.complete:
            parts[layout.OVERLAY] = problem(layout.OVERLAY, f"more than {len(listing.entries)} entries")
        for done, entry in enumerate(listing.entries):
            if done % _EVERY == 0:
                progress("layers", done, len(listing.entries))
            path = f"{layout.OVERLAY}/{entry.name}"
            if entry.name == names.SHORT_LINKS:
                parts |= read_short_links(LAYOUT, overlay, wanted)
            elif not wanted.has(path):
                continue
            elif entry.name in (layout.STAGING, layout.TEMPDIRS):
                parts |= read_temporaries(overlay, entry.name, path)
            elif (part := _read_entry(overlay, entry, path, recorded, layers)) is not None:
                parts[path] = part
        look_again_at_dangling(LAYOUT, overlay, parts, wanted, lambda entry, path: _read_entry(overlay, entry, path, (), layers))
        return parts


def read_temporaries(parent: Directory, name: str, path: str) -> dict[str, Part]:
    """Read a directory of temporary directories (staging, tempdirs); lock files beside them are no news."""
    try:
        opened = parent.directory(name)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {path: problem(path, error)}
    with opened:
        try:
            entries = [entry for entry in opened.entries().entries if entry.kind == "directory"]
        except OSError as error:
            return {path: problem(path, error)}
        found = {f"{path}/{entry.name}": _read_temporary(opened, entry.name, f"{path}/{entry.name}") for entry in entries}
    return {where: part for where, part in found.items() if part is not None}


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
