"""Layer directories with their link files, and the short links that lead to them.

Per layer one open, one scan and the few small files in it, all relative to open descriptors. ``diff`` and ``merged`` belong to containers
(``merged`` may be a dead FUSE mount) and are never entered, ``merged`` not even asked. ``Layout`` says where the two engines differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from collector.links import Link, LinkKind, LinkState, Problem
from collector.safe import Content, Directory, Entry, kind_of, open_root
from collector.stores.overlay import names
from collector.stores.overlay.parts import Part, Wanted, problem, read_entries
from collector.stores.protocol import Progress
from linktrail.errors import StoreError

_EVERY: Final = 256


@dataclass(frozen=True, slots=True)
class Layout:
    """One engine's overlay directory.

    ``home`` is its path relative to the root; ``forms`` are the files of a layer that hold links, each with the test of its
    content; ``items`` the other names in a layer that are part of it.
    """

    home: str
    forms: Mapping[str, Callable[[str], bool]]
    items: tuple[str, ...]


def kind_of_file(file: str) -> LinkKind:
    """Return which link a file of a layer's directory holds."""
    return LinkKind.LINK_FILE if file == names.LINK else LinkKind.LOWER_REFERENCE


def read_layer(layout: Layout, layer: Directory, name: str, path: str) -> Part | None:
    """Read the open directory of one layer; ``None`` when it was removed since it was opened. Raises ``OSError``."""
    listing = layer.entries(names.LAYER_ENTRIES)
    kinds = {entry.name: entry.kind for entry in listing.entries}
    if not kinds and os.fstat(layer.fd).st_nlink == 0:
        return None
    detail: dict[str, Any] = {item: item in kinds and kinds[item] == layout_kind(item) for item in layout.items}
    facts: dict[str, Any] = {
        "mtime_ns": layer.facts.st_mtime_ns,
        "ctime_ns": layer.facts.st_ctime_ns,
        "merged": "merged" in kinds,
        "device": layer.facts.st_dev,
    }
    if "diff" in kinds:
        _add_diff(layer, kinds["diff"], detail, facts)
    links = [Link(LinkKind.LAYER_DIRECTORY, name, path, layer_id=name, inode=layer.facts.st_ino, detail=detail, facts=facts)]
    problems = list(() if listing.complete else problem(path, f"more than {names.LAYER_ENTRIES} entries").problems)
    for file, formed in layout.forms.items():
        if file in kinds or not listing.complete:
            part = _read_link_file(layer, name, file, f"{path}/{file}", formed)
            links += part.links
            problems += part.problems
    return Part(tuple(links), tuple(problems))


def layout_kind(item: str) -> str:
    """Return what ``item`` of a layer's directory is: Docker's ``committed`` is an empty file, all others are directories."""
    return "file" if item == "committed" else "directory"


def _add_diff(layer: Directory, kind: str, detail: dict[str, Any], facts: dict[str, Any]) -> None:
    if kind != "directory":
        detail["diff_type"] = kind
    try:
        facts["diff_mtime_ns"] = layer.stat("diff").st_mtime_ns
    except FileNotFoundError:  # removed since it was listed; the next look says so
        detail["diff"] = False


def _read_link_file(layer: Directory, name: str, file: str, path: str, formed: Callable[[str], bool]) -> Part:
    limit = names.LINK_BYTES if file == names.LINK else names.LOWER_BYTES
    content = layer.read(file, limit)
    if content.state is LinkState.MISSING:
        return Part()
    text = os.fsdecode(content.data)
    state = content.state
    if state is LinkState.PRESENT and not formed(text):
        state = LinkState.MALFORMED
    detail: dict[str, Any] = {"error": content.error} if content.error else {}
    if len(text) > names.TARGET_CHARACTERS or (content.facts and content.facts.st_size > limit):
        detail["size"] = content.facts.st_size if content.facts else len(content.data)
    link = Link(
        kind_of_file(file),
        name,
        path,
        target=text[: names.TARGET_CHARACTERS] if text else None,
        state=state,
        layer_id=name,
        inode=content.facts.st_ino if content.facts else None,
        nlink=content.facts.st_nlink if content.facts else None,
        detail=detail,
    )
    return Part((link,), _problems(path, content))


def _problems(path: str, content: Content) -> tuple[Problem, ...]:
    return problem(path, content.error).problems if content.error else ()


def _read_short_links(layout: Layout, overlay: Directory, wanted: Wanted) -> dict[str, Part]:
    """Read ``l/`` of an open overlay directory: every entry, or those of what is wanted."""

    def one(opened: Directory, entry: Entry, path: str) -> Part | None:
        known = path in wanted.earlier
        if known and not wanted.has(path):
            return None
        part = _read_short_link(opened, entry, path)
        return part if part is not None and (known or _of_wanted_layer(layout, part, wanted)) else None

    return read_entries(overlay, names.SHORT_LINKS, f"{layout.home}/{names.SHORT_LINKS}", one)


def _of_wanted_layer(layout: Layout, part: Part, wanted: Wanted) -> bool:
    """Tell whether a new short link belongs to what is being read: all, or a layer that changed."""
    return wanted.paths is None or any(wanted.has(f"{layout.home}/{link.layer_id}") for link in part.links)


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
    layer = names.layer_of_short_link(target)
    formed = layer is not None and names.is_short_name(entry.name)
    state = LinkState.PRESENT if formed else LinkState.MALFORMED
    return Part((Link(LinkKind.SHORT_LINK, entry.name, path, target, state, layer, entry.inode),))


def read_name(root: Path, link: Link) -> Link | None:
    """Return what stands at the path of the short link ``link`` now, as a survey would; ``None`` if nothing does. Never raises."""
    *place, name = link.path.split("/")
    try:
        with open_root(root) as opened, opened.directory(*place) as links:
            facts = links.stat(name)
            part = _read_short_link(links, Entry(name, kind_of(facts.st_mode), facts.st_ino), link.path)
    except (OSError, StoreError):
        return None
    return part.links[0] if part is not None and part.links else None


ReadPlace = Callable[[Directory, Entry, str], Mapping[str, Part]]
"""Reads what one entry of the open overlay directory is, given its path; nothing: it is no part of the store, or gone."""


def read_home(layout: Layout, root: Directory, wanted: Wanted, progress: Progress, read: ReadPlace) -> dict[str, Part]:
    """Read the overlay directory: short links, and by ``read`` every other entry that is wanted."""
    try:
        overlay = root.directory(layout.home)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {layout.home: problem(layout.home, error)}
    with overlay:
        try:
            listing = overlay.entries()
        except OSError as error:
            return {layout.home: problem(layout.home, error)}
        parts: dict[str, Part] = {}
        if not listing.complete:
            parts[layout.home] = problem(layout.home, f"more than {len(listing.entries)} entries")
        for done, entry in enumerate(listing.entries):
            if done % _EVERY == 0:
                progress("layers", done, len(listing.entries))
            path = f"{layout.home}/{entry.name}"
            if entry.name == names.SHORT_LINKS:
                parts |= _read_short_links(layout, overlay, wanted)
            elif wanted.has(path):
                parts |= read(overlay, entry, path)
        _look_again_at_dangling(layout, overlay, parts, wanted, read)
        return parts


def _look_again_at_dangling(layout: Layout, overlay: Directory, parts: dict[str, Part], wanted: Wanted, read: ReadPlace) -> None:
    """Make sure of each short link to a layer that was not listed: the layer may have come since, the link may have gone.

    A link that is there before and after its layer was looked for in vain does dangle.
    """
    links = [link for part in parts.values() for link in part.links if link.kind is LinkKind.SHORT_LINK and link.layer_id]
    for link in links:
        layer = link.layer_id or ""
        path = f"{layout.home}/{layer}"
        if path in parts or (path in wanted.earlier and not wanted.has(path)):
            continue
        part = read(overlay, Entry(layer, "directory", 0), path).get(path)
        if part is not None:
            parts[path] = part
        elif not _short_link_stands(overlay, link.subject):
            del parts[link.path]


def _short_link_stands(overlay: Directory, name: str) -> bool:
    try:
        with overlay.directory(names.SHORT_LINKS) as links:
            links.readlink(name)
    except OSError:
        return False
    return True
