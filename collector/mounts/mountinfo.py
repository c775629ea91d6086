"""One mount table: the lines of ``/proc/PID/mountinfo``, and the directories that an overlay mount is made of.

A line is ``id parent major:minor root point options [tags] - type source super-options`` (proc_pid_mountinfo(5)). Blank, tab, newline and
backslash stand in it as octal escapes; within super options also ``,`` and ``=``. An overlay's ``lowerdir`` is a list with ``:``, in which
a backslash takes the next character literally; ``lowerdir+`` and ``datadir+`` (mounts made with fsconfig, Linux 6.5 and later) hold one
path each, taken as it is. Sources: Linux fs/proc_namespace.c, fs/seq_file.c, fs/overlayfs/params.c.

Names are ``str`` by ``os.fsdecode``. A line that is none is counted, never an error. Bounded: ``TABLE_BYTES`` of a table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

TABLE_BYTES: Final = 64 << 20
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_FIELDS: Final = 6  # before the optional tags
_DIGITS: Final = 20
_TAIL: Final = 3  # after the separator: type, source, super options
_DELETED: Final = "//deleted"


class Mount(NamedTuple):
    """One mount. ``device`` is ``major:minor``, ``root`` the path within its filesystem, ``point`` where it is seen in its namespace."""

    id: int
    device: str
    root: str
    point: str
    read_only: bool
    kind: str
    options: bytes  # of the superblock, still escaped

    @property
    def deleted(self) -> bool:
        """Whether the directory that is mounted was removed from its filesystem."""
        return self.root.endswith(_DELETED)


class Layers(NamedTuple):
    """The directories of an overlay as its mounter wrote them: absolute, or relative to where that stood. ``lower``: nearest first."""

    upper: str | None
    lower: tuple[str, ...]


class Table(NamedTuple):
    """What one mount table says, in its order; ``odd`` counts lines that are no mount."""

    mounts: tuple[Mount, ...]
    odd: int


def parse(data: bytes) -> Table:
    """Read a mount table. Never raises."""
    mounts: list[Mount] = []
    odd = 0
    for line in data.split(b"\n"):
        mount = _mount(line)
        if mount is not None:
            mounts.append(mount)
        elif line:
            odd += 1
    return Table(tuple(mounts), odd)


def layers_of(mount: Mount) -> Layers:
    """Return the directories of an overlay mount. Never raises."""
    upper: str | None = None
    lower: list[str] = []
    for name, value in _options(mount.options):
        if name == b"upperdir":
            upper = _path(_literal(value))
        elif name == b"lowerdir":
            lower += _split(value)
        elif name in (b"lowerdir+", b"datadir+"):
            lower.append(_path(value))
    return Layers(upper, tuple(lower))


def within(mounts: Iterable[Mount], device: str, path: str) -> Iterator[str]:
    """Yield the names under which ``path`` of the filesystem ``device`` is seen through ``mounts``."""
    for mount in mounts:
        if mount.device == device and not mount.deleted and (rest := below(mount.root, path)) is not None:
            yield _joined(mount.point, rest)


def below(base: str, path: str) -> str | None:
    """Return ``path`` relative to the directory ``base`` (``""``: itself), ``None`` when it does not lie in it."""
    if base == "/":
        return path[1:] if path.startswith("/") else None
    if path == base:
        return ""
    return path[len(base) + 1 :] if path.startswith(f"{base}/") else None


def _joined(base: str, rest: str) -> str:
    return f"{base.rstrip('/')}/{rest}" if rest else base


def _mount(line: bytes) -> Mount | None:
    head, separator, tail = line.partition(b" - ")
    before, after = head.split(b" "), tail.split(b" ")
    if not separator or len(before) < _FIELDS or len(after) < _TAIL or not before[0].isdigit() or len(before[0]) > _DIGITS:
        return None
    point, root = _text(before[4]), _text(before[3])
    if not point.startswith("/"):
        return None
    flags = before[5].split(b",")
    device, kind, options = before[2].decode("ascii", "replace"), _text(after[0]), b" ".join(after[2:])
    return Mount(int(before[0]), device, root, point, b"ro" in flags or options.split(b",")[0] == b"ro", kind, options)


def _options(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for option in data.split(b","):
        name, _, value = option.partition(b"=")
        yield name, _octal(value)


def _split(value: bytes) -> Iterator[str]:
    """Split a list at the colons that no backslash hides; an empty part (``::`` marks data-only layers) is none."""
    if b"\\" not in value:
        yield from (_path(part) for part in value.split(b":") if part)
        return
    part = bytearray()
    position = 0
    while position < len(value):
        byte = value[position : position + 1]
        if byte == b"\\" and position + 1 < len(value):
            position += 1
            part += value[position : position + 1]
        elif byte == b":":
            if part:
                yield _path(bytes(part))
            part.clear()
        else:
            part += byte
        position += 1
    if part:
        yield _path(bytes(part))


def _literal(value: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", value, flags=re.DOTALL)


def _path(value: bytes) -> str:
    text = os.fsdecode(value)
    return text.rstrip("/") or text


def _octal(value: bytes) -> bytes:
    return _OCTAL.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), value) if b"\\" in value else value


def _text(value: bytes) -> str:
    return os.fsdecode(_octal(value))
