from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from linktrail.batch import Header
from linktrail.testing.clock import START, FakeClock
from processor import continuity
from processor.continuity import Continuity, without
from processor.coverage import Position, batch_row, coverage_table, gap_row
from processor.restore import restore_from


def header(batch: int, *, run: str = "r", previous: str | None = None, first_seq: int | None = None, node: str = "n") -> Header:
    """Two rows a batch; digests are d0, d1, ..."""
    first = 2 * batch if first_seq is None else first_seq
    chained = (f"d{batch - 1}" if batch else "") if previous is None else previous
    return Header(1, "c", node, run, batch, "links", 2, first, first + 1, chained, START + batch * 1000)


class Record:
    """A continuity and the coverage rows that come of it, as the processor keeps them."""

    def __init__(self) -> None:
        """Start empty."""
        self.continuity = Continuity()
        self.rows: list[dict[str, Any]] = []
        self.offset = 0

    def take(self, *batches: int, **more: Any) -> list[str]:
        """Judge these batches in order and return what was stated."""
        stated: list[str] = []
        for batch in batches:
            head = header(batch, **more)
            low = START + batch * 1000 - 500
            judged = self.continuity.judge(head, f"d{batch}", low, "s")
            position = Position("s", self.offset)
            self.offset += 1
            self.rows += [gap_row(gap, position, FakeClock()) for gap in judged.gaps]
            if judged.take:
                self.rows.append(batch_row(head, f"d{batch}", low, position, FakeClock()))
            stated += [f"{gap.cause} {gap.gap_id}" for gap in judged.gaps]
            stated.append("take" if judged.take else "skip")
        return stated

    def restart(self, parts: int = 1) -> None:
        """Rebuild the continuity from the rows alone."""
        size = max(1, -(-len(self.rows) // parts))
        tables = [coverage_table(self.rows[start : start + size]) for start in range(0, len(self.rows), size)]
        self.continuity = restore_from(lambda: tables)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("before", "after", "stated"),
    [
        ([0, 1], [2], ["take"]),
        ([], [0], ["take"]),
        ([], [3], ["batch-missing r/0-2", "take"]),
        ([0, 1], [1], ["skip"]),
        ([0, 1], [0, 2], ["skip", "take"]),
        ([0, 1], [5], ["batch-missing r/2-4", "take"]),
        ([0, 5], [6], ["take"]),
        ([0, 5], [3, 3, 1, 2, 4, 4, 6], ["take", "skip", "take", "take", "take", "skip", "take"]),
        ([0, 5, 3], [3, 2, 9], ["skip", "take", "batch-missing r/6-8", "take"]),
    ],
)
def test_numbers_in_any_order(before: list[int], after: list[int], stated: list[str], restart: bool) -> None:
    """In order, again, with holes, and late into holes: the same before and after a restart of the processor."""
    record = Record()
    record.take(*before)
    if restart:
        record.restart(parts=2)
    assert record.take(*after) == stated


def test_a_broken_chain_is_stated_and_the_batch_taken() -> None:
    """A wrong previous digest, or row numbers that do not continue, say that something was there that is not here."""
    record = Record()
    record.take(0)
    assert record.take(1, previous="elsewhere") == ["chain-broken r/1-1", "take"]
    assert record.take(2, first_seq=9) == ["chain-broken r/2-2", "take"]
    assert Record().take(0, previous="ghost") == ["chain-broken r/0-0", "take"]


def test_the_same_number_with_other_content_is_not_taken() -> None:
    """It contradicts what is in the lake already."""
    record = Record()
    record.take(0)
    judged = record.continuity.judge(header(0), "other", START, "s")
    assert (judged.take, judged.set_aside, [gap.cause for gap in judged.gaps]) == (False, True, ["chain-broken"])


def test_runs_nodes_and_clusters_are_apart() -> None:
    """Each run of each node is numbered for itself."""
    record = Record()
    assert record.take(0, 1) == ["take", "take"]
    assert record.take(0, run="r2") == record.take(0, node="n2") == ["take"]
    record.restart()
    assert record.take(1, run="r2") == record.take(1, node="n2") == record.take(2) == ["take"]


def test_a_gap_reaches_from_the_batch_before_to_the_batch_after() -> None:
    """And never starts after it ends, whatever the node's clock did."""
    record = Record()
    record.take(0)
    judged = record.continuity.judge(header(4), "d4", START, "s")
    assert (judged.gaps[0].after, judged.gaps[0].before) == (START - 500, START + 4000)
    early = Header(1, "c", "n", "r", 9, "links", 1, 50, 50, "x", START - 10**9)
    [gap] = record.continuity.judge(early, "d9", START - 10**9, "s").gaps
    row = gap_row(gap, Position("s", 3), FakeClock())
    assert row["occurred_after"] == row["occurred_before"] == START - 10**9


def test_memory_of_runs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs heard of least recently are forgotten first."""
    monkeypatch.setattr(continuity, "MOST_RUNS", 3)
    record = Record()
    for run in ("a", "b", "c"):
        record.take(0, run=run)
    record.take(1, run="a")
    record.take(0, run="d")
    assert record.take(2, run="a") == ["take"]
    assert record.take(1, run="b") == ["batch-missing b/0-0", "take"]


def test_what_is_left_of_a_hole() -> None:
    """Compared with sets of numbers."""
    chance = random.Random(7)
    for _ in range(300):
        first = chance.randrange(5)
        last = first + chance.randrange(8)
        arrived = {chance.randrange(15) for _ in range(chance.randrange(6))}
        left = without((first, last), arrived)
        assert {number for low, high in left for number in range(low, high + 1)} == set(range(first, last + 1)) - arrived
        assert all(low <= high for low, high in left)


def test_an_empty_lake_restores_to_nothing() -> None:
    """The first start of all."""
    empty = pa.Table.from_batches([], coverage_table([batch_row(header(0), "d0", START, Position("s", 0), FakeClock())]).schema)
    restored = restore_from(lambda: [empty])
    assert restored.low_of("s") is None
    assert restored.judge(header(0), "d0", START, "s").take
