"""Reaching brokers of which some hang, refuse or are not there: the library's three clients, as its constructors are used here."""

from __future__ import annotations

import contextlib
import functools
import gc
import socket
import threading
import time
from collections.abc import Iterator
from operator import gt, le
from pathlib import Path
from typing import Any, Final

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from linktrail import broker_client
from linktrail.broker import Connection
from linktrail.broker_client import connect
from tests.kafka.broker import free_port
from tests.kafka.conftest import Brokers
from tests.kafka.running import until

CLIENTS: Final = (KafkaProducer, KafkaConsumer, KafkaAdminClient)
SOON: Final = 0.6


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Addresses of two that accept and never answer, and are given up after ``SOON``."""
    monkeypatch.setattr(broker_client, "_ANSWER_MS", round(SOON * 1000))
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        yield [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]


def left() -> tuple[int, int]:
    """Return how many threads and descriptors there are."""
    gc.collect()
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("make", CLIENTS)
@pytest.mark.parametrize("start", range(4))
def test_one_broker_that_answers_is_found(
    brokers: Brokers, hanging: list[str], monkeypatch: pytest.MonkeyPatch, make: Any, start: int
) -> None:
    """Two hang and one is not there: whichever is asked first, each that hangs costs its time once, and the one that answers is found."""
    monkeypatch.setattr(broker_client, "_Turns", functools.partial(broker_client._Turns, start=start))
    connection = Connection.of(",".join([*hanging, f"127.0.0.1:{free_port()}", brokers.address]), [], {})
    begun = time.monotonic()
    with contextlib.closing(connect(make, connection)):
        assert time.monotonic() - begun < 2 * SOON + 2


def test_the_library_alone_gives_all_its_time_to_one(brokers: Brokers, hanging: list[str]) -> None:
    """Why it is done here: of eight tries at one that answers and two that hang, all succeed once in 6,561 times."""
    failed = 0
    for _ in range(8):
        try:
            KafkaProducer(bootstrap_servers=[*hanging, brokers.address], bootstrap_timeout_ms=600).close(timeout=1)
        except KafkaTimeoutError:
            failed += 1
    assert failed


@pytest.mark.parametrize("make", CLIENTS)
def test_an_outage_leaves_nothing_behind(hanging: list[str], make: Any) -> None:
    """Tries that fail, as in an outage of hours: no thread and no descriptor more than before; each ends when all were asked once."""
    connection = Connection.of(",".join([*hanging, f"127.0.0.1:{free_port()}"]), [], {})
    before = left()
    for _ in range(3):
        begun = time.monotonic()
        with pytest.raises(KafkaError):
            connect(make, connection)
        assert time.monotonic() - begun < 3 * SOON + 2
    until(lambda: all(map(le, left(), before)), 5, lambda: f"(threads, descriptors): {left()} after {before}")


def test_what_the_library_alone_leaves_behind(hanging: list[str]) -> None:
    """Why it is done here: a constructor that fails leaves a thread and its descriptors."""
    within: list[Any] = []

    def open_within(**chosen: Any) -> Any:
        within.append(KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**chosen))
        return within[-1]

    before = left()
    with pytest.raises(KafkaTimeoutError):
        KafkaConsumer(bootstrap_servers=hanging[0], bootstrap_timeout_ms=200, kafka_client=open_within)
    after = left()
    within[0].close()
    assert all(map(gt, after, before))
