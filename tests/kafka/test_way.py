from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from linktrail import batch
from linktrail.broker import Connection, node_of
from linktrail.clock import iso
from linktrail.errors import LakeMissingError
from processor.kafka_feed import Membership
from processor.lake import Lake
from tests.kafka.conftest import Brokers, TopicMaker
from tests.kafka.history import Issuer, check, find, read_all
from tests.kafka.running import process_all, ship, shipping, until, working


def test_sealed_batches_become_records_in_order(tmp_path: Path, make_topics: TopicMaker) -> None:
    """The spool's files are the records' values, byte by byte and in order, all of a node in one partition, with CloudEvents headers."""
    connection = make_topics(4)
    issuer = Issuer(tmp_path / "spool", node="node/one é")
    issuer.issue(60)
    files = [data for _, data in issuer.spool.reader.batches()]
    ship(issuer, connection)
    records = read_all(connection, connection.settings.topic)
    assert [record.value for record in records] == files
    assert len({record.partition for record in records}) == 1
    assert {node_of(record.key) for record in records} == {("c", "node/one é")}
    for offset, record in enumerate(records):
        header, _ = batch.decode(record.value, "record")
        headers = {name: value.decode() for name, value in record.headers}
        assert headers == {
            "ce_specversion": "1.0",
            "ce_id": f"{issuer.spool.id}/{offset}",
            "ce_source": "/linktrail/c/node%2Fone%20%C3%A9",
            "ce_type": f"linktrail.{header.table}.v1",
            "ce_partitionkey": "c/node%2Fone%20%C3%A9",
            "ce_time": iso(header.sealed_at),
            "ce_recordedtime": iso(header.sealed_at),
            "ce_sequence": f"{header.batch:020d}",
            "ce_dataschema": "urn:linktrail:schema:1",
            "ce_run": header.run,
            "content-type": "application/vnd.apache.arrow.stream",
            "content-encoding": "zstd",
        }


def test_the_spool_is_trimmed_by_what_is_acknowledged(tmp_path: Path, make_topics: TopicMaker) -> None:
    """The cursor reaches the end, and the collector may then let go of all but the newest file."""
    connection = make_topics()
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(20)
    with shipping(issuer.path, connection) as at_work:
        until(lambda: issuer.spool.acknowledged() == 20)
        until(lambda: at_work.status.ready)
        status = at_work.status
        assert (status.acknowledged, status.next_offset, status.on_the_way, status.trouble) == (20, 20, 0, None)
        issuer.trim()
        issuer.issue(1)
        until(lambda: issuer.spool.acknowledged() == 21)
    assert not at_work.status.ready
    assert issuer.spool.offsets() == [19, 20]


def test_every_row_of_many_nodes_is_in_the_lake_once(tmp_path: Path, make_topics: TopicMaker) -> None:
    """Several nodes over several partitions into one processor; started again, it goes on where the lake is."""
    connection = make_topics(3)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(5)]
    for issuer in issuers:
        issuer.issue(12)
        ship(issuer, connection)
    processor = process_all(tmp_path / "lake", connection)
    check(find(tmp_path / "lake", connection), *issuers)
    assert processor.position == processor.totals.batches == 60
    assert len(processor.positions) == 3
    for issuer in issuers:
        issuer.issue(4)
        ship(issuer, connection)
    again = process_all(tmp_path / "lake", connection)
    check(found := find(tmp_path / "lake", connection), *issuers)
    assert (again.totals.batches, again.totals.duplicates, again.position) == (20, 0, 80)
    assert not found.gaps
    assert not found.letters


def test_a_commit_of_all_partitions_makes_one_file(tmp_path: Path, make_topics: TopicMaker) -> None:
    """Partitions of one processor share their commits: many of them do not make many small files."""
    connection = make_topics(3)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(5)]
    for issuer in issuers:
        issuer.issue(4, tables=("links",))
        ship(issuer, connection)
    process_all(tmp_path / "lake", connection)
    assert len(Lake.open(tmp_path / "lake").files("links")) <= 2


def test_a_group_shares_the_partitions(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers) -> None:
    """Two processors of a group have a part each, everything arrives once, and the group's offsets tell the lag."""
    connection = make_topics(4)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(6)]
    lake, group = tmp_path / "lake", Membership(group=f"{connection.settings.topic}-group")
    with working(lake, connection, group) as one, working(lake, connection, group) as other:
        until(lambda: len(one.feed.intakes) == len(other.feed.intakes) == 2, what="two partitions each")
        for issuer in issuers:
            issuer.issue(8)
            ship(issuer, connection)
        until(lambda: one.processor.position + other.processor.position == 48, what="all is committed")
    check(find(lake, connection), *issuers)
    with brokers.admin() as admin:
        offsets = admin.list_group_offsets(group.group)[group.group]
    assert sum(offset.offset for offset in offsets.values()) == 48


def _program(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "linktrail", *words], env=os.environ | {"PYTHONUNBUFFERED": "1"}, stderr=subprocess.PIPE)


def test_a_change_is_queryable_within_ten_seconds(tmp_path: Path, make_topics: TopicMaker) -> None:
    """The real programs from a store to the lake: ``collect --kafka`` and ``process --kafka``, with their defaults."""
    from linktrail.testing.containers_storage import StoreBuilder, finish  # noqa: PLC0415 - only here

    connection = make_topics(2)
    words = _words(connection)
    finish(StoreBuilder(tmp_path / "store").open_store())
    collect = _program("collect", str(tmp_path / "store"), "--state", str(tmp_path / "state"), "--cluster", "c", "--node", "n", *words)
    process = _program("process", "--lake", str(tmp_path / "lake"), *words)
    try:
        until(lambda: bool(_subjects(tmp_path / "lake")), 40, "the baseline")
        (tmp_path / "store" / "overlay" / "0123456789abcdef").mkdir()
        before = time.monotonic()
        until(lambda: "0123456789abcdef" in _subjects(tmp_path / "lake"), 20, "the change")
        assert time.monotonic() - before < 10
        shipped = json.loads((tmp_path / "state" / "status.json").read_text())["shipping"]
        assert shipped["ready"]
        assert shipped["acknowledged"] > 0
    finally:
        for program in (collect, process):
            program.terminate()
        codes = [program.wait(30) for program in (collect, process)]
        for program in (collect, process):
            assert program.stderr is not None
            program.stderr.close()
    assert codes == [0, 0]


def _words(connection: Connection) -> list[str]:
    settings = connection.settings
    return [
        "--kafka",
        str(connection),
        "--kafka-set",
        f"topic={settings.topic}",
        "--kafka-set",
        f"dead-letter-topic={settings.dead_letter_topic}",
    ]


def _subjects(lake: Path) -> set[str]:
    try:
        return set(Lake.open(lake).read("links").column("subject").to_pylist())
    except LakeMissingError:
        return set()
