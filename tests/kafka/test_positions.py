"""Positions that Kafka no longer has: by retention, by a topic made anew, by lost data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kafka import TopicPartition

from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from linktrail.errors import TopicMissingError, TopicRewoundError
from processor.kafka_feed import KafkaFeed, Membership
from processor.lake import COMMIT_ORDER, Lake
from processor.pipeline import Processor
from tests.kafka.conftest import Brokers, TopicMaker
from tests.kafka.history import Issuer, check, find
from tests.kafka.running import EAGER, process_all, ship, until, working


def test_what_retention_removed_unread_is_a_gap_of_every_node(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers) -> None:
    """The numbers of the batches where a run goes on, and the positions for every node of the partition, also one that is silent since."""
    connection = make_topics(1)
    talking, silent = (Issuer(tmp_path / name, node=name) for name in ("talking", "silent"))
    for issuer in (talking, silent):
        issuer.issue(4)
        ship(issuer, connection)
    process_all(tmp_path / "lake", connection)
    for issuer in (talking, silent):
        issuer.issue(4)
        ship(issuer, connection)
    with brokers.admin() as admin:
        admin.delete_records({TopicPartition(connection.settings.topic, 0): 16})
    talking.issue(4)
    ship(talking, connection)
    process_all(tmp_path / "lake", connection)
    found = find(tmp_path / "lake", connection)
    silent.issued = {key: where for key, where in silent.issued.items() if where[1] < 4}  # of the rest, only positions are known
    check(found, talking, silent)
    assert len(found.lake) == 36
    positions = [gap for gap in found.gaps if gap["gap_id"].startswith("kafka/")]
    assert {gap["node"] for gap in positions} == {"talking", "silent"}
    assert all(gap["gap_id"].endswith("/8-15") and gap["cause"] == "batch-missing" for gap in positions)


def test_a_topic_made_anew_is_another_source(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers) -> None:
    """Offsets of the old topic are not applied to the new one of the same name; runs go on over both, without a gap."""
    connection = make_topics(1)
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(6)
    ship(issuer, connection)
    first = process_all(tmp_path / "lake", connection)
    with brokers.admin() as admin:
        admin.delete_topics([connection.settings.topic])
        with pytest.raises(TopicMissingError):
            process_all(tmp_path / "lake", connection)
        admin.create_topics({connection.settings.topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    issuer.issue(4)
    ship(issuer, connection)
    second = process_all(tmp_path / "lake", connection)
    assert first.positions.keys() != second.positions.keys()
    assert (first.position, second.position) == (6, 4)
    check(found := find(tmp_path / "lake", connection), issuer)
    assert not found.gaps


def test_a_topic_that_lost_its_end_is_refused(tmp_path: Path, make_topics: TopicMaker) -> None:
    """The lake has positions that the brokers no longer have: going on would give them other rows. Nothing is read."""
    connection = make_topics(1)
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(4)
    ship(issuer, connection)
    [source] = process_all(tmp_path / "lake", connection).positions
    lake = Lake.open_for_writing(tmp_path / "lake", filesystem=LocalFileSystem())
    before = {name: lake.transaction_version(source, name) for name in COMMIT_ORDER}
    lake.tables["coverage"].commit(None, {source: 100}, {source: before["coverage"]})
    with working(tmp_path / "lake", connection) as at_work:
        until(lambda: at_work.error is not None)
    with pytest.raises(TopicRewoundError, match="ends at 4, the lake already has it up to 100"):
        raise at_work.error or AssertionError
    check(find(tmp_path / "lake", connection), issuer)


def test_draining_ends_although_more_comes_all_the_time(tmp_path: Path, make_topics: TopicMaker) -> None:
    """All that was there at the call is committed, the first time and later; what came meanwhile is there for the next time."""
    connection = make_topics(1)
    issuer = Issuer(tmp_path / "spool")

    class Busy(KafkaFeed):
        def wait(self) -> None:
            issuer.issue(1)
            ship(issuer, connection)
            super().wait()

    issuer.issue(4)
    ship(issuer, connection)
    clock = SystemClock()
    feed = Busy(connection, Membership(), clock=clock)
    processor = Processor(
        feed, Lake.open_for_writing(tmp_path / "lake", filesystem=LocalFileSystem()), clock=clock, policy=replace(EAGER, take=1)
    )
    for _ in range(3):
        there = len(issuer.issued)
        processor.drain()
        assert len(find(tmp_path / "lake", connection).lake) >= there
    feed.close()
    feed.letters.close()
    process_all(tmp_path / "lake", connection)
    check(find(tmp_path / "lake", connection), issuer)
