"""The known defects and traps of kafka-python 3.0, against Apache Kafka: what shows there, and that linktrail steps round it.

Where a test asserts the defect itself, a release of the library that mends it makes the test fail: then the step round it may go.
``tests.kafka.test_brokers`` has those of constructors, where brokers hang or are away.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka.record import util

from collector.ship.pipe import Pipe, Window
from linktrail.broker import MAX_RECORD_BYTES, Connection
from linktrail.clock import SystemClock
from linktrail.errors import BrokerError
from processor.dead_letters import DeadLetters, Letter
from processor.intake import Record
from processor.kafka_feed import KafkaFeed, Membership
from tests.kafka.broker import Node, free_port
from tests.kafka.conftest import Brokers, TopicMaker, new_topics, through
from tests.kafka.history import Issuer, read_all
from tests.kafka.proxy import Proxy
from tests.kafka.running import QUICK, settle, shipping, until

FOREVER = math.inf


@contextlib.contextmanager
def plain(address: str, **options: Any) -> Iterator[Any]:
    """A producer of the library as anybody would make it; its thread is ended by force."""
    producer = KafkaProducer(bootstrap_servers=address, request_timeout_ms=1000, **options)
    try:
        yield producer
    finally:
        producer._sender.force_close()
        producer._sender.join(5)
        with contextlib.suppress(KafkaTimeoutError):
            producer.close(timeout=1)


def values(connection: Connection) -> list[int]:
    """Return the numbers that are in the topic, in order."""
    return [int(record.value) for record in read_all(connection, connection.settings.topic)]


def poll_until(feed: KafkaFeed, condition: Callable[[], bool]) -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        feed.wait()


def test_1_and_2_a_finite_delivery_timeout_silences_the_producer_for_ever(tmp_path: Path, node: Node, proxy: Proxy) -> None:
    """It shows here: a record expires after it was sent once, and nothing is ever sent again. The shipper goes on."""
    connection = new_topics(node.address)
    with plain(node.proxied, delivery_timeout_ms=2000) as producer:
        producer.send(connection.settings.topic, b"1").get(10)
        proxy.mode = "answers lost"
        with pytest.raises(KafkaTimeoutError, match="Expiring"):
            producer.send(connection.settings.topic, b"2").get(10)
        proxy.mode = "pass"
        proxy.cut()
        with pytest.raises(KafkaTimeoutError, match="Timeout after waiting"):
            producer.send(connection.settings.topic, b"3").get(4)
    assert 3 not in values(connection)
    own = new_topics(node.address)
    issuer = Issuer(tmp_path / "spool")
    with shipping(issuer.path, through(own, node)):
        issuer.issue(1)
        until(lambda: issuer.spool.acknowledged() == 1)
        proxy.mode = "answers lost"
        issuer.issue(3)
        time.sleep(3)
        proxy.mode = "pass"
        proxy.cut()
        issuer.issue(3)
        until(lambda: issuer.spool.acknowledged() == 7, 40)
    settle(tmp_path / "lake", own, issuer)


def test_3_the_library_takes_any_amount_and_the_shipper_a_window(tmp_path: Path, node: Node, proxy: Proxy) -> None:
    """It shows here: send() never blocks. The shipper has at most its window in memory; the rest waits in the spool."""
    connection = new_topics(node.address)
    with plain(node.proxied, delivery_timeout_ms=FOREVER) as producer:
        producer.send(connection.settings.topic, b"1").get(10)
        proxy.mode = "blackhole"
        for _ in range(2000):
            producer.send(connection.settings.topic, bytes(10_000))
    proxy.mode = "pass"
    proxy.cut()
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(1)
    with shipping(issuer.path, through(connection, node), Window(records=5, request_seconds=1, stall_seconds=60)) as at_work:
        until(lambda: issuer.spool.acknowledged() == 1)
        proxy.mode = "blackhole"
        issuer.issue(50)
        until(lambda: at_work.status.on_the_way == 5)
        time.sleep(1)
        assert (at_work.status.on_the_way, at_work.status.sent) == (5, 6)
        proxy.mode = "pass"
        proxy.cut()
        until(lambda: issuer.spool.acknowledged() == 51, 40)


def test_4_close_leaves_a_thread_behind_and_a_pipe_does_not(node: Node, proxy: Proxy) -> None:
    """It shows here: close() with a record undelivered raises, its thread goes on. ``Pipe.close`` ends it within seconds."""
    connection = new_topics(node.address)
    with plain(node.proxied, delivery_timeout_ms=FOREVER) as producer:
        producer.send(connection.settings.topic, b"1").get(10)
        proxy.mode = "blackhole"
        producer.send(connection.settings.topic, b"2")
        with pytest.raises(KafkaTimeoutError):
            producer.close(timeout=0.5)
        assert producer._sender.is_alive()
    proxy.mode = "pass"
    before = threading.active_count()
    pipe = Pipe.open(through(connection, node), QUICK, client_id="test")
    pipe.send(0, b"1", b"c/n", [], 0)
    until(lambda: pipe.collect(0.1) == 1)
    proxy.mode = "blackhole"
    pipe.send(1, b"2", b"c/n", [], 0)
    begun = time.monotonic()
    pipe.close()
    assert time.monotonic() - begun < 8
    assert not pipe.producer._sender.is_alive()
    until(lambda: threading.active_count() <= before + 4, 5, "its threads are gone, but for those of the proxy")


def test_4_and_7_nor_do_dead_letters(node: Node, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The producer of dead letters states what the shipper's states; where no answer comes it is ended, and the next one is a new one."""
    monkeypatch.setattr("processor.dead_letters._ANSWER_SECONDS", 1.0)
    letters = DeadLetters(through(new_topics(node.address), node))
    letter = Letter("t", 0, 0, 0, None, b"garbage", ())
    assert letters.send(letter, "why").endswith("/0/0")
    first: Any = letters._producer
    assert {name: first.config[name] for name in ("enable_idempotence", "acks", "delivery_timeout_ms")} == {
        "enable_idempotence": True,
        "acks": -1,
        "delivery_timeout_ms": FOREVER,
    }
    proxy.mode = "blackhole"
    begun = time.monotonic()
    with pytest.raises(BrokerError, match="cannot be kept"):
        letters.send(letter, "why")
    assert time.monotonic() - begun < 8
    assert not first._sender.is_alive()
    proxy.mode = "pass"
    proxy.cut()
    assert "/0/" in letters.send(letter, "why")
    letters.close()


def test_5_constructors_connect_and_the_shipper_waits(tmp_path: Path) -> None:
    """It shows here: no broker, no producer. A shipper started before the brokers is told so, and tries again."""
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(KafkaTimeoutError):
        KafkaProducer(bootstrap_servers=address, bootstrap_timeout_ms=500)
    with pytest.raises(BrokerError, match="no connection"):
        Pipe.open(Connection.of(address, [], {}), QUICK, client_id="test")
    issuer = Issuer(tmp_path / "spool")
    with shipping(issuer.path, Connection.of(address, [], {})) as at_work:
        until(lambda: at_work.status.failures.get("BrokerError", 0) >= 1, 40)
        assert not at_work.status.ready
        assert at_work.status.trouble is not None


def test_6_an_exception_in_a_callback_is_swallowed(make_topics: TopicMaker, brokers: Brokers) -> None:
    """It shows here, so the shipper's callbacks do nothing but put a line in a queue (``Pipe.send``)."""
    called = threading.Event()

    def fail(_metadata: object) -> None:
        called.set()
        raise ZeroDivisionError

    with plain(brokers.address) as producer:
        future = producer.send(make_topics().settings.topic, b"1")
        future.add_callback(fail)
        assert future.get(10).offset == 0
        assert called.wait(5)


def test_7_idempotence_is_switched_off_in_silence_unless_stated(make_topics: TopicMaker, brokers: Brokers) -> None:
    """It shows here. The shipper states it, and has it; and it compresses nothing twice and makes no topics."""
    with plain(brokers.address, acks=1) as producer:
        assert producer.config["enable_idempotence"] is False
    pipe = Pipe.open(make_topics(), QUICK, client_id="test")
    try:
        wanted = {
            "enable_idempotence": True,
            "acks": -1,
            "retries": FOREVER,
            "delivery_timeout_ms": FOREVER,
            "compression_type": None,
            "allow_auto_create_topics": False,
            "max_request_size": 8 << 20,
        }
        assert {name: pipe.producer.config[name] for name in wanted} == wanted
    finally:
        pipe.close()


@pytest.mark.parametrize("idempotent", [False, True])
def test_8_lost_answers_double_records_unless_the_producer_is_idempotent(node: Node, proxy: Proxy, idempotent: bool) -> None:
    """It shows here: without idempotence duplicates and broken order, with it neither."""
    connection = new_topics(node.address)
    with plain(node.proxied, delivery_timeout_ms=FOREVER, enable_idempotence=idempotent, acks="all", retries=1000) as producer:
        producer.send(connection.settings.topic, b"0").get(10)
        futures = []
        for number in range(1, 21):
            if number % 10 == 3:
                proxy.mode = "answers lost"
            if number % 10 == 9:
                proxy.mode = "pass"
                proxy.cut()
            futures.append(producer.send(connection.settings.topic, str(number).encode()))
            time.sleep(0.2)
        proxy.mode = "pass"
        for future in futures:
            future.get(30)
    found = values(connection)
    assert set(found) == set(range(21))
    assert (found == list(range(21))) == idempotent


def test_9_and_10_a_member_always_gets_its_partitions(make_topics: TopicMaker) -> None:
    """Whether short polls ever join depends on timing (here poll(10) often does not); a feed polls long, and joins every time."""
    connection = make_topics(2)
    for number in range(6):
        feed = KafkaFeed(connection, Membership(group=f"{connection.settings.topic}-{number}"), clock=SystemClock())
        try:
            poll_until(feed, lambda: len(feed.intakes) == 2)  # noqa: B023 - called at once
        finally:
            feed.close()


def test_10_a_member_that_sits_without_partitions_is_replaced(make_topics: TopicMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """More members than partitions: the one that has none joins anew from time to time, in case its join was lost."""
    monkeypatch.setattr("processor.kafka_feed._IDLE_SECONDS", 1.0)
    connection = make_topics(1)
    feeds = [KafkaFeed(connection, Membership(group="idle", session_seconds=6), clock=SystemClock()) for _ in range(2)]
    try:
        poll_until(feeds[0], lambda: len(feeds[0].intakes) == 1)
        before = feeds[1].generation
        begun = time.monotonic()
        while feeds[1].generation == before and time.monotonic() - begun < 30 and not feeds[1].intakes:
            feeds[1].wait()
        assert feeds[1].generation > before
    finally:
        for feed in feeds:
            feed.close()


def test_11_no_default_that_bites_is_left(make_topics: TopicMaker) -> None:
    """The consumer starts nowhere by itself, commits nothing by itself, takes whole batches, and makes no topics."""
    feed = KafkaFeed(make_topics(), Membership(), clock=SystemClock())
    try:
        feed.wait()
        config = feed._consumer.config
        wanted = {"auto_offset_reset": "none", "enable_auto_commit": False, "allow_auto_create_topics": False, "check_crcs": True}
        assert {name: config[name] for name in wanted} == wanted
        assert config["isolation_level"] == "read_committed"
        assert config["max_partition_fetch_bytes"] == 4 << 20  # of smaller records; test 14 shows that a larger one comes whole
        assert KafkaConsumer.DEFAULT_CONFIG["auto_offset_reset"] == "latest"
        assert KafkaConsumer.DEFAULT_CONFIG["enable_auto_commit"] is True
    finally:
        feed.close()


def test_12_checksums_are_computed_in_c() -> None:
    """The extra of kafka-python that linktrail demands is there, and used; without it producing is several times slower."""
    assert importlib.import_module("crc32c").__name__ == "crc32c"
    assert util.crc32c_c is not None


def test_13_the_lag_is_told_by_the_ends_of_the_partitions(tmp_path: Path, make_topics: TopicMaker) -> None:
    """Records behind: ends less positions, also before anything was taken; the library's own metric knows only what it fetched."""
    connection = make_topics(2)
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(7)
    with shipping(issuer.path, connection):
        until(lambda: issuer.spool.acknowledged() == 7)
    feed = KafkaFeed(connection, Membership(), clock=SystemClock())
    try:
        feed.wait()
        for partition in feed.intakes:
            with feed.guard:
                partition.seek(0)
        with feed.guard:
            feed.confirm()
        assert feed.lag() == 7
        poll_until(feed, lambda: sum(len(partition.take(3)) for partition in feed.intakes) == 3)
        assert feed.lag() == 4
    finally:
        feed.close()


def test_14_the_next_records_come_while_these_are_used(node: Node) -> None:
    """The library asks for more only in the next poll, and brokers idle until then; a record larger than what is asked for comes whole."""
    connection = new_topics(node.address)
    sent = [os.urandom(size << 20) for size in (3, 3, 7)]
    with plain(node.address, max_request_size=MAX_RECORD_BYTES) as producer:
        for value in sent:
            producer.send(connection.settings.topic, value).get(30)
    feed = KafkaFeed(connection, Membership(), clock=SystemClock())
    try:
        feed.wait()
        [partition] = feed.intakes
        with feed.guard:
            partition.seek(0)
            feed.confirm()
        taken: list[Record] = []

        def took(count: int) -> bool:
            taken.extend(partition.take(10))
            return len(taken) == count

        poll_until(feed, lambda: took(1))
        until(lambda: feed._consumer._fetcher._completed_fetches, what="the next record came without a poll")
        node.freeze()
        try:
            feed.wait()
            assert took(2)
        finally:
            node.thaw()
        poll_until(feed, lambda: took(3))
        assert [record.data for record in taken] == sent
    finally:
        feed.close()
