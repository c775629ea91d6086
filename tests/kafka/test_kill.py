"""kill -9, at random, of shipper, processor and broker that work together; then every issued row is in the lake, once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from processor.kafka_feed import Membership
from tests.faults.lives import Life
from tests.kafka.broker import Node
from tests.kafka.conftest import new_topics
from tests.kafka.history import Issuer, find
from tests.kafka.running import settle
from tests.kafka.test_records import send
from tests.kafka.workers import process, ship


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [12, pytest.param(400, marks=pytest.mark.soak)])
@pytest.mark.parametrize("group", ["", "group"])
def test_everything_issued_arrives_once_whatever_is_killed(tmp_path: Path, own_node: Node, kills: int, group: str) -> None:
    """Kills at random points of shipping, acknowledging, polling, committing and of the broker's own work."""
    chance = random.Random()
    seed = chance.randrange(1 << 32)
    print("seed", seed)
    chance.seed(seed)
    connection = new_topics(own_node.address, 3)
    issuers = [Issuer(tmp_path / f"spool-{number}", node=f"node-{number}") for number in range(2)]
    membership = Membership(group=group, session_seconds=2.0, request_seconds=3.0)

    def processor() -> Life:
        return Life(process, tmp_path / "lake", connection, membership, None)

    shippers = [Life(ship, issuer.path, connection) for issuer in issuers]
    processors = [processor()]
    bad = 0
    for count in range(kills):
        if count % 3 == 0:
            send(connection, [b"garbage"])
            bad += 1
        for issuer in issuers:
            issuer.issue(chance.randrange(1, 8))
            issuer.trim()
        time.sleep(chance.uniform(0.05, 0.8))
        victim = "broker" if count % 8 == 4 else chance.choice(["shipper", "processor", "processor"])
        if victim == "broker":
            own_node.kill()
            time.sleep(chance.uniform(0, 1))
            own_node.start()
        elif victim == "shipper":
            which = chance.randrange(len(issuers))
            shippers[which].kill()
            shippers[which] = Life(ship, issuers[which].path, connection)
        else:
            processors[0].kill()
            processors[0] = processor()
    for life in (*shippers, *processors):
        life.kill()
    settle(tmp_path / "lake", connection, *issuers)
    found = find(tmp_path / "lake", connection)
    assert found.letters == sum(gap["cause"] == "batch-undecodable" for gap in found.gaps) == bad
    assert sum(len(issuer.issued) for issuer in issuers) > kills * 3
