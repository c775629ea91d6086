"""Reading trees that a hostile container may have written.

The collector runs as root over directories that others fill. So below the root of a store

* every step is one name relative to an open directory, with ``O_NOFOLLOW``: a directory replaced by a symbolic link to
  /etc is refused (``ELOOP``), never entered; a name with a slash, ``..`` or a null byte is no name;
* only regular files are read: what a name is is asked before it is opened (opening a device can act on it), it is opened
  with ``O_NONBLOCK`` (a fifo cannot hang us) and asked again;
* every read is bounded in bytes, every listing in entries;
* the access time is spared (``O_NOATIME``) wherever the kernel allows it, that is for the owner and for CAP_FOWNER.
  The access time of a symbolic link cannot be spared: readlink(2) knows no flag for it.

The root itself, and what leads to it, belongs to the administrator and is resolved once, in ``open_root``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from collector.links import LinkState
from linktrail.errors import NoStoreError, StoreError, StoreUnreadableError

ENTRY_LIMIT: Final = 1_000_000
EVIDENCE_BYTES: Final = 4096
_NAME_LIMIT: Final = 255
_NO_STEPS: Final = frozenset({".", ".."})
_CHUNK: Final = 1 << 20
_COMMON: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class Entry(NamedTuple):
    """One name in a directory. ``kind`` is directory, file, symlink or other; ``inode`` is that of the name itself."""

    name: str
    kind: str
    inode: int


class Listing(NamedTuple):
    """The names in a directory, in no order; ``complete`` is false when there were more than the limit."""

    entries: list[Entry]
    complete: bool


class Signature(NamedTuple):
    """What tells one version of a file that is replaced by rename from the next."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Signature:
        """Return the signature in a status."""
        return cls(facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Content:
    """What came of reading a file.

    ``state`` is present, empty, missing, malformed (no regular file, or over the limit: ``data`` then holds the first bytes as
    evidence) or unreadable; ``error`` says so in words; ``facts`` is the status of the open file, where it got that far.
    """

    state: LinkState
    data: bytes = b""
    facts: os.stat_result | None = None
    error: str = ""


class Directory:
    """An open directory; whatever is in it is reached through its descriptor. A context manager."""

    __slots__ = ("facts", "fd")

    def __init__(self, fd: int) -> None:
        """Own the open directory descriptor ``fd``."""
        self.fd = fd
        try:
            self.facts = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; twice is no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def directory(self, *names: str) -> Directory:
        """Open the directory reached by ``names``, one step each. Raises ``OSError`` (``ELOOP`` or ``ENOTDIR`` for a link)."""
        current, owned = self.fd, -1
        try:
            for name in names:
                step = _open(component(name), os.O_DIRECTORY, current)
                if owned >= 0:
                    os.close(owned)
                current = owned = step
        except OSError:
            if owned >= 0:
                os.close(owned)
            raise
        return Directory(current if owned >= 0 else os.dup(current))

    def entries(self, limit: int = ENTRY_LIMIT) -> Listing:
        """List the directory. Raises ``OSError``."""
        found: list[Entry] = []
        with os.scandir(self.fd) as scan:
            for entry in scan:
                if len(found) >= limit:
                    return Listing(found, complete=False)
                found.append(Entry(entry.name, _kind_of_entry(entry), entry.inode()))
        return Listing(found, complete=True)

    def stat(self, name: str) -> os.stat_result:
        """Return the status of ``name`` itself, following nothing. Raises ``OSError``."""
        return os.stat(component(name), dir_fd=self.fd, follow_symlinks=False)

    def readlink(self, name: str) -> str:
        """Return the target of the symbolic link ``name``, as written. Raises ``OSError``."""
        return os.readlink(component(name), dir_fd=self.fd)

    def attribute(self, name: str, attribute: str) -> bytes | None:
        """Return an extended attribute of ``name`` itself, following nothing; ``None`` where it has none or may not be asked."""
        try:
            return os.getxattr(f"/proc/self/fd/{self.fd}/{component(name)}", attribute, follow_symlinks=False)
        except OSError:
            return None

    def open_file(self, name: str) -> int:
        """Open the regular file ``name`` for reading and return its descriptor. Raises ``OSError`` (``ENOTSUP``: no regular file)."""
        return self._open_regular(name)[0]

    def read(self, name: str, limit: int) -> Content:
        """Read the regular file ``name``, up to ``limit`` bytes. Never raises: what is wrong stands in the ``Content``."""
        try:
            descriptor, facts = self._open_regular(name)
        except OSError as error:
            return refused(error)
        try:
            return _read(descriptor, facts, limit)
        except OSError as error:
            return Content(LinkState.UNREADABLE, error=words(error))
        finally:
            os.close(descriptor)

    def _open_regular(self, name: str) -> tuple[int, os.stat_result]:
        _require_regular(self.stat(name), name)
        descriptor = _open(name, 0, self.fd)
        try:
            facts = os.fstat(descriptor)
            _require_regular(facts, name)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor, facts


class Root(Directory):
    """The open root of a store; ``path`` is where it really is (no symbolic link in it)."""

    __slots__ = ("path",)

    def __init__(self, fd: int, path: Path) -> None:
        """Own the open descriptor of the directory at ``path``."""
        super().__init__(fd)
        self.path = path

    def gone(self) -> bool:
        """Tell whether the directory was removed since it was opened."""
        return os.fstat(self.fd).st_nlink == 0


def open_root(root: Path) -> Root:
    """Open ``root``, following the links that lead to it, this once. Raises ``NoStoreError`` or ``StoreUnreadableError``."""
    try:
        real = os.path.realpath(root, strict=True)
        return Root(_open(real, os.O_DIRECTORY, None), Path(real))
    except ValueError as error:  # a null byte
        raise NoStoreError(root=root, what=str(error)) from error
    except OSError as error:
        if error.errno in (*_ABSENT, errno.ELOOP):
            raise NoStoreError(root=root, what=words(error)) from error
        raise StoreUnreadableError(root=root, what=words(error)) from error


def is_root(path: Path, tells: Callable[[Directory], bool]) -> bool:
    """Tell whether ``path`` can be opened as a root and is what ``tells`` looks for. Never raises."""
    try:
        with open_root(path) as opened:
            return tells(opened)
    except (StoreError, OSError):
        return False


def may_hold(root: Directory, *place: str) -> bool:
    """Tell whether something stands at ``place`` below ``root``, or may: what its directory hides from this user counts as there."""
    try:
        with root.directory(*place[:-1]) as directory:
            directory.stat(place[-1])
    except PermissionError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def step_into(parent: Directory, *names: str) -> Iterator[Directory | None]:
    """Open a directory that may be absent: ``None`` then. Raises ``OSError`` for one that is there and cannot be entered."""
    try:
        opened = parent.directory(*names)
    except FileNotFoundError:
        yield None
        return
    with opened:
        yield opened


def component(name: str) -> str:
    """Return ``name`` if it is one step of a path, else raise ``OSError`` (``EINVAL``, ``ENAMETOOLONG``)."""
    try:
        size = len(name) if name.isascii() else len(os.fsencode(name))
    except UnicodeEncodeError:  # a surrogate that stands for no byte: from JSON, never from a disk
        size = 0
    if size == 0 or "/" in name or "\0" in name or name in _NO_STEPS:
        raise OSError(errno.EINVAL, "not a file name", name)
    if size > _NAME_LIMIT:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)
    return name


def refused(error: OSError) -> Content:
    """Turn a failed open into the state it means for the file."""
    if error.errno in (errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL):
        return Content(LinkState.MISSING, error=words(error))
    if error.errno in (errno.ELOOP, errno.ENOTSUP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR):
        return Content(LinkState.MALFORMED, error=words(error))
    return Content(LinkState.UNREADABLE, error=words(error))


def words(error: OSError) -> str:
    """Return what the operating system says about ``error``, in lower case and without the path."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def kind_of(mode: int) -> str:
    """Name the file type in a mode: directory, file, symlink, fifo, socket or device."""
    for test, name in _TYPES:
        if test(mode):
            return name
    return "other"


_TYPES: Final = (
    (stat.S_ISDIR, "directory"),
    (stat.S_ISREG, "file"),
    (stat.S_ISLNK, "symlink"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def _kind_of_entry(entry: os.DirEntry[str]) -> str:
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    if entry.is_symlink():
        return "symlink"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def _open(name: str, flags: int, directory: int | None) -> int:
    try:
        return os.open(name, _COMMON | os.O_NOATIME | flags, dir_fd=directory)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
    return os.open(name, _COMMON | flags, dir_fd=directory)  # not the owner: the kernel refuses only O_NOATIME with EPERM


def _require_regular(facts: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        kind = kind_of(facts.st_mode)
        raise OSError(errno.ENOTSUP, f"not a regular file but a {kind}", name)


def _read(descriptor: int, facts: os.stat_result, limit: int) -> Content:
    if facts.st_size > limit:
        evidence = os.read(descriptor, min(limit, EVIDENCE_BYTES))
        return Content(LinkState.MALFORMED, evidence, facts, f"{facts.st_size} bytes, over the limit of {limit}")
    chunks: list[bytes] = []
    left = limit + 1
    while left > 0:
        chunk = os.read(descriptor, min(left, _CHUNK, facts.st_size + 1))
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    data = b"".join(chunks)
    if len(data) > limit:  # it grew while it was read
        return Content(LinkState.MALFORMED, data[:EVIDENCE_BYTES], facts, f"grew over the limit of {limit} bytes while it was read")
    return Content(LinkState.PRESENT if data else LinkState.EMPTY, data, facts)
