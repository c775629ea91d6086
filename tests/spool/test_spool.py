from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from collector.spool import Sealed, Spool
from collector.spool_reader import SpoolReader
from linktrail.batch import MAX_ROWS, decode
from linktrail.errors import BatchError, SpoolError, SpoolFullError, SpoolLockedError
from linktrail.testing.clock import FakeClock
from tests.faults.filesystems import QuickFileSystem
from tests.faults.rows import finding, heartbeat, link


def opened(path: Path, *, limit_bytes: int = 1 << 30, least_offset: int = 0, node: str = "node", begin: bool = True) -> Spool:
    spool = Spool.open(
        path,
        filesystem=QuickFileSystem(),
        clock=FakeClock(),
        cluster="cluster",
        node=node,
        limit_bytes=limit_bytes,
        reserve_bytes=0,
        least_offset=least_offset,
    )
    if begin:
        spool.begin_run()
    return spool


def seal(spool: Spool, *numbers: int) -> list[Sealed]:
    spool.append("links", [link(number) for number in numbers])
    return spool.seal()


def test_sealed_batches_are_files_that_anyone_can_verify(tmp_path: Path) -> None:
    """One file a batch, named by its offset; what seal returns is what lies there."""
    spool = opened(tmp_path / "spool")
    [first] = seal(spool, 1, 2)
    [second] = seal(spool, 3)
    for sealed in (first, second):
        data = (tmp_path / "spool" / f"{sealed.offset:016d}.batch").read_bytes()
        assert hashlib.sha256(data).hexdigest() == sealed.digest
        assert len(data) == sealed.size_bytes
        header, rows = decode(data, "here")
        assert (header.batch, header.first_seq, header.last_seq, header.rows) == (
            sealed.batch,
            sealed.first_seq,
            sealed.last_seq,
            rows.num_rows,
        )
    assert (first.offset, first.first_seq, first.last_seq, first.batch) == (0, 0, 1, 0)
    assert (second.offset, second.first_seq, second.last_seq, second.batch) == (1, 2, 2, 1)
    assert decode(spool.read(1) or b"", "here")[0].previous_digest == first.digest
    assert spool.seal() == []


def test_one_seal_makes_a_batch_a_table_numbered_without_holes(tmp_path: Path) -> None:
    """Row numbers run through the tables of a run; a batch is of one table and at most 5,000 rows."""
    spool = opened(tmp_path / "spool")
    spool.append("coverage", [heartbeat(1)])
    spool.append("findings", [finding(1)])
    spool.append("links", [link(number) for number in range(MAX_ROWS + 3)])
    assert spool.pending_rows == MAX_ROWS + 5
    sealed = spool.seal()
    assert [(one.table, one.rows) for one in sealed] == [("links", MAX_ROWS), ("links", 3), ("findings", 1), ("coverage", 1)]
    assert [one.batch for one in sealed] == [0, 1, 2, 3]
    assert [one.first_seq for one in sealed] == [0, MAX_ROWS, MAX_ROWS + 3, MAX_ROWS + 4]
    assert spool.pending_rows == spool.pending_bytes == 0


def test_batches_stay_small_enough_to_send(tmp_path: Path) -> None:
    """Rows with large values are spread over batches by size, not by number alone."""
    spool = opened(tmp_path / "spool")
    spool.append("links", [{**link(number), "detail": json.dumps({"names": os.urandom(150_000).hex()})} for number in range(40)])
    sealed = spool.seal()
    assert sum(one.rows for one in sealed) == 40
    assert max(one.size_bytes for one in sealed) < 8 << 20
    assert len(sealed) > 2


def test_a_row_that_does_not_fit_leaves_the_buffer_alone(tmp_path: Path) -> None:
    """The error comes from append, and the rows before it can still be sealed."""
    spool = opened(tmp_path / "spool")
    spool.append("links", [link(1)])
    with pytest.raises(BatchError):
        spool.append("links", [link(2), {**link(3), "subject": None}])
    assert [one.rows for one in spool.seal()] == [1]


def test_a_second_collector_is_told_who_has_the_spool(tmp_path: Path) -> None:
    """The lock names the process, and is gone as soon as that process is, however it ended."""
    spool = opened(tmp_path / "spool")
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, '.')\n"
        "from tests.spool.test_spool import opened\n"
        "from linktrail.errors import SpoolLockedError\n"
        "try: opened(Path(sys.argv[1]))\n"
        "except SpoolLockedError as error: print(error.message)\n"
        "else: print('opened')\n"
    )

    def other() -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "spool")]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]).stdout.strip()

    assert other() == f"Spool {tmp_path / 'spool'} is in use by another collector (process {os.getpid()})"
    with pytest.raises(SpoolLockedError):
        opened(tmp_path / "spool")
    spool.close()
    assert other() == "opened"


def test_offsets_go_on_after_everything_was_trimmed(tmp_path: Path) -> None:
    """A restarted collector never gives out an offset again, whatever was trimmed; the newest batch stays for that."""
    spool = opened(tmp_path / "spool")
    for number in range(5):
        seal(spool, number)
    spool.reader.acknowledge(spool.id, 5)
    assert spool.trim(5) == 4
    assert spool.offsets() == [4]
    spool.close()
    assert seal(opened(tmp_path / "spool"), 9)[0].offset == 5


@pytest.mark.parametrize("least_offset", [0, 40])
def test_offsets_go_on_even_when_somebody_emptied_the_directory(tmp_path: Path, least_offset: int) -> None:
    """Without any batch file, what was acknowledged and what the ledger knows are still lower bounds."""
    spool = opened(tmp_path / "spool")
    seal(spool, 1)
    seal(spool, 2)
    spool.reader.acknowledge(spool.id, 2)
    spool.close()
    for file in (tmp_path / "spool").glob("*.batch"):
        file.unlink()
    assert seal(opened(tmp_path / "spool", least_offset=least_offset), 3)[0].offset == max(2, least_offset)


def test_a_spool_made_anew_has_another_id(tmp_path: Path) -> None:
    """Offsets remembered for the old directory mean nothing in the new one: neither the lake's nor the cursor's."""
    spool = opened(tmp_path / "spool")
    old = spool.id
    spool.close()
    (tmp_path / "spool" / "spool.json").unlink()
    (tmp_path / "spool" / "acknowledged").write_text(json.dumps({"spool": old, "next": 7}))
    again = opened(tmp_path / "spool")
    assert again.id != old
    assert again.acknowledged() == 0
    again.close()
    assert opened(tmp_path / "spool", node="renamed").id == again.id
    assert SpoolReader(tmp_path / "spool").identity().node == "renamed"


def test_acknowledging_never_goes_back(tmp_path: Path) -> None:
    """A processor that was fenced off late cannot undo what its successor stated."""
    spool = opened(tmp_path / "spool")
    seal(spool, 1)
    reader = SpoolReader(tmp_path / "spool")
    reader.acknowledge(spool.id, 1)
    reader.acknowledge(spool.id, 0)
    assert spool.acknowledged() == reader.acknowledged() == 1
    (tmp_path / "spool" / "acknowledged").write_bytes(b"{torn")
    assert spool.acknowledged() == 0


def test_the_limit_is_a_typed_error_and_loses_nothing(tmp_path: Path) -> None:
    """At the limit rows stay buffered; after trimming they are sealed with the numbers they would have had."""
    spool = opened(tmp_path / "spool", limit_bytes=4_000)
    assert [seal(spool, number)[0].offset for number in (0, 1)] == [0, 1]
    with pytest.raises(SpoolFullError, match="of 4000 bytes are in use"):
        seal(spool, 2)
    assert spool.pending_rows == 1
    count = 2
    spool.trim(spool.next_offset)
    [waited] = spool.seal()
    assert (waited.offset, waited.batch, waited.first_seq) == (count, count, count)
    assert spool.size_bytes <= 4_000


def test_free_space_is_left_to_others(tmp_path: Path) -> None:
    """The recorder of full disks does not take the last bytes of one."""

    class Tight(QuickFileSystem):
        def free_bytes(self, path: Path) -> int:
            return 1_000_000 if path.exists() else 0

    spool = Spool.open(tmp_path / "spool", filesystem=Tight(), clock=FakeClock(), cluster="", node="n", reserve_bytes=999_000)
    spool.begin_run()
    spool.append("links", [link(1)])
    with pytest.raises(SpoolFullError, match="1000000 bytes are free"):
        spool.seal()
    assert spool.discard() == {"links": 1}
    assert spool.seal() == []


def test_batches_sealed_before_the_disk_was_full_are_reported_later(tmp_path: Path) -> None:
    """A seal that got half-way does not hide what it made durable."""
    spool = opened(tmp_path / "spool", limit_bytes=2_300)
    spool.append("links", [link(1)])
    spool.append("findings", [finding(1)])
    with pytest.raises(SpoolFullError):
        spool.seal()
    assert spool.offsets() == [0]
    spool.limit_bytes = 1 << 30
    assert [(one.table, one.offset) for one in spool.seal()] == [("links", 0), ("findings", 1)]


def test_readers_bear_with_a_collector_that_trims(tmp_path: Path) -> None:
    """A batch that is gone between listing and reading is no error, and none is ever seen half."""
    spool = opened(tmp_path / "spool")
    reader = SpoolReader(tmp_path / "spool")
    stop = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not stop.is_set():
            seen.extend(data for _, data in reader.batches())

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(60):
        seal(spool, number)
        spool.trim(spool.next_offset - 2)
    stop.set()
    thread.join()
    assert seen
    for data in set(seen):
        decode(data, "here")
    assert reader.read(0) is None


def test_a_batch_set_aside_keeps_its_bytes_and_its_offset(tmp_path: Path) -> None:
    """Quarantine is a move: the bytes count, the rest of the spool is untouched, and doing it twice is harmless."""
    spool = opened(tmp_path / "spool")
    [only] = seal(spool, 1)
    where = spool.reader.quarantine(only.offset)
    assert spool.reader.quarantine(only.offset) == where
    assert hashlib.sha256(where.read_bytes()).hexdigest() == only.digest
    assert spool.reader.quarantined() == [0]
    assert spool.reader.read_quarantined(0) == where.read_bytes()
    assert (spool.offsets(), spool.size_bytes) == ([], only.size_bytes)
    spool.close()
    again = opened(tmp_path / "spool")
    assert seal(again, 2)[0].offset == 1
    assert again.size_bytes > only.size_bytes


def test_a_damaged_or_newer_spool_is_one_clear_error(tmp_path: Path) -> None:
    """spool.json that cannot be used stops the collector before anything is written, and says what to do."""
    opened(tmp_path / "spool").close()
    identity = tmp_path / "spool" / "spool.json"
    identity.write_bytes(b"{")
    with pytest.raises(SpoolError, match="damaged; move it away"):
        opened(tmp_path / "spool")
    identity.write_text(json.dumps({"format": 2, "id": "x", "cluster": "", "node": ""}))
    with pytest.raises(SpoolError, match="newer"):
        opened(tmp_path / "spool")
    identity.unlink()
    opened(tmp_path / "spool")
    with pytest.raises(SpoolError, match="no collector has written here yet"):
        SpoolReader(tmp_path / "elsewhere").identity()


def test_a_spool_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    """A file where the directory should be is reported, not raised as an OSError."""
    (tmp_path / "spool").write_text("")
    with pytest.raises(SpoolError):
        opened(tmp_path / "spool")


def test_order_of_use_is_enforced(tmp_path: Path) -> None:
    """Rows without a run, and a spool that was closed, are refused."""
    spool = opened(tmp_path / "spool", begin=False)
    spool.append("links", [link(1)])
    with pytest.raises(SpoolError, match="no run"):
        spool.seal()
    run = spool.begin_run()
    assert run.startswith("20261123T160000.000000Z-")
    assert [one.run for one in spool.seal()] == [run]
    spool.close()
    with pytest.raises(SpoolError, match="closed"):
        spool.append("links", [link(2)])


def test_a_run_sorts_behind_the_one_before_it(tmp_path: Path) -> None:
    """Also when both began at the same instant, when the clock was set back, and when an older version named the first."""
    spool = opened(tmp_path / "spool", begin=False)
    first = spool.begin_run()
    assert first < spool.begin_run(after=first)
    ahead = "20301231T235959.999999Z-ffffffff"
    assert spool.begin_run(after=ahead).startswith("20310101T000000.000000Z-")
    assert spool.begin_run(after="20301231T235959Z-ffffffff") < ahead
    assert spool.begin_run(after="of nobody knows when").startswith("20261123T160000.000000Z-")


def test_leftovers_of_a_crash_are_cleared_away(tmp_path: Path) -> None:
    """Unfinished files are removed when the spool is opened, and only those."""
    opened(tmp_path / "spool").close()
    (tmp_path / "spool" / ".0000000000000007.batch.tmp").write_bytes(b"half")
    (tmp_path / "spool" / "notes.txt").write_text("mine")
    spool = opened(tmp_path / "spool")
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["lock", "notes.txt", "spool.json"]
    assert spool.next_offset == 0
