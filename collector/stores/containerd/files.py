"""The databases of one root: which there are, and what came of reading each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from collector.links import Link, LinkKind, LinkState, Problem
from collector.safe import Directory, words
from collector.stores.bolt import BoltFile, Image, signature_of
from collector.stores.containerd.layout import (
    META,
    database_of,
    snapshotter_of,
)
from linktrail.clock import Clock
from linktrail.errors import MalformedError, StoreUnreadableError, TooLargeError

_ABSENT: Final = "no such file"


class File(NamedTuple):
    """One database. ``image`` is ``None`` when it is absent or could not be read; ``problem`` says what hides it."""

    image: Image | None
    state: LinkState
    error: str = ""

    def link(self, path: str) -> Link:
        """Return the link of the file as such."""
        facts: dict[str, Any] = {}
        if self.image is not None:
            facts = {"size": self.image.facts.st_size, "mtime_ns": self.image.facts.st_mtime_ns, "transaction": self.image.txid}
            facts["version"] = signature_of(self.image.facts, self.image.txid)
        detail = {"error": self.error} if self.error else {}
        return Link(LinkKind.METADATA_FILE, path, path, state=self.state, detail=detail, facts=facts)

    def problem(self, path: str) -> Problem | None:
        """Return what could not be read; an absent file hides nothing."""
        return Problem(path, self.error) if self.state in (LinkState.MALFORMED, LinkState.UNREADABLE) else None


@dataclass(frozen=True, slots=True)
class Files:
    """All databases: ``meta``, and ``stores`` by snapshotter."""

    meta: File
    stores: Mapping[str, File]

    @property
    def snapshotters(self) -> tuple[str, ...]:
        """The snapshotters that have a directory, sorted."""
        return tuple(self.stores)

    def same(self, other: Files) -> bool:
        """Tell whether every file is in the same transaction as in ``other``."""
        mine = {META: self.meta, **self.stores}
        others = {META: other.meta, **other.stores}
        return mine.keys() == others.keys() and all(mine[name].image is others[name].image for name in mine)


NO_FILES: Final = Files(File(None, LinkState.MISSING, _ABSENT), {})


def snapshotters_in(root: Directory) -> list[str]:
    """Return the snapshotters that have a directory in an open root, sorted. Raises ``OSError``."""
    return sorted(name for entry in root.entries().entries if (name := snapshotter_of(entry.name)) is not None)


def read_files(root: Directory, named: Path, clock: Clock, earlier: Files = NO_FILES) -> Files:
    """Read the databases of an open ``root`` (``named`` so), each from its image in ``earlier``. Raises ``StoreUnstableError``."""
    meta = _read(root, META, named, clock, earlier.meta)
    stores: dict[str, File] = {}
    for snapshotter in snapshotters_in(root):
        known = earlier.stores.get(snapshotter, NO_FILES.meta)
        stores[snapshotter] = _read(root, database_of(snapshotter), named, clock, known)
    return Files(meta, stores)


def _read(root: Directory, path: str, named: Path, clock: Clock, earlier: File) -> File:
    *home, name = path.split("/")
    try:
        with root.directory(*home) as directory:
            image = BoltFile(directory, name, root=named, path=path, clock=clock).read(earlier.image)
            return File(image, LinkState.PRESENT)
    except FileNotFoundError:
        return NO_FILES.meta
    except (MalformedError, TooLargeError) as error:
        return File(None, LinkState.MALFORMED, str(error.fields.get("what") or error.message))
    except StoreUnreadableError as error:
        return File(None, LinkState.UNREADABLE, str(error.fields.get("what")))
    except OSError as error:  # its directory
        return File(None, LinkState.UNREADABLE, f"{'/'.join(home)}: {words(error)}")
