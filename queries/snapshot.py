"""Which files make up a lake now: one snapshot of its four Delta tables, read from their logs.

Coverage is opened first: the processor commits it last, so what is opened after it holds at least the rows that it vouches for.

A live lake has many small files, and opening one costs more than the rows in it are worth to skip. So the smallest are marked
to be read into memory once (``recent``, up to ``MEMORY_ROWS`` rows of a table), and the others to be read where a query needs them
(``stored``), grouped by the columns they have: a file from before a column was added lacks it.

A lake in an object store is read through local copies of its files (``queries.lake_cache``).

Limits. delta-rs takes some paths for addresses and DuckDB some for patterns; a lake in such a directory is refused, with the reason.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from linktrail.errors import LakeError, LakeMissingError, LakeNewerError
from linktrail.schema import SCHEMA_VERSION
from linktrail.text import encode
from processor.location import address, is_remote, storage_options
from processor.object_store import ObjectStore
from queries.lake_cache import local_copies

if TYPE_CHECKING:
    from deltalake import DeltaTable

SCHEMA_VERSION_KEY: Final = "linktrail.schema_version"
OPENING_ORDER: Final = ("coverage", "links", "findings", "usage")
MEMORY_ROWS: Final = 200_000
_SMALL_ROWS: Final = 20_000
_BYTES_A_ROW: Final = 30  # where a log states no number of rows
_NOT_FOR_LIBRARIES: Final = re.compile(r"[\[\]|^\\*?\x00-\x1f\x7f]|%[0-9a-fA-F]{2}")


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The data files of one table at one version, absolute: ``recent`` for memory, ``stored`` in groups of equal columns."""

    name: str
    recent: tuple[str, ...] = ()
    stored: tuple[tuple[str, ...], ...] = ()

    @property
    def files(self) -> list[str]:
        """All of them."""
        return [*self.recent, *(file for group in self.stored for file in group)]


@dataclass(frozen=True, slots=True)
class LakeFiles:
    """One snapshot of a lake: its directory and the files of each table."""

    path: Path
    tables: Mapping[str, TableFiles]

    @property
    def files(self) -> list[str]:
        """Every data file of the snapshot."""
        return [file for table in self.tables.values() for file in table.files]

    def only(self, *names: str) -> LakeFiles:
        """Return the snapshot with these tables alone; the others are empty then."""
        return LakeFiles(self.path, {name: table if name in names else TableFiles(name) for name, table in self.tables.items()})


def read_lake(path: Path, *, memory_rows: int = MEMORY_ROWS) -> LakeFiles:
    """List the files of the lake at ``path``; at most ``memory_rows`` rows of each table are marked to be read into memory.

    Raises ``LakeMissingError`` (no table there), ``LakeNewerError`` (written by a newer linktrail), ``LakeError`` (unreadable).
    """
    path = path.absolute()
    try:
        found = [name for name in OPENING_ORDER if _has_log(path / name / "_delta_log")]
    except OSError as error:
        raise LakeError(path=address(path), what=error.strerror or " ".join(str(error).split())) from error
    if not found:
        raise LakeMissingError(path=address(path))
    if not is_remote(path):
        _refuse_strange_path(path)
    tables = {name: _table_files(path, name, memory_rows) if name in found else TableFiles(name) for name in OPENING_ORDER}
    return LakeFiles(path, tables)


def _has_log(log: Path) -> bool:
    return bool(ObjectStore(log).names(log)) if is_remote(log) else log.is_dir()


def _refuse_strange_path(path: Path) -> None:
    try:
        strange = _NOT_FOR_LIBRARIES.search(encode(str(path)).decode())
    except UnicodeDecodeError as error:
        raise LakeError(path=path, what="Delta and DuckDB open only paths that are UTF-8; rename the directory") from error
    if strange:
        raise LakeError(path=path, what=f"Delta and DuckDB cannot open a path with {strange[0]!r} in it; rename the directory")


def _table_files(lake: Path, name: str, memory_rows: int) -> TableFiles:
    from deltalake import DeltaTable  # noqa: PLC0415 - help and usage errors must not wait for it
    from deltalake.exceptions import DeltaError  # noqa: PLC0415 - likewise

    try:
        table = DeltaTable(address(lake / name), storage_options=storage_options(lake))
        version = table.metadata().configuration.get(SCHEMA_VERSION_KEY, "1")
        files = _sized_files(lake, name, table)
    except (DeltaError, OSError, ValueError) as error:
        raise LakeError(path=lake, what=f"table {name} cannot be opened ({' '.join(str(error).split())})") from error
    if not version.isdecimal():
        raise LakeError(path=lake, what=f"table {name} states the schema version {version!r}")
    if int(version) > SCHEMA_VERSION:
        raise LakeNewerError(path=lake, found=version, known=SCHEMA_VERSION)
    recent, stored = _divide(files, memory_rows)
    try:
        return TableFiles(name, tuple(sorted(recent)), _by_columns(stored))
    except (pa.ArrowException, OSError) as error:
        raise LakeError(path=lake, what=f"a file of table {name} cannot be read ({' '.join(str(error).split())})") from error


def _sized_files(lake: Path, name: str, table: DeltaTable) -> list[tuple[int, str]]:
    """Return (rows, path) of each data file. The log has paths percent-encoded, relative to the table."""
    actions = pa.table(table.get_add_actions(flatten=True))
    if not actions.num_rows:
        return []
    paths, sizes, rows = (actions.column(column).to_pylist() for column in ("path", "size_bytes", "num_records"))
    paths = [unquote(path) for path in paths]
    copies = (
        local_copies(lake, name, list(zip(paths, sizes, strict=True))) if is_remote(lake) else [str(lake / name / path) for path in paths]
    )
    counts = (size // _BYTES_A_ROW if count is None else count for size, count in zip(sizes, rows, strict=True))
    return list(zip(counts, copies, strict=True))


def _divide(files: list[tuple[int, str]], memory_rows: int) -> tuple[list[str], list[str]]:
    """Return the smallest files, as many as fit into memory, and the others."""
    recent: list[str] = []
    stored: list[str] = []
    left = memory_rows
    for rows, file in sorted(files):
        if rows <= min(_SMALL_ROWS, left):
            recent.append(file)
            left -= rows
        else:
            stored.append(file)
    return recent, stored


def _by_columns(files: list[str]) -> tuple[tuple[str, ...], ...]:
    groups: dict[frozenset[str], list[str]] = defaultdict(list)
    for file in sorted(files):
        groups[frozenset(pq.read_schema(file).names)].append(file)
    return tuple(tuple(group) for group in groups.values())
