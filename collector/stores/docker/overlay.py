"""The directories: ``overlay2`` with its layers and short links, and what loads, pulls and builds left in ``tmp``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from collector.links import Link, LinkKind
from collector.safe import Directory, Entry, kind_of
from collector.stores.docker import layout
from collector.stores.overlay.layers import read_home, read_layer
from collector.stores.overlay.parts import Part, Place, Wanted, impostor, problem, read_entries, read_owned_directory
from collector.stores.protocol import Progress

DOWNLOAD: Final = "GetImageBlob"


def read_overlay(root: Directory, recorded: Collection[str], wanted: Wanted, progress: Progress) -> dict[str, Part]:
    """Read ``overlay2/``; ``recorded`` are the directories that records name, which may be called what no layer is."""

    def read(overlay: Directory, entry: Entry, path: str) -> Mapping[str, Part]:
        part = _read_entry(overlay, entry, path, recorded)
        return {} if part is None else {path: part}

    return read_home(layout.LAYOUT, root, wanted, progress, read)


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

    def read(opened: Directory, entry: Entry, path: str) -> Part | None:
        wanted = entry.kind == "directory" or (entry.kind == "file" and entry.name.startswith(DOWNLOAD))
        return _temporary(opened, entry.name, path) if wanted else None

    return read_entries(root, layout.TEMPORARIES, layout.TEMPORARIES, read)


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
    def read(opened: Directory, entry: Entry, path: str) -> Part | None:
        return _owner(opened, entry.name, path, prefix) if entry.kind == "directory" else None

    return read_entries(root, place, place, read)


def _owner(parent: Directory, name: str, path: str, prefix: str) -> Part | None:
    try:
        facts = parent.stat(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return problem(path, error)
    link = Link(LinkKind.OWNER_DIRECTORY, f"{prefix}{name}", path, inode=facts.st_ino, facts={"mtime_ns": facts.st_mtime_ns})
    return Part((link,))
