"""A lake, opened to be read: DuckDB in memory over the file lists of the four Delta tables.

Promises. Nothing is written, also no temporary file. What is read is one snapshot: coverage is opened first, so that it never vouches
for rows that the other tables do not show yet. A table that is not there is an empty view of the right columns; a column that is
younger than a file is null in its rows.

The same statements (``setup_statements``) prepare the sandbox of ``linktrail sql`` and the engine of the other commands. Files come as an
explicit list (``read_parquet([...])``), never as a pattern. ``day`` is the partition, so it is read from the name of the file's directory.

Limits. The lake is a local directory. delta-rs takes some paths for addresses and DuckDB some for patterns; such a lake is refused,
with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from linktrail.errors import LakeError, LakeMissingError, LakeNewerError, QueryError
from linktrail.schema import BYTES, DATE, FLAG, INTEGER, SCHEMA_VERSION, TABLES, TEXT, TIME, Table
from linktrail.text import encode
from queries.views import view_statements

if TYPE_CHECKING:
    from deltalake import DeltaTable

SCHEMA_VERSION_KEY: Final = "linktrail.schema_version"
OPENING_ORDER: Final = ("coverage", "links", "findings", "usage")
SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    "temp_directory": "",  # never spill: a reader leaves nothing behind
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
_SQL_TYPES: Final = {TEXT: "VARCHAR", INTEGER: "BIGINT", TIME: "TIMESTAMPTZ", DATE: "DATE", FLAG: "BOOLEAN", BYTES: "BLOB"}
_NOT_FOR_LIBRARIES: Final = re.compile(r"[\[\]|^\\*?\x00-\x1f\x7f]|%[0-9a-fA-F]{2}")
_DAY_DIRECTORY: Final = "/day="


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The data files of one table at one version: absolute paths, and the columns that the table has by its log."""

    name: str
    files: tuple[str, ...] = ()
    columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LakeFiles:
    """One snapshot of a lake: its directory and the files of each table."""

    path: Path
    tables: Mapping[str, TableFiles]

    @property
    def files(self) -> list[str]:
        """Every data file of the snapshot."""
        return [file for table in self.tables.values() for file in table.files]


def read_lake(path: Path) -> LakeFiles:
    """List the files of the lake at ``path``.

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
    tables = {name: _table_files(path, name) if name in found else TableFiles(name) for name in OPENING_ORDER}
    return LakeFiles(path, tables)


def _refuse_strange_path(path: Path) -> None:
    try:
        strange = _NOT_FOR_LIBRARIES.search(encode(str(path)).decode())
    except UnicodeDecodeError as error:
        raise LakeError(path=path, what="Delta and DuckDB open only paths that are UTF-8; rename the directory") from error
    if strange:
        raise LakeError(path=path, what=f"Delta and DuckDB cannot open a path with {strange[0]!r} in it; rename the directory")


def _table_files(lake: Path, name: str) -> TableFiles:
    from deltalake import DeltaTable  # noqa: PLC0415 - help and usage errors must not wait for it
    from deltalake.exceptions import DeltaError  # noqa: PLC0415 - likewise

    try:
        table = DeltaTable(lake / name)
        version = table.metadata().configuration.get(SCHEMA_VERSION_KEY, "1")
        files = _local_files(lake / name, table)
        columns = frozenset(field.name for field in table.schema().fields)
    except (DeltaError, OSError, ValueError) as error:
        raise LakeError(path=lake, what=f"table {name} cannot be opened ({' '.join(str(error).split())})") from error
    if not version.isdecimal():
        raise LakeError(path=lake, what=f"table {name} states the schema version {version!r}")
    if int(version) > SCHEMA_VERSION:
        raise LakeNewerError(path=lake, found=version, known=SCHEMA_VERSION)
    return TableFiles(name, files, columns)


def _local_files(directory: Path, table: DeltaTable) -> tuple[str, ...]:
    """Return the data files as paths; delta-rs gives them percent-encoded, below its own form of ``directory``."""
    base = urlsplit(table.table_uri).path.rstrip("/") + "/"
    relative = (uri.removeprefix("file://").removeprefix(base) for uri in table.file_uris())
    return tuple(sorted(str(directory / unquote(name)) for name in relative))


# --- SQL that makes a snapshot queryable ------------------------------------------------------------------------


def setup_statements(lake: LakeFiles, *, copy: bool = False) -> list[str]:
    """Return the statements that define the views over ``lake``; with ``copy`` they read everything into memory at once."""
    how = "TABLE" if copy else "VIEW"
    stored = [f"CREATE {how} lake.{table.name} AS {_select(table, lake.tables[table.name])}" for table in TABLES.values()]
    return ["SET TimeZone = 'UTC'", "CREATE SCHEMA lake", *stored, *view_statements()]


def _select(table: Table, stored: TableFiles) -> str:
    if not stored.files:
        columns = ", ".join(f"NULL::{_SQL_TYPES[column.type]} AS {column.name}" for column in table.columns)
        return f"SELECT {columns} WHERE false"
    by_directory = all(file.count(_DAY_DIRECTORY) == 1 for file in stored.files)
    have = stored.columns if by_directory else stored.columns - {"day"}
    columns = ", ".join(_column(column.name, _SQL_TYPES[column.type], have) for column in table.columns)
    files = ", ".join(literal(file) for file in stored.files)
    hive = "hive_partitioning = true, hive_types = {'day': DATE}" if by_directory else "hive_partitioning = false"
    return f"SELECT {columns} FROM read_parquet([{files}], union_by_name = true, {hive})"  # noqa: S608 - own column names, and file names quoted


def _column(name: str, kind: str, have: frozenset[str]) -> str:
    if name in have:
        return f"CAST({name} AS {kind}) AS {name}"
    if name == "day":
        return "CAST(observed_at AT TIME ZONE 'UTC' AS DATE) AS day"
    return f"NULL::{kind} AS {name}"


def literal(path: str) -> str:
    """Return ``path`` as an SQL string."""
    return "'" + path.replace("'", "''") + "'"


# --- the engine -------------------------------------------------------------------------------------------------


class Engine:
    """DuckDB over one snapshot of a lake, for SQL of our own. A context manager."""

    def __init__(self, lake: LakeFiles) -> None:
        """Connect and define the views. Raises ``LakeError`` when a data file cannot be read."""
        import duckdb  # noqa: PLC0415 - 0.2 s that --help and usage errors need not wait

        self.lake = lake
        self._errors = duckdb.Error
        self._damage: tuple[type[Exception], ...] = (duckdb.IOException, duckdb.InvalidInputException)
        self._connection: Any = duckdb.connect(":memory:", config=SETTINGS)
        for statement in setup_statements(lake):
            self._run(statement, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """Return the rows of ``sql``; ``parameters`` are bound by name (``$at``), unused ones are left out.

        Raises ``QueryError``, or ``LakeError`` when a file of the lake is gone or damaged.
        """
        used = {name: value for name, value in (parameters or {}).items() if re.search(rf"\${name}\b", sql)}
        return self._run(sql, used)

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> Sequence[dict[str, Any]]:
        """Return the rows of ``sql`` as dictionaries; times are ``datetime`` UTC."""
        rows: list[dict[str, Any]] = self.query(sql, parameters).to_pylist()
        return rows

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()

    def _run(self, sql: str, parameters: Mapping[str, object] | None) -> pa.Table:
        try:
            relation = self._connection.sql(sql, params=parameters or None)
            return None if relation is None else relation.to_arrow_table()
        except self._errors as error:
            what = " ".join(str(error).split())
            if isinstance(error, self._damage):
                raise LakeError(path=self.lake.path, what=f"a file cannot be read ({what})") from error
            raise QueryError(what=what) from error


def open_lake(path: Path) -> Engine:
    """Open the lake at ``path``. Raises ``LakeMissingError``, ``LakeNewerError`` or ``LakeError``."""
    return Engine(read_lake(path))
