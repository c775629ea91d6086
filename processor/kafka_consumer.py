"""A consumer of kafka-python without the defaults that bite: it starts nowhere and commits nothing by itself, and takes whole batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from linktrail.broker import Connection
from linktrail.broker_client import connect

DEFAULT_GROUP: Final = "linktrail"


@dataclass(frozen=True, slots=True)
class Membership:
    """How partitions are shared: ``group`` (empty: none), or ``partitions`` of one's own (``None``: all).

    ``session_seconds``: after so long without a sign of life a member's partitions go to others. ``request_seconds``: after so long
    without an answer a broker is asked again.
    """

    group: str = ""
    partitions: tuple[int, ...] | None = None
    session_seconds: float = 45.0
    request_seconds: float = 20.0


def make_consumer(connection: Connection, membership: Membership) -> Any:  # noqa: ANN401 - the library has no types
    """Connect. Raises ``KafkaError`` or ``OSError`` when no broker answers, each within seconds, and ``SecretFileError``."""
    session_ms = round(membership.session_seconds * 1000)
    return connect(
        KafkaConsumer,
        connection,
        group_id=membership.group or DEFAULT_GROUP,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_poll_records=100,  # records are batches
        max_partition_fetch_bytes=4 << 20,  # the next ones come meanwhile; a record that is larger comes alone
        fetch_max_bytes=32 << 20,
        fetch_max_wait_ms=250,
        allow_auto_create_topics=False,
        check_crcs=True,
        # By range the topics of nodes, which have one partition each, would all go to the first member; older members know only range.
        partition_assignment_strategy=(RoundRobinPartitionAssignor, RangePartitionAssignor),
        request_timeout_ms=round(membership.request_seconds * 1000),
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=min(3_000, session_ms // 3),
        max_poll_interval_ms=max(300_000, session_ms),
        reconnect_backoff_max_ms=5_000,
    )
