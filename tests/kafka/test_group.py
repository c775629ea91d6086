"""Processors that join, leave, stand still and wake: the partitions move, and each row is in the lake once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from linktrail.errors import FencedError
from processor.kafka_feed import KafkaFeed, Membership
from processor.lake import COMMIT_ORDER, Lake
from processor.pipeline import FlushPolicy, Processor
from tests.faults.lives import Life
from tests.kafka.conftest import TopicMaker
from tests.kafka.history import Issuer, check, find
from tests.kafka.running import EAGER, Working, settle, ship, shipping, until
from tests.kafka.workers import process

PATIENT = FlushPolicy(urgent_seconds=600, idle_seconds=600)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("changes", [8, pytest.param(200, marks=pytest.mark.soak)])
def test_a_storm_of_rebalances(tmp_path: Path, make_topics: TopicMaker, changes: int) -> None:
    """Members come and go, in order or killed, while batches arrive without pause."""
    chance = random.Random()
    seed = chance.randrange(1 << 32)
    print("seed", seed)
    chance.seed(seed)
    connection = make_topics(6)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(4)]
    lake, membership = tmp_path / "lake", Membership(group="storm", session_seconds=3.0)
    threads = [Working(lake, connection, membership)]
    lives: list[Life] = []
    for _ in range(changes):
        for issuer in issuers:
            issuer.issue(chance.randrange(1, 5))
            with shipping(issuer.path, connection):
                time.sleep(chance.uniform(0, 0.2))
        choice = chance.choice(["join", "join", "leave", "kill"])
        if choice == "join" and len(threads) + len(lives) < 5:
            if chance.random() < 0.5:
                threads.append(Working(lake, connection, membership))
            else:
                lives.append(Life(process, lake, connection, membership, None))
        elif choice == "leave" and len(threads) > 1:
            threads.pop(chance.randrange(len(threads))).stop()
        elif lives:
            lives.pop(chance.randrange(len(lives))).kill()
    for issuer in issuers:
        ship(issuer, connection)
    for life in lives:
        life.kill()
    until(lambda: not threads[0].error and _committed(lake) >= _sealed(issuers), 60, "the members that are left commit everything")
    for thread in threads:
        thread.stop()
    assert not any(thread.error for thread in threads)
    check(found := find(lake, connection), *issuers)
    assert not found.gaps


def _committed(lake: Path) -> int:
    return sum(kind == "batch" for kind in Lake.open(lake).read("coverage").column("kind").to_pylist())


def _sealed(issuers: list[Issuer]) -> int:
    return sum(issuer.spool.next_offset for issuer in issuers)


def test_a_hand_over_in_order_repeats_nothing(tmp_path: Path, make_topics: TopicMaker) -> None:
    """What a member has taken and not committed yet is committed before its partitions go: the next one starts after it."""
    connection = make_topics(2)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(4)]
    lake, membership = tmp_path / "lake", Membership(group="hand-over")
    first = Working(lake, connection, membership, PATIENT)
    until(lambda: len(first.feed.intakes) == 2)
    for issuer in issuers:
        issuer.issue(4, tables=("usage",))
        ship(issuer, connection)
    until(lambda: first.processor.waiting == 48, what="all is taken and nothing committed")
    assert Lake.open(lake).read("usage").num_rows == 0
    second = Working(lake, connection, membership, EAGER)
    until(lambda: len(second.feed.intakes) == 1 and second.processor.positions != {}, what="one partition each")
    assert Lake.open(lake).read("usage").num_rows == 48
    first.stop()
    until(lambda: len(second.feed.intakes) == 2 and second.processor.position == 16)
    second.stop()
    assert second.processor.totals.batches == 0
    check(find(lake, connection), *issuers)


@pytest.mark.timeout(240)
def test_a_zombie_writes_nothing(tmp_path: Path, make_topics: TopicMaker) -> None:
    """A member is stopped with rows in its hands; its partitions go to another, which commits them; then it wakes."""
    connection = make_topics(1)
    issuer = Issuer(tmp_path / "spool")
    lake, membership = tmp_path / "lake", Membership(group="zombie", session_seconds=2.0, request_seconds=3.0)
    zombie = Life(process, lake, connection, membership, FlushPolicy(urgent_seconds=600, idle_seconds=600))
    issuer.issue(4)
    ship(issuer, connection)
    hear_until(zombie, 4, 0)  # the first change is committed at once
    issuer.issue(4)
    ship(issuer, connection)
    hear_until(zombie, 4, 12)
    zombie.freeze()
    heir = Working(lake, connection, membership)
    until(lambda: heir.processor.position == 8, 40, "the heir commits what the zombie held")
    issuer.issue(4)
    ship(issuer, connection)
    until(lambda: heir.processor.position == 12, 40)
    committed = versions(lake)
    zombie.thaw()
    time.sleep(4)
    assert versions(lake) == committed, "it wrote something"
    issuer.issue(4)
    ship(issuer, connection)
    until(lambda: heir.processor.position == 16 or not heir.feed.intakes, 40)
    heir.stop()
    zombie.kill()
    settle(lake, connection, issuer)


def hear_until(life: Life, position: int, waiting: int) -> None:
    """Wait until a processor says that it is there, with so many rows in its hands."""
    deadline = time.monotonic() + 40
    while life.last != (position, waiting):
        assert time.monotonic() < deadline, f"it says {life.last}"
        life.hear(0.1)


def versions(lake: Path) -> list[int]:
    """Return the version of each table."""
    return [table.version for table in Lake.open(lake).tables.values()]


def test_a_fenced_processor_writes_nothing(tmp_path: Path, make_topics: TopicMaker) -> None:
    """Two processors with the same partitions (no group): the slower one is refused by the lake, whole, and reads on behind the other."""
    connection = make_topics(2)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(3)]
    for issuer in issuers:
        issuer.issue(8, tables=("usage",))
        ship(issuer, connection)
    clock = SystemClock()
    feeds = [KafkaFeed(connection, Membership(), clock=clock) for _ in range(2)]
    policies = (PATIENT, EAGER)
    slow, fast = (
        Processor(feed, Lake.open_for_writing(tmp_path / "lake", filesystem=LocalFileSystem()), clock=clock, policy=policy)
        for feed, policy in zip(feeds, policies, strict=True)
    )
    try:
        until(lambda: slow.run_once().taken == 0 and slow.waiting == 72)
        fast.drain()
        committed = versions(tmp_path / "lake")
        with pytest.raises(FencedError):
            slow.drain()
        assert versions(tmp_path / "lake") == committed
        files = {path for name in COMMIT_ORDER for path in (tmp_path / "lake" / name).rglob("*.parquet") if "_delta_log" not in path.parts}
        assert len(files) == sum(len(Lake.open(tmp_path / "lake").files(name)) for name in COMMIT_ORDER), (
            "a file that no commit names is left"
        )
        for issuer in issuers:
            issuer.issue(4)
            ship(issuer, connection)
        assert slow.drain().position == 36
        assert slow.totals.batches == 12
    finally:
        for feed in feeds:
            feed.close()
    check(find(tmp_path / "lake", connection), *issuers)
