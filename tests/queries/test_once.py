from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from linktrail.durable import LocalFileSystem
from linktrail.schema import TABLES
from linktrail.testing.clock import START, FakeClock
from processor.files import CARRIED_DAY
from processor.lake import Lake
from processor.upkeep.keeper import UpkeepPolicy, maintain
from queries import engine as engines
from queries import snapshot
from queries.engine import open_lake
from queries.snapshot import read_lake
from queries.subjects import only_place
from tests.faults.rows import DAY
from tests.queries.lakes import Run, write_lake

KEPT = START + 3 * DAY
COUNT = "SELECT count(*) AS n FROM links"


def runs(days: int) -> list[Run]:
    """Return two runs of two nodes, with a link an hour on each of ``days`` days and a word now and then."""
    made = [Run(node=node) for node in ("n1", "n2")]
    for run in made:
        for hour in range(24 * days):
            when = hour * 3600.0
            run.link("layer_record", "created", f"{run.node}-layer{hour}", (when, when + 1))
            run.coverage("heartbeat", (when, when + 2), mode="inotify")
    return made


def keep(lake: Path, *, now: int = KEPT) -> None:
    maintain(lake, filesystem=LocalFileSystem(), clock=FakeClock(now), policy=UpkeepPolicy(grace_hours=0))


def append(lake: Path, name: str, rows: pa.Table) -> None:
    table = Lake.open_for_writing(lake, filesystem=LocalFileSystem()).tables[name]
    before = table.transaction_version("late")
    table.commit(rows, {"late": (before or 0) + 1}, {"late": before})


def doubted(lake: Path) -> dict[str, set[str]]:
    """Return the days of the doubtful files of each table."""
    return {name: {Path(file).parent.name for file in table.doubtful} for name, table in read_lake(lake).tables.items()}


# --- a lake, from its commits to its upkeep -----------------------------------------------------------------------


def test_a_day_in_order_is_not_looked_through_again(tmp_path: Path) -> None:
    """Several commits of a day are doubtful; merged they are not, whatever was delivered twice before."""
    lake = write_lake(tmp_path / "lake", runs(1), twice=["links"])
    days = {"day=2026-11-23", "day=2026-11-24"}
    assert doubted(lake) == {"links": days, "coverage": days, "findings": set(), "usage": set()}
    with open_lake(lake) as engine:
        assert engine.rows(COUNT) == [{"n": 48}]
    keep(lake)
    assert not any(doubted(lake).values())
    with open_lake(lake) as engine:
        assert engine.rows(COUNT) == [{"n": 48}]


def test_what_is_delivered_again_later_is_counted_once(tmp_path: Path) -> None:
    """Rows that come a second time after their day was merged make that day doubtful again, and no other."""
    made = runs(1)
    lake = write_lake(tmp_path / "lake", made, twice=["links"])
    keep(lake)
    rows = made[0].table("links")
    append(lake, "links", rows.slice(rows.num_rows - 2))
    assert doubted(lake)["links"] == {"day=2026-11-24"}
    with open_lake(lake) as engine:
        assert engine.rows(COUNT) == [{"n": 48}]
        assert engine.rows("SELECT count(*) AS n FROM lake.repeated") == [{"n": 2}]


def test_a_lake_in_order_is_opened_without_reading_its_rows(tmp_path: Path) -> None:
    """No data file is named by what is made at once, and of the tables only those that a question names are made."""
    lake = write_lake(tmp_path / "lake", runs(1), twice=["links", "coverage"])
    keep(lake)
    assert not any(".parquet" in statement for statement in engines.setup(read_lake(lake)).first)
    with open_lake(lake) as engine:
        engine.query(COUNT)
        made = engine.connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'").fetchall()
        assert made == [("links",)]
        engine.define_all()
        made = engine.connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'").fetchall()
        assert {name for (name,) in made} >= set(TABLES)


def test_small_merged_files_are_read_where_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of merged files only tiny ones are kept in memory; answers are the same either way."""
    lake = write_lake(tmp_path / "lake", runs(1), twice=["links"])
    keep(lake)
    small = read_lake(lake).tables["links"]
    monkeypatch.setattr(snapshot, "_TINY_ROWS", 1)
    stored = read_lake(lake).tables["links"]
    assert (len(small.recent), len(stored.recent)) == (2, 0)
    with open_lake(lake) as engine:
        assert engine.rows(COUNT) == [{"n": 48}]


# --- what names, days and statistics tell -------------------------------------------------------------------------


def found(path: str, **more: Any) -> snapshot._Found:
    known = snapshot._Found(path, 10, True, date(2026, 11, 23), ("n1", "n1"), None)
    return replace(known, **more)


@pytest.mark.parametrize(
    ("others", "doubtful"),
    [
        ({}, False),
        ({"once": False}, True),
        ({"nodes": ("n2", "n9")}, False),
        ({"nodes": ("n1", "n2")}, True),
        ({"nodes": None}, True),
        ({"day": date(2026, 11, 24)}, False),
        ({"day": CARRIED_DAY, "nodes": ("n2", "n2")}, True),
    ],
)
def test_two_files_may_hold_the_same_row(others: dict[str, object], doubtful: bool) -> None:
    """Where both can be of the same node and day, or nobody looked through one. What is not known is doubted."""
    files = [found("a"), found("b", **others)] if others else [found("a")]
    assert snapshot._doubtful(files) == ({"a", "b"} if doubtful else set())


def test_carried_rows_are_doubtful_beside_days_they_may_be_of() -> None:
    """A row that came again after retention carried it over: both files may hold it; days outside of the carried ones stay as they are."""
    instants = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 23, 5, tzinfo=UTC)
    carried = found("carried", day=CARRIED_DAY, observed=instants)
    assert snapshot._doubtful([carried, found("late"), found("new", day=date(2026, 11, 24))]) == {"carried", "late"}
    assert snapshot._doubtful([carried, found("new", day=date(2026, 11, 24))]) == set()


# --- which node to read -------------------------------------------------------------------------------------------


def test_the_only_node_that_names_an_id_is_read(tmp_path: Path) -> None:
    """An id of one node narrows a question to it; one of several, or of none, leaves it as it was asked."""
    made = [Run(node=node, cluster="c") for node in ("n1", "n2")]
    for run in made:
        run.link("layer_record", "created", "shared", (1, 2), layer_id="shared")
    made[0].link("image_layer", "created", "image", (2, 3), target="alone")
    with open_lake(write_lake(tmp_path / "lake", made)) as engine:
        assert only_place(engine, "alone", None, None) == {"cluster": "c", "node": "n1"}
        assert only_place(engine, "shared", None, None) == {"cluster": None, "node": None}
        assert only_place(engine, "shared", None, "n2") == {"cluster": "c", "node": "n2"}
        assert only_place(engine, "nowhere", None, "n2") == {"cluster": None, "node": "n2"}
