from __future__ import annotations

from pathlib import Path

import pytest

from collector.check import run_check
from collector.spool import Spool
from linktrail.clock import SystemClock
from linktrail.codes import CODES
from linktrail.durable import LocalFileSystem
from linktrail.testing.clock import FakeClock
from queries.answers.findings import findings_at
from queries.answers.timeline import happened_to
from queries.answers.usage import usage_at
from queries.engine import open_lake
from tests.queries.lakes import at
from tests.queries.recorded import process, record
from tests.queries.story import LEAKED, first_run


def test_what_a_spool_holds_is_answered(tmp_path: Path) -> None:
    """Rows that went through batches, spool, processor and lake give the answers that they gave before."""
    clock = FakeClock()
    spool = Spool.open(tmp_path / "spool", filesystem=LocalFileSystem(), clock=clock, cluster="c1", node="n1", limit_bytes=1 << 24)
    spool.begin_run()
    for table, row in first_run().rows:
        spool.append(table, [row])
        clock.advance(0.001)
    spool.seal()
    spool.close()
    process(tmp_path / "spool", tmp_path / "lake")
    now = FakeClock(at(1990))
    answer = findings_at(tmp_path / "lake", at=at(1900), clock=now)
    assert [(row["subject"], row["cluster"], row["severity"]) for row in answer.rows.to_pylist()] == [(LEAKED, "c1", "error")]
    assert answer.completeness.complete
    assert len(happened_to(tmp_path / "lake", LEAKED, clock=now).rows) == 15
    with open_lake(tmp_path / "lake") as engine:
        assert engine.rows("SELECT count(*) AS n FROM coverage WHERE kind = 'batch'")[0]["n"] == 4
        numbers = engine.rows("SELECT seq FROM links UNION ALL SELECT seq FROM findings UNION ALL SELECT seq FROM usage")
    assert len({row["seq"] for row in numbers}) == len(numbers)


@pytest.mark.parametrize("fixture", ["cs-podman43-leaky"])
def test_a_recorded_store_has_the_findings_that_check_has(tmp_path: Path, fixture: str) -> None:
    """A real store with leaks and breaks, recorded once: the lake answers as ``linktrail check`` does, with bytes and owners."""
    root, _ = record(fixture, tmp_path)
    report = run_check([root], min_age=0, clock=SystemClock())
    expected = {(finding.code, finding.subject) for _, finding in report.findings}
    leaks = {(finding.code, finding.subject) for _, finding in report.findings if CODES[finding.code].family == "leaks"}
    assert leaks
    answer = findings_at(tmp_path / "lake")
    rows = answer.rows.to_pylist()
    found = {(row["code"], row["subject"]) for row in rows}
    assert leaks <= found <= expected  # a break that may be a step of work needs a second reading, which --once does not make
    assert answer.exit_code == 0, answer.lines()
    assert [row for row in rows if row["bytes"]]
    sizes = usage_at(tmp_path / "lake").rows.to_pylist()
    assert {row["scope"] for row in sizes} >= {"layer", "filesystem"}
    for row in rows:
        assert happened_to(tmp_path / "lake", row["subject"]).rows.num_rows
