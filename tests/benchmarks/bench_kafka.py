"""Through a real Apache Kafka, beside one JSON event per record: producing, consuming into Arrow, committing to the lake, two processors.

* ``ship``: sealed batches of a spool to acknowledged records, by the shipper; ``rows``: the same from row dictionaries on, sealing
  (without fsync) included. Beside ``json.dumps`` and one record an event, by kafka-python and by confluent-kafka (librdkafka), all with
  acks=all and idempotence. Events per second.
* ``consume``: records to an Arrow table in memory; the peers parse their JSON with pyarrow's own reader.
* ``lake``: broker to committed lake, beside ``processor.files.parquet`` alone (sorting, ``pyarrow.parquet.write_table``) on the same rows.
* ``processors``: two processes with a partition each, beside one with both. Before the time begins each has committed once from each
  of its partitions, and all records are in the topic; when it ends all still have work, so nobody waited for a last, smaller commit. Each
  is timed until the last commit of its own.

All in every round, against the same broker, everybody connected to it before; medians.
"""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import pyarrow as pa
import pyarrow.json
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from collector.ship.pipe import Window
from collector.ship.shipper import Shipper, Shipping
from collector.spool import Spool
from linktrail import batch
from linktrail.broker import Connection, record_key
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from linktrail.events import Row
from processor.files import parquet
from processor.kafka_feed import KafkaFeed, Membership
from processor.lake import Lake
from processor.pipeline import FlushPolicy, Processor
from tests.faults.lives import Life
from tests.faults.rows import link
from tests.kafka.broker import Node, start_nodes
from tests.kafka.conftest import new_topics
from tests.kafka.running import until
from tests.kafka.workers import tell

ROUNDS: Final = 5
EVENTS: Final = 20_000  # one record each, by kafka-python
BATCHES: Final = 40
FIRST: Final = 20  # of a partition that processors commit before their time begins; their flushes are of as many, which is the default
TIMED: Final = 2 * 200  # of both partitions, at least, that are committed until it ends
HALF: Final = FIRST + TIMED // 2 + 2 * FIRST  # of a partition
ROWS: Final = BATCHES * batch.MAX_ROWS  # by us, and one record each by confluent-kafka
_CLOCK: Final = SystemClock()
_FOREVER: Final = float("inf")


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Measure, and return the rows of ``build/bench/kafka.json``."""
    with tempfile.TemporaryDirectory(prefix="linktrail-bench-") as name:
        [node] = start_nodes(Path(name) / "kafka", 1)
        try:
            return _Bench(Path(name), node).run(rounds)
        finally:
            node.stop()


class _Bench:
    """Everything that is measured, with the rows it is measured on."""

    def __init__(self, path: Path, node: Node) -> None:
        now = _CLOCK.now().wall
        self.path = path
        self.node = node
        self.rows: list[Row] = [link(number, now + number * 1_000_000) for number in range(batch.MAX_ROWS)]
        self.sealed = [_seal(self.rows, number, "run") for number in range(BATCHES)]
        self.halves = [[_seal(self.rows, number, f"run-{node}", node) for number in range(HALF)] for node in ("n0", "n1")]
        self.series: dict[str, list[float]] = {}
        self.topics = 0
        self.json_topic = ""

    def run(self, rounds: int) -> list[dict[str, object]]:
        """Measure everything in every round; the first one only warms."""
        for turn in range(rounds + 1):
            if turn == 1:
                self.series.clear()
            self._produce()
            self._consume()
            self._lake()
            self._processors()
        return [
            self._row("ship", "kafka-python JSON", "events/s", ">= 8"),
            self._row("ship", "confluent-kafka JSON", "events/s", ">= 3"),
            self._row("rows", "kafka-python JSON", "events/s", ">= 8"),
            self._row("rows", "confluent-kafka JSON", "events/s", ">= 3"),
            self._row("consume", "kafka-python JSON to Arrow", "events/s", ">= 12"),
            self._row("consume", "confluent-kafka JSON to Arrow", "events/s", ">= 5"),
            self._row("lake", "write_table", "rows/s", ">= 0.4"),
            self._row("two processors", "one processor", "rows/s", ">= 1.6"),
        ]

    def _row(self, name: str, peer: str, unit: str, goal: str) -> dict[str, object]:
        value, beside = (statistics.median(self.series[key]) for key in (name, peer))
        return {
            "name": name,
            "value": round(value),
            "unit": unit,
            "peer": peer,
            "peer_value": round(beside),
            "ratio": round(value / beside, 2),
            "goal": goal,
            "rounds": len(self.series[name]),
        }

    def _time(self, name: str, count: int, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        self.series.setdefault(name, []).append(count / (time.perf_counter() - began))

    def _topics(self, partitions: int = 1) -> Connection:
        return new_topics(self.node.address, partitions)

    # --- producing ------------------------------------------------------------------------------------------------

    def _produce(self) -> None:
        self._ship("ship", None)
        self._ship("rows", self.rows)
        topic = self._topics().settings.topic
        events = (self.rows * (EVENTS // len(self.rows)))[:EVENTS]
        producer = KafkaProducer(
            bootstrap_servers=self.node.address,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=_FOREVER,
            batch_size=1 << 20,
            linger_ms=5,
        )
        producer.send(topic, b"{}").get(30)
        self._time("kafka-python JSON", EVENTS, lambda: _send_all(producer, topic, events))
        producer.close()
        other = confluent_kafka.Producer(
            {
                "bootstrap.servers": self.node.address,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        self.json_topic = self._topics().settings.topic
        _send_all_confluent(other, self.json_topic, events[:1])
        self._time("confluent-kafka JSON", ROWS, lambda: _send_all_confluent(other, self.json_topic, self.rows * BATCHES))

    def _ship(self, name: str, rows: Sequence[Row] | None) -> None:
        """Ship ``BATCHES`` batches that are sealed already, or (``rows``) are sealed on the way."""
        self.topics += 1
        filesystem = _NoSync() if rows else LocalFileSystem()
        spool = Spool.open(self.path / f"spool-{self.topics}", filesystem=filesystem, clock=_CLOCK, cluster="c", node="n")
        spool.begin_run()
        connection = self._topics()
        if rows is None:
            _fill(spool, self.rows)
        shipper = Shipper(spool.path, connection, clock=_CLOCK, filesystem=filesystem, window=Window())
        at_work = [Shipping(shipper)] if rows else []
        until(lambda: not at_work or at_work[0].status.ready)

        def work() -> None:
            if rows is not None:
                _fill(spool, rows)
            else:
                at_work.append(Shipping(shipper))
            while spool.acknowledged() < BATCHES:
                time.sleep(0.002)

        self._time(name, ROWS, work)
        at_work[0].close()
        spool.close()

    # --- consuming ------------------------------------------------------------------------------------------------

    def _consume(self) -> None:
        connection = self._topics()
        self._put(connection, self.sealed)
        feed = KafkaFeed(connection, Membership(), clock=_CLOCK)
        feed.wait()
        with feed.guard:
            feed.intakes[0].seek(0)
            feed.confirm()
        self._time("consume", ROWS, lambda: _decode_all(feed))
        feed.close()
        place = TopicPartition(self.json_topic, 0)
        consumer = KafkaConsumer(bootstrap_servers=self.node.address, max_poll_records=10_000, max_partition_fetch_bytes=16 << 20)
        consumer.assign([place])
        consumer.seek(place, 1)
        self._time("kafka-python JSON to Arrow", EVENTS, lambda: _read_all(consumer))
        consumer.close()
        other = confluent_kafka.Consumer({"bootstrap.servers": self.node.address, "group.id": "bench", "enable.auto.commit": False})
        other.list_topics(self.json_topic, 30)  # connected, as the others are
        other.assign([confluent_kafka.TopicPartition(self.json_topic, 0, 1)])
        self._time("confluent-kafka JSON to Arrow", ROWS, lambda: _read_all_confluent(other))
        other.close()

    def _put(self, connection: Connection, values: Sequence[bytes], key: bytes = b"c/n", partition: int = 0) -> None:
        producer = KafkaProducer(bootstrap_servers=self.node.address, acks="all", delivery_timeout_ms=_FOREVER, max_request_size=8 << 20)
        futures = [producer.send(connection.settings.topic, value=value, key=key, partition=partition) for value in values]
        for future in futures:
            future.get(60)
        producer.close()

    # --- the lake -------------------------------------------------------------------------------------------------

    def _lake(self) -> None:
        connection = self._topics()
        self._put(connection, self.sealed)
        self.topics += 1
        feed = KafkaFeed(connection, Membership(), clock=_CLOCK)
        lake = Lake.open_for_writing(self.path / f"lake-{self.topics}", filesystem=LocalFileSystem())
        processor = Processor(
            feed, lake, clock=_CLOCK, policy=FlushPolicy(rows=ROWS, size_bytes=1 << 30, urgent_seconds=600, idle_seconds=600)
        )
        feed.wait()
        self._time("lake", ROWS, processor.drain)
        feed.close()
        if lake.read("links").num_rows != ROWS:
            raise AssertionError("not every row is in the lake")
        whole = pa.concat_tables([batch.decode(data, "here")[1] for data in self.sealed])
        target = self.path / f"bare-{self.topics}.parquet"
        self._time("write_table", ROWS, lambda: LocalFileSystem().write_new(target, parquet("links", whole)))

    def _processors(self) -> None:
        """Time processors at work: what they do once, and sending records, is over before."""
        for name, parts in (("one processor", ((0, 1),)), ("two processors", ((0,), (1,)))):
            connection = self._topics(2)
            self.topics += 1
            lake, gate = self.path / f"lake-{self.topics}", self.path / f"gate-{self.topics}"
            Lake.open_for_writing(lake, filesystem=LocalFileSystem())
            self._put_halves(connection, 0, FIRST)
            lives = [Life(_process, gate, lake, connection, part) for part in parts]
            for life in lives:
                life.wait_said()
            self._put_halves(connection, FIRST, HALF)
            began = time.perf_counter()
            gate.touch()
            ends = _wait_for(lives, 2 * FIRST + TIMED)
            rates = (
                (life.last[0] - FIRST * len(part)) * batch.MAX_ROWS / (end - began)
                for life, part, end in zip(lives, parts, ends, strict=True)
            )
            self.series.setdefault(name, []).append(sum(rates))
            _wait_for(lives, 2 * HALF)
            for life in lives:
                life.kill()
            if sum(file.rows for file in Lake.open(lake).tables["links"].live_files()) != 2 * HALF * batch.MAX_ROWS:
                raise AssertionError("not every row is in the lake")

    def _put_halves(self, connection: Connection, first: int, last: int) -> None:
        for partition, sealed in enumerate(self.halves):
            self._put(connection, sealed[first:last], record_key("c", f"n{partition}"), partition)


def _process(gate: Path, lake: Path, connection: Connection, partitions: tuple[int, ...], working: Pipe) -> None:
    """Commit the first batches and say so, then commit for ever once ``gate`` is there."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    policy = FlushPolicy(rows=FIRST * batch.MAX_ROWS, urgent_seconds=0.5, idle_seconds=0.5, poll_seconds=0.01)
    feed = KafkaFeed(connection, Membership(partitions=partitions), clock=_CLOCK)
    processor = Processor(feed, Lake.open_for_writing(lake, filesystem=LocalFileSystem()), clock=_CLOCK, policy=policy)
    while processor.position < FIRST * len(partitions):
        processor.run_once()
    working.send((processor.position, processor.waiting))
    while not gate.exists():
        _CLOCK.sleep(0.001)
    threading.Thread(target=tell, args=(processor, working), daemon=True).start()
    processor.run(threading.Event())


def _seal(rows: Sequence[Row], number: int, run: str, node: str = "n") -> bytes:
    first = number * len(rows)
    return batch.encode(
        "links", rows, cluster="c", node=node, run=run, batch=number, first_seq=first, previous_digest="", sealed_at=_CLOCK.now().wall
    )


def _fill(spool: Spool, rows: Sequence[Row]) -> None:
    for _ in range(BATCHES):
        spool.append("links", list(rows))
        spool.seal_beside()  # as a collector does with whole batches
    spool.seal()


class _NoSync(LocalFileSystem):
    """Without fsync: the peers do none either."""

    @staticmethod
    def _sync(path: Path, flags: int) -> None:
        del path, flags

    def write_new(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)


def _send_all(producer: Any, topic: str, events: Sequence[Row]) -> None:
    future = None
    for event in events:
        future = producer.send(topic, json.dumps(event).encode(), key=b"c/n")
    producer.flush()
    if future is None or not future.succeeded():
        raise AssertionError("not every event was acknowledged")


def _send_all_confluent(producer: Any, topic: str, events: Sequence[Row]) -> None:
    for event in events:
        producer.produce(topic, json.dumps(event).encode(), key=b"c/n")
        producer.poll(0)
    if producer.flush(60):
        raise AssertionError("not every event was acknowledged")


def _decode_all(feed: KafkaFeed) -> pa.Table:
    tables: list[pa.Table] = []
    while len(tables) < BATCHES:
        feed.wait()
        tables += [batch.decode(record.data, record.where)[1] for record in feed.intakes[0].take(BATCHES)]
    return pa.concat_tables(tables)


def _read_all(consumer: Any) -> pa.Table:
    values: list[bytes] = []
    while len(values) < EVENTS:
        for records in consumer.poll(timeout_ms=500).values():
            values += [record.value for record in records]
    return pa.json.read_json(pa.BufferReader(b"\n".join(values)))


def _read_all_confluent(consumer: Any) -> pa.Table:
    values: list[bytes] = []
    while len(values) < ROWS:
        values += [message.value() for message in consumer.consume(10_000, 0.5) if message.error() is None]
    return pa.json.read_json(pa.BufferReader(b"\n".join(values)))


def _wait_for(lives: Sequence[Life], batches: int) -> list[float]:
    """Wait until so many are committed, and return when each processor was heard to commit for the last time."""
    deadline = time.perf_counter() + 120
    positions, ends = [life.last[0] for life in lives], [0.0] * len(lives)
    while sum(positions) < batches:
        if time.perf_counter() > deadline:
            raise AssertionError(f"the processors stand at {[life.last for life in lives]}")
        for number, life in enumerate(lives):
            life.hear(0.005)
            if life.last[0] != positions[number]:
                positions[number], ends[number] = life.last[0], time.perf_counter()
    return ends
