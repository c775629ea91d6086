"""The overlay directory: layer directories with their link files, short links, and what deletions and downloads left.

One scan of ``overlay/``; per layer one open, one scan and the few small files in it, all relative to open descriptors.
``diff`` and ``merged`` belong to containers (``merged`` may be a dead FUSE mount) and are never entered, ``merged`` not even asked.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any, Final

from collector.links import Link, LinkKind, LinkState
from collector.safe import Content, Directory, Entry
from collector.stores.containers_storage import layout
from collector.stores.containers_storage.parts import Part, Place, Wanted, impostor, problem, read_owned_directory
from collector.stores.protocol import Progress

_EVERY: Final = 256


def read_overlay(root: Directory, recorded: Collection[str], wanted: Wanted, progress: Progress) -> dict[str, Part]:
    """Read ``overlay/``; ``recorded`` are the layer ids of the metadata, which also names that look like no layer can have."""
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
            if entry.name == layout.SHORT_LINKS:
                parts |= _read_short_links(overlay, wanted)
            elif not wanted.has(path):
                continue
            elif entry.name in (layout.STAGING, layout.TEMPDIRS):
                parts |= read_temporaries(overlay, entry.name, path)
            elif (part := _read_entry(overlay, entry, path, recorded)) is not None:
                parts[path] = part
        _look_again_at_dangling(overlay, parts, wanted)
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


def _read_entry(overlay: Directory, entry: Entry, path: str, recorded: Collection[str]) -> Part | None:
    name = entry.name
    if entry.kind == "directory":
        if layout.is_engine_check(name):
            return _read_temporary(overlay, name, path)
        where = Place(LinkKind.LAYER_DIRECTORY, path, name)
        return read_owned_directory(overlay, name, where, lambda opened: _read_layer(opened, name, path))
    if name in recorded or layout.is_layer_id(name):
        return impostor(overlay, name, Place(LinkKind.LAYER_DIRECTORY, path, name))
    return None


def _read_layer(layer: Directory, name: str, path: str) -> Part | None:
    listing = layer.entries(layout.LAYER_ENTRIES)
    kinds = {entry.name: entry.kind for entry in listing.entries}
    if not kinds and os.fstat(layer.fd).st_nlink == 0:
        return None  # removed since it was opened
    detail: dict[str, Any] = {item: kinds.get(item) == "directory" for item in ("diff", "work", "empty")}
    facts: dict[str, Any] = {
        "mtime_ns": layer.facts.st_mtime_ns,
        "ctime_ns": layer.facts.st_ctime_ns,
        "merged": "merged" in kinds,
        "device": layer.facts.st_dev,
    }
    if "diff" in kinds:
        _add_diff(layer, kinds["diff"], detail, facts)
    links = [Link(LinkKind.LAYER_DIRECTORY, name, path, layer_id=name, inode=layer.facts.st_ino, detail=detail, facts=facts)]
    problems = list(() if listing.complete else problem(path, f"more than {layout.LAYER_ENTRIES} entries").problems)
    for file in layout.LINK_FILES:
        if file in kinds or not listing.complete:
            part = _read_link_file(layer, name, file, f"{path}/{file}")
            links += part.links
            problems += part.problems
    return Part(tuple(links), tuple(problems))


def _add_diff(layer: Directory, kind: str, detail: dict[str, Any], facts: dict[str, Any]) -> None:
    if kind != "directory":
        detail["diff_type"] = kind
    try:
        facts["diff_mtime_ns"] = layer.stat("diff").st_mtime_ns
    except FileNotFoundError:  # removed since it was listed; the next look says so
        detail["diff"] = False


def _read_link_file(layer: Directory, name: str, file: str, path: str) -> Part:
    limit = layout.LINK_BYTES if file == "link" else layout.LOWER_BYTES
    content = layer.read(file, limit)
    if content.state is LinkState.MISSING:
        return Part()
    text = os.fsdecode(content.data)
    state = _state(file, text) if content.state is LinkState.PRESENT else content.state
    detail: dict[str, Any] = {"error": content.error} if content.error else {}
    if len(text) > layout.TARGET_CHARACTERS or (content.facts and content.facts.st_size > limit):
        detail["size"] = content.facts.st_size if content.facts else len(content.data)
    link = Link(
        layout.LINK_FILES[file],
        name,
        path,
        target=text[: layout.TARGET_CHARACTERS] if text else None,
        state=state,
        layer_id=name,
        inode=content.facts.st_ino if content.facts else None,
        nlink=content.facts.st_nlink if content.facts else None,
        detail=detail,
    )
    return Part((link,), _problems(path, content))


def _state(file: str, text: str) -> LinkState:
    formed = {"link": layout.is_short_name, "lower": layout.is_lower, "lower-layers": layout.is_lower_layers}[file]
    return LinkState.PRESENT if formed(text) else LinkState.MALFORMED


def _problems(path: str, content: Content) -> tuple[Any, ...]:
    return problem(path, content.error).problems if content.error else ()


def _read_short_links(overlay: Directory, wanted: Wanted) -> dict[str, Part]:
    place = f"{layout.OVERLAY}/{layout.SHORT_LINKS}"
    try:
        opened = overlay.directory(layout.SHORT_LINKS)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {place: problem(place, error)}
    with opened:
        try:
            listing = opened.entries()
        except OSError as error:
            return {place: problem(place, error)}
        parts: dict[str, Part] = {}
        if not listing.complete:
            parts[place] = problem(place, f"more than {len(listing.entries)} entries")
        for entry in listing.entries:
            path = f"{place}/{entry.name}"
            known = path in wanted.earlier
            if known and not wanted.has(path):
                continue
            part = _read_short_link(opened, entry, path)
            if part is not None and (known or _of_wanted_layer(part, wanted)):
                parts[path] = part
        return parts


def _of_wanted_layer(part: Part, wanted: Wanted) -> bool:
    """Tell whether a new short link belongs to what is being read: all, or a layer that changed."""
    return wanted.paths is None or any(wanted.has(f"{layout.OVERLAY}/{link.layer_id}") for link in part.links)


def _read_short_link(links: Directory, entry: Entry, path: str) -> Part | None:
    if entry.kind != "symlink":
        odd = Link(LinkKind.SHORT_LINK, entry.name, path, state=LinkState.MALFORMED, inode=entry.inode, detail={"type": entry.kind})
        return Part((odd,))
    try:
        target = links.readlink(entry.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return problem(path, error)
    layer = layout.layer_of_short_link(target)
    formed = layer is not None and layout.is_short_name(entry.name)
    state = LinkState.PRESENT if formed else LinkState.MALFORMED
    return Part((Link(LinkKind.SHORT_LINK, entry.name, path, target, state, layer, entry.inode),))


def _look_again_at_dangling(overlay: Directory, parts: dict[str, Part], wanted: Wanted) -> None:
    """Make sure of each short link to a layer that was not listed: the layer may have come since, the link may have gone.

    A link that is there before and after its layer was looked for in vain does dangle.
    """
    links = [link for part in parts.values() for link in part.links if link.kind is LinkKind.SHORT_LINK and link.layer_id]
    for link in links:
        layer = link.layer_id or ""
        path = f"{layout.OVERLAY}/{layer}"
        if path in parts or (path in wanted.earlier and not wanted.has(path)):
            continue
        part = _read_entry(overlay, Entry(layer, "directory", 0), path, ())
        if part is not None:
            parts[path] = part
        elif not _short_link_stands(overlay, link.subject):
            del parts[link.path]


def _short_link_stands(overlay: Directory, name: str) -> bool:
    try:
        with overlay.directory(layout.SHORT_LINKS) as links:
            links.readlink(name)
    except OSError:
        return False
    return True


def _read_temporary(parent: Directory, name: str, path: str) -> Part | None:
    where = Place(LinkKind.TEMPORARY_DIRECTORY, path)
    return read_owned_directory(parent, name, where, lambda opened: _held(opened, name, path))


def _held(temporary: Directory, name: str, path: str) -> Part:
    """Read which layers a deferred deletion moved in here: as ``<number>-<layer>``."""
    names = [entry.name for entry in temporary.entries(layout.LAYER_ENTRIES).entries]
    held = sorted((layout.moved_layer(item) for item in names if layout.moved_layer(item)), key=str)
    layer = held[0] if held else None
    facts = {"mtime_ns": temporary.facts.st_mtime_ns}
    detail = {"layers": held} if len(held) > 1 else {}
    link = Link(LinkKind.TEMPORARY_DIRECTORY, name, path, layer, layer_id=layer, inode=temporary.facts.st_ino, detail=detail, facts=facts)
    return Part((link,))
