"""The directories: ``overlay2`` with its layers and short links, and what loads, pulls and builds left in ``tmp``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from collector.links import Link, LinkKind
from collector.safe import Directory, Entry, kind_of
from collector.stores.docker import layout
from collector.stores.overlay import names
from collector.stores.overlay.layers import look_again_at_dangling, read_layer, read_short_links
from collector.stores.overlay.parts import Part, Place, Wanted, impostor, problem, read_owned_directory
from collector.stores.protocol import Progress

DOWNLOAD: Final = "GetImageBlob"
_EVERY: Final = 256


def read_overlay(root: Directory, recorded: Collection[str], wanted: Wanted, progress: Progress) -> dict[str, Part]:
    """Read ``overlay2/``; ``recorded`` are the directories that records name, which may be called what no layer is."""
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
                parts |= read_short_links(layout.LAYOUT, overlay, wanted)
            elif wanted.has(path) and (part := _read_entry(overlay, entry, path, recorded)) is not None:
                parts[path] = part
        look_again_at_dangling(layout.LAYOUT, overlay, parts, wanted, lambda entry, path: _read_entry(overlay, entry, path, ()))
        return parts


def _read_entry(overlay: Directory, entry: Entry, path: str, recorded: Collection[str]) -> Part | None:
    name = entry.name
    if entry.kind == "directory":
        if layout.is_engine_check(name):
            return _temporary(overlay, name, path)
        where = Place(LinkKind.LAYER_DIRECTORY, path, name)
        return read_owned_directory(overlay, name, where, lambda opened: read_layer(layout.LAYOUT, opened, name, path))
    if name in recorded or layout.is_directory_id(name):
        return impostor(overlay, name, Place(LinkKind.LAYER_DIRECTORY, path, name))
    return None


def read_temporaries(root: Directory) -> dict[str, Part]:
    """Read what lies in ``tmp``: unpacked archives, build contexts, downloads."""
    try:
        opened = root.directory(layout.TEMPORARIES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {layout.TEMPORARIES: problem(layout.TEMPORARIES, error)}
    with opened:
        try:
            entries = opened.entries().entries
        except OSError as error:
            return {layout.TEMPORARIES: problem(layout.TEMPORARIES, error)}
        wanted = [entry for entry in entries if entry.kind == "directory" or (entry.kind == "file" and entry.name.startswith(DOWNLOAD))]
        found = {path: _temporary(opened, entry.name, path) for entry in wanted if (path := f"{layout.TEMPORARIES}/{entry.name}")}
    return {path: part for path, part in found.items() if part is not None}


def _temporary(parent: Directory, name: str, path: str) -> Part | None:
    try:
        facts = parent.stat(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return problem(path, error)
    detail: dict[str, Any] = {} if kind_of(facts.st_mode) == "directory" else {"type": kind_of(facts.st_mode)}
    link = Link(LinkKind.TEMPORARY_DIRECTORY, name, path, inode=facts.st_ino, detail=detail, facts={"mtime_ns": facts.st_mtime_ns})
    return Part((link,))


def read_owners(root: Directory) -> dict[str, Part]:
    """Read who has a directory of its own: containers, and images with metadata beside their content."""
    return {**_owners(root, layout.CONTAINERS, ""), **_owners(root, layout.IMAGE_METADATA, "sha256:")}


def _owners(root: Directory, place: str, prefix: str) -> dict[str, Part]:
    try:
        with root.directory(*place.split("/")) as opened:
            listing = opened.entries()
            entries = [entry for entry in listing.entries if entry.kind == "directory"]
            found = {f"{place}/{entry.name}": _owner(opened, entry.name, f"{place}/{entry.name}", prefix) for entry in entries}
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {place: problem(place, error)}
    return {path: part for path, part in found.items() if part is not None}


def _owner(parent: Directory, name: str, path: str, prefix: str) -> Part | None:
    try:
        facts = parent.stat(name)
    except FileNotFoundError:
        return None
    link = Link(LinkKind.OWNER_DIRECTORY, f"{prefix}{name}", path, inode=facts.st_ino, facts={"mtime_ns": facts.st_mtime_ns})
    return Part((link,))
