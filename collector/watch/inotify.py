"""The inotify system calls, and nothing above them (inotify(7)).

One descriptor, CLOEXEC and NONBLOCK. Watches are set through an already opened directory (``/proc/self/fd/N``), so that a link
planted at any step of the path leads nowhere. A watch neither opens nor changes what it watches, and does not keep a filesystem from
being unmounted; IN_EXCL_UNLINK spares the events of files that are unlinked but still open.

Record: ``struct inotify_event {int wd; u32 mask, cookie, len; char name[len]}``, the name padded with null bytes. The kernel leaves
out an event equal to the last one still unread, never another. Watch descriptors are not used again within one instance.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from array import array
from fcntl import ioctl
from termios import FIONREAD
from typing import Final

IN_MODIFY: Final = 0x2
IN_ATTRIB: Final = 0x4
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_UNMOUNT: Final = 0x2000
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x0100_0000
IN_DONT_FOLLOW: Final = 0x0200_0000
IN_EXCL_UNLINK: Final = 0x0400_0000
IN_ISDIR: Final = 0x4000_0000

NAMES: Final = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
ITSELF: Final = IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK

_WORDS: Final = {
    IN_CREATE: "created",
    IN_DELETE: "removed",
    IN_MOVED_TO: "moved_in",
    IN_MOVED_FROM: "moved_out",
    IN_MODIFY: "modified",
    IN_ATTRIB: "attributes",
}
ACTIONS: Final[dict[int, tuple[str, bool]]] = {bit | flag: (word, bool(flag)) for bit, word in _WORDS.items() for flag in (0, IN_ISDIR)}
"""Mask of a record about a name -> (action of ``Change``, whether it is a directory)."""

Columns = tuple[list[int], list[int], list[str]]
"""Keys, cookies and names of the records of a read."""

READ_BYTES: Final = 1 << 17
"""As much as is decoded while the next is read."""
_HEADER: Final = struct.Struct("=QII")  # wd and mask together, cookie, len
_BREAK: Final = b"/"  # no name holds one, so names can be decoded together
_ENCODING: Final = sys.getfilesystemencoding()
_ENCODING_ERRORS: Final = sys.getfilesystemencodeerrors()
_IN_CLOEXEC: Final = os.O_CLOEXEC
_IN_NONBLOCK: Final = os.O_NONBLOCK
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """One inotify instance. Raises ``OSError`` (EMFILE: fs.inotify.max_user_instances or open files used up)."""

    def __init__(self) -> None:
        """Open the descriptor."""
        self.fd: int = _libc.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
        if self.fd < 0:
            raise _error()
        self._count = array("i", [0])

    def add(self, path: str, mask: int) -> int:
        """Watch the directory at ``path``; return its watch descriptor, the old one (with the new mask) if it is watched already.

        Raises ``OSError``; ENOSPC means that fs.inotify.max_user_watches is used up.
        """
        descriptor: int = _libc.inotify_add_watch(self.fd, os.fsencode(path), ctypes.c_uint32(mask))
        if descriptor < 0:
            raise _error(path)
        return descriptor

    def add_open(self, directory: int, mask: int) -> int:
        """Watch the open directory ``directory`` (O_PATH is enough). Raises as ``add``."""
        return self.add(f"/proc/self/fd/{directory}", mask)

    def remove(self, descriptor: int) -> None:
        """Give up a watch; IN_IGNORED follows what is queued of it. Not an error when the kernel removed it before."""
        if _libc.inotify_rm_watch(self.fd, descriptor) < 0 and ctypes.get_errno() != errno.EINVAL:
            raise _error()

    def pending(self) -> int:
        """Return how many bytes are queued."""
        ioctl(self.fd, FIONREAD, self._count)
        return self._count[0]

    def read(self, pending: int) -> bytes:
        """Return whole records, at most the ``pending`` bytes asked for and ``READ_BYTES``; nothing when the queue is empty."""
        try:
            return os.read(self.fd, min(pending, READ_BYTES))
        except BlockingIOError:
            return b""

    @staticmethod
    def units(data: bytes) -> int:
        """Return the part of ``pending`` that ``data`` was: its length."""
        return len(data)

    @staticmethod
    def stirs(data: bytes) -> bool:
        """Tell that somebody did something: nothing of our own is watched, and who did it is not said."""
        return bool(data)

    def close(self) -> None:
        """Close the descriptor and with it every watch; twice is no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def columns(data: bytes) -> Columns:
    """Take the records in ``data`` apart: their keys (``parts_of``), cookies and names (empty: about the directory itself).

    A burst is mostly records of one size, since names are padded: those are taken apart without a step of Python for each.
    """
    if not data:
        return [], [], []
    length = _HEADER.unpack_from(data)[2]
    size = _HEADER.size + length
    words = memoryview(data).cast("I")  # a name is padded to whole headers, so everything in a read is aligned
    lengths = words[3 :: size // words.itemsize].tolist()
    if len(data) % size or lengths.count(length) != len(lengths):
        return _one_by_one(data)
    step = size // words.itemsize
    return words.cast("B").cast("Q")[:: size // 8].tolist(), words[2::step].tolist(), _names_of_one_size(data, length)


def parts_of(key: int) -> tuple[int, int]:
    """Return (watch descriptor, mask) of a key."""
    high, low = divmod(key, 1 << 32)
    return (low, high) if sys.byteorder == "little" else (high, low)


def _names_of_one_size(data: bytes, length: int) -> list[str]:
    """Return the names of records that all have names of ``length`` padded bytes."""
    count = len(data) // (_HEADER.size + length)
    if not length:
        return [""] * count
    read = memoryview(data).cast("Q")
    before, step = _HEADER.size // read.itemsize, length // read.itemsize
    names = bytearray((bytes(length) + _BREAK.ljust(read.itemsize, b"\0")) * count)
    written = memoryview(names).cast("Q")
    for column in range(step):
        written[column :: step + 1] = read[before + column :: before + step]
    if names.count(_BREAK) > count:
        return [
            os.fsdecode(data[end - length : end].rstrip(b"\0"))
            for end in range(_HEADER.size + length, len(data) + 1, _HEADER.size + length)
        ]
    return names.translate(None, b"\0").decode(_ENCODING, _ENCODING_ERRORS).split(_BREAK.decode())[:-1]


def _one_by_one(data: bytes) -> Columns:
    unpack, size, position, end = _HEADER.unpack_from, _HEADER.size, 0, len(data)
    keys, cookies, names = [], [], []
    known: dict[bytes, str] = {}  # names come in runs (made, moved, removed), so each is decoded once
    while position < end:
        key, cookie, length = unpack(data, position)
        start = position + size
        position = start + length
        padded = data[start:position]
        name = known.get(padded)
        if name is None:
            name = known[padded] = os.fsdecode(padded.rstrip(b"\0"))
        keys.append(key)
        cookies.append(cookie)
        names.append(name)
    return keys, cookies, names


def _error(path: str | None = None) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
