"""Days beyond the horizon go; what they say of things that still hold is carried over it, row by row as it was recorded.

Promise. Every answer about an instant at or after the horizon (the beginning of the first kept day) is the same before and after: links
and findings as of then, sizes, layers, and whether the record was complete. A row that is carried keeps all its columns, also its time
bounds; only its place changes, to the partition ``day=1970-01-01``, so that years of history are not years of small files.

How. ``retain.sql`` decides over the decisive columns of the old rows which of them matter; then the files are read again one by
one and those rows are taken. ``links`` is committed last, because what it says decides about ``usage``: killed in between, the next
run decides the same.

Limits. Memory for the decisive columns of the days that go at once, and for the rows that stay (a million at a time).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files as resources
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from linktrail.clock import NANOSECONDS
from linktrail.errors import LakeError
from linktrail.schema import INTEGER, TABLES, TEXT, TIME
from processor.files import CARRIED_DAY
from processor.lake_table import LakeTable
from processor.table_files import LiveFile
from processor.upkeep.compact import MERGED_ROWS, in_partition

LEAST_DAYS: Final = 9  # the processor's memory reaches eight days back (processor.restore)
_ORDER: Final = ("usage", "findings", "coverage", "links")
_ROW: Final = ("cluster", "node", "run", "seq", "occurred_before", "observed_at")
_LINK: Final = ("link_kind", "subject", "subject_raw", "file_path", "file_path_raw", "layer_id")
_COVERAGE: Final = ("kind", "cause", "batch", "first_seq", "last_seq", "source", "source_offset")
_DECISIVE: Final[Mapping[str, tuple[str, ...]]] = {
    "links": (*_ROW, "store_root", "origin", "action", *_LINK),
    "usage": (*_ROW, "store_root", "scope", "subject"),
    "findings": (*_ROW, "store_root", "finding_id", "action"),
    "coverage": (*_ROW, "store_kind", "store_root", *_COVERAGE),
}
_PLACE: Final = ["cluster", "node", "run"]


def first_kept_day(now: int, days: int) -> date:
    """Return the horizon at ``now`` (ns UTC) when ``days`` whole days are kept besides today."""
    return datetime.fromtimestamp(now // NANOSECONDS, UTC).date() - timedelta(days=max(days, LEAST_DAYS))


def retain(tables: Mapping[str, LakeTable], horizon: date) -> dict[str, tuple[int, int]]:
    """Let the days before ``horizon`` go; return, for each table, how many rows went and how many were carried. Empty: nothing to do.

    Raises ``FencedError`` (another maintainer was faster), ``LakeFullError``, ``LakeError``.
    """
    old = {name: [file for file in tables[name].live_files() if file.day < horizon] for name in TABLES}
    if not any(file.day != CARRIED_DAY for files in old.values() for file in files):
        return {}
    kept = _decide(tables, old, horizon)
    done: dict[str, tuple[int, int]] = {}
    for name in _ORDER:
        rows = sum(file.rows for file in old[name])
        if rows:
            tables[name].rewrite(old[name], _carried(tables[name], old[name], kept[name]), data_change=True)
            done[name] = (rows - len(kept[name]), len(kept[name]))
    return done


def _decide(tables: Mapping[str, LakeTable], old: Mapping[str, Sequence[LiveFile]], horizon: date) -> dict[str, pa.Array]:
    """Return the positions of the rows to carry, ascending, in the order of the files ``old``."""
    import duckdb  # noqa: PLC0415 - only retention needs it, and rarely

    instant = datetime(horizon.year, horizon.month, horizon.day, tzinfo=UTC).timestamp() * 1_000_000
    try:
        with duckdb.connect(":memory:", config={"temp_directory": "", "python_enable_replacements": "false"}) as connection:
            connection.execute("CREATE TABLE horizon AS SELECT $instant::BIGINT AS instant", {"instant": int(instant)})
            for name in TABLES:
                _load(connection, name, tables[name], old[name])
            _fill(connection, "kept_floor", [_floor(table, horizon) for table in tables.values() if table.name in TABLES])
            _fill(connection, "kept_findings", [_findings(tables["findings"], horizon)])
            for statement in _statements():
                connection.execute(statement)
            return {name: _positions(connection, name) for name in TABLES}
    except duckdb.Error as error:
        what = f"deciding what the past still holds failed ({' '.join(str(error).split())})"
        raise LakeError(path=tables["links"].path.parent, what=what) from error


def _load(connection: Any, name: str, table: LakeTable, files: Sequence[LiveFile]) -> None:  # noqa: ANN401 - DuckDB's connection
    """Fill ``old_<name>`` with the decisive columns of ``files``; of a row that is stored twice, the first."""
    columns = list(_DECISIVE[name])
    position = 0
    _fill(connection, f"old_{name}", [_numbered(table.read_columns([], columns), 0)])
    for file in files:
        rows = table.read_columns([file], columns)
        _insert(connection, f"old_{name}", _numbered(rows, position))
        position += rows.num_rows
    connection.execute(
        f"DELETE FROM old_{name} WHERE seq IS NOT NULL AND position NOT IN "  # noqa: S608 - own names
        f"(SELECT min(position) FROM old_{name} GROUP BY cluster, node, run, seq)"
    )


def _numbered(rows: pa.Table, first: int) -> pa.Table:
    arrays = [pc.cast(rows.column(field.name), INTEGER) if field.type == TIME else rows.column(field.name) for field in rows.schema]
    table = pa.table(arrays, names=rows.column_names)
    return table.append_column("position", pa.array(range(first, first + rows.num_rows), INTEGER))


def _fill(connection: Any, name: str, parts: Sequence[pa.Table]) -> None:  # noqa: ANN401 - DuckDB's connection
    connection.register("part", pa.concat_tables(parts))
    connection.execute(f"CREATE TABLE {name} AS FROM part")
    connection.unregister("part")


def _insert(connection: Any, name: str, rows: pa.Table) -> None:  # noqa: ANN401 - DuckDB's connection
    connection.register("part", rows)
    connection.execute(f"INSERT INTO {name} FROM part")
    connection.unregister("part")


@cache
def _statements() -> tuple[str, ...]:
    text = resources("processor.upkeep").joinpath("retain.sql").read_text(encoding="utf-8")
    lines = (line.partition("--")[0] for line in text.splitlines())
    return tuple(statement for statement in "\n".join(lines).split(";") if statement.strip())


def _positions(connection: Any, name: str) -> pa.Array:  # noqa: ANN401 - DuckDB's connection
    found = connection.sql(f"SELECT DISTINCT position FROM keep_{name} WHERE position IS NOT NULL ORDER BY position")  # noqa: S608 - own
    return found.to_arrow_table().column("position").combine_chunks()


def _floor(table: LakeTable, horizon: date) -> pa.Table:
    """Return the lowest ``seq`` of each run of each node in the days from ``horizon`` on."""
    schema = pa.schema([("cluster", TEXT), ("node", TEXT), ("run", TEXT), ("seq", INTEGER)])
    found = [schema.empty_table()]
    for file in table.live_files():
        if file.day >= horizon:
            rows = table.read_columns([file], [*_PLACE, "seq"])
            lowest = rows.filter(pc.is_valid(rows.column("seq"))).group_by(_PLACE).aggregate([("seq", "min")])
            found.append(lowest.rename_columns({"seq_min": "seq"}).select(schema.names).cast(schema))
    return pa.concat_tables(found).group_by(_PLACE).aggregate([("seq", "min")]).rename_columns({"seq_min": "seq"}).select(schema.names)


def _findings(table: LakeTable, horizon: date) -> pa.Table:
    columns = ["cluster", "node", "finding_id"]
    parts = [table.read_columns([], columns)]
    parts += [table.read_columns([file], columns) for file in table.live_files() if file.day >= horizon]
    return pa.concat_tables(parts).group_by(columns).aggregate([])


def _carried(table: LakeTable, files: Sequence[LiveFile], positions: pa.Array) -> Iterator[pa.Table]:
    """Yield the rows at ``positions`` of ``files``, up to about a million at a time, for the partition of carried rows."""
    waiting: list[pa.Table] = []
    first = 0
    for file in files:
        rows = table.read_files([file])
        end = first + rows.num_rows
        mine = positions.filter(pc.and_(pc.greater_equal(positions, first), pc.less(positions, end)))
        if len(mine):
            waiting.append(rows.take(pc.subtract(mine, first)))
        first = end
        if sum(part.num_rows for part in waiting) >= MERGED_ROWS:
            yield in_partition(pa.concat_tables(waiting), CARRIED_DAY)
            waiting = []
    if waiting:
        yield in_partition(pa.concat_tables(waiting), CARRIED_DAY)
