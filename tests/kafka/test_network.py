"""A network that misbehaves between shipper, broker and processor: everything issued arrives once, by itself, afterwards."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from linktrail import broker_client
from processor.kafka_feed import Membership
from tests.kafka.broker import Node
from tests.kafka.conftest import new_topics, through
from tests.kafka.history import Issuer, check, find, read_all
from tests.kafka.proxy import Proxy
from tests.kafka.running import IMPATIENT, QUICK, settle, shipping, until, working
from tests.kafka.test_records import send

SILENT = ("blackhole", "answers lost")  # where it takes a time limit to notice
FAULTS = (*SILENT, "delay", "half-close", "reset", "refuse")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_shipper_gets_through_once_the_network_does(tmp_path: Path, node: Node, proxy: Proxy, fault: str) -> None:
    """The fault comes in the middle of shipping, with records on their way, and goes again."""
    connection = new_topics(node.address)
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(10)
    with shipping(issuer.path, through(connection, node)) as at_work:
        until(lambda: issuer.spool.acknowledged() == 10)
        proxy.mode = fault
        issuer.issue(30)
        time.sleep(1.5 + (QUICK.stall_seconds if fault in SILENT else 0))  # a producer that hears nothing is replaced meanwhile
        issuer.issue(30)
        proxy.mode = "pass"
        until(lambda: issuer.spool.acknowledged() == 70, 40, lambda: f"all is acknowledged: {at_work.status}")
        until(lambda: at_work.status.ready)
    settle(tmp_path / "lake", connection, issuer)
    offsets = [headers["ce_id"] for headers in (dict(record.headers) for record in read_all(connection, connection.settings.topic))]
    first_seen = sorted(set(offsets), key=offsets.index)
    assert first_seen == sorted(first_seen, key=lambda name: int(name.split(b"/")[1])), "no batch overtakes an earlier one"


def test_a_broker_that_never_answers_is_noticed(tmp_path: Path, node: Node, proxy: Proxy) -> None:
    """Connections stay open and nothing comes back: the shipper says so, and replaces its producer until something does."""
    connection = new_topics(node.address)
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(1)
    with shipping(issuer.path, through(connection, node)) as at_work:
        until(lambda: issuer.spool.acknowledged() == 1)
        proxy.mode = "blackhole"
        issuer.issue(5)
        until(lambda: at_work.status.trouble is not None, QUICK.request_seconds + 1, "trouble is told as soon as a request takes too long")
        assert not at_work.status.ready
        assert at_work.status.producers == 1
        until(lambda: at_work.status.failures.get("BrokerError", 0) >= 1, 20, "the producer is given up")
        proxy.mode = "pass"
        until(lambda: issuer.spool.acknowledged() == 6, 40)
        assert at_work.status.producers >= 2
    settle(tmp_path / "lake", connection, issuer)


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in a group"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_processor_gets_through_once_the_network_does(tmp_path: Path, node: Node, proxy: Proxy, fault: str, grouped: bool) -> None:
    """The fault comes in the middle of reading, joining and keeping dead letters; it goes on from the lake's position afterwards."""
    connection = new_topics(node.address, 2)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(3)]
    membership = Membership(group=connection.settings.topic, session_seconds=6.0, request_seconds=3.0) if grouped else IMPATIENT
    with working(tmp_path / "lake", through(connection, node), membership) as at_work:
        for rounds in range(3):
            proxy.mode = fault if rounds == 1 else "pass"
            for issuer in issuers:
                issuer.issue(8)
                with shipping(issuer.path, connection):
                    until(lambda issuer=issuer: issuer.spool.acknowledged() == issuer.spool.next_offset)  # type: ignore[misc] # bound now
            send(connection, [b"garbage", b"more of it"])
            if rounds == 1:
                time.sleep(7 if fault in SILENT else 1)  # longer than any request, and than the session of a member
        until(lambda: at_work.processor.position == 78, 60, lambda: f"all is committed: {at_work.processor.trouble}")
    check(found := find(tmp_path / "lake", connection), *issuers)
    assert found.letters == 6, "each record that cannot be decoded is kept, with one position"
    assert [gap["cause"] for gap in found.gaps] == ["batch-undecodable"] * 6


def test_brokers_that_are_back_are_found_within_15_seconds(
    tmp_path: Path, node: Node, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many tries that failed the pause between them is the longest there is: 10 s, with jitter 15."""
    monkeypatch.setattr(broker_client, "_ANSWER_MS", 200)  # each try of an outage ends sooner; the pauses are as they are
    connection = new_topics(node.address)
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(3)
    proxy.mode = "refuse"
    with shipping(issuer.path, through(connection, node)) as at_work:
        until(lambda: at_work.status.failures.get("BrokerError", 0) >= 7, 60, lambda: f"seven tries fail: {at_work.status}")
        proxy.mode = "pass"
        until(lambda: issuer.spool.acknowledged() == 3, 15 + 2, lambda: f"all is acknowledged: {at_work.status}")
    settle(tmp_path / "lake", connection, issuer)
