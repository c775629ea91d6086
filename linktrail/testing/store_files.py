"""The files of one containers/storage store, written in the order in which the engine writes them.

The lower half of ``linktrail.testing.containers_storage``: JSON files replaced by rename, lock tokens, and the making and
removing of one layer. Orders and modes are those traced from containers/storage 1.43 (podman 4.3); ``lower_layers`` adds the
file that 1.63 and later write. Every method that changes the disk is a generator of ``Step``: a step is yielded when
it stands on disk, so a caller that stops iterating leaves what a killed engine leaves. Nothing is fsynced, because no
reader of a live store can tell. No state is kept here but the random numbers: like the engine, it reads the files each time.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import stat
import struct
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linktrail.clock import NANOSECONDS, Clock, iso
from linktrail.testing.layer_tar import Entry, Hardlink, Layer, Symlink, Whiteout, sha256

LAYERS = "overlay-layers/layers.json"
VOLATILE_LAYERS = "overlay-layers/volatile-layers.json"
IMAGES = "overlay-images/images.json"
CONTAINERS = "overlay-containers/containers.json"
VOLATILE_CONTAINERS = "overlay-containers/volatile-containers.json"

_SHORT_NAME_LENGTH = 26
_SHORT_NAME_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PLAIN_NAME = frozenset(".0123456789abcdefghijklmnopqrstuvwxyz")
_ROOT_MODE = 0o555
_FIELDS = (
    *("id", "digest", "names", "names-history", "parent", "image", "layer", "metadata", "big-data-names", "big-data-sizes"),
    *("big-data-digests", "created", "compressed-diff-digest", "compressed-size", "diff-digest", "diff-size", "compression"),
    *("uidset", "gidset", "flags"),
)

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that now stands on disk: what was done (``short-link``, ``layer-digests``, ...) and to which id."""

    name: str
    subject: str


Steps = Generator[Step, None, str]
"""Steps of one operation; its return value is the id of what was made (or concerned)."""


class StoreFiles:
    """One store below ``root``, made when it is not there. The same ``seed`` gives the same random names and ids."""

    def __init__(self, root: Path, clock: Clock, *, seed: int = 0, lower_layers: bool = False) -> None:
        """Open or make the store at ``root``."""
        self.root = root
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311 - names in a test store
        self.lower_layers = lower_layers
        self._writes = 0
        for directory in (root, *(root / name for name in ("overlay-layers", "overlay-images", "overlay-containers", "overlay"))):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / "overlay" / "l").mkdir(mode=0o755, exist_ok=True)
        (root / "overlay" / ".has-mount-program").write_text("false", encoding="ascii")
        for lock in ("storage.lock", "overlay-layers/layers.lock", "overlay-images/images.lock", "overlay-containers/containers.lock"):
            (root / lock).touch(mode=0o644)

    # --- metadata files ---------------------------------------------------------------------------------------

    def records(self, *files: str) -> list[Record]:
        """Return the entries of these JSON files; one that is not there has none."""
        found: list[Record] = []
        for file in files:
            path = self.root / file
            if path.exists():
                found += json.loads(path.read_bytes())
        return found

    def replace_json(self, file: str, records: list[Record]) -> None:
        """Write ``records`` as the engine does: temporary file, rename, then the token of the lock file."""
        ordered = [{name: record[name] for name in _FIELDS if record.get(name) is not None} for record in records]
        self.replace(file, json.dumps(ordered, separators=(",", ":")).encode())
        lock = (self.root / file).parent / f"{Path(file).parent.name.removeprefix('overlay-')}.lock"
        token = struct.pack("<QQI", self.clock.now().wall, self._writes, os.getpid())
        lock.write_bytes(token + self.random.randbytes(64 - len(token)))

    def replace(self, file: str, data: bytes) -> None:
        """Put ``data`` at ``file`` by rename of a ``.tmp-<name><number>`` beside it, mode 0600."""
        self._writes += 1
        path = self.root / file
        temporary = path.with_name(f".tmp-{path.name}{self.random.randrange(10**9)}")
        temporary.write_bytes(data)
        temporary.chmod(0o600)
        temporary.replace(path)

    def edit(self, file: str, subject: str, changes: Record) -> None:
        """Change fields of one entry of ``file``; a field set to ``None`` goes."""
        records = self.records(file)
        for record in records:
            if record["id"] == subject:
                record.update(changes)
        self.replace_json(file, records)

    def drop(self, file: str, subject: str) -> None:
        """Write ``file`` without the entry ``subject``."""
        self.replace_json(file, [record for record in self.records(file) if record["id"] != subject])

    def file_of(self, subject: str, *files: str) -> str:
        """Return which of ``files`` has the entry ``subject``. Raises ``KeyError``."""
        for file in files:
            if any(record["id"] == subject for record in self.records(file)):
                return file
        raise KeyError(subject)

    def created(self) -> str:
        """Return the time as the engine writes it."""
        return iso(self.clock.now().wall) or ""

    def random_id(self) -> str:
        """Return 64 random hexadecimal characters."""
        return self.random.randbytes(32).hex()

    # --- layers -----------------------------------------------------------------------------------------------

    def make_layer(
        self, layer: str, parent: str | None, content: Layer | None, *, volatile: bool = False, compressed: bool = True
    ) -> Steps:
        """Make layer ``layer`` over ``parent``; with ``content`` an image layer, without a container's writable one."""
        file = VOLATILE_LAYERS if volatile else LAYERS
        flags = {"flags": {"incomplete": True}}
        self.replace_json(file, [*self.records(file), {"id": layer, "parent": parent, "created": self.created(), **flags}])
        yield Step("layer-announced", layer)
        yield from self._make_directory(layer, parent)
        if content is not None:
            yield from self._extract(layer, content)
            self.replace(f"overlay-layers/{layer}.tar-split.gz", content.tar_split)
            yield Step("tar-split", layer)
            self.edit(file, layer, _digests(content, compressed=compressed))
            yield Step("layer-digests", layer)
        self.edit(file, layer, {"flags": None})
        yield Step("layer-complete", layer)
        return layer

    def _make_directory(self, layer: str, parent: str | None) -> Generator[Step]:
        directory = self.root / "overlay" / layer
        directory.mkdir(mode=0o700)
        yield Step("layer-directory", layer)
        (directory / "diff").mkdir(mode=0o755)
        short = "".join(self.random.choices(_SHORT_NAME_LETTERS, k=_SHORT_NAME_LENGTH))
        (self.root / "overlay" / "l" / short).symlink_to(f"../{layer}/diff")
        yield Step("short-link", layer)
        (directory / "link").write_text(short, encoding="ascii")
        yield Step("link-file", layer)
        (directory / "work").mkdir(mode=0o700)
        (directory / "merged").mkdir(mode=0o700)
        if parent is None:
            (directory / "empty").mkdir(mode=0o700)
        else:
            (directory / "lower").write_text(self.lower_of(parent), encoding="ascii")
            if self.lower_layers:
                (directory / "lower-layers").write_text(":".join(self.chain(parent)), encoding="ascii")
        (directory / "diff").chmod(_ROOT_MODE)
        yield Step("layer-plumbing", layer)

    def lower_of(self, parent: str) -> str:
        """Return the ``lower`` of a child of ``parent``, joined from the parent's own files as the engine does (damage is inherited)."""
        directory = self.root / "overlay" / parent
        first = f"l/{(directory / 'link').read_text(encoding='ascii')}"
        rest = directory / "lower"
        return f"{first}:{rest.read_text(encoding='ascii')}" if rest.exists() else first

    def chain(self, layer: str) -> list[str]:
        """Return ``layer`` and its recorded parents, nearest first."""
        parents = {record["id"]: record.get("parent") for record in self.records(LAYERS, VOLATILE_LAYERS)}
        chain = [layer]
        while (parent := parents.get(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain

    def _extract(self, layer: str, content: Layer) -> Generator[Step]:
        target = self.root / "overlay" / layer / "diff"
        target.chmod(0o755)
        directories: list[Path] = []
        for path, entry in content.walk():
            place = target / path
            if entry is None:
                place.mkdir(mode=0o755, exist_ok=True)
                directories.append(place)
            else:
                _put(place, entry, target)
            yield Step("layer-entry", layer)
        for directory in directories:
            os.utime(directory, (content.modified, content.modified))
        target.chmod(_ROOT_MODE)
        yield Step("layer-content", layer)

    def unmake_layer(self, layer: str) -> Steps:
        """Remove layer ``layer`` in the engine's order; what is not there any more is passed over."""
        file = self.file_of(layer, LAYERS, VOLATILE_LAYERS)
        self.edit(file, layer, {"flags": {"incomplete": True}})
        yield Step("removal-announced", layer)
        directory = self.root / "overlay" / layer
        link = directory / "link"
        if link.exists():
            short = self.root / "overlay" / "l" / link.read_text(encoding="ascii")
            if short.is_symlink():
                short.unlink()
            yield Step("short-link-removed", layer)
        for name in ("merged", "lower", "lower-layers", "link", "work", "empty"):
            remove_tree(directory / name)
        yield Step("plumbing-removed", layer)
        remove_tree(directory / "diff")
        yield Step("content-removed", layer)
        remove_tree(directory)
        yield Step("layer-directory-removed", layer)
        (self.root / f"overlay-layers/{layer}.tar-split.gz").unlink(missing_ok=True)
        self.drop(file, layer)
        yield Step("layer-unrecorded", layer)
        return layer


def big_data_file(name: str) -> str:
    """Return the file name of a big-data item: plain where it is ``[.0-9a-z]*``, else ``=`` and base64."""
    return name if _PLAIN_NAME.issuperset(name) else f"={base64.b64encode(name.encode()).decode()}"


def remove_tree(path: Path) -> None:
    """Remove whatever is at ``path``, following no link; directories are made writable first (the engine is root)."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    path.chmod(0o700)
    for directory, names, _ in os.walk(path):
        for name in names:
            child = Path(directory, name)
            if not child.is_symlink():
                child.chmod(0o700)
    shutil.rmtree(path)


def _put(place: Path, entry: Entry, target: Path) -> None:
    match entry:
        case Symlink(to):
            place.symlink_to(to)
        case Hardlink(of):
            place.hardlink_to(target / of)
        case Whiteout():
            os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(0, 0))
        case bytes():
            place.write_bytes(entry)
            place.chmod(0o755)


def _digests(content: Layer, *, compressed: bool) -> Record:
    uncompressed = {"diff-digest": f"sha256:{content.diff_hex}", "diff-size": len(content.tar), "uidset": [0], "gidset": [0]}
    if not compressed:
        return uncompressed | {"compressed-diff-digest": f"sha256:{content.diff_hex}", "compressed-size": len(content.tar)}
    return uncompressed | {
        "compressed-diff-digest": sha256(content.compressed),
        "compressed-size": len(content.compressed),
        "compression": 2,
    }


def seconds(clock: Clock) -> int:
    """Return the wall time in whole seconds, as podman's metadata has it."""
    return clock.now().wall // NANOSECONDS
