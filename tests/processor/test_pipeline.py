"""From a spool to a lake where nothing goes wrong: every row once, and when it is committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from linktrail.batch import decode, digest
from linktrail.clock import NANOSECONDS
from linktrail.testing.clock import START
from processor.lake import COMMIT_ORDER, Lake
from processor.pipeline import FlushPolicy, Processor
from tests.faults.rows import DAY, link
from tests.processor.scene import TABLES, Scene, fill


def test_every_row_arrives_once_with_its_batch(tmp_path: Path) -> None:
    """All four tables, one batch row for each batch, the position stored, the spool told, and nothing done twice."""
    scene = Scene(tmp_path)
    fill(scene, 1, 2, 3)
    processor = scene.processor()
    assert processor.drain().position == 12
    assert [scene.numbers(table) for table in TABLES] == [[1, 2, 3]] * 4
    assert scene.kinds() == {"batch": 12, "heartbeat": 3}
    assert scene.spool.acknowledged() == 12
    assert not processor.drain().committed
    assert scene.processor().drain().position == 12
    assert scene.kinds() == {"batch": 12, "heartbeat": 3}
    counts = processor.totals
    assert (counts.batches, counts.rows, counts.duplicates, counts.gaps, counts.set_aside) == (12, 12, 0, 0, 0)


def test_a_batch_row_says_where_the_batch_was_and_what_is_in_it(tmp_path: Path) -> None:
    """Digest, numbers, position and bounds are those of the sealed file."""
    scene = Scene(tmp_path)
    scene.record("links", 1, 2)
    scene.processor().drain()
    [row] = scene.rows("coverage")
    data = scene.spool.read(0) or b""
    header, _ = decode(data, "here")
    assert row["batch_digest"] == digest(data)
    assert (row["cluster"], row["node"], row["run"]) == ("", "node", scene.spool.run)
    assert (row["batch"], row["batch_table"], row["batch_rows"], row["first_seq"], row["last_seq"]) == (0, "links", 2, 0, 1)
    assert (row["source"], row["source_offset"]) == (f"spool/{scene.spool.id}", 0)
    assert row["seq"] is None
    assert row["origin"] == "processor"
    assert row["occurred_before"].timestamp() * NANOSECONDS == header.sealed_at
    assert row["occurred_after"] < row["occurred_before"]


def test_rows_of_many_days_go_to_their_days(tmp_path: Path) -> None:
    """A batch that waited over midnights makes one file for each day."""
    scene = Scene(tmp_path)
    scene.record_rows("links", [link(number, START + number * DAY) for number in range(5)])
    scene.processor().drain()
    files = Lake.open(scene.lake_path).files("links")
    assert [Path(file).parent.name for file in files] == [f"day=2026-11-{23 + number}" for number in range(5)]
    assert scene.numbers("links") == list(range(5))


# --- when things are committed --------------------------------------------------------------------------------------


def test_a_change_is_in_the_lake_at_once_and_idle_rows_wait(tmp_path: Path) -> None:
    """The first change is committed in the round that sees it, the next within two seconds; heartbeats alone after thirty."""
    scene = Scene(tmp_path)
    processor = scene.processor()
    scene.record("links", 1)
    assert processor.run_once().committed
    scene.record("links", 2)
    assert not processor.run_once().committed
    scene.clock.advance(1.9)
    assert not processor.run_once().committed
    scene.clock.advance(0.2)
    assert processor.run_once().committed
    scene.clock.advance(100)
    scene.record("findings", 1)
    assert processor.run_once().committed
    scene.clock.advance(100)
    scene.record("coverage", 1)
    scene.record("usage", 1)
    assert not processor.run_once().committed
    scene.clock.advance(29)
    assert not processor.run_once().committed
    scene.clock.advance(2)
    assert processor.run_once().committed
    assert scene.numbers("coverage") == scene.numbers("usage") == [1]


def test_an_hour_of_heartbeats_makes_few_files(tmp_path: Path) -> None:
    """A node where nothing happens (heartbeat each minute, sizes each five) costs some dozens of files an hour."""
    scene = Scene(tmp_path)
    processor = scene.processor()
    for second in range(0, 3600, 15):
        if second % 60 == 0:
            scene.record("coverage", second)
        if second % 300 == 0:
            scene.record("usage", second)
        processor.run_once()
        scene.clock.advance(15)
    processor.drain()
    lake = Lake.open(scene.lake_path)
    assert len(scene.numbers("coverage")) == 60
    assert sum(len(lake.files(table)) for table in COMMIT_ORDER) <= 80


@pytest.mark.parametrize("policy", [FlushPolicy(rows=10), FlushPolicy(size_bytes=1000)])
def test_a_flood_is_committed_by_size(tmp_path: Path, policy: FlushPolicy) -> None:
    """Rows and bytes that wait are bounded whatever the clock says."""
    scene = Scene(tmp_path, policy=policy)
    processor = scene.processor()
    scene.record("usage", *range(20))
    assert processor.run_once().committed


def test_a_start_or_a_gap_of_the_collector_is_not_held_back(tmp_path: Path) -> None:
    """Statements about the record other than heartbeats are urgent."""
    scene = Scene(tmp_path)
    processor = scene.processor()
    scene.record("coverage", 1, kind="start")
    assert processor.run_once().committed


def test_a_processor_knows_its_position_before_and_after(tmp_path: Path) -> None:
    """For health and metrics."""
    scene = Scene(tmp_path)
    processor: Processor = scene.processor()
    assert processor.position == 0
    scene.record("links", 1)
    assert processor.run_once().position == processor.position == 1
