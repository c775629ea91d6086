"""Full spools, full disks, and outages of any length: it waits, says so, and drains by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from linktrail.errors import LakeFullError, SpoolFullError
from processor.kafka_feed import Membership
from processor.lake import Lake
from tests.kafka.broker import Node
from tests.kafka.conftest import TopicMaker, new_topics, through
from tests.kafka.history import Issuer, check, find
from tests.kafka.proxy import Proxy
from tests.kafka.running import process_all, settle, ship, shipping, until, working
from tests.kafka.test_records import send
from tests.objectstore.conftest import Store, server, store
from tests.processor.test_disk_full import fill, small_disk

__all__ = ["server", "small_disk", "store"]


def test_an_outage_fills_the_spool_which_drains_by_itself(tmp_path: Path, node: Node, proxy: Proxy) -> None:
    """Nothing gets through until the spool is full and takes no more; once it does, room is made and recording goes on."""
    connection = new_topics(node.address)
    issuer = Issuer(tmp_path / "spool", limit_bytes=60_000)
    proxy.mode = "refuse"
    with shipping(issuer.path, through(connection, node)) as at_work:
        issuer.issue(4)
        until(lambda: at_work.status.trouble is not None)
        with pytest.raises(SpoolFullError):
            issuer.issue(1000)
        full = issuer.spool.next_offset
        assert full > 10
        assert issuer.spool.acknowledged() == 0
        assert not at_work.status.ready
        proxy.mode = "pass"
        until(lambda: issuer.spool.acknowledged() == full, 60, lambda: f"drained: {at_work.status}")
        issuer.trim()
        issuer.seal_waiting()
        issuer.issue(8)
        until(lambda: issuer.spool.acknowledged() == issuer.spool.next_offset)
        assert at_work.status.failures["BrokerError"] >= 1
    settle(tmp_path / "lake", connection, issuer)


def test_a_full_disk_under_the_spool_keeps_no_batch_from_being_shipped(small_disk: Path, tmp_path: Path, make_topics: TopicMaker) -> None:
    """The cursor cannot be written, so nothing is trimmed; batches go out, and once there is room the cursor follows."""
    connection = make_topics()
    issuer = Issuer(small_disk / "spool")
    issuer.issue(12)
    fill(small_disk, 0)
    with shipping(issuer.path, connection) as at_work:
        until(lambda: at_work.status.failures.get("SpoolFullError", 0) > 0, 30, lambda: f"{at_work.status}")
        assert issuer.spool.acknowledged() == 0
        (small_disk / "filler").unlink()
        until(lambda: issuer.spool.acknowledged() == 12, 30)
        until(lambda: at_work.status.trouble is None)
    settle(tmp_path / "lake", connection, issuer)


def test_a_full_disk_under_the_lake_holds_kafka_and_goes_on(small_disk: Path, tmp_path: Path, make_topics: TopicMaker) -> None:
    """The processor says so and waits; nothing is committed or lost, and everything is there once there is room."""
    connection = make_topics(2)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(3)]
    with working(small_disk / "lake", connection) as at_work:
        for issuer in issuers:
            issuer.issue(4)
            ship(issuer, connection)
        until(lambda: at_work.processor.position == 12)
        fill(small_disk, 0)
        for issuer in issuers:
            issuer.issue(8)
            ship(issuer, connection)
        until(lambda: isinstance(at_work.processor.trouble, LakeFullError))
        time.sleep(0.5)
        (small_disk / "filler").unlink()
        until(lambda: at_work.processor.position == 36, 40, lambda: f"{at_work.processor.trouble}")
    check(find(small_disk / "lake", connection), *issuers)


@pytest.mark.parametrize("fault", ["refuse .parquet", "refuse _delta_log", "forget _delta_log"])
def test_a_store_under_the_lake_that_takes_nothing_holds_kafka_and_goes_on(store: Store, tmp_path: Path, node: Node, fault: str) -> None:
    """Members of a group commit to an object store that refuses puts, or does them and does not say so; with a dead letter among them."""
    connection = new_topics(node.address, 2)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(3)]
    lake, membership = store.bucket(), Membership(group=connection.settings.topic, session_seconds=6.0)

    def issue(batches: int) -> None:
        for issuer in issuers:
            issuer.issue(batches)
            ship(issuer, connection)

    issue(4)
    with working(lake, connection, membership) as one, working(lake, connection, membership) as other:
        until(lambda: one.processor.position + other.processor.position == 12)
        store.fail(fault)
        issue(8)
        send(connection, [b"garbage"])
        until(lambda: any(at_work.processor.failures for at_work in (one, other)), 40, "it is told")
        time.sleep(0.5)
        store.fail("")
        until(lambda: _batches(lake) == 36, 60, lambda: f"{one.processor.trouble} {other.processor.trouble}")
    process_all(lake, connection)
    check(found := find(lake, connection), *issuers)
    assert found.letters == 1
    assert [gap["cause"] for gap in found.gaps] == ["batch-undecodable"]


def _batches(lake: Path) -> int:
    return sum(kind == "batch" for kind in Lake.open(lake).read("coverage").column("kind").to_pylist())
