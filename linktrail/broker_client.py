"""Clients of kafka-python, connected in a way that one broker that hangs stands in nobody's way, and that an outage costs nothing.

What the library's constructors do, and what is done about it here:

* The broker to begin with is drawn by lot, again for each try, and one that accepts and never answers is given all the time there is:
  where one of three hangs, every third client fails although two would answer. Here they are asked in turn, from one drawn by lot, and
  one that hangs costs ``_ANSWER_MS`` once. One that refuses costs nothing: the library itself goes on to the next.
* A constructor that fails leaves its thread and its sockets behind (``KafkaConsumer``, ``KafkaAdminClient``): an outage of some hours
  exhausts the descriptors of the process. Here the client within is closed.
* Also later a broker that accepts and never answers is waited for, metadata meanwhile with it, for 10 s. Here for ``_SETUP_MS``, and
  twice as long whenever that was not enough.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from kafka.errors import KafkaError

from linktrail.broker import Connection

_ANSWER_MS: Final = 5_000
_SETUP_MS: Final = 3_000


def connect(make: Callable[..., Any], connection: Connection, **settings: Any) -> Any:  # noqa: ANN401 - the library has no types
    """Return ``make(**settings)`` (one of the library's three clients), connected through the first broker that answers.

    Takes ``_ANSWER_MS`` for each broker of ``connection`` that accepts and does not answer, or when none accepts. Raises ``KafkaError`` or
    ``OSError`` when no broker answers, and ``SecretFileError``.
    """
    settings = {**connection.options(), **settings}
    turns = _Turns()
    while True:
        try:
            return _connect(make, turns, settings)
        except (KafkaError, OSError):
            if turns.asked >= len(connection.brokers):
                raise


@dataclass(slots=True)
class _Turns:
    """Whose turn it is, over the tries of one ``connect``."""

    asked: int = 0
    start: int = field(default_factory=lambda: random.SystemRandom().randrange(1 << 16))

    def take(self, brokers: list[Any]) -> list[Any]:
        """Return the broker to ask now, of the same ones in the same order each time."""
        self.asked += 1
        return [brokers[(self.start + self.asked) % len(brokers)]]


def _connect(make: Any, turns: _Turns, settings: dict[str, Any]) -> Any:  # noqa: ANN401 - the library has no types
    """Return a client; nothing of it is left when that fails."""
    within: list[Any] = []

    def open_within(**chosen: Any) -> Any:  # noqa: ANN401 - the library has no types
        client = make.DEFAULT_CONFIG["kafka_client"](**chosen, socket_connection_setup_timeout_ms=_SETUP_MS)
        within.append(client)
        brokers = sorted(client.cluster.bootstrap_brokers(), key=lambda broker: (broker.host, broker.port))
        client.cluster.bootstrap_brokers = lambda: turns.take(brokers)
        return client

    try:
        return make(**settings, kafka_client=open_within, bootstrap_timeout_ms=_ANSWER_MS)
    except BaseException:
        for client in within:
            with contextlib.suppress(KafkaError, OSError, RuntimeError):  # the error that counts is on its way
                client.close()
        raise
