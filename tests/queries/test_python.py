"""``linktrail.open``: a connection with every view, helpers that return Arrow, instants in any form."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

import linktrail
from linktrail.errors import LakeMissingError, UsageError
from queries.python import History
from queries.views import documented_views
from tests.queries.story import BASE, LEAKED, TOP

WHILE_IT_LEAKED = datetime(2026, 11, 23, 16, 32, tzinfo=UTC)


@pytest.fixture(scope="module")
def history(story: Path) -> Iterator[History]:
    """The story, opened from Python."""
    with linktrail.open(story) as opened:
        yield opened


def test_every_view_is_in_the_connection(history: History) -> None:
    """An ordinary DuckDB connection: views, macros, parameters."""
    for view in documented_views():
        history.connection.execute(f"FROM {view.signature.replace('(t)', '(now())')} LIMIT 1").fetchall()
    rows = history.connection.execute("SELECT code FROM findings_at($1)", [WHILE_IT_LEAKED]).fetchall()
    assert rows == [("unaccounted-layer",)]


def test_helpers_return_arrow(history: History) -> None:
    """Each helper answers what its command answers."""
    assert history.findings(WHILE_IT_LEAKED).column("subject").to_pylist() == [LEAKED]
    assert history.findings("2026-11-23T16:05:00Z").num_rows == 0
    assert history.timeline(LEAKED, "2026-11-23T16:09:00Z", "2026-11-23T16:11:00Z").num_rows == 9
    assert set(history.whois(LEAKED[:8]).column("owner").to_pylist()) >= {"jobs/worker-0", "worker"}
    assert history.why(BASE, WHILE_IT_LEAKED).num_rows == 2
    assert history.why(LEAKED, WHILE_IT_LEAKED).num_rows == 0
    assert history.can_delete(LEAKED, WHILE_IT_LEAKED).column("verdict").to_pylist() == ["yes"]
    assert history.repair_plan(LEAKED, WHILE_IT_LEAKED).column("finding").to_pylist() == ["unaccounted-layer"]
    assert history.inspect(LEAKED, WHILE_IT_LEAKED).column("field").to_pylist() == ["directory", "finding unaccounted-layer"]
    assert "filesystem" in history.usage(WHILE_IT_LEAKED).column("scope").to_pylist()
    assert LEAKED in history.links(WHILE_IT_LEAKED).column("layer_id").to_pylist()
    assert TOP in history.layers(WHILE_IT_LEAKED, node="n1").column("layer_id").to_pylist()
    assert history.layers(WHILE_IT_LEAKED, node="n2").num_rows == 0
    assert history.growth(until="2026-11-23T16:18:00Z", by="pod").column("growth_bytes").to_pylist() == [9_000_000]
    assert set(history.diff("2026-11-23T16:05:00Z", WHILE_IT_LEAKED).column("change").to_pylist()) == {"added"}
    assert history.query("leaks_by_code", at=WHILE_IT_LEAKED).column("leaks").to_pylist() == [1]
    assert isinstance(history.sql("SELECT $n AS n", n=3), pa.Table)
    assert "whois" in history.questions()


def test_completeness_goes_with_it(history: History) -> None:
    """The boot in the middle is a gap, and before it there is none."""
    assert history.complete("2026-11-23T16:01:00Z", "2026-11-23T16:30:00Z").complete
    assert [gap.cause for gap in history.complete("2026-11-23T16:01:00Z", "2026-11-23T16:50:00Z").gaps] == ["restart"]


def test_a_time_without_a_zone_is_refused(history: History) -> None:
    """Whose clock it is on would be a guess."""
    with pytest.raises(UsageError, match="no time zone"):
        history.findings(datetime(2026, 11, 23))  # noqa: DTZ001 - that is the point


def test_no_lake_is_one_clear_error(tmp_path: Path) -> None:
    """As in the command."""
    with pytest.raises(LakeMissingError):
        linktrail.open(tmp_path / "nothing")


def test_importing_linktrail_loads_nothing() -> None:
    """The waist stays small: no DuckDB, no Arrow, no other package until something is opened."""
    code = 'import sys, linktrail; print(sorted({"duckdb", "pyarrow", "queries", "collector"} & set(sys.modules)))'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
