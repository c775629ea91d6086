"""What an archive says should stand in a layer: headers, read forward, bounded.

``read_expected`` gives one ``Expected`` for each path. Of two entries with one name the later counts, as when it was unpacked. Whiteouts
(``.wh.name``) are named by what they hide; an opaque directory (``.wh..wh..opq``) is told by ``Headers.opaque``.

The archive is hostile: a header may claim any size. Only ``HEADER_LIMIT`` bytes of one extended header, ``ENTRY_LIMIT`` entries and
``NAMES_LIMIT`` bytes of names are ever held; content is skipped, never made up.

References:
    POSIX pax, GNU tar; the limit of an extended header is that of Go's archive/tar, which every engine uses.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

HEADER_LIMIT: Final = 1 << 20
ENTRY_LIMIT: Final = 1_000_000
NAMES_LIMIT: Final = 256 << 20
PATH_LIMIT: Final = 4096
WHITEOUT_PREFIX: Final = ".wh."
OPAQUE_NAME: Final = ".wh..wh..opq"
_MODE: Final = 0o7777


class ArchiveError(Exception):
    """The archive cannot be read; the text says why."""


class Bytes(Protocol):
    """A source of bytes that is read forward."""

    def take(self, count: int) -> bytes:
        """Return the next bytes, at most ``count`` and at least one; nothing at the end. Raises ``ArchiveError`` and ``OSError``."""

    def skip(self, count: int) -> int:
        """Pass over at most ``count`` bytes and return how many; 0 at the end. Raises ``ArchiveError`` and ``OSError``."""


class Expected(NamedTuple):
    """One entry. ``size`` and ``checksum`` (CRC-64) are ``None`` where the archive does not tell; ``target`` of links only."""

    kind: str  # file, directory, symlink, hardlink, fifo, device, whiteout
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int | None = None
    target: str = ""
    checksum: int | None = None


@dataclass(slots=True)
class Headers:
    """Everything an archive says: entries by path, and the directories that hide what is below them.

    ``renamed`` are names of the archive (keys) whose entries stand elsewhere (values), because they lead through symbolic links.
    """

    entries: dict[str, Expected] = field(default_factory=dict)
    opaque: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)

    def rename(self, renamed: dict[str, str]) -> Headers:
        """Return these headers with names that lead through symbolic links replaced by where the entries stand."""
        return Headers({renamed.get(path, path): entry for path, entry in self.entries.items()}, self.opaque, renamed)


class Forward:
    """A file object over ``Bytes`` for ``tarfile``: reads only headers, and none that is larger than ``HEADER_LIMIT``."""

    def __init__(self, source: Bytes) -> None:
        """Read ``source`` from its start."""
        self._source = source
        self._position = 0

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        """Go forward to ``position``, or to the end of the source."""
        if whence or position < self._position:
            raise ArchiveError("its headers do not stand in order")
        while self._position < position and (step := self._source.skip(position - self._position)):
            self._position += step
        return self._position

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer at the end."""
        if not 0 <= count <= HEADER_LIMIT + tarfile.BLOCKSIZE:
            raise ArchiveError(f"a header claims {count} bytes, over the limit of {HEADER_LIMIT}")
        return b"".join(self.chunks(count))

    def chunks(self, count: int) -> Iterator[bytes]:
        """Yield the next ``count`` bytes in parts, fewer at the end."""
        while count > 0 and (chunk := self._source.take(count)):
            count -= len(chunk)
            self._position += len(chunk)
            yield chunk


def members(source: Forward) -> Iterator[tarfile.TarInfo]:
    """Yield the headers in order; while one is out, ``source`` stands at its content. Raises ``ArchiveError`` and ``OSError``."""
    try:
        with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[call-overload]  # it reads forward only
            while (member := archive.next()) is not None:
                archive.members = []  # it would keep them all
                yield member
    except (tarfile.TarError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise ArchiveError(f"its archive is damaged ({error})") from error
    except RecursionError as error:
        raise ArchiveError("its archive is damaged (headers of headers without end)") from error


class Reading:
    """Collects ``Headers``, entry by entry, within the limits."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.headers = Headers()
        self._names = 0
        self._count = 0

    def add(self, member: tarfile.TarInfo, checksum: int | None = None) -> None:
        """Take one header. Raises ``ArchiveError`` over a limit."""
        self._count += 1
        self._names += len(member.name) + len(member.linkname)
        if self._count > ENTRY_LIMIT or self._names > NAMES_LIMIT:
            raise ArchiveError(f"it has more than {ENTRY_LIMIT} entries, or {NAMES_LIMIT} bytes of names")
        path = normal(member.name)
        if path is None or len(path) > PATH_LIMIT or len(member.linkname) > PATH_LIMIT:
            return  # no engine unpacks it
        parent, _, name = path.rpartition("/")
        if name == OPAQUE_NAME:
            self.headers.opaque.add(parent)
        elif name.startswith(WHITEOUT_PREFIX):
            if not name.startswith(WHITEOUT_PREFIX * 2):
                self.headers.entries[f"{parent}/{name[len(WHITEOUT_PREFIX) :]}".lstrip("/")] = Expected("whiteout")
        elif path:
            self.headers.entries[path] = _expected(member, checksum)


def normal(name: str) -> str | None:
    """Return ``name`` relative to the layer's root, ``""`` for the root itself, ``None`` for one that leads out or is no name."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts or "\0" in name else "/".join(parts)


def _expected(member: tarfile.TarInfo, checksum: int | None) -> Expected:
    kind = _kind(member)
    size = member.size if kind == "file" and not member.issparse() else None
    target = member.linkname if kind in ("symlink", "hardlink") else ""
    if kind == "device" and member.ischr() and os.makedev(member.devmajor, member.devminor) == 0:
        kind = "whiteout"
    return Expected(kind, member.mode & _MODE, member.uid, member.gid, size, target, checksum)


def _kind(member: tarfile.TarInfo) -> str:
    if member.islnk():
        return "hardlink"
    for test, kind in ((member.isdir, "directory"), (member.issym, "symlink"), (member.isfifo, "fifo"), (member.isdev, "device")):
        if test():
            return kind
    return "file"
