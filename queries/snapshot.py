"""Which files make up a lake now: one snapshot of its four Delta tables, read from their logs.

Coverage is opened first: the processor commits it last, so what is opened after it holds at least the rows that it vouches for.

A live lake has many small files, and opening one costs more than the rows in it are worth to skip. So the smallest are marked
to be read into memory once (``recent``, up to ``MEMORY_ROWS`` rows of a table), and the others to be read where a query needs them
(``stored``), grouped by the columns they have: a file from before a column was added lacks it.

Limits. The lake is a local directory. delta-rs takes some paths for addresses and DuckDB some for patterns; such a lake is refused,
with the reason.
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
        found = [name for name in OPENING_ORDER if (path / name / "_delta_log").is_dir()]
    except OSError as error:
        raise LakeError(path=path, what=error.strerror or error) from error
    if not found:
        raise LakeMissingError(path=path)
    _refuse_strange_path(path)
    tables = {name: _table_files(path, name, memory_rows) if name in found else TableFiles(name) for name in OPENING_ORDER}
    return LakeFiles(path, tables)


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
        table = DeltaTable(lake / name)
        version = table.metadata().configuration.get(SCHEMA_VERSION_KEY, "1")
        files = _sized_files(lake / name, table)
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


def _sized_files(directory: Path, table: DeltaTable) -> list[tuple[int, str]]:
    """Return (rows, path) of each data file. The log has paths percent-encoded, relative to the table."""
    actions = pa.table(table.get_add_actions(flatten=True))
    sized: list[tuple[int, str]] = []
    for path, size, rows in zip(*(actions.column(name).to_pylist() for name in ("path", "size_bytes", "num_records")), strict=True):
        sized.append((size // _BYTES_A_ROW if rows is None else rows, str(directory / unquote(path))))
    return sized


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
