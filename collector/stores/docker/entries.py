"""Reading one entry of a directory of records: a layer, a writable layer, an image, a container.

Each reader takes the open directory, the entry, its path and what was kept of it before, and returns what to keep now: ``None`` when it is
no record, or gone. Raises ``OSError`` for an entry that is there and cannot be entered.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from collector.links import LinkState
from collector.safe import Directory, Entry
from collector.stores.docker import layout
from collector.stores.docker.records import (
    ImageRecord,
    LayerRecord,
    MountRecord,
    Reader,
    Stage,
    container_record,
    image_record,
    is_size,
    unreadable_container,
)

UNSIGNED: Final = (0, 0, 0, 0)


class Kept(NamedTuple):
    """A record, and the signature (inode, size, mtime, ctime) of what it was read from; all zero: read it again."""

    signature: tuple[int, int, int, int]
    record: Any


ReadEntry = Callable[[Directory, Entry, str, Kept | None], Kept | None]


def _signature(facts: os.stat_result) -> tuple[int, int, int, int]:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def read_layer(parent: Directory, entry: Entry, path: str, before: Kept | None) -> Kept | None:
    """Read an entry of layerdb/sha256."""
    removed = layout.removed_chain(entry.name)
    if removed is not None:
        return _layer_entry(parent, entry.name, path, before, stage=Stage.REMOVING, chain=removed)
    if not layout.is_hex(entry.name):
        return None
    return _layer_entry(parent, entry.name, path, before, stage=Stage.WHOLE, chain=f"sha256:{entry.name}")


def read_write_set(parent: Directory, entry: Entry, path: str, before: Kept | None) -> Kept | None:
    """Read an entry of layerdb/tmp: a layer whose content is still being written, or was when dockerd died."""
    if entry.kind != "directory":
        return None
    return _layer_entry(parent, entry.name, path, before, stage=Stage.WRITING, chain=None)


def _layer_entry(parent: Directory, name: str, path: str, before: Kept | None, *, stage: Stage, chain: str | None) -> Kept | None:
    with parent.directory(name) as opened:
        signature = _signature(opened.facts)
        if before is not None and before.signature == signature:
            return before
        files = tuple(sorted(item.name for item in opened.entries(layout.RECORD_ENTRIES).entries))
        reader = Reader(opened.read)
        partial = stage is not Stage.WHOLE
        cache_id = reader.value(layout.CACHE_ID, layout.is_directory_id, optional=partial) if files else None
        size = reader.value(layout.SIZE, is_size, optional=True) if files else None
        record = LayerRecord(
            id=chain if stage is Stage.WHOLE and chain else name,
            path=path,
            stage=stage,
            chain=chain,
            cache_id=cache_id,
            parent=reader.value(layout.PARENT, layout.is_digest, optional=True) if files else None,
            diff=reader.value(layout.DIFF, layout.is_digest, optional=partial) if files else None,
            size=int(size) if size is not None else None,
            files=files,
            mtime_ns=max(opened.facts.st_mtime_ns, _newest(opened, files) if stage is Stage.WRITING else 0),
            faults={} if partial else reader.faults,
        )
        return Kept(UNSIGNED if record.faults or partial else signature, record)


def _newest(opened: Directory, files: tuple[str, ...]) -> int:
    newest = 0
    for name in files:
        try:
            newest = max(newest, opened.stat(name).st_mtime_ns)
        except FileNotFoundError:
            continue
    return newest


def read_mount(parent: Directory, entry: Entry, path: str, before: Kept | None) -> Kept | None:
    """Read an entry of layerdb/mounts."""
    if entry.kind == "file":
        return None
    with parent.directory(entry.name) as opened:
        signature = _signature(opened.facts)
        if before is not None and before.signature == signature:
            return before
        files = tuple(sorted(item.name for item in opened.entries(layout.RECORD_ENTRIES).entries))
        reader = Reader(opened.read)
        record = MountRecord(
            container=entry.name,
            path=path,
            mount_id=reader.value(layout.MOUNT_ID, layout.is_directory_id) if files else None,
            init_id=reader.value(layout.INIT_ID, layout.is_directory_id, optional=True) if files else None,
            parent=reader.value(layout.PARENT, layout.is_digest, optional=True) if files else None,
            mtime_ns=opened.facts.st_mtime_ns,
            files=files,
            faults=reader.faults,
        )
        return Kept(UNSIGNED if record.faults or not files else signature, record)


def image_reader(root: Directory) -> ReadEntry:
    """Return what reads an entry of imagedb/content; the image it was built on stands elsewhere below ``root``."""
    return lambda parent, entry, path, before: _read_image(root, parent, entry.name, (path, before))


def _read_image(root: Directory, parent: Directory, name: str, known: tuple[str, Kept | None]) -> Kept | None:
    path, before = known
    if not layout.is_hex(name):
        return None
    signature = _signature(parent.stat(name))
    if before is not None and before.signature == signature:
        return before
    content = parent.read(name, layout.IMAGE_BYTES)
    image = f"sha256:{name}"
    if content.state is LinkState.MISSING:
        return None
    if content.state in (LinkState.PRESENT, LinkState.EMPTY):
        return Kept(signature, image_record(image, path, content.data, _built_on(root, name)))
    return Kept(UNSIGNED, ImageRecord(image, path, (), "", None, content.error))


def _built_on(root: Directory, image: str) -> str | None:
    """Return the image that a step of a build started from, which ``docker images -a`` hides, as imagedb/metadata says."""
    try:
        with root.directory(*layout.IMAGE_METADATA.split("/"), image) as metadata:
            text = os.fsdecode(metadata.read(layout.PARENT, layout.SMALL_BYTES).data).strip()
    except OSError:
        return None
    return text if layout.is_digest(text) else None


def read_container(parent: Directory, entry: Entry, path: str, before: Kept | None) -> Kept | None:
    """Read the configuration of a container; one whose directory has none yet, or no longer, is no container."""
    if entry.kind != "directory":
        return None
    with parent.directory(entry.name) as opened:
        try:
            signature = _signature(opened.stat(layout.CONFIG))
        except FileNotFoundError:
            return None
        if before is not None and before.signature == signature:
            return before
        content = opened.read(layout.CONFIG, layout.CONFIG_BYTES)
    file = f"{path}/{layout.CONFIG}"
    if content.state is LinkState.MISSING:
        return None
    if content.state is not LinkState.PRESENT:
        fault = content.error or "empty file"
        state = content.state if content.state is LinkState.UNREADABLE else LinkState.MALFORMED
        return Kept(UNSIGNED, unreadable_container(entry.name, file, state, fault))
    record = container_record(entry.name, file, content.data)
    return Kept(UNSIGNED if record.fault else signature, record)
