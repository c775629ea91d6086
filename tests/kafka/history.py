"""The history checker: what was issued against what can be found, after any fault.

Issued are numbered rows of all four tables, sealed by ``Issuer`` into a spool (its number stands in a column of the row,
``tests.faults.rows``). Found are rows of the lake, records of the dead-letter topic, and gaps of ``coverage`` that name batches.
``check`` demands: no row of the lake twice, none that was not issued, and each issued row in the lake, in a dead letter, or in a batch
that a gap states missing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from collector.spool import Spool
from linktrail import batch
from linktrail.broker import Connection
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from linktrail.errors import BatchError
from processor.lake import Lake
from tests.faults.rows import MAKERS, NUMBER_COLUMN

Key = tuple[str, str, int]  # node, table, number


@dataclass(slots=True)
class Issuer:
    """One collector: seals numbered rows into the spool at ``path``, and remembers in which batch each is."""

    path: Path
    node: str = "node"
    limit_bytes: int = 1 << 30
    issued: dict[Key, tuple[str, int]] = field(default_factory=dict)  # -> run, batch
    spool: Spool = field(init=False)
    _next: int = 0
    _waiting: tuple[str, range] | None = None

    def __post_init__(self) -> None:
        """Open the spool and begin a run."""
        self.spool = Spool.open(
            self.path,
            filesystem=LocalFileSystem(),
            clock=SystemClock(),
            cluster="c",
            node=self.node,
            reserve_bytes=0,
            limit_bytes=self.limit_bytes,
        )
        self.spool.begin_run()

    def issue(self, batches: int, rows: int = 3, tables: tuple[str, ...] = tuple(MAKERS)) -> None:
        """Seal ``batches`` batches of ``rows`` rows, the tables taking turns."""
        now = SystemClock().now().wall
        for number in range(batches):
            table = tables[number % len(tables)]
            numbers = range(self._next, self._next + rows)
            self._next += rows
            self.spool.append(table, [MAKERS[table](one, now) for one in numbers])
            self._waiting = (table, numbers)
            self.seal_waiting()

    def seal_waiting(self) -> None:
        """Seal the batch that is buffered; raises ``SpoolFullError`` and keeps it buffered while there is no room."""
        sealed = self.spool.seal()
        if self._waiting is not None:
            (table, numbers), self._waiting = self._waiting, None
            self.issued.update(((self.node, table, one), (sealed[0].run, sealed[0].batch)) for one in numbers)

    def trim(self) -> None:
        """Let go of what was acknowledged, as a collector does."""
        self.spool.trim(self.spool.acknowledged())

    def close(self) -> None:
        """Release the spool."""
        self.spool.close()


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: rows of the lake, numbers in dead letters, batches that gaps name."""

    lake: Counter[Key]
    dead: set[Key]
    missing: set[tuple[str, int]]
    letters: int
    gaps: list[dict[str, Any]]


def find(lake: Path, connection: Connection) -> Found:
    """Read the lake and the dead letters."""
    opened = Lake.open(lake)
    rows: Counter[Key] = Counter()
    for table in MAKERS:
        part = opened.read(table).select(["node", NUMBER_COLUMN[table]]).to_pylist()
        rows.update((row["node"], table, row[NUMBER_COLUMN[table]]) for row in part if row[NUMBER_COLUMN[table]] is not None)
    gaps = [row for row in opened.read("coverage").to_pylist() if row["kind"] == "gap"]
    letters = read_all(connection, connection.settings.dead_letter_topic)
    return Found(rows, _dead(letters), _missing(gaps), len({letter.key for letter in letters}), gaps)


def _dead(letters: list[Any]) -> set[Key]:
    keys: set[Key] = set()
    for letter in letters:
        try:
            header, table = batch.decode(letter.value, "dead letter")
        except BatchError:
            continue  # garbage of the test itself, which holds nothing that was issued
        keys.update((header.node, header.table, number) for number in table.column(NUMBER_COLUMN[header.table]).to_pylist())
    return keys


def _missing(gaps: list[dict[str, Any]]) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for gap in gaps:
        run, _, numbers = gap["gap_id"].rpartition("/")
        first, _, last = numbers.partition("-")
        if gap["cause"] == "batch-missing" and run == gap["run"] and run:
            found.update((run, number) for number in range(int(first), int(last) + 1))
    return found


def check(found: Found, *issuers: Issuer) -> None:
    """Demand that issued = lake + dead letters + gaps, and nothing twice."""
    issued = {key: where for issuer in issuers for key, where in issuer.issued.items()}
    twice = [key for key, count in found.lake.items() if count > 1]
    assert not twice, f"{len(twice)} rows are in the lake more than once: {twice[:5]}"
    foreign = found.lake.keys() - issued.keys()
    assert not foreign, f"{len(foreign)} rows of the lake were never issued: {sorted(foreign)[:5]}"
    lost = [key for key, where in issued.items() if key not in found.lake and key not in found.dead and where not in found.missing]
    assert not lost, f"{len(lost)} of {len(issued)} issued rows are nowhere: {sorted(lost)[:5]}"


def read_all(connection: Connection, topic: str) -> list[Any]:
    """Return every record of a topic that is there now, partition by partition."""
    consumer = KafkaConsumer(
        **connection.options(), auto_offset_reset="earliest", enable_auto_commit=False, max_partition_fetch_bytes=16 << 20
    )
    try:
        places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        ends = consumer.end_offsets(places)
        consumer.assign(places)
        consumer.seek_to_beginning()
        records: dict[Any, list[Any]] = {place: [] for place in places}
        while any(consumer.position(place) < ends[place] for place in places):
            for place, part in consumer.poll(timeout_ms=1000).items():
                records[place].extend(part)
        return [record for place in places for record in records[place]]
    finally:
        consumer.close()
