"""The lake is plain Delta: other engines read the same rows, before upkeep and after, with nothing of linktrail at hand.

Polars and DataFusion read the log by the library that linktrail itself commits with; Apache Spark reads it by the reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from linktrail.durable import LocalFileSystem
from linktrail.schema import TABLES
from processor.delta_log import last_checkpoint
from processor.lake import Lake
from processor.upkeep.keeper import maintain
from tests.needs import need_jars
from tests.spark.reader import Spark, classpath
from tests.upkeep.test_keeping import NOW, TIDY, fill


def sorted_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows in an order that does not depend on the reader; ``day`` is compared apart."""
    names = [name for name in table.column_names if name != "day"]
    rows: list[dict[str, Any]] = table.select(names).sort_by([("run", "ascending"), ("seq", "ascending")]).to_pylist()
    return rows


def polars_rows(path: Path) -> pa.Table:
    """Read the log by deltalake's Python API as Polars does, and the data by Polars' own Parquet reader."""
    frame: pa.Table = pl.scan_delta(str(path)).collect().to_arrow(compat_level=pl.CompatLevel.oldest())
    return frame


def datafusion_rows(path: Path) -> pa.Table:
    """Read all by DataFusion."""
    return pa.table(QueryBuilder().register("rows", DeltaTable(str(path))).execute("SELECT * FROM rows").read_all())


def require_the_same(path: Path, read: Callable[[Path], pa.Table], *, kept: bool) -> None:
    """Compare every table, every column, every row; rows that were carried over the horizon stand in one partition of their own."""
    lake = Lake.open(path)
    for name in TABLES:
        mine, theirs = lake.read(name), read(path / name)
        assert set(theirs.column_names) == set(mine.column_names)
        assert sorted_rows(theirs.select(mine.column_names).cast(mine.schema)) == sorted_rows(mine)
        days = set(theirs.column("day").to_pylist())
        assert (date(1970, 1, 1) in days) is (kept and mine.num_rows > 0)
        if not kept:
            assert days == set(mine.column("day").to_pylist())


@pytest.mark.parametrize("read", [polars_rows, datafusion_rows])
@pytest.mark.parametrize("kept", [False, True])
def test_another_engine_reads_the_same_rows(tmp_path: Path, read: Callable[[Path], pa.Table], kept: bool) -> None:
    """Engines that get the files from the Delta library of linktrail."""
    fill(tmp_path / "lake")
    if kept:
        maintain(tmp_path / "lake", filesystem=LocalFileSystem(), clock=NOW, policy=TIDY)
    require_the_same(tmp_path / "lake", read, kept=kept)


def fold_logs(path: Path) -> None:
    """Write a checkpoint of every table as it is now."""
    for table in Lake.open_for_writing(path, filesystem=LocalFileSystem()).tables.values():
        table.fold_log(1)
        assert last_checkpoint(LocalFileSystem(), table.path) == table.version


def test_spark_reads_the_same_rows(tmp_path: Path) -> None:
    """An engine that shares no code with linktrail: log entries before upkeep, checkpoints and removals after it."""
    need_jars(classpath)
    path = tmp_path / "lake"
    fill(path)
    with Spark(tmp_path) as spark:
        require_the_same(path, spark.rows, kept=False)
        maintain(path, filesystem=LocalFileSystem(), clock=NOW, policy=TIDY)
        fold_logs(path)
        require_the_same(path, spark.rows, kept=True)
