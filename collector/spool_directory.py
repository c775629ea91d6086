"""The names and the small files of a spool directory, shared by its one writer and its readers (format: ``collector.spool``)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linktrail.durable import FileSystem, write_durably
from linktrail.errors import SpoolError, SpoolFullError, SpoolLockedError

FORMAT: Final = 1
IDENTITY: Final = "spool.json"
ACKNOWLEDGED: Final = "acknowledged"
QUARANTINE: Final = "quarantine"
LOCK: Final = "lock"
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_BATCH_NAME: Final = re.compile(r"(\d{16})\.batch")


@dataclass(frozen=True, slots=True)
class Identity:
    """What ``spool.json`` says: the random id that its offsets belong to, and the node that last wrote here."""

    id: str
    cluster: str
    node: str


def batch_name(offset: int) -> str:
    """Return the file name of the batch at ``offset``."""
    return f"{offset:016d}.batch"


def batch_offset(name: str) -> int | None:
    """Return the offset a file name stands for, or ``None`` when it is no batch file."""
    match = _BATCH_NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def failed(path: Path, what: str, error: OSError) -> SpoolError:
    """Return the error to raise for ``error``: ``SpoolFullError`` when it was for want of space."""
    kind = SpoolFullError if error.errno in FULL else SpoolError
    return kind(path=path, what=f"{what}: {error.strerror or error}")


def read_identity(filesystem: FileSystem, path: Path) -> Identity | None:
    """Return the identity of the spool at ``path``, ``None`` when no collector has used it yet; raises ``SpoolError``."""
    try:
        document = json.loads(filesystem.read(path / IDENTITY))
        if document["format"] > FORMAT:
            raise SpoolError(path=path, what=f"its format {document['format']} is newer than this linktrail knows ({FORMAT})")
        return Identity(str(document["id"]), str(document["cluster"]), str(document["node"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed(path, f"{IDENTITY} cannot be read", error) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise SpoolError(path=path, what=f"{IDENTITY} is damaged; move it away to start a new spool") from error


def make_identity(filesystem: FileSystem, path: Path, cluster: str, node: str) -> Identity:
    """Return the identity, made anew where there is none, and brought up to date where the node was renamed.

    Raises ``OSError`` and ``SpoolError``.
    """
    found = read_identity(filesystem, path)
    wanted = Identity(found.id if found else uuid.uuid4().hex, cluster, node)
    if found != wanted:
        document = {"format": FORMAT, "id": wanted.id, "cluster": wanted.cluster, "node": wanted.node}
        write_durably(filesystem, path / IDENTITY, json.dumps(document).encode() + b"\n")
    return wanted


def read_cursor(filesystem: FileSystem, path: Path) -> tuple[str, int] | None:
    """Return (spool id, next offset) from ``acknowledged``; ``None`` when absent or damaged (then nothing counts as acknowledged)."""
    try:
        document = json.loads(filesystem.read(path / ACKNOWLEDGED))
        return str(document["spool"]), int(document["next"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed(path, f"{ACKNOWLEDGED} cannot be read", error) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def take_lock(path: Path) -> int:
    """Take the writer's lock of the spool at ``path``; the kernel drops it when this process ends, however it ends.

    Raises ``SpoolLockedError`` and ``OSError``.
    """
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_holder(descriptor)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise SpoolLockedError(path=path, pid=holder or "unknown") from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write_holder(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        if error.errno not in FULL:  # the number only serves a message; a full disk must not keep the recorder from starting
            raise
