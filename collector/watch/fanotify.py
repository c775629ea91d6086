"""The fanotify system calls, and nothing above them (fanotify(7), fanotify_init(2), fanotify_mark(2), open_by_handle_at(2)).

One group: notification only, FAN_REPORT_DFID_NAME_TARGET (directory, name and object of every change; without the object the kernel
merges unread changes of one name, and a short life would vanish), FAN_UNLIMITED_QUEUE (a burst is kept by the kernel, not dropped).
What each call needs: ``fanotify_init`` with an unlimited queue and ``fanotify_mark`` with FAN_MARK_FILESYSTEM: CAP_SYS_ADMIN;
``open_by_handle_at``: CAP_DAC_READ_SEARCH. Linux 5.17 or newer (FAN_REPORT_TARGET_FID, FAN_RENAME).

Event: ``{u32 event_len; u8 version, reserved; u16 metadata_len; u64 mask; s32 fd, pid}``, then info records
``{u8 type, pad; u16 len; u8 fsid[8]; u32 handle_bytes; s32 handle_type; u8 handle[]; char name[]}``. FIONREAD counts the events (24
bytes each), not the bytes of their info records.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from array import array
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD
from typing import Final, NamedTuple

FAN_MODIFY: Final = 0x2
FAN_ATTRIB: Final = 0x4
FAN_CREATE: Final = 0x100
FAN_DELETE: Final = 0x200
FAN_Q_OVERFLOW: Final = 0x4000
FAN_EVENT_ON_CHILD: Final = 0x0800_0000
FAN_RENAME: Final = 0x1000_0000
FAN_ONDIR: Final = 0x4000_0000

LINK_CHANGES: Final = FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_ATTRIB | FAN_ONDIR
CONTENT_OF_CHILDREN: Final = FAN_MODIFY | FAN_EVENT_ON_CHILD

_INIT: Final = 0x1 | 0x2 | 0x10 | 0x20 | 0x200 | 0x400 | 0x800 | 0x1000
# FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS | FAN_REPORT_{FID,DIR_FID,NAME,TARGET_FID}
_MARK_ADD: Final = 0x1
_MARK_REMOVE: Final = 0x2
_MARK_FILESYSTEM: Final = 0x100
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_FID: Final = 1
_WHERE: Final = frozenset({2, 3, 10})  # DFID_NAME, DFID (of the directory itself), OLD_DFID_NAME
_NEW_DFID_NAME: Final = 12
_METADATA: Final = struct.Struct("=I2xHQ4xi")  # event_len, metadata_len, mask, pid
_METADATA_BYTES: Final = 24
_INFO: Final = struct.Struct("=BxH8xI")  # type, len, handle_bytes
FSID_BYTES: Final = 8
_HANDLE_AT: Final = 4  # in an info record: the fsid and struct file_handle
_BEFORE_HANDLE: Final = 20  # in an info record: all that precedes f_handle
_HANDLE: Final = struct.Struct("=Ii")  # handle_bytes, handle_type
_LENGTH: Final = struct.Struct("=I")
_MAX_HANDLE: Final = 128
_TRIES: Final = 50
_MARKED: Final = re.compile(rb"^fanotify sdev:([0-9a-f]+)", re.MULTILINE)
_MINOR_BITS: Final = 20  # of the kernel's own device numbers
READ_BYTES: Final = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)

Handle = bytes
"""What names an object on a filesystem for as long as it exists: fsid (8 bytes) and ``struct file_handle``, as the event has them."""

NOWHERE: Final = b""


class Record(NamedTuple):
    """One change. ``directory``/``name`` is where (for a rename: from where), ``to_directory``/``to_name`` where a rename ends.

    ``target`` is the object; ``NOWHERE`` stands for what the kernel did not tell: a change of the link count names only its target.
    """

    mask: int
    pid: int
    directory: Handle
    name: str
    to_directory: Handle
    to_name: str
    target: Handle


class Fanotify:
    """One fanotify group. Raises ``OSError`` (EPERM: no CAP_SYS_ADMIN; EINVAL: the kernel is older than 5.17)."""

    def __init__(self) -> None:
        """Open the descriptor."""
        self.fd: int = _libc.fanotify_init(_INIT, os.O_RDONLY | os.O_CLOEXEC)
        if self.fd < 0:
            raise _error()
        self._count = array("i", [0])
        self._own = os.getpid()

    def mark_filesystem(self, directory: int) -> None:
        """Hear of every link change on the filesystem of the open ``directory``. Raises ``OSError``.

        EPERM: no CAP_SYS_ADMIN; EOPNOTSUPP, ENODEV, EXDEV: the filesystem has no usable handles (an overlay, a btrfs subvolume).
        """
        self._mark(_MARK_ADD | _MARK_FILESYSTEM, LINK_CHANGES, directory)

    def unmark_filesystem(self, directory: int) -> None:
        """Hear no more of the filesystem of the open ``directory``. Raises ``OSError``."""
        self._mark(_MARK_REMOVE | _MARK_FILESYSTEM, LINK_CHANGES, directory)

    def mark_contents(self, directory: int) -> None:
        """Hear of writes to the files in the open ``directory`` (not below). Raises ``OSError``."""
        self._mark(_MARK_ADD, CONTENT_OF_CHILDREN, directory)

    def unmark_contents(self, directory: int) -> None:
        """Hear no more of writes to the files in the open ``directory``. Raises ``OSError``."""
        self._mark(_MARK_REMOVE, CONTENT_OF_CHILDREN, directory)

    def marked_filesystems(self) -> frozenset[int]:
        """Return the device numbers of the filesystems that are marked now (proc_pid_fdinfo(5)); a mark ends with its filesystem."""
        info = Path(f"/proc/self/fdinfo/{self.fd}").read_bytes()
        numbers = (int(found[1], 16) for found in _MARKED.finditer(info))
        return frozenset(os.makedev(number >> _MINOR_BITS, number & (1 << _MINOR_BITS) - 1) for number in numbers)

    def _mark(self, flags: int, mask: int, directory: int) -> None:
        path = f"/proc/self/fd/{directory}".encode()
        if _libc.fanotify_mark(self.fd, ctypes.c_uint(flags), ctypes.c_uint64(mask), _AT_FDCWD, path) < 0:
            raise _error()

    def pending(self) -> int:
        """Return how many events are queued."""
        ioctl(self.fd, FIONREAD, self._count)
        return self._count[0] // _METADATA_BYTES

    def read(self, pending: int) -> bytes:
        """Return whole events, as many as there are up to 1 MiB (``pending`` says that there are some)."""
        try:
            return os.read(self.fd, READ_BYTES if pending else 0)
        except BlockingIOError:
            return b""

    @staticmethod
    def units(data: bytes) -> int:
        """Return how many events ``data`` holds."""
        length_at, position, end, count = _LENGTH.unpack_from, 0, len(data), 0
        while position < end:
            position += length_at(data, position)[0]
            count += 1
        return count

    def stirs(self, data: bytes) -> bool:
        """Tell whether anybody but this process did something: its own state may lie on the filesystem that it watches."""
        position, end = 0, len(data)
        while position < end:
            length, _, _, pid = _METADATA.unpack_from(data, position)
            if pid != self._own:
                return True
            position += length
        return False

    def close(self) -> None:
        """Close the group and with it every mark; twice is no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def records(data: bytes) -> Iterator[Record]:
    """Yield the events in ``data``."""
    unpack, info, new = _METADATA.unpack_from, _INFO.unpack_from, tuple.__new__
    known: dict[bytes, str] = {}  # names come in runs: made, moved, removed
    position, end = 0, len(data)
    while position < end:
        length, size, mask, pid = unpack(data, position)
        at, position = position + size, position + length
        directory = to_directory = target = NOWHERE
        name = to_name = ""
        while at < position:
            kind, size, count = info(data, at)
            handle_end = at + _BEFORE_HANDLE + count
            handle = data[at + _HANDLE_AT : handle_end]
            at += size
            if kind == _FID:
                target = handle
                continue
            padded = data[handle_end:at]
            text = known.get(padded)
            if text is None:
                text = known[padded] = os.fsdecode(padded.rstrip(b"\0"))
            if kind == _NEW_DFID_NAME:
                to_directory, to_name = handle, text
            elif kind in _WHERE:
                directory, name = handle, text
        yield new(Record, (mask, pid, directory, name, to_directory, to_name, target))


def handle_of(directory: int, fsid: bytes, name: str = "") -> Handle:
    """Return the handle of the open ``directory``, or of ``name`` in it (not followed). Raises ``OSError``."""
    buffer = ctypes.create_string_buffer(_HANDLE.size + _MAX_HANDLE)
    _HANDLE.pack_into(buffer, 0, _MAX_HANDLE, 0)
    mount = ctypes.c_int()
    flags = 0 if name else _AT_EMPTY_PATH
    if _libc.name_to_handle_at(directory, os.fsencode(name), buffer, ctypes.byref(mount), flags) < 0:
        raise _error()
    count, _ = _HANDLE.unpack_from(buffer, 0)
    return fsid + buffer.raw[: _HANDLE.size + count]


def fsid_of(directory: int) -> bytes:
    """Return the 8 bytes by which the kernel names the filesystem of the open ``directory`` in its events. Raises ``OSError``."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(directory, buffer) < 0:
        raise _error()
    return buffer.raw[_FSID_OFFSET : _FSID_OFFSET + 8]


_FSID_OFFSET: Final = 7 * ctypes.sizeof(ctypes.c_long)
"""Where f_fsid lies in ``struct statfs`` of 64-bit Linux: after type, block size and five counters, each a long."""


def open_handle(mount: int, handle: Handle) -> int:
    """Open the object ``handle`` with O_PATH, through any descriptor ``mount`` on its filesystem. Raises ``OSError``.

    ESTALE: it is gone; EPERM: no CAP_DAC_READ_SEARCH.
    """
    buffer = ctypes.create_string_buffer(handle[FSID_BYTES:])
    for _ in range(_TRIES):
        descriptor: int = _libc.open_by_handle_at(mount, buffer, os.O_PATH | os.O_CLOEXEC)
        if descriptor >= 0:
            return descriptor
        if ctypes.get_errno() != errno.ENOMEM:
            break
        os.sched_yield()  # what ext4 says while the inode number is being used again: in a moment the old handle is stale
    raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
