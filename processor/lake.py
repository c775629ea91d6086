"""The lake: four Delta tables below one directory, made, checked, upgraded and repaired when they are opened for writing.

Format. ``<lake>/{links,findings,usage,coverage}``, each partitioned by ``day``; the configuration of each states
``linktrail.schema_version``. ``.lock`` is held only while a lake is opened for writing: making tables, adding columns and
repairing are done by one process at a time. Commits take no lock; they fence each other (``processor.lake_table``).

Promises. Opening is idempotent, and safe in several processes at once. A lake of a newer schema version is refused before anything in it is
read or written. A lake from before a column was added is upgraded by a metadata commit when it is opened for writing, and
read with nulls until then. Readers need no lock and no write permission.

Limits. A directory, whose path must be UTF-8 without ``%`` (the Delta library would decode it), or a place in an object store with
conditional puts (``processor.location``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Final, Self

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.schema import Schema

from linktrail.durable import FileSystem, LocalFileSystem
from linktrail.errors import FencedError, LakeError, LakeMissingError, LakeNewerError
from linktrail.schema import SCHEMA_VERSION, TABLES
from processor.delta_errors import first_lines, lake_errors
from processor.delta_log import LOG, entry_name, repair
from processor.derived import definition_of
from processor.lake_table import LakeTable
from processor.location import address, is_remote, storage_options
from processor.object_store import filesystem_of

COMMIT_ORDER: Final = ("links", "findings", "usage", "coverage")
VERSION_KEY: Final = "linktrail.schema_version"
LOCK: Final = ".lock"
_CONFIGURATION: Final = {
    VERSION_KEY: str(SCHEMA_VERSION),
    "delta.logRetentionDuration": "interval 6 hours",  # for other writers; linktrail itself goes by count (processor.delta_log)
    "delta.deletedFileRetentionDuration": "interval 2 days",
}


class Lake:
    """An open lake. Not for several threads at once: let each open its own."""

    def __init__(self, path: Path, tables: dict[str, LakeTable], filesystem: FileSystem) -> None:
        """Use ``Lake.open`` or ``Lake.open_for_writing``."""
        self.path = path
        self.tables = tables
        self._filesystem = filesystem

    @classmethod
    def open(cls, path: Path, *, filesystem: FileSystem | None = None) -> Self:
        """Open the lake at ``path`` for reading. Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``."""
        _require_path(path)
        filesystem = filesystem_of(path, filesystem or LocalFileSystem())
        if not all(_is_table(path / name, filesystem) for name in TABLES):
            raise LakeMissingError(path=path)
        tables = {name: LakeTable(path / name, name, filesystem=filesystem) for name in TABLES}
        _require_version(path, tables)
        return cls(path, tables, filesystem)

    @classmethod
    def open_for_writing(cls, path: Path, *, filesystem: FileSystem) -> Self:
        """Open the lake at ``path`` for committing, and make, repair or upgrade it first where needed.

        Raises ``LakeNewerError``, ``LakeFullError``, ``LakeError``.
        """
        _require_path(path)
        filesystem = filesystem_of(path, filesystem)
        with lake_errors(path, "making the lake"):
            filesystem.make_directory(path)
        with _locked(path):
            _require_version(path, _loadable(path, filesystem))
            present = {name: _load(path, name, filesystem) for name in TABLES if _is_table(path / name, filesystem)}
            _require_version(path, present)
            for table in present.values():
                _upgrade(table)
            tables = {name: present.get(name) or _make(path, name, filesystem) for name in TABLES}
            with lake_errors(path, "making the lake"):
                filesystem.sync_directory(path)
            lake = cls(path, tables, filesystem)
            lake.resume()
        return lake

    def derived(self, name: str) -> LakeTable:
        """Return the derived table ``name``, made where it is missing. Raises ``LakeFullError``, ``LakeError``."""
        with _locked(self.path):
            return (_load(self.path, name, self._filesystem) if _is_table(self.path / name, self._filesystem) else None) or _make(
                self.path, name, self._filesystem
            )

    def reload(self) -> None:
        """See what others committed since; for readers."""
        for table in self.tables.values():
            table.reload()

    def resume(self) -> None:
        """See what others committed since, and make it durable, so that a writer may go on from there."""
        for table in self.tables.values():
            table.resume()

    def transaction_version(self, source: str, table: str = COMMIT_ORDER[-1]) -> int | None:
        """Return the next offset of ``source`` that ``table`` needs, as its handle sees it; ``None`` before the first."""
        return self.tables[table].transaction_version(source)

    def files(self, table: str, *, first_day: date | None = None, last_day: date | None = None) -> list[str]:
        """Return the absolute paths of the Parquet files of ``table`` (for DuckDB's ``read_parquet``), oldest day first."""
        return self.tables[table].files(first_day=first_day, last_day=last_day)

    def read(self, table: str) -> pa.Table:
        """Return all rows of ``table``."""
        return self.tables[table].read()


def _require_path(path: Path) -> None:
    text = str(path)
    if "%" in text or not path.is_absolute() or not text.isprintable():
        raise LakeError(path=path, what="its path must be absolute, in UTF-8, and without %: the Delta library cannot open it otherwise")


def _is_table(path: Path, filesystem: FileSystem) -> bool:
    """Tell whether a table was made here: its log has an entry or a checkpoint, whole or not."""
    try:
        return any(name.endswith((".json", ".checkpoint.parquet")) for name in filesystem.names(path / LOG))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise LakeError(path=path, what=f"cannot be listed ({error.strerror or first_lines(error)})") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lake's lock; the kernel drops it when this process ends, however it ends.

    In an object store nothing can be torn, so nothing is repaired, and of two that make a table one is refused by a conditional put.
    """
    if is_remote(path):
        yield
        return
    with lake_errors(path, "locking the lake"):
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        with lake_errors(path, "locking the lake"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _loadable(path: Path, filesystem: FileSystem) -> dict[str, LakeTable]:
    """Return the tables that can be read as they are: enough to tell a newer lake before anything in it is repaired."""
    found: dict[str, LakeTable] = {}
    for name in TABLES:
        if _is_table(path / name, filesystem):
            with contextlib.suppress(LakeError):  # perhaps torn by power loss; met again when it is repaired
                found[name] = LakeTable(path / name, name, filesystem=filesystem)
    return found


def _load(path: Path, name: str, filesystem: FileSystem) -> LakeTable | None:
    """Return the table, repaired if power loss tore its log; ``None`` when nothing of it was left, so that it is made anew."""
    torn: list[str] = []
    if not is_remote(path):
        with lake_errors(path / name, "repairing the log"):
            torn = repair(filesystem, path / name)
    if torn and not _is_table(path / name, filesystem):
        return None
    return LakeTable(path / name, name, filesystem=filesystem)


def _require_version(path: Path, tables: Mapping[str, LakeTable | None]) -> None:
    for name, table in tables.items():
        found = table.configuration.get(VERSION_KEY) if table else str(SCHEMA_VERSION)
        if found is None or not found.isdecimal():
            raise LakeError(path=path / name, what="is a Delta table, but not one of linktrail")
        if int(found) > SCHEMA_VERSION:
            raise LakeNewerError(path=path, found=found, known=SCHEMA_VERSION)


def _make(path: Path, name: str, filesystem: FileSystem) -> LakeTable:
    try:
        with lake_errors(path / name, "making the table"):
            filesystem.make_directory(path / name / LOG)
            DeltaTable.create(
                address(path / name),
                definition_of(name).arrow(),
                partition_by=["day"],
                name=f"linktrail {name}",
                description=definition_of(name).row,
                configuration=_CONFIGURATION,
                storage_options=storage_options(path),
                commit_properties=CommitProperties(max_commit_retries=0),  # it would make the table a second time, on top of the first
                raise_if_key_not_exists=False,
            )
            filesystem.sync_file(path / name / LOG / entry_name(0))
    except LakeError:
        if not (is_remote(path) and _is_table(path / name, filesystem)):  # there another process may have been faster
            raise
    return LakeTable(path / name, name, filesystem=filesystem)


def _upgrade(table: LakeTable | None) -> None:
    """Add the columns that this linktrail knows and the table has not yet; they are null in older rows."""
    if table is None:
        return
    present = set(table.column_names)
    new = [field for field in Schema.from_arrow(TABLES[table.name].arrow()).fields if field.name not in present]
    while new:
        try:
            table.add_columns(new)
        except FencedError:  # a processor of the old version committed rows meanwhile
            table.reload()
            continue
        return
