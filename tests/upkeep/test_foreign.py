"""The lake is plain Delta: other engines read the same rows, before upkeep and after, with nothing of linktrail at hand."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from linktrail.durable import LocalFileSystem
from linktrail.schema import TABLES
from processor.lake import Lake
from processor.upkeep.keeper import maintain
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


@pytest.mark.parametrize("read", [polars_rows, datafusion_rows])
@pytest.mark.parametrize("kept", [False, True])
def test_another_engine_reads_the_same_rows(tmp_path: Path, read: Any, kept: bool) -> None:
    """Every table, every column, every row; and rows that were carried over the horizon stand in one partition of their own."""
    fill(tmp_path / "lake")
    if kept:
        maintain(tmp_path / "lake", filesystem=LocalFileSystem(), clock=NOW, policy=TIDY)
    lake = Lake.open(tmp_path / "lake")
    for name in TABLES:
        mine, theirs = lake.read(name), read(tmp_path / "lake" / name)
        assert set(theirs.column_names) == set(mine.column_names)
        assert sorted_rows(theirs.select(mine.column_names).cast(mine.schema)) == sorted_rows(mine)
        days = set(theirs.column("day").to_pylist())
        assert (date(1970, 1, 1) in days) is (kept and mine.num_rows > 0)
        if not kept:
            assert days == set(mine.column("day").to_pylist())
