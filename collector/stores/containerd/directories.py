"""What stands on disk beside the databases: the directories of snapshots, blobs, and downloads.

Only names and status are read, and three small files of each download; nothing is opened inside a snapshot, where containers write. A
directory that cannot be listed is a ``Problem``, an absent one is empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from stat import S_ISDIR
from typing import Any, Final, NamedTuple

from collector.links import Attribution, Link, LinkKind, LinkState, Problem
from collector.safe import Directory, Entry, kind_of, words
from collector.stores.containerd.layout import BLOBS, CONTENT, GONE, INGEST, Layout, home_of, is_temporary, layout_of, qualified
from linktrail.text import decode

_NOTE_LIMIT: Final = 4096  # bytes of a file that holds a reference, a size or a time
_IMAGE_FILES: Final = frozenset({"blockfile", "devmapper"})  # snapshotters whose snapshots may be files


class Standing(NamedTuple):
    """One name in a place for snapshots: ``name`` and ``path`` as they stand in links, ``detail`` and ``facts`` likewise."""

    name: str
    path: str
    inode: int
    detail: Mapping[str, Any]
    facts: Mapping[str, Any]
    temporary: bool
    sound: bool


@dataclass(slots=True)
class Disk:
    """What stands in a containerd root. ``places`` are the directories for snapshots that are there, by snapshotter."""

    standing: list[Standing] = field(default_factory=list)
    blobs: list[Link] = field(default_factory=list)
    ingests: list[Link] = field(default_factory=list)
    places: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_disk(root: Directory, snapshotters: Sequence[str]) -> Disk:
    """Read what stands below an open ``root``."""
    disk = Disk()
    for snapshotter in snapshotters:
        layout = layout_of(snapshotter)
        for name in layout.places:
            path = f"{home_of(snapshotter)}/{name}"
            with _entered(root, path, disk) as place:
                if place is not None:
                    disk.places.setdefault(snapshotter, []).append(path)
                    disk.standing += _snapshots(place, snapshotter, path, layout, disk)
    for algorithm in _algorithms(root, disk):
        path = f"{CONTENT}/{BLOBS}/{algorithm}"
        with _entered(root, path, disk) as place:
            if place is not None:
                disk.blobs += _blobs(place, algorithm, path, disk)
    path = f"{CONTENT}/{INGEST}"
    with _entered(root, path, disk) as place:
        if place is not None:
            disk.ingests += _ingests(place, path, disk)
    return disk


def standing_link(standing: Standing, key: str | None, owner: Attribution) -> Link:
    """Return the link of what stands in a place for snapshots; ``key`` is the snapshot recorded with its number, if any."""
    kind, target = LinkKind.LAYER_DIRECTORY, None
    if standing.temporary:
        name = standing.path.rpartition("/")[2]
        kind, target = LinkKind.TEMPORARY_DIRECTORY, name.removeprefix(GONE) if name.startswith(GONE) else None
    return Link(
        kind,
        standing.name,
        standing.path,
        target,
        LinkState.PRESENT if standing.sound else LinkState.MALFORMED,
        key,
        inode=standing.inode,
        detail=standing.detail,
        facts=standing.facts,
        owner=owner,
    )


@contextmanager
def _entered(root: Directory, path: str, disk: Disk) -> Iterator[Directory | None]:
    """Enter a directory: ``None`` where it is absent, or cannot be entered. What cannot be read in it is noted for all of it."""
    try:
        opened = root.directory(*path.split("/"))
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        disk.problems.append(Problem(path, words(error)))
        yield None
        return
    with opened:
        try:
            yield opened
        except OSError as error:
            disk.problems.append(Problem(path, words(error)))


def _entries(place: Directory, path: str, disk: Disk) -> list[Entry]:
    listing = place.entries()
    if not listing.complete:
        disk.problems.append(Problem(path, f"more than {len(listing.entries)} names"))
    return listing.entries


def _snapshots(place: Directory, snapshotter: str, path: str, layout: Layout, disk: Disk) -> list[Standing]:
    found: list[Standing] = []
    for entry in _entries(place, path, disk):
        here = f"{path}/{entry.name}"
        try:
            found.append(_standing(place, entry.name, snapshotter, here, layout))
        except FileNotFoundError:  # removed since it was listed
            continue
        except OSError as error:
            disk.problems.append(Problem(here, words(error)))
    return found


def _standing(place: Directory, name: str, snapshotter: str, path: str, layout: Layout) -> Standing:
    status = place.stat(name)
    facts: dict[str, Any] = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns, "device": status.st_dev}
    detail: dict[str, Any] = {}
    is_directory = S_ISDIR(status.st_mode)
    if not is_directory:
        detail["type"] = kind_of(status.st_mode)
        if detail["type"] == "symlink":
            detail["to"] = place.readlink(name)
    elif layout.content:
        content = _inside(place, name, layout.content)
        detail["diff"], detail["work"] = content is not None, _inside(place, name, "work") is not None
        if content is not None:
            facts["diff_mtime_ns"] = content.st_mtime_ns
    elif layout.content == "":
        detail["diff"] = True
        facts["diff_mtime_ns"] = status.st_mtime_ns
    sound = is_directory or (detail["type"] == "file" and snapshotter in _IMAGE_FILES)
    return Standing(qualified(snapshotter, name), path, status.st_ino, detail, facts, is_temporary(name), sound)


def _inside(place: Directory, name: str, inner: str) -> os.stat_result | None:
    """Return the status of a directory ``name/inner``, if it is one.

    Two steps in one call: only the engine can write in the place where ``name`` stands, and the last step follows no link.
    """
    try:
        status = os.stat(f"{name}/{inner}", dir_fd=place.fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if S_ISDIR(status.st_mode) else None


def _algorithms(root: Directory, disk: Disk) -> list[str]:
    path = f"{CONTENT}/{BLOBS}"
    found: list[str] = []
    with _entered(root, path, disk) as place:
        if place is not None:
            found = sorted(entry.name for entry in _entries(place, path, disk) if entry.kind == "directory")
    return found


def _blobs(place: Directory, algorithm: str, path: str, disk: Disk) -> list[Link]:
    found: list[Link] = []
    for entry in _entries(place, path, disk):
        try:
            status = place.stat(entry.name)
        except FileNotFoundError:
            continue
        state = LinkState.MALFORMED if entry.kind != "file" else LinkState.PRESENT if status.st_size else LinkState.EMPTY
        detail = {"size": status.st_size} if entry.kind == "file" else {"type": kind_of(status.st_mode)}
        facts = {"mtime_ns": status.st_mtime_ns, "allocated_bytes": status.st_blocks * 512}
        name = f"{algorithm}:{entry.name}"
        found.append(Link(LinkKind.CONTENT, name, f"{path}/{entry.name}", None, state, inode=status.st_ino, detail=detail, facts=facts))
    return found


def _ingests(place: Directory, path: str, disk: Disk) -> list[Link]:
    found: list[Link] = []
    for entry in _entries(place, path, disk):
        here = f"{path}/{entry.name}"
        if entry.kind != "directory":
            continue
        try:
            with place.directory(entry.name) as opened:
                found.append(_ingest(opened, entry.name, here))
        except FileNotFoundError:
            continue
        except OSError as error:
            disk.problems.append(Problem(here, words(error)))
    return found


def _ingest(opened: Directory, name: str, path: str) -> Link:
    """Return the link of one download; its files are written while it goes on, and are gone one by one at its end."""
    notes = {note: opened.read(note, _NOTE_LIMIT) for note in ("ref", "total", "startedat", "updatedat")}
    texts = {note: decode(content.data).strip() for note, content in notes.items() if content.state is LinkState.PRESENT}
    facts: dict[str, Any] = {"mtime_ns": opened.facts.st_mtime_ns}
    try:
        data = opened.stat("data")
        facts |= {
            "mtime_ns": max(data.st_mtime_ns, opened.facts.st_mtime_ns),
            "size": data.st_size,
            "allocated_bytes": data.st_blocks * 512,
        }
    except FileNotFoundError:
        pass
    if "updatedat" in texts:
        facts["updated"] = texts["updatedat"]
    total = texts.get("total", "")
    detail: dict[str, Any] = {"started": texts["startedat"]} if "startedat" in texts else {}
    if total.isascii() and total.isdigit():
        detail["total"] = int(total) if len(total) < 19 else total  # noqa: PLR2004 - digits that surely fit 64 bits
    return Link(LinkKind.INGEST, name, path, texts.get("ref"), inode=opened.facts.st_ino, detail=detail, facts=facts)
