"""A lake, opened to be read: DuckDB in memory over one snapshot of the files of its four Delta tables.

Promises. Nothing is written, also no temporary file. A table that is not there is an empty view of the right columns; a column that is
younger than a file is null in its rows. Files come as an explicit list (``read_parquet([...])``), never as a pattern. ``day`` is the
partition, so it is read from the name of the file's directory; where there is none, and for rows that retention carried over its horizon
(``processor.files``), it is the UTC day of ``observed_at``.

The same statements (``Setup``) prepare the sandbox of ``linktrail sql`` and the engine of the other commands. Tables, views and
macros are made when a query names them, because making one costs a look at the files, and rows that are kept in memory their reading.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from linktrail.errors import LakeError, QueryError
from linktrail.schema import BYTES, DATE, FLAG, INTEGER, TABLES, TEXT, TIME, Table
from processor.files import CARRIED_DAY
from queries.snapshot import LakeFiles, read_lake
from queries.views import LOOKING_AROUND, REPEATED, Definition, base_views, definitions, repeated_statements, tables_of, wanted

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
_NO_DAY: Final = "SELECT NULL::DATE AS day WHERE false"  # so that there is such a column
_DAY_OF_ROW: Final = "CAST(observed_at AT TIME ZONE 'UTC' AS DATE)"


@dataclass(frozen=True, slots=True)
class Setup:
    """Statements that make a snapshot queryable: ``first``, ``stored``, then ``once`` if ``lake.repeated`` has rows, else ``plain``."""

    first: list[str]
    stored: list[str]
    plain: list[str]
    once: list[str]


def setup(lake: LakeFiles, names: Sequence[str] = tuple(TABLES), *, copy: bool = False) -> Setup:
    """Return the statements for the tables ``names`` of ``lake``; with ``copy`` all their rows are read into memory at once.

    Raises ``LakeError`` when a file cannot be read.
    """
    first = ["SET TimeZone = 'UTC'", "SET parquet_metadata_cache = true", "CREATE SCHEMA lake", *repeated_statements(_doubtful(lake))]
    stored = [statement for name in names for statement in _table_statements(TABLES[name], lake, copy=copy)]
    if _by_directory(lake.files):
        first.append(_horizon(lake))
    elif set(names) == set(TABLES):
        days = " UNION ALL ".join(f"SELECT day FROM lake.{name}" for name in TABLES)  # noqa: S608 - own names
        stored.append(f"CREATE VIEW lake.horizon AS SELECT min(day) AS first FROM ({days})")  # noqa: S608 - own names
    return Setup(first, stored, base_views(names, once=False), base_views(names, once=True))


def needed_tables(lake: LakeFiles, sql: str, needed: Sequence[Definition]) -> list[str]:
    """Return the tables that ``sql`` may need with the views ``needed``: all where ``lake.horizon`` must be made from them."""
    return tables_of(sql, needed) if _by_directory(lake.files) else list(TABLES)


def _by_directory(files: Sequence[str]) -> bool:
    return all(file.count(_DAY_DIRECTORY) == 1 for file in files)


def _day_directory(file: str) -> str:
    return file.partition(_DAY_DIRECTORY)[2].partition("/")[0]


def _doubtful(lake: LakeFiles) -> str | None:
    """Return a query for the numbers of the rows of every day of which a row may be stored twice; ``None`` where there is no such day."""
    by_directory = _by_directory(lake.files)
    days = {_day_directory(file) for table in lake.tables.values() for file in table.doubtful}
    files = ([file for file in table.files if _day_directory(file) in days] for table in lake.tables.values())
    parts = [part for of_table in files for part in _parts(of_table, by_directory=by_directory, mixed=True)]
    if not parts:
        return None
    day = "day" if by_directory else f"coalesce(day, {_DAY_OF_ROW})"
    return f"SELECT cluster, node, run, CAST({day} AS DATE) AS day, seq FROM ({_all_of([_NO_DAY, *parts])}) WHERE seq IS NOT NULL"  # noqa: S608 - own names


def _horizon(lake: LakeFiles) -> str:
    """Return the statement for ``lake.horizon``: ``first``, the first day that retention has not thinned out (null: there are no rows)."""
    whole = sorted(_day_directory(file) for file in lake.files if _CARRIED not in file)
    return f"CREATE VIEW lake.horizon AS SELECT CAST({literal(whole[0]) if whole else 'NULL'} AS DATE) AS first"


def _table_statements(table: Table, lake: LakeFiles, *, copy: bool) -> list[str]:
    files = lake.tables[table.name]
    columns = ", ".join(f"NULL::{_SQL_TYPES[column.type]} AS {column.name}" for column in table.columns)
    empty = f"SELECT {columns} WHERE false"
    by_directory = _by_directory(files.files)
    groups = [part for group in _by_columns(lake, table.name) for part in _parts(group, by_directory=by_directory, mixed=False)]
    recent = _parts(files.recent, by_directory=by_directory, mixed=True)
    day = "day" if by_directory else f"coalesce(day, {_DAY_OF_ROW})"
    if copy:
        return [f"CREATE TABLE lake.{table.name} AS {_select(table, [empty, *recent, *groups], day)}"]
    if len(groups) == 1 and not recent:
        return [f"CREATE VIEW lake.{table.name} AS {_select(table, groups, day)}"]
    return [
        f"CREATE TABLE lake.recent_{table.name} AS {_select(table, [empty, *recent], day)}",
        f"CREATE VIEW lake.{table.name} AS {_select(table, [f'FROM lake.recent_{table.name}', *groups], day)}",
    ]


def _by_columns(lake: LakeFiles, name: str) -> list[list[str]]:
    """Return the stored files of a table in groups of equal columns: one from before a column was added lacks it."""
    groups: dict[frozenset[str], list[str]] = defaultdict(list)
    try:
        for file in lake.tables[name].stored:
            groups[_columns(file)].append(file)
    except (pa.ArrowException, OSError) as error:
        raise LakeError(path=lake.path, what=f"a file of table {name} cannot be read ({' '.join(str(error).split())})") from error
    return list(groups.values())


@lru_cache(maxsize=10_000)
def _columns(file: str) -> frozenset[str]:
    """Return the names of the columns of a data file, which never changes."""
    return frozenset(pq.read_schema(file).names)


def _select(table: Table, parts: Sequence[str], day: str) -> str:
    """Return a query for the columns of ``table`` from ``parts``, whose own columns may be fewer or more; ``day`` is an expression."""
    values = ((day if column.name == "day" else column.name, column) for column in table.columns)
    columns = ", ".join(f"CAST({value} AS {_SQL_TYPES[column.type]}) AS {column.name}" for value, column in values)
    return f"SELECT {columns} FROM ({_all_of(parts)})"  # noqa: S608 - own names


def _all_of(parts: Sequence[str]) -> str:
    return " UNION ALL BY NAME ".join(f"({part})" for part in parts)


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
        self._made: set[Definition | str] = set()
        for statement in setup(lake, ()).first:
            self._run(statement, None)
        self._once = bool(self._run(REPEATED, None).num_rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def query(self, sql: str, parameters: Mapping[str, object] | None = None, *, beside: Mapping[str, pa.Table] | None = None) -> pa.Table:
        """Return the rows of ``sql``; ``parameters`` are bound by name (``$at``), unused ones are left out.

        ``beside`` are rows of earlier answers that this one is about, as tables of these names.
        Raises ``QueryError``, or ``LakeError`` when a file of the lake is gone or damaged.
        """
        self._define(sql)
        used = {name: value for name, value in (parameters or {}).items() if re.search(rf"\${name}\b", sql)}
        for name, rows in (beside or {}).items():
            self._connection.register(name, rows)
        try:
            return self._run(sql, used)
        finally:
            for name in beside or {}:
                self._connection.unregister(name)

    @contextmanager
    def of_nodes(self, sql: str, first: str | None, below: str | None) -> Iterator[None]:
        """For as long as it lasts, let ``sql`` see the rows of the nodes from ``first`` to before ``below`` alone (``None``: no bound).

        What is read of the record once and kept (the bounds of runs) is of all nodes still.
        """
        self._define(sql)
        bounds = [f"node {sign} {literal(bound)}" for sign, bound in ((">=", first), ("<", below)) if bound is not None]
        made = [name for name in TABLES if name in self._made]
        for statement in base_views(made, once=self._once, condition=" AND ".join(bounds) or "true"):
            self._run(statement, None)
        try:
            yield
        finally:
            for statement in base_views(made, once=self._once):
                self._run(statement, None)

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
        """Make every table, view and macro now. Raises ``LakeError``."""
        self._define(LOOKING_AROUND)

    def _define(self, sql: str) -> None:
        """Make what ``sql`` may need and is not there yet."""
        needed = wanted(sql, definitions())
        tables = [name for name in needed_tables(self.lake, sql, needed) if name not in self._made]
        if tables:
            statements = setup(self.lake, tables)
            for statement in (*statements.stored, *(statements.once if self._once else statements.plain)):
                self._run(statement, None)
            self._made.update(tables)
        for definition in needed:
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
