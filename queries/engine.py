"""A lake, opened to be read: DuckDB in memory over one snapshot of the files of its four Delta tables.

Promises. Nothing is written, also no temporary file. A table that is not there is an empty view of the right columns; a column that is
younger than a file is null in its rows. Files come as an explicit list (``read_parquet([...])``), never as a pattern. ``day`` is the
partition, so it is read from the name of the file's directory; where there is none, and for rows that retention carried over its horizon
(``processor.files``), it is the UTC day of ``observed_at``.

The same statements (``Setup``) prepare the sandbox of ``linktrail sql`` and the engine of the other commands. Views and macros
are made when a query names them, because making one costs a look at the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa

from linktrail.errors import LakeError, QueryError
from linktrail.schema import BYTES, DATE, FLAG, INTEGER, TABLES, TEXT, TIME, Table
from processor.files import CARRIED_DAY
from queries.snapshot import LakeFiles, TableFiles, read_lake
from queries.views import REPEATED, Definition, base_views, definitions, repeated_statements, wanted

if TYPE_CHECKING:
    import duckdb

SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    "temp_directory": "",  # never spill: a reader leaves nothing behind
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
_SQL_TYPES: Final = {TEXT: "VARCHAR", INTEGER: "BIGINT", TIME: "TIMESTAMPTZ", DATE: "DATE", FLAG: "BOOLEAN", BYTES: "BLOB"}
_DAY_DIRECTORY: Final = "/day="
_CARRIED: Final = f"{_DAY_DIRECTORY}{CARRIED_DAY.isoformat()}/"
_DAY_OF_ROW: Final = "CAST(observed_at AT TIME ZONE 'UTC' AS DATE)"


@dataclass(frozen=True, slots=True)
class Setup:
    """Statements that make a snapshot queryable: ``stored`` first, then ``once`` if ``lake.repeated`` has rows, else ``plain``."""

    stored: list[str]
    plain: list[str]
    once: list[str]


def setup(lake: LakeFiles, *, copy: bool = False) -> Setup:
    """Return the statements for the tables and base views of ``lake``; with ``copy`` all rows are read into memory at once."""
    tables = [statement for table in TABLES.values() for statement in _table_statements(table, lake.tables[table.name], copy=copy)]
    stored = [
        "SET TimeZone = 'UTC'",
        "SET parquet_metadata_cache = true",
        "CREATE SCHEMA lake",
        *tables,
        _horizon(lake),
        *repeated_statements(),
    ]
    return Setup(stored, base_views(once=False), base_views(once=True))


def _horizon(lake: LakeFiles) -> str:
    """Return the statement for ``lake.horizon``: ``first``, the first day that retention has not thinned out (null: there are no rows)."""
    if all(file.count(_DAY_DIRECTORY) == 1 for file in lake.files):
        whole = sorted(file.partition(_DAY_DIRECTORY)[2].partition("/")[0] for file in lake.files if _CARRIED not in file)
        return f"CREATE VIEW lake.horizon AS SELECT CAST({literal(whole[0]) if whole else 'NULL'} AS DATE) AS first"
    days = " UNION ALL ".join(f"SELECT day FROM lake.{name}" for name in TABLES)  # noqa: S608 - own names
    return f"CREATE VIEW lake.horizon AS SELECT min(day) AS first FROM ({days})"  # noqa: S608 - own names


def _table_statements(table: Table, files: TableFiles, *, copy: bool) -> list[str]:
    columns = ", ".join(f"NULL::{_SQL_TYPES[column.type]} AS {column.name}" for column in table.columns)
    empty = f"SELECT {columns} WHERE false"
    by_directory = all(file.count(_DAY_DIRECTORY) == 1 for file in files.files)
    groups = [part for group in files.stored for part in _parts(group, by_directory=by_directory, mixed=False)]
    recent = _parts(files.recent, by_directory=by_directory, mixed=True)
    day = "day" if by_directory else f"coalesce(day, {_DAY_OF_ROW})"
    if copy:
        return [f"CREATE TABLE lake.{table.name} AS {_select(table, [empty, *recent, *groups], day)}"]
    return [
        f"CREATE TABLE lake.recent_{table.name} AS {_select(table, [empty, *recent], day)}",
        f"CREATE VIEW lake.{table.name} AS {_select(table, [f'FROM lake.recent_{table.name}', *groups], day)}",
    ]


def _select(table: Table, parts: Sequence[str], day: str) -> str:
    """Return a query for the columns of ``table`` from ``parts``, whose own columns may be fewer or more; ``day`` is an expression."""
    values = ((day if column.name == "day" else column.name, column) for column in table.columns)
    columns = ", ".join(f"CAST({value} AS {_SQL_TYPES[column.type]}) AS {column.name}" for value, column in values)
    return f"SELECT {columns} FROM ({' UNION ALL BY NAME '.join(f'({part})' for part in parts)})"  # noqa: S608 - own names


def _parts(files: Sequence[str], *, by_directory: bool, mixed: bool) -> list[str]:
    """Return queries for the rows of ``files``: where days are directories, the carried ones apart from the others."""
    carried = [file for file in files if by_directory and _CARRIED in file]
    others = [file for file in files if file not in set(carried)]
    parts = [_read(others, by_directory=by_directory, mixed=mixed)] if others else []
    if carried:
        rows = _read(carried, by_directory=False, mixed=mixed)
        parts.append(rows.replace("SELECT *", f"SELECT *, {_DAY_OF_ROW} AS day", 1))
    return parts


def _read(files: Sequence[str], *, by_directory: bool, mixed: bool) -> str:
    listed = ", ".join(literal(file) for file in files)
    hive = "hive_partitioning = true, hive_types = {'day': DATE}" if by_directory else "hive_partitioning = false"
    return f"SELECT * FROM read_parquet([{listed}], union_by_name = {str(mixed).lower()}, {hive})"  # noqa: S608 - file names are quoted


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
        self._made: set[Definition] = set()
        statements = setup(lake)
        for statement in statements.stored:
            self._run(statement, None)
        for statement in statements.once if self._run(REPEATED, None).num_rows else statements.plain:
            self._run(statement, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """Return the rows of ``sql``; ``parameters`` are bound by name (``$at``), unused ones are left out.

        Raises ``QueryError``, or ``LakeError`` when a file of the lake is gone or damaged.
        """
        self._define(wanted(sql, definitions()))
        used = {name: value for name, value in (parameters or {}).items() if re.search(rf"\${name}\b", sql)}
        return self._run(sql, used)

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> Sequence[dict[str, Any]]:
        """Return the rows of ``sql`` as dictionaries; times are ``datetime`` UTC."""
        rows: list[dict[str, Any]] = self.query(sql, parameters).to_pylist()
        return rows

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection itself, for SQL that is not ours; ``define_all`` first, so that every view is there."""
        connection: duckdb.DuckDBPyConnection = self._connection
        return connection

    def define_all(self) -> None:
        """Make every view and macro now. Raises ``LakeError``."""
        self._define(definitions())

    def _define(self, wanted_now: Sequence[Definition]) -> None:
        for definition in wanted_now:
            if definition not in self._made:
                self._run(definition.sql, None)
                self._made.add(definition)

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
