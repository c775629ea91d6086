"""What the drivers' watching has in common: places relative to a root, and what a new directory means."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from collector.links import Link
from collector.safe import Directory, Entry, words
from collector.stores.protocol import Change, Meaning, Purpose, WatchItem
from linktrail.errors import StoreUnreadableError

_APPEARED: Final = ("created", "moved_in")


def relative(root: Path, directory: Path) -> str | None:
    """Return ``directory`` relative to the root, by text alone as long as that is enough: this runs once an event."""
    named = os.fspath(directory)
    below = _below(os.fspath(root), named)
    return _below(os.path.realpath(root), named) if below is None else below


def _below(base: str, path: str) -> str | None:
    if path == base:
        return ""
    return path[len(base) + 1 :] if path.startswith(f"{base}/") else None


def appeared(change: Change, purpose: Purpose, link: Link | None = None) -> Meaning:
    """Look again, and watch the directory if it is new."""
    new = change.is_directory and change.action in _APPEARED
    return Meaning(relevant=True, link=link, watch=WatchItem(change.directory / change.name, purpose) if new else None)


def is_directory(opened: Directory, place: str) -> bool:
    """Tell whether there is a directory at ``place`` (no link on the way), which may be empty for ``opened`` itself."""
    if not place:
        return True
    try:
        opened.directory(*place.split("/")).close()
    except OSError:
        return False
    return True


def newest_first(opened: Directory, root: Path, place: str, wanted: Callable[[Entry], bool]) -> list[str]:
    """Return the ``wanted`` names in ``place``, newest first. Raises ``StoreUnreadableError`` when it is closed to this user."""
    try:
        with opened.directory(*place.split("/")) as directory:
            entries = [entry for entry in directory.entries().entries if wanted(entry)]
            return sorted((entry.name for entry in entries), key=lambda name: (-_modified_ns(directory, name), name))
    except PermissionError as error:
        raise StoreUnreadableError(root=root, what=f"{place}: {words(error)}") from error
    except OSError:  # gone, or no directory: nothing to watch in it, and the survey says so
        return []


def _modified_ns(directory: Directory, name: str) -> int:
    try:
        return directory.stat(name).st_mtime_ns
    except OSError:  # removed meanwhile
        return 0
