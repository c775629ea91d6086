"""One table of the lake: reading it, and committing rows together with the positions they came from.

The commit protocol, to be followed to the letter. Positions are Delta app transactions (id = source, version = next offset), so they
change in the same atomic act as the rows. deltalake refuses a commit when another process committed the same id since the handle
was loaded, but it compares no versions; so the position is read from the very handle that commits, and must be what the caller thinks it
is. A refused commit is never repeated: the caller drops its rows and reads on from the lake's position (``FencedError``).

Order of a commit: files and their directories are fsynced, then the log entry is written, then every log entry since the
last one seen here is fsynced. Only then may anything be acknowledged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.schema import Field
from deltalake.transaction import AddAction, RemoveAction

from linktrail.durable import FileSystem
from linktrail.errors import FencedError, LakeError, LakeFullError
from linktrail.schema import TABLES
from processor.delta_errors import lake_errors
from processor.delta_log import CHECKPOINT_EVERY, last_checkpoint, sync_checkpoint, sync_entries, sync_log
from processor.files import DataFile, remove_files, write_files

_log = logging.getLogger(__name__)
_NO_HOOKS: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class LakeTable:
    """One Delta table, as one handle saw it. Not for several threads at once."""

    def __init__(self, path: Path, name: str, *, filesystem: FileSystem) -> None:
        """Load table ``name`` at ``path``; raises ``LakeError``."""
        self.path = path
        self.name = name
        self._filesystem = filesystem
        self._known_days: set[date] = set()
        self._checkpoint = -1
        self.reload()

    def reload(self) -> None:
        """Load the newest state into a new handle; raises ``LakeError``."""
        with lake_errors(self.path, "opening the table"):
            self._handle = DeltaTable(str(self.path))

    def resume(self) -> None:
        """Load the newest state and make it durable: who committed it may have been killed before doing so. Raises ``LakeError``."""
        self.reload()
        with lake_errors(self.path, "making the log durable"):
            sync_log(self._filesystem, self.path)
            self._checkpoint = last_checkpoint(self._filesystem, self.path)

    @property
    def version(self) -> int:
        """The version of the table that this handle sees."""
        return self._handle.version()

    @property
    def configuration(self) -> dict[str, str]:
        """The table's configuration."""
        return self._handle.metadata().configuration

    @property
    def column_names(self) -> list[str]:
        """The columns of the table as its log has them, which may be more or fewer than this linktrail knows."""
        return [field.name for field in self._handle.schema().fields]

    def transaction_version(self, source: str) -> int | None:
        """Return the next offset of ``source`` that this table needs; ``None`` when it has nothing from there yet."""
        return self._handle.transaction_version(source)

    # --- committing -----------------------------------------------------------------------------------------------

    def commit(self, rows: pa.Table | None, positions: Mapping[str, int], expected: Mapping[str, int | None]) -> None:
        """Append ``rows`` and set ``positions`` (source -> next offset), both or neither, durably.

        ``expected`` are the positions that the caller last saw. Raises ``FencedError`` when they are no longer true,
        ``LakeFullError`` (nothing is committed), and ``LakeError``, after which only a new handle shows what was committed.
        """
        sources = ", ".join(positions)
        self._require(expected, sources)
        if any(next_offset < (expected.get(source) or 0) for source, next_offset in positions.items()):
            raise LakeError(path=self.path, what=f"a commit would set {sources} back")  # the library would accept it
        with lake_errors(self.path, "writing a data file"):
            files = [] if rows is None else self._write(rows)
        try:
            with lake_errors(self.path, "writing a log entry", sources):
                self._commit_actions([_add(file) for file in files], positions)
        except (FencedError, LakeFullError):
            remove_files(self._filesystem, self.path, files)  # certainly not committed
            raise
        self._settle()
        self._require(positions, sources)

    def _write(self, rows: pa.Table) -> list[DataFile]:
        return write_files(self._filesystem, self.path, self.name, rows, known_days=self._known_days)

    def _require(self, expected: Mapping[str, int | None], sources: str) -> None:
        if any(self.transaction_version(source) != offset for source, offset in expected.items()):
            raise FencedError(path=self.path, source=sources)

    def _commit_actions(self, actions: list[AddAction | RemoveAction], positions: Mapping[str, int]) -> None:
        self._handle.create_write_transaction(
            actions,
            mode="append",
            schema=TABLES[self.name].arrow(),
            partition_by=["day"],
            commit_properties=CommitProperties(app_transactions=[Transaction(source, offset) for source, offset in positions.items()]),
            post_commithook_properties=_NO_HOOKS,
        )

    def _settle(self) -> None:
        """Bring the handle up to what was committed (it does not do so itself), and make all that it then sees durable."""
        before = self.version
        with lake_errors(self.path, "making a commit durable"):
            self._handle.update_incremental()
            sync_entries(self._filesystem, self.path, before + 1, self.version)
        if self.version - self._checkpoint >= CHECKPOINT_EVERY:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        """Fold the log into a checkpoint and let old entries go. Every commit stands without it, so a failure is only said."""
        try:
            with lake_errors(self.path, "writing a checkpoint"):
                self._handle.create_checkpoint()
                sync_checkpoint(self._filesystem, self.path, self.version)
                self._checkpoint = self.version
                self._handle.cleanup_metadata()
        except LakeError as error:
            _log.warning("%s; the next commit tries again", error)

    def add_columns(self, fields: list[Field]) -> None:
        """Add nullable columns, durably. Raises ``FencedError`` when somebody committed meanwhile, and ``LakeError``."""
        with lake_errors(self.path, "adding columns"):
            self._handle.alter.add_columns(fields, post_commithook_properties=_NO_HOOKS)
        self.reload()
        with lake_errors(self.path, "making a commit durable"):
            sync_entries(self._filesystem, self.path, self.version, self.version)

    # --- reading --------------------------------------------------------------------------------------------------

    def files(self, *, first_day: date | None = None, last_day: date | None = None) -> list[str]:
        """Return the absolute paths of the Parquet files that make up the table, oldest day first, in these days."""
        return [str(self.path / path) for day, path in self._adds() if (first_day or day) <= day <= (last_day or day)]

    def days(self) -> list[date]:
        """Return the days that have rows, ascending."""
        return sorted({day for day, _ in self._adds()})

    def _adds(self) -> list[tuple[date, str]]:
        with lake_errors(self.path, "listing the table's files"):
            adds = pa.table(self._handle.get_add_actions(flatten=True))
        return sorted(zip(adds.column("partition.day").to_pylist(), adds.column("path").to_pylist(), strict=True))

    def read(self, columns: list[str] | None = None, *, first_day: date | None = None) -> pa.Table:
        """Return the rows (of ``columns``) from ``first_day`` on; columns that a file was written without are null."""
        schema = TABLES[self.name].arrow()
        wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        parts = [self._read_file(path, day, wanted) for day, path in self._adds() if day >= (first_day or day)]
        return pa.concat_tables([wanted.empty_table(), *parts])

    def read_newest(self, columns: list[str], days: int) -> Iterator[pa.Table]:
        """Yield the rows of the newest ``days`` days that have any, file by file, so that memory stays bounded."""
        schema = TABLES[self.name].arrow()
        wanted = pa.schema([schema.field(name) for name in columns])
        for first_day in self.days()[-days:][:1]:
            for day, path in self._adds():
                if day >= first_day:
                    yield self._read_file(path, day, wanted)

    def _read_file(self, path: str, day: date, wanted: pa.Schema) -> pa.Table:
        with lake_errors(self.path, f"reading {path}"), pq.ParquetFile(self.path / path) as file:
            present = set(file.schema_arrow.names)
            found = file.read([name for name in wanted.names if name in present])
        arrays = [found.column(field.name) if field.name in present else _constant(field, day, found.num_rows) for field in wanted]
        return pa.table(arrays, schema=wanted)


def _constant(field: pa.Field, day: date, count: int) -> pa.Array:
    """Return a column that the file itself has not: the day of its path, or one that was added to the schema later."""
    return pa.repeat(pa.scalar(day if field.name == "day" else None, field.type), count)


def _add(file: DataFile) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={"day": file.day.isoformat()},
        modification_time=time.time_ns() // 1_000_000,
        data_change=True,
        stats=file.statistics,
    )
