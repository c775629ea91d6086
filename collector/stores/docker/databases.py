"""Opening BuildKit's databases, and saying what came of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collector.links import LinkState
from collector.safe import Directory, words
from collector.stores.bolt import BoltFile, Image
from collector.stores.docker import layout
from linktrail.clock import Clock
from linktrail.errors import MalformedError, StoreUnreadableError, TooLargeError


@dataclass(frozen=True, slots=True)
class Database:
    """One database: its committed transaction, or why there is none."""

    image: Image | None
    state: LinkState
    error: str = ""


@dataclass(frozen=True, slots=True)
class Databases:
    """All of them by name; absent ones are left out. ``error`` says why none could be looked for."""

    files: Mapping[str, Database] = field(default_factory=dict)
    error: str = ""

    def images(self) -> dict[str, Image | None]:
        """Return what could be read."""
        return {name: file.image for name, file in self.files.items()}

    def same(self, other: Databases) -> bool:
        """Tell whether every database is in the transaction that it is in ``other``."""
        return self.files.keys() == other.files.keys() and all(self.files[name].image is other.files[name].image for name in self.files)


def read_databases(root: Directory, named: Path, clock: Clock, earlier: Databases) -> Databases:
    """Read the databases of an open ``root`` (``named`` so). Raises ``StoreUnstableError``."""
    try:
        with root.directory(layout.BUILDKIT) as directory:
            found = {name: _read(directory, name, named, clock, earlier.files.get(name)) for name in layout.DATABASES}
    except FileNotFoundError:
        return Databases()
    except OSError as error:
        return Databases({}, words(error))
    return Databases({name: file for name, file in found.items() if file is not None})


def _read(directory: Directory, name: str, named: Path, clock: Clock, earlier: Database | None) -> Database | None:
    path = f"{layout.BUILDKIT}/{name}"
    try:
        file = BoltFile(directory, name, root=named, path=path, clock=clock, limit=layout.DATABASE_BYTES)
        return Database(file.read(earlier.image if earlier else None), LinkState.PRESENT)
    except FileNotFoundError:
        return None
    except (MalformedError, TooLargeError) as error:
        return Database(None, LinkState.MALFORMED, str(error.fields.get("what") or error.message))
    except StoreUnreadableError as error:
        return Database(None, LinkState.UNREADABLE, str(error.fields.get("what")))
