"""Sealing while the last batch is compressed beside: the same batches, a call later."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.outbox import Outbox
from collector.spool import Spool
from linktrail import batch
from linktrail.batch import MAX_ROWS, decode
from linktrail.errors import SpoolFullError
from tests.faults.rows import finding, link
from tests.spool.test_spool import opened


def numbers(spool: Spool) -> list[tuple[str, int, int, list[int]]]:
    """Return run, batch number, first row number and rows of each batch in the spool, checking the chain on the way."""
    found, previous = [], ""
    for offset in spool.offsets():
        data = spool.read(offset) or b""
        header, rows = decode(data, str(offset))
        assert header.previous_digest == (previous if header.batch else "")
        previous = batch.digest(data)
        column = "file_inode" if header.table == "links" else "bytes"
        found.append((header.run, header.batch, header.first_seq, rows.column(column).to_pylist()))
    return found


def test_the_last_batch_waits_for_the_next_call(tmp_path: Path) -> None:
    """Its rows count as pending, and as begun with; the next call reports it before what comes after."""
    spool = opened(tmp_path / "spool")
    spool.append("links", [link(1), link(2)])
    spool.append("findings", [finding(3)])
    assert [one.table for one in spool.seal_beside()] == ["links"]
    assert (spool.pending_rows, spool.buffered_rows, spool.next_offset) == (1, 0, 1)
    assert spool.pending_bytes > 0
    spool.append("links", [link(4)])
    assert (spool.pending_rows, spool.buffered_rows) == (2, 1)
    assert [(one.table, one.first_seq) for one in spool.seal_beside()] == [("findings", 2)]
    assert [(one.table, one.first_seq) for one in spool.seal()] == [("links", 3)]
    assert spool.pending_rows == spool.pending_bytes == 0
    assert numbers(spool) == [(spool.run, 0, 0, [1, 2]), (spool.run, 1, 2, [3]), (spool.run, 2, 3, [4])]
    assert spool.seal_beside() == spool.seal() == []


def test_a_full_spool_keeps_it_and_what_comes_after(tmp_path: Path) -> None:
    """The error comes from the next call; once there is room everything is there, with the same numbers and in order."""
    spool = opened(tmp_path / "spool", limit_bytes=100)
    spool.append("links", [link(1)])
    assert spool.seal_beside() == []
    spool.append("links", [link(2)])
    for seal in (spool.seal_beside, spool.seal):
        with pytest.raises(SpoolFullError):
            seal()
        assert (spool.pending_rows, spool.offsets()) == (2, [])
    spool.limit_bytes = 1 << 30
    assert [one.batch for one in spool.seal()] == [0, 1]
    assert numbers(spool) == [(spool.run, 0, 0, [1]), (spool.run, 1, 1, [2])]


def test_what_fails_in_the_thread_is_raised_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A want of memory while compressing is the caller's to know, and costs no row."""
    spool = opened(tmp_path / "spool")
    spool.append("links", [link(1)])

    def fail(_stream: object) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(batch, "compress", fail)
        assert spool.seal_beside() == []
        with pytest.raises(MemoryError):
            spool.seal()
    assert [one.rows for one in spool.seal()] == [1]


def test_a_new_run_takes_over_its_rows(tmp_path: Path) -> None:
    """Rows that are not durable when a run begins belong to it, wherever they were."""
    spool = opened(tmp_path / "spool")
    spool.append("links", [link(1)])
    spool.seal()
    spool.append("links", [link(2)])
    spool.seal_beside()
    first, second = spool.run, spool.begin_run()
    spool.append("links", [link(3)])
    assert [(one.run, one.batch, one.rows) for one in spool.seal()] == [(second, 0, 2)]
    assert numbers(spool) == [(first, 0, 0, [1]), (second, 0, 0, [2, 3])]


def test_discarding_drops_it_too(tmp_path: Path) -> None:
    """What is dropped is counted whole, and leaves no hole in the numbers."""
    spool = opened(tmp_path / "spool")
    spool.append("links", [link(1), link(2)])
    spool.seal_beside()
    spool.append("links", [link(3)])
    assert spool.discard() == {"links": 3}
    assert (spool.pending_rows, spool.seal()) == (0, [])
    spool.append("links", [link(4)])
    assert [(one.batch, one.first_seq) for one in spool.seal()] == [(0, 0)]


def test_a_burst_is_sealed_while_it_is_taken(tmp_path: Path) -> None:
    """The outbox begins with every whole batch as soon as it has it, and counts as sealed what is durable."""
    spool = opened(tmp_path / "spool")
    outbox = Outbox(spool, limit=10 * MAX_ROWS)
    rows = [link(number) for number in range(2 * MAX_ROWS + 7)]
    assert outbox.accept("links", rows) == len(rows)
    assert (outbox.sealed_rows, outbox.pending, outbox.urgent) == (MAX_ROWS, MAX_ROWS + 7, False)
    outbox.seal()
    assert (outbox.sealed_rows, outbox.pending) == (len(rows), 0)
    assert [len(found) for *_, found in numbers(spool)] == [MAX_ROWS, MAX_ROWS, 7]
    assert [number for *_, found in numbers(spool) for number in found] == list(range(len(rows)))
