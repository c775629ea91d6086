"""One table of the lake: reading it, and committing rows together with the positions they came from.

The commit protocol, to be followed to the letter. Positions are Delta app transactions (id = source, version = next offset), so they
change in the same atomic act as the rows. deltalake refuses a commit when another process committed the same id since the handle
was loaded, but it compares no versions; so the position is read from the very handle that commits, and must be what the caller thinks it
is. A refused commit is never repeated: the caller drops its rows and reads on from the lake's position (``FencedError``).

Order of a commit: files and their directories are fsynced, then the log entry is written, then every log entry since the
last one seen here is fsynced. Only then may anything be acknowledged.

Upkeep (``processor.upkeep``) replaces files by others with ``rewrite``, whose app transaction ``maintenance`` makes it refuse what another
maintainer changed since the files were listed. deltalake alone would let two such commits double every row.

A handle reads log entries again when it is asked, and others let old entries go (``trim_log``). So one that was not brought up to date for
``FRESH_SECONDS`` is, before it commits; positions are compared after that. One that still comes too late is ``FencedError`` too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.schema import Field
from deltalake.transaction import AddAction, RemoveAction

from linktrail.durable import FileSystem
from linktrail.errors import FencedError, LakeError, LakeFullError
from processor.delta_errors import lake_errors
from processor.delta_log import CHECKPOINT_EVERY, last_checkpoint, sync_checkpoint, sync_entries, sync_log, trim_log
from processor.derived import definition_of
from processor.files import DataFile, remove_files, write_files
from processor.location import address, is_remote, storage_options
from processor.table_files import LiveFile, addition, read_file, removal

_log = logging.getLogger(__name__)
MAINTENANCE: Final = "maintenance"
LONGEST_WRITE: Final = 3600.0
FRESH_SECONDS: Final = 30.0
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
        self._maintained: int | None = None
        self._durable = False  # whether all that the handle sees is, and nothing failed since that was made sure of
        self.reload()

    def reload(self) -> None:
        """Load the newest state into a new handle; raises ``LakeError``."""
        with lake_errors(self.path, "opening the table"):
            self._handle = self._opened()
        self._durable = False
        self._seen = _awake_or_not()

    def _opened(self) -> DeltaTable:
        return DeltaTable(address(self.path), storage_options=storage_options(self.path))

    def refresh(self) -> None:
        """Bring the handle up to what was committed since, and make all that it then sees durable. Raises ``LakeError``."""
        before, durable = self.version, self._durable
        self._durable = False
        with lake_errors(self.path, "making a commit durable"):
            self._handle.update_incremental()
            sync_entries(self._filesystem, self.path, before + 1, self.version)
        self._durable = durable
        self._seen = _awake_or_not()

    def _freshen(self) -> None:
        if not 0 <= _awake_or_not() - self._seen < FRESH_SECONDS:
            self.refresh()

    def resume(self) -> None:
        """Load the newest state and make it durable: who committed it may have been killed before doing so. Raises ``LakeError``.

        A handle that nothing failed on since the last time only needs what came after that.
        """
        if self._durable:
            self.refresh()
            return
        self.reload()
        with lake_errors(self.path, "making the log durable"):
            sync_log(self._filesystem, self.path)
            self._checkpoint = last_checkpoint(self._filesystem, self.path)
        self._durable = True

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
        """Return the next offset of ``source`` that this table needs; ``None`` when it has nothing from there yet.

        Raises ``FencedError`` when the handle is so old that its part of the log is gone.
        """
        with lake_errors(self.path, "reading a position", source):
            return self._handle.transaction_version(source)

    # --- committing -----------------------------------------------------------------------------------------------

    def commit(self, rows: pa.Table | None, positions: Mapping[str, int], expected: Mapping[str, int | None]) -> None:
        """Append ``rows`` and set ``positions`` (source -> next offset), both or neither, durably.

        ``expected`` are the positions that the caller last saw. Raises ``FencedError`` when they are no longer true,
        ``LakeFullError`` (nothing is committed), and ``LakeError``, after which only a new handle shows what was committed.
        """
        sources = ", ".join(positions)
        self._freshen()
        self._require(expected, sources)
        if any(next_offset < (expected.get(source) or 0) for source, next_offset in positions.items()):
            raise LakeError(path=self.path, what=f"a commit would set {sources} back")  # the library would accept it
        self._replace([], [] if rows is None else [rows], positions, expected, data_change=True)

    def rewrite(self, removed: Sequence[LiveFile], parts: Iterable[pa.Table], *, data_change: bool, stem: str = "part") -> int:
        """Put ``parts`` in the place of the files ``removed``, durably; return how many files were written.

        ``removed`` must come from the last ``live_files``. ``data_change`` says whether rows are other than before.
        Raises ``FencedError`` when another maintainer was faster, ``LakeFullError``, ``LakeError``.
        """
        listed, number = self._maintained, (self._maintained or 0) + 1
        self._require({MAINTENANCE: listed}, MAINTENANCE)
        count = self._replace(removed, parts, {MAINTENANCE: number}, {MAINTENANCE: listed}, data_change=data_change, stem=stem)
        self._maintained = number
        return count

    def _replace(
        self,
        removed: Sequence[LiveFile],
        parts: Iterable[pa.Table],
        positions: Mapping[str, int],
        expected: Mapping[str, int | None],
        *,
        data_change: bool,
        stem: str = "part",
    ) -> int:
        """Commit; ``expected`` was compared with the handle as it is now."""
        files: list[DataFile] = []
        started, compared, durable = time.time(), self.version, self._durable
        self._durable = False
        try:
            with lake_errors(self.path, "writing a data file"):
                for rows in parts:
                    files += write_files(self._filesystem, self.path, self.name, rows, known_days=self._known_days, stem=stem)
            self._require_quick(started, positions)
            self._freshen()
            if self.version != compared:
                self._require(expected, ", ".join(positions))
        except BaseException:
            remove_files(self._filesystem, self.path, files)
            raise
        actions: list[AddAction | RemoveAction] = [
            *(removal(file, data_change=data_change) for file in removed),
            *(addition(file, data_change=data_change) for file in files),
        ]
        try:
            with lake_errors(self.path, "writing a log entry", ", ".join(positions)):
                self._commit_actions(actions, positions)
        except (FencedError, LakeFullError) as error:
            if self._is_refused(error):
                remove_files(self._filesystem, self.path, files)
            raise
        self.refresh()  # the handle does not do so itself
        self._require(positions, ", ".join(positions))
        self._durable = durable
        self.fold_log(CHECKPOINT_EVERY)
        return len(files)

    def _is_refused(self, error: FencedError | LakeFullError) -> bool:
        """Tell whether it is certain that nothing was committed.

        A store may have lost the answer to a put that it did; log entries that are not found may have been missed after the commit.
        """
        return not is_remote(self.path) and (isinstance(error, LakeFullError) or isinstance(error.__cause__, CommitFailedError))

    def _require_quick(self, started: float, positions: Mapping[str, int]) -> None:
        """Give up where the machine slept meanwhile, perhaps for days: vacuum may have taken the files written before for garbage."""
        if not 0 <= time.time() - started < LONGEST_WRITE:
            raise FencedError(path=self.path, source=", ".join(positions))

    def _require(self, expected: Mapping[str, int | None], sources: str) -> None:
        if any(self.transaction_version(source) != offset for source, offset in expected.items()):
            raise FencedError(path=self.path, source=sources)

    def _commit_actions(self, actions: list[AddAction | RemoveAction], positions: Mapping[str, int]) -> None:
        self._handle.create_write_transaction(
            actions,
            mode="append",
            schema=definition_of(self.name).arrow(),
            partition_by=["day"],
            commit_properties=CommitProperties(app_transactions=[Transaction(source, offset) for source, offset in positions.items()]),
            post_commithook_properties=_NO_HOOKS,
        )

    def fold_log(self, least: int) -> None:
        """Write a checkpoint where ``least`` or more entries came since the last one: a table is as fast as its log is short."""
        if self.version - self._checkpoint >= least:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        """Fold the log into a checkpoint and go on from there. Every commit stands without it, so a failure is only said."""
        try:
            with lake_errors(self.path, "writing a checkpoint"):
                self._handle.create_checkpoint()
                sync_checkpoint(self._filesystem, self.path, self.version)
                self._checkpoint = self.version
                trim_log(self._filesystem, self.path, self.version)
                opened = self._opened()
                sync_entries(self._filesystem, self.path, self.version + 1, opened.version())
                self._handle = opened
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

    def live_files(self) -> list[LiveFile]:
        """Return the data files that this handle sees, in the order in which they were written; ``rewrite`` may replace these."""
        self._maintained = self.transaction_version(MAINTENANCE)
        names = ("path", "partition.day", "num_records", "size_bytes", "modification_time")
        with lake_errors(self.path, "listing the table's files"):
            adds = pa.table(self._handle.get_add_actions(flatten=True))
        if not adds.num_rows:
            return []
        columns = (adds.column(name).to_pylist() for name in names)
        return sorted((LiveFile(*values) for values in zip(*columns, strict=True)), key=lambda file: (file.written, file.path))

    def garbage(self, grace_hours: int) -> list[str]:
        """Return files (relative) that no state of the table of the last ``grace_hours`` names and that are older than that."""
        with lake_errors(self.path, "looking for files that nothing refers to"):
            return self._handle.vacuum(retention_hours=grace_hours, dry_run=True, enforce_retention_duration=False, full=True)

    def remove_garbage(self, files: Sequence[str]) -> None:
        """Remove files that ``garbage`` named; raises ``LakeError``."""
        with lake_errors(self.path, "removing a file that nothing refers to"):
            for file in files:
                self._filesystem.unlink(self.path / file)

    def read_files(self, files: Sequence[LiveFile]) -> pa.Table:
        """Return all rows of ``files``."""
        return self.read_columns(files, list(definition_of(self.name).names))

    def read_columns(self, files: Sequence[LiveFile], columns: list[str]) -> pa.Table:
        """Return ``columns`` of all rows of ``files``, in the order of the files."""
        schema = definition_of(self.name).arrow()
        wanted = pa.schema([schema.field(name) for name in columns])
        return pa.concat_tables(
            [wanted.empty_table(), *(read_file(self._filesystem, self.path, file.path, file.day, wanted) for file in files)]
        )

    def files(self, *, first_day: date | None = None, last_day: date | None = None) -> list[str]:
        """Return the absolute paths of the Parquet files that make up the table, oldest day first, in these days."""
        return [address(self.path / path) for day, path in self._adds() if (first_day or day) <= day <= (last_day or day)]

    def days(self) -> list[date]:
        """Return the days that have rows, ascending."""
        return sorted({day for day, _ in self._adds()})

    def _adds(self) -> list[tuple[date, str]]:
        with lake_errors(self.path, "listing the table's files"):
            adds = pa.table(self._handle.get_add_actions(flatten=True))
        return sorted(zip(adds.column("partition.day").to_pylist(), adds.column("path").to_pylist(), strict=True))

    def read(self, columns: list[str] | None = None, *, first_day: date | None = None) -> pa.Table:
        """Return the rows (of ``columns``) from ``first_day`` on; columns that a file was written without are null."""
        schema = definition_of(self.name).arrow()
        wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        parts = [read_file(self._filesystem, self.path, path, day, wanted) for day, path in self._adds() if day >= (first_day or day)]
        return pa.concat_tables([wanted.empty_table(), *parts])

    def read_newest(self, columns: list[str], days: int) -> Iterator[pa.Table]:
        """Yield the rows of the newest ``days`` days that have any, file by file, so that memory stays bounded."""
        schema = definition_of(self.name).arrow()
        wanted = pa.schema([schema.field(name) for name in columns])
        for first_day in self.days()[-days:][:1]:
            for day, path in self._adds():
                if day >= first_day:
                    yield read_file(self._filesystem, self.path, path, day, wanted)


def _awake_or_not() -> float:
    """Return seconds on the clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
