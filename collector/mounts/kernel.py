"""Two calls that Python has no name for: statx(2) and statfs(2), through the C library.

``statx`` is asked not to speak to a server (``AT_STATX_DONT_SYNC``): a process may hold a file of an NFS or FUSE mount that hangs, and
a collector that asks for it must not hang too. Layouts: Linux include/uapi/linux/stat.h, and bits/statfs.h of 64-bit machines.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache
from typing import Final, NamedTuple

OVERLAY_MAGIC: Final = 0x794C7630
_AT_FDCWD: Final = -100
_AT_STATX_DONT_SYNC: Final = 0x4000
_WANTED: Final = 0x7FF | 0x1000  # STATX_BASIC_STATS and STATX_MNT_ID
_STATX: Final = struct.Struct("=IIQIIIHHQQQQ16x16xqI4xqI4xIIIIQ")  # to stx_mnt_id
_STATX_SIZE: Final = 256
_STATFS: Final = struct.Struct("=qqQQQQQ")  # f_type, f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree
_STATFS_SIZE: Final = 120
_NANOSECONDS: Final = 1_000_000_000
_BLOCK: Final = 512


class Status(NamedTuple):
    """What statx says: times in ns UTC, ``device`` as ``major:minor``, ``bytes`` allocated, ``mount`` the id of the mount it lies on."""

    nlink: int
    mode: int
    inode: int
    bytes: int
    changed: int
    modified: int
    device: str
    mount: int


class FileSystem(NamedTuple):
    """What statfs says of a filesystem that does not change while it is in use, but for a resize."""

    magic: int
    block_size: int
    blocks: int
    inodes: int

    @property
    def geometry(self) -> tuple[int, int, int]:
        """What an overlay repeats of the filesystem of its upper layer."""
        return (self.block_size, self.blocks, self.inodes)


def statx(path: str) -> Status:
    """Return the status of what ``path`` leads to, as far as the kernel knows it now. Raises ``OSError``."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if _library().statx(_AT_FDCWD, os.fsencode(path), _AT_STATX_DONT_SYNC, _WANTED, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    found = _STATX.unpack_from(buffer)
    _, _, _, nlink, _, _, mode, _, inode, _, blocks, _, changed, changed_ns, modified, modified_ns, _, _, major, minor, mount = found
    return Status(
        nlink,
        mode,
        inode,
        blocks * _BLOCK,
        changed * _NANOSECONDS + changed_ns,
        modified * _NANOSECONDS + modified_ns,
        f"{major}:{minor}",
        mount,
    )


def statfs(path: str) -> FileSystem:
    """Return the filesystem that ``path`` leads to. Raises ``OSError``."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if ctypes.sizeof(ctypes.c_long) * 8 != 64 or _library().statfs(os.fsencode(path), buffer) != 0:  # noqa: PLR2004 - bits of a long
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    magic, block_size, blocks, _, _, inodes, _ = _STATFS.unpack_from(buffer)
    return FileSystem(magic & 0xFFFFFFFF, block_size, blocks, inodes)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
