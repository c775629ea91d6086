"""Topics of single nodes beside the shared one: all into one lake, each row once, and from each nothing but its own node's."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
from kafka.coordinator.assignors.range import RangePartitionAssignor

from linktrail.broker import Connection, record_key
from linktrail.errors import UsageError
from linktrail.node_topic import node_topic
from linktrail.schema import TABLES
from processor.dead_letters import ERROR_HEADER
from processor.kafka_feed import Membership
from processor.kafka_topics import chosen, find_topics
from processor.lake import Lake
from tests.kafka.conftest import Brokers, TopicMaker
from tests.kafka.history import Issuer, check, find, read_all
from tests.kafka.running import Working, process_all, ship, until, working
from tests.kafka.test_records import files, send


def own(connection: Connection) -> Connection:
    """Return the connection of collectors that write topics of their own."""
    return dataclasses.replace(connection, settings=dataclasses.replace(connection.settings, topic_per_node="yes"))


def make(brokers: Brokers, connection: Connection, *nodes: str) -> list[Connection]:
    """Make the topics of ``nodes``; return connections whose topic is that of each."""
    found = [own(connection).for_node("c", node) for node in nodes]
    with brokers.admin() as admin:
        admin.create_topics({one.settings.topic: {"num_partitions": 1, "replication_factor": 1} for one in found}, wait_for_metadata=True)
    return found


def batches(lake: Path) -> int:
    """Return how many batches the lake says were received."""
    return sum(kind == "batch" for kind in Lake.open(lake).read("coverage").column("kind").to_pylist())


def test_both_kinds_go_into_one_lake(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers) -> None:
    """A node moves from the shared topic to its own in the middle of a run: each row once, no gap; the positions are each topic's."""
    connection = make_topics(2)
    make(brokers, connection, "node-a", "node-b")
    issuers = [Issuer(tmp_path / f"spool-{node}", node=node) for node in ("node-a", "node-b", "shared")]
    for issuer in issuers:
        issuer.issue(5)
        ship(issuer, connection)
    process_all(tmp_path / "lake", connection)
    for issuer in issuers:
        issuer.issue(7)
        ship(issuer, own(connection) if issuer.node != "shared" else connection)
    processor = process_all(tmp_path / "lake", connection)
    check(found := find(tmp_path / "lake", connection), *issuers)
    assert len(found.lake) == 3 * 36
    assert not found.gaps
    assert not found.letters
    positions = {source.split("/")[1]: position for source, position in processor.positions.items() if "node" in source}
    assert positions == {node_topic(connection.settings.topic, "c", f"node-{name}"): 7 for name in "ab"}
    assert process_all(tmp_path / "lake", connection).totals.batches == 0


def foreign(tmp_path: Path, connection: Connection, brokers: Brokers) -> tuple[Connection, Issuer, Issuer]:
    """Return the topic of node-a with node-a's batches, node-a, and node-b, which has sealed some that nobody shipped."""
    [topic] = make(brokers, connection, "node-a")
    hostile, victim = (Issuer(tmp_path / f"spool-{node}", node=node) for node in ("node-a", "node-b"))
    hostile.issue(4)
    victim.issue(4)
    send(topic, files(hostile)[:2], key=record_key("c", "node-a"))
    return topic, hostile, victim


@pytest.mark.parametrize("key", [record_key("c", "node-b"), record_key("c", "node-a"), None, b"\xff"])
def test_another_nodes_batch_is_refused(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers, key: bytes | None) -> None:
    """In node-a's topic, under any key: a dead letter with every byte, a gap of node-a, and no row of any table that is node-b's."""
    connection = make_topics()
    topic, hostile, victim = foreign(tmp_path, connection, brokers)
    stolen = files(victim)
    send(topic, stolen, key=key)  # type: ignore[arg-type]  # a record may have no key
    send(topic, files(hostile)[2:], key=record_key("c", "node-a"))
    processor = process_all(tmp_path / "lake", connection)
    assert processor.totals.set_aside == 4
    opened = Lake.open(tmp_path / "lake")
    for name in TABLES:
        assert set(opened.read(name).column("node").to_pylist()) == {"node-a"}, name
    check(found := find(tmp_path / "lake", connection), hostile, victim)  # node-b's are in dead letters
    assert [(gap["cause"], gap["node"], gap["run"]) for gap in found.gaps] == [("batch-foreign", "node-a", "")] * 4
    letters = read_all(connection, connection.settings.dead_letter_topic)
    assert [letter.value for letter in letters] == stolen
    for letter in letters:
        assert b"is refused: it" in dict(letter.headers)[ERROR_HEADER]
        assert b"c/node-a alone" in dict(letter.headers)[ERROR_HEADER]
    assert process_all(tmp_path / "lake", connection).totals.set_aside == 0


def test_its_own_batch_under_another_key_and_garbage_are_its_own(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers) -> None:
    """What is stated of them is stated of the node whose topic it is, whatever the key says."""
    connection = make_topics()
    topic, hostile, victim = foreign(tmp_path, connection, brokers)
    send(topic, [files(hostile)[2], b"garbage"], key=record_key("c", "node-b"))
    send(topic, [b"garbage", files(victim)[0], files(hostile)[3]], key=record_key("c", "node-a"))
    process_all(tmp_path / "lake", connection)
    found = find(tmp_path / "lake", connection)
    assert {gap["node"] for gap in found.gaps} == {"node-a"}
    causes = [gap["cause"] for gap in found.gaps]
    assert causes == ["batch-foreign", "batch-foreign", "batch-undecodable", "batch-foreign"]
    assert set(Lake.open(tmp_path / "lake").read("coverage").column("node").to_pylist()) == {"node-a"}


def test_foreign_batches_hide_no_hole(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers) -> None:
    """As many of them as the node's own that are missing: the hole is stated with its numbers all the same."""
    connection = make_topics()
    topic, hostile, victim = foreign(tmp_path, connection, brokers)
    send(topic, files(victim)[:1], key=record_key("c", "node-a"))
    send(topic, files(hostile)[3:], key=record_key("c", "node-a"))
    process_all(tmp_path / "lake", connection)
    gaps = find(tmp_path / "lake", connection).gaps
    assert [(gap["cause"], gap["node"]) for gap in gaps] == [("batch-foreign", "node-a"), ("batch-missing", "node-a")]
    assert gaps[1]["gap_id"] == f"{hostile.spool.run}/2-2"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("group", ["", "discovering"])
def test_a_topic_made_later_is_read_from_its_start(
    tmp_path: Path, make_topics: TopicMaker, brokers: Brokers, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    """While processors run: found within the stated time, what others hand over is not repeated; one that is deleted is let go."""
    monkeypatch.setattr("processor.kafka_feed.LOOK_SECONDS", 2.0)
    connection = make_topics(2)
    membership = Membership(group=f"{connection.settings.topic}-{group}" if group else "", session_seconds=6.0)
    first, later, shared = (Issuer(tmp_path / f"spool-{node}", node=node) for node in ("first", "later", "shared"))
    make(brokers, connection, "first")
    lake = tmp_path / "lake"
    with working(lake, connection, membership) as one, contextlib.ExitStack() as stack:
        members = [one, *([stack.enter_context(working(lake, connection, membership))] if group else [])]
        until(lambda: sum(len(member.feed.intakes) for member in members) == 3, what="all partitions are had")
        for issuer in (first, shared):
            issuer.issue(6)
        ship(first, own(connection))
        ship(shared, connection)
        make(brokers, connection, "later")
        later.issue(6)
        ship(later, own(connection))
        until(lambda: sum(len(member.feed.intakes) for member in members) == 4, 30, "the new topic is found")
        until(lambda: batches(lake) == 18, 30, "and committed")
        first.issue(4)
        ship(first, own(connection))
        until(lambda: batches(lake) == 22, 30, "the others go on")
        with brokers.admin() as admin:
            admin.delete_topics([node_topic(connection.settings.topic, "c", "later")])
        until(lambda: sum(len(member.feed.intakes) for member in members) == 3, 40, "it is let go")
        shared.issue(4)
        ship(shared, connection)
        until(lambda: batches(lake) == 26, 30, "and the others go on")
    assert not any(member.error for member in members)
    check(found := find(lake, connection), first, later, shared)
    assert not found.gaps


def test_a_group_shares_the_topics_of_nodes(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers) -> None:
    """One partition each: members get as many, where the range of each topic would give all to the first."""
    connection = make_topics(1)
    nodes = [f"node-{number}" for number in range(7)]
    make(brokers, connection, *nodes)
    issuers = [Issuer(tmp_path / f"spool-{node}", node=node) for node in nodes]
    lake, membership = tmp_path / "lake", Membership(group=f"{connection.settings.topic}-many", session_seconds=6.0, request_seconds=3.0)
    members: list[Working] = []
    with contextlib.ExitStack() as stack:
        members += [stack.enter_context(working(lake, connection, membership)) for _ in range(2)]
        until(lambda: [len(member.feed.intakes) for member in members] == [4, 4], what="four each")
        for issuer in issuers:
            issuer.issue(4)
            ship(issuer, own(connection))
        until(lambda: sum(member.processor.totals.batches for member in members) == 28)
    check(found := find(lake, connection), *issuers)
    assert not found.gaps
    with brokers.admin() as admin:
        offsets = admin.list_group_offsets(membership.group)[membership.group]
    assert sum(offset.offset for offset in offsets.values()) == 28


def test_a_member_of_before_and_a_new_one_share_by_range(
    tmp_path: Path, make_topics: TopicMaker, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While processors are upgraded one after the other: the older ones know no other assignment, and the group works on."""
    connection = make_topics(2)
    make(brokers, connection, "node-a")
    issuers = [Issuer(tmp_path / f"spool-{node}", node=node) for node in ("node-a", "shared")]
    lake = tmp_path / "lake"
    membership = Membership(group=f"{connection.settings.topic}-upgraded", session_seconds=6.0, request_seconds=3.0)
    with monkeypatch.context() as patch:
        patch.setattr("processor.kafka_consumer.RoundRobinPartitionAssignor", RangePartitionAssignor)
        older = Working(lake, connection, membership)
        until(lambda: len(older.feed.intakes) == 3)
    with working(lake, connection, membership) as newer:
        until(lambda: sorted(len(member.feed.intakes) for member in (older, newer)) == [1, 2], what="shared by range")
        for issuer, where in zip(issuers, (own(connection), connection), strict=True):
            issuer.issue(6)
            ship(issuer, where)
        until(lambda: batches(lake) == 12)
        older.stop()
        until(lambda: len(newer.feed.intakes) == 3)
    assert not older.error
    assert not newer.error
    check(find(lake, connection), *issuers)


def test_partitions_of_ones_own_have_every_node_between_them(make_topics: TopicMaker, brokers: Brokers) -> None:
    """``--partitions`` 0, 1 and 2 of three: each place once, and each some of the nodes."""
    connection = make_topics(3)
    make(brokers, connection, *(f"node-{number}" for number in range(20)))
    topics, shared = find_topics(connection), connection.settings.topic
    parts = [chosen(topics, shared, [number]) for number in range(3)]
    assert sum(len(part) for part in parts) == 23
    assert set().union(*parts) == chosen(topics, shared, None)
    assert all(len(part) > 1 for part in parts)
    with pytest.raises(UsageError, match="no partition 3"):
        chosen(topics, shared, [3])


def test_names_in_a_foreign_batch_are_hostile(tmp_path: Path, make_topics: TopicMaker, brokers: Brokers) -> None:
    """Whoever writes one chooses what it says of itself, and its key: what is stated of that stays short and printable."""
    connection = make_topics()
    [topic] = make(brokers, connection, "node-a")
    loud = Issuer(tmp_path / "spool", node="\x1b[2J\n" + "x" * 100_000)
    loud.issue(1)
    send(topic, files(loud), key=record_key("c", "node-a"))
    send(topic, files(loud), key=b"c/\x1b[2J\n" + b"y" * 100_000)
    process_all(tmp_path / "lake", connection)
    gaps = find(tmp_path / "lake", connection).gaps
    assert [gap["node"] for gap in gaps] == ["node-a"] * 2
    assert all(gap["message"].isprintable() and len(gap["message"]) < 1000 for gap in gaps)
