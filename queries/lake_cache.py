"""Local copies of a lake's data files, for a lake in an object store: DuckDB reads files, and these never change.

Format. ``<cache>/lake-<digest of the address>/<table>/day=.../<file>``, copied whole under a temporary name, checked for size, renamed. Two
queries at once may copy the same file; the last rename wins, and both are right. What the snapshot no longer names is removed a day after
it was last used. ``LINKTRAIL_CACHE`` names another directory than ``$XDG_CACHE_HOME/linktrail``.

Limits. The first query copies every file of the tables that it opens, and the cache is as large as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pyarrow as pa

from linktrail.errors import LakeError
from processor.location import address
from processor.object_store import ObjectStore

_FORGET_SECONDS: Final = 86_400
_AT_ONCE: Final = 8


def cache_directory(lake: Path, environment: Mapping[str, str] | None = None) -> Path:
    """Return where copies of the files of ``lake`` are kept."""
    environment = os.environ if environment is None else environment
    base = Path(environment.get("LINKTRAIL_CACHE") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "linktrail")
    return base.absolute() / f"lake-{hashlib.sha256(address(lake).encode()).hexdigest()[:16]}"


def local_copies(lake: Path, table: str, files: Sequence[tuple[str, int]]) -> list[str]:
    """Return paths of local copies of ``files`` (path relative to the table, size in bytes), in order. Raises ``LakeError``."""
    directory = cache_directory(lake) / table
    store = ObjectStore(lake)
    wanted = {directory / file: size for file, size in files}
    missing = [path for path, size in wanted.items() if not _is_whole(path, size)]
    try:
        for folder in {path.parent for path in missing}:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda path: _copy(store, lake / table / path.relative_to(directory), path, wanted[path]), missing))
        _forget(directory, set(wanted))
    except (OSError, pa.ArrowException) as error:
        raise LakeError(path=address(lake), what=f"a file cannot be copied to {directory} ({' '.join(str(error).split())})") from error
    return [str(path) for path in wanted]


def _is_whole(path: Path, size: int) -> bool:
    try:
        os.utime(path)  # used now
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _copy(store: ObjectStore, source: Path, target: Path, size: int) -> None:
    data = store.read(source)
    if len(data) != size:
        raise OSError(f"{address(source)} has {len(data)} bytes, the log says {size}")
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _forget(directory: Path, wanted: set[Path]) -> None:
    """Remove copies, whole or half, that nothing used for a day."""
    oldest = time.time() - _FORGET_SECONDS
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another query was faster
            if path.is_file() and path not in wanted and path.stat().st_mtime < oldest:
                path.unlink()
