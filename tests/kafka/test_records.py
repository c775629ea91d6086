"""Records that are not what they should be: each row once, a dead letter with every byte, or a gap; never silence."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from kafka import KafkaProducer

from linktrail.batch import MAX_STREAM_BYTES
from linktrail.broker import Connection, record_key
from linktrail.errors import NewerSchemaError
from processor.dead_letters import ERROR_HEADER
from tests.kafka.conftest import TopicMaker
from tests.kafka.history import Issuer, check, find, read_all
from tests.kafka.running import process_all, ship, until, working


def send(connection: Connection, values: Sequence[bytes | None], key: bytes = b"c/node") -> None:
    """Put records into the topic as they are."""
    options: dict[str, Any] = {"acks": "all", "delivery_timeout_ms": math.inf, "max_request_size": 9 << 20}
    with contextlib.closing(KafkaProducer(**connection.options(), **options)) as producer:
        for value in values:
            producer.send(connection.settings.topic, value=value, key=key).get(30)


def files(issuer: Issuer) -> list[bytes]:
    """Return all sealed batches."""
    return [data for _, data in issuer.spool.reader.batches()]


def test_duplicates_and_late_ones_are_left_out(tmp_path: Path, make_topics: TopicMaker) -> None:
    """The same batches again, at once and much later, as a producer that was replaced sends them."""
    connection = make_topics()
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(12)
    sealed = files(issuer)
    send(connection, [*sealed[:6], *sealed[2:8], *sealed[:1], *sealed[6:], *sealed])
    processor = process_all(tmp_path / "lake", connection)
    check(found := find(tmp_path / "lake", connection), issuer)
    assert not found.gaps
    assert not found.letters
    assert (processor.totals.batches, processor.totals.duplicates) == (12, 6 - 2 + 1 + 2 + 12)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_loses_and_doubles_nothing(tmp_path: Path, make_topics: TopicMaker, seed: int) -> None:
    """Batches shuffled, some twice: what comes late fills the hole that was stated; nothing is there twice."""
    connection = make_topics()
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(20)
    sealed = files(issuer)
    shuffled = sealed + sealed[5:10]
    random.Random(seed).shuffle(shuffled)
    send(connection, shuffled)
    process_all(tmp_path / "lake", connection)
    check(find(tmp_path / "lake", connection), issuer)
    assert len(find(tmp_path / "lake", connection).lake) == 60


def test_what_cannot_be_decoded_is_kept_whole(tmp_path: Path, make_topics: TopicMaker) -> None:
    """Truncated, garbage, empty, no value, a frame too large: dead letters with reason and position, and gaps; the rest goes on."""
    connection = make_topics()
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(8)
    sealed = files(issuer)
    bomb = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(MAX_STREAM_BYTES + 1))
    large = random.Random(1).randbytes((8 << 20) - 2000)  # as large as the topic takes
    bad: list[bytes | None] = [sealed[2][: len(sealed[2]) // 2], b"garbage", b"", None, bomb, large]
    send(connection, [*sealed[:2], *bad, *sealed[2:5]])
    send(connection, [b"of nobody"], key=b"\xff\x00")
    send(connection, sealed[5:])
    processor = process_all(tmp_path / "lake", connection)
    check(found := find(tmp_path / "lake", connection), issuer)
    assert len(found.lake) == 24
    assert processor.totals.set_aside == 7
    letters = read_all(connection, connection.settings.dead_letter_topic)
    assert [letter.value or b"" for letter in letters] == [*(value or b"" for value in bad), b"of nobody"]
    topic = connection.settings.topic
    assert [letter.key.decode() for letter in letters] == [f"{topic}/0/{offset}" for offset in (2, 3, 4, 5, 6, 7, 11)]
    for letter in letters:
        headers = dict(letter.headers)
        assert b"cannot be decoded" in headers[ERROR_HEADER]
        assert headers["linktrail_offset"].decode() == letter.key.decode().rpartition("/")[2]
    assert dict(letters[1].headers)["linktrail_key"] == record_key("c", "node")
    assert [gap["cause"] for gap in found.gaps] == ["batch-undecodable"] * 7
    assert {gap["node"] for gap in found.gaps} == {"node", ""}


def test_a_lost_batch_is_a_gap(tmp_path: Path, make_topics: TopicMaker) -> None:
    """A hole in the numbers of a run is stated, with the numbers."""
    connection = make_topics()
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(10)
    sealed = files(issuer)
    send(connection, [*sealed[:3], *sealed[6:]])
    process_all(tmp_path / "lake", connection)
    check(found := find(tmp_path / "lake", connection), issuer)
    assert len(found.lake) == 21
    assert [gap["gap_id"] for gap in found.gaps] == [f"{issuer.spool.run}/3-5"]


def test_a_batch_too_large_for_the_topic_is_set_aside_and_stated(tmp_path: Path, make_topics: TopicMaker) -> None:
    """A topic that takes less than a batch needs: the shipper goes on with the next ones, the bytes stay, the absence is a gap."""
    connection = make_topics(configs={"max.message.bytes": "20000"})
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(4, tables=("links",))
    issuer.issue(1, rows=4000, tables=("links",))
    issuer.issue(4, tables=("links",))
    assert len(files(issuer)[4]) > 20_000
    ship(issuer, connection)
    process_all(tmp_path / "lake", connection)
    check(found := find(tmp_path / "lake", connection), issuer)
    assert issuer.spool.reader.quarantined() == [4]
    assert [gap["gap_id"] for gap in found.gaps] == [f"{issuer.spool.run}/4-4"]
    assert len(found.lake) == 24


def _newer(sealed: bytes) -> bytes:
    """Return the batch as a linktrail of a later schema version would write it."""
    stream = zstandard.ZstdDecompressor().decompress(sealed)
    assert stream.count(b"linktrail.schema_version") == 1
    at = stream.index(b"linktrail.schema_version")
    value = stream.rindex(b"1", 0, at) if stream[at - 8 : at].strip(b"\0") == b"1" else _value_of(stream, at)
    return zstandard.ZstdCompressor(write_content_size=True).compress(stream[:value] + b"9" + stream[value + 1 :])


def _value_of(stream: bytes, at: int) -> int:
    """Find the value ``1`` of the key at ``at``: flatbuffers may write it before or after, padded with zeros."""
    around = [
        place
        for place in range(max(0, at - 64), at + 96)
        if stream[place : place + 2] == b"1\0" and stream[place - 4 : place] == b"\1\0\0\0"
    ]
    assert len(around) == 1, around
    return around[0]


def test_a_newer_batch_holds_its_partition_alone(tmp_path: Path, make_topics: TopicMaker) -> None:
    """Its partition waits for an upgrade, and is told; the other partitions go on; nothing of it is lost or set aside."""
    connection = make_topics(2)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(8)]
    held, free = issuers[0], issuers[1:]
    held.issue(5)
    sealed = files(held)
    send(connection, [*sealed[:2], _newer(sealed[2])], key=record_key("c", held.node))
    with working(tmp_path / "lake", connection) as at_work:
        for issuer in free:
            issuer.issue(4)
            ship(issuer, connection)
        until(lambda: at_work.processor.held is not None)
        until(lambda: len(find(tmp_path / "lake", connection).lake) >= 6 + _elsewhere(connection, held, free) * 12)
    assert isinstance(at_work.error, NewerSchemaError)
    found = find(tmp_path / "lake", connection)
    assert not found.letters
    assert not found.gaps
    assert sum(count for key, count in found.lake.items() if key[0] == held.node) == 6


def _elsewhere(connection: Connection, held: Issuer, free: list[Issuer]) -> int:
    """Return how many of ``free`` have another partition than ``held``."""
    where = {record.key: record.partition for record in read_all(connection, connection.settings.topic)}
    partition = where[record_key("c", held.node)]
    count: int = sum(where[record_key("c", issuer.node)] != partition for issuer in free)
    assert 0 < count < len(free)
    return count
