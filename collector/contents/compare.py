"""One layer's directory against its archive's headers.

The archive says what should stand in ``diff``: for each name its type, the size of a file, the target of a link. Whiteouts
(``.wh.name``) stand on disk as a character device 0:0 under the plain name. Directories that only lie on the way to an entry
need none of their own.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from collector.contents.tar_split import TarSplitReader
from collector.safe import Directory, kind_of

ENTRY_LIMIT: Final = 5_000_000
_WHITEOUT: Final = ".wh."
_CHUNK: Final = 1 << 20


class _Expected(NamedTuple):
    kind: str
    size: int
    target: str


class _Actual(NamedTuple):
    kind: str
    size: int
    target: str

    @classmethod
    def of(cls, directory: Directory, name: str) -> _Actual:
        facts = directory.stat(name)
        kind = kind_of(facts.st_mode)
        if kind == "device" and facts.st_rdev == 0:
            kind = "whiteout"
        return cls(kind, facts.st_size, directory.readlink(name) if kind == "symlink" else "")


@dataclass(slots=True)
class Difference:
    """How a layer differs; all paths relative to its ``diff``. ``digest`` is set only when nothing else differs."""

    added: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    retargeted: list[tuple[str, str, str]] = field(default_factory=list)
    digest: str | None = None

    @property
    def explained(self) -> bool:
        """Whether a difference of the digest is explained by a file."""
        return bool(self.added or self.missing or self.changed or self.emptied or self.retargeted)


def compare(diff: Directory, record: TarSplitReader, digest: object) -> Difference:
    """Return how the directory ``diff`` differs from ``record``. Raises ``TarSplitError`` and ``OSError``."""
    expected = _expected(record)
    ways = {path[:cut] for path in expected for cut in _slashes(path)}
    found = Difference()
    seen: set[str] = set()
    waiting = [("", diff.directory())]
    try:
        while waiting:
            prefix, directory = waiting.pop()
            with directory:
                for entry in directory.entries(ENTRY_LIMIT).entries:
                    path = f"{prefix}{entry.name}"
                    actual = _Actual.of(directory, entry.name)
                    seen.add(path)
                    if path in expected:
                        _compare_one(found, path, expected[path], actual)
                    elif actual.kind != "whiteout" and not (path in ways and actual.kind == "directory"):
                        found.added.append(path)
                    if actual.kind == "directory":
                        waiting.append((f"{path}/", directory.directory(entry.name)))
    finally:
        for _, directory in waiting:
            directory.close()
    found.missing += sorted(path for path, what in expected.items() if path not in seen and what.kind != "whiteout")
    if not found.explained and isinstance(digest, str) and digest.startswith("sha256:"):
        regenerated = _regenerate(diff, record)
        if regenerated != digest:
            found.digest = regenerated
    return found


def _expected(record: TarSplitReader) -> dict[str, _Expected]:
    """Return what should stand in the layer, by path; of two entries with one name the later counts, as when it was unpacked."""
    expected: dict[str, _Expected] = {}
    for member in record.members():
        path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        if not path or ".." in path.split("/"):
            continue
        parent, _, name = path.rpartition("/")
        if name.startswith(_WHITEOUT):
            if not name.startswith(f"{_WHITEOUT}{_WHITEOUT}"):
                expected[f"{parent}/{name[len(_WHITEOUT) :]}".lstrip("/")] = _Expected("whiteout", 0, "")
            continue
        expected[path] = _Expected(_kind(member), member.size, member.linkname)
    return expected


def _kind(member: tarfile.TarInfo) -> str:
    if member.islnk():
        return "hardlink"
    for test, kind in ((member.isdir, "directory"), (member.issym, "symlink"), (member.isfifo, "fifo"), (member.isdev, "device")):
        if test():
            return kind
    return "file"


def _compare_one(found: Difference, path: str, expected: _Expected, actual: _Actual) -> None:
    impossible = {"directory", "whiteout"}  # a hard link may be of any file, but these have no second name
    if actual.kind in impossible if expected.kind == "hardlink" else actual.kind != expected.kind:
        found.changed.append(path)
    elif actual.kind == "symlink" and expected.kind == "symlink" and actual.target != expected.target:
        found.retargeted.append((path, expected.target, actual.target))
    elif expected.kind == "file" and actual.size != expected.size:
        (found.emptied if actual.size == 0 else found.changed).append(path)


def _slashes(path: str) -> list[int]:
    return [index for index, character in enumerate(path) if character == "/"]


def _regenerate(diff: Directory, record: TarSplitReader) -> str:
    """Return the digest of the archive put together again from its headers and the files."""
    archive = hashlib.sha256()
    for piece in record.pieces():
        archive.update(piece.raw)
        if piece.name is not None and piece.size:
            _feed(archive, diff, piece.name, piece.size)
    return f"sha256:{archive.hexdigest()}"


def _feed(archive: hashlib._Hash, diff: Directory, name: str, size: int) -> None:
    *parents, last = [part for part in name.split("/") if part not in ("", ".")]
    with diff.directory(*parents) as directory:
        descriptor = directory.open_file(last)
    try:
        while size > 0 and (chunk := os.read(descriptor, min(size, _CHUNK))):
            archive.update(chunk)
            size -= len(chunk)
    finally:
        os.close(descriptor)
