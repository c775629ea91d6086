from __future__ import annotations

import errno
import shutil
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zstandard

from linktrail.batch import decode, digest, encode
from linktrail.clock import NANOSECONDS
from linktrail.errors import FencedError, LakeFullError, LinktrailError, NewerSchemaError, SpoolError, SpoolRewoundError
from linktrail.testing.clock import START
from processor.lake import COMMIT_ORDER, Lake
from processor.lake_table import LakeTable
from processor.pipeline import FlushPolicy, Processor
from tests.faults.filesystems import FailingFileSystem
from tests.faults.rows import DAY, MAKERS, link
from tests.processor.scene import Scene

TABLES = tuple(MAKERS)


def fill(scene: Scene, *numbers: int) -> None:
    """Record one row of every table for each number."""
    for number in numbers:
        for table in TABLES:
            scene.record(table, number)


def test_every_row_arrives_once_with_its_batch(tmp_path: Path) -> None:
    """All four tables, one batch row for each batch, the position stored, the spool told, and nothing done twice."""
    scene = Scene(tmp_path)
    fill(scene, 1, 2, 3)
    processor = scene.processor()
    assert processor.drain().position == 12
    assert [scene.numbers(table) for table in TABLES] == [[1, 2, 3]] * 4
    assert scene.kinds() == {"batch": 12, "heartbeat": 3}
    assert scene.spool.acknowledged() == 12
    assert not processor.drain().committed
    assert scene.processor().drain().position == 12
    assert scene.kinds() == {"batch": 12, "heartbeat": 3}
    counts = processor.totals
    assert (counts.batches, counts.rows, counts.duplicates, counts.gaps, counts.set_aside) == (12, 12, 0, 0, 0)


def test_a_batch_row_says_where_the_batch_was_and_what_is_in_it(tmp_path: Path) -> None:
    """Digest, numbers, position and bounds are those of the sealed file."""
    scene = Scene(tmp_path)
    scene.record("links", 1, 2)
    scene.processor().drain()
    [row] = scene.rows("coverage")
    data = scene.spool.read(0) or b""
    header, _ = decode(data, "here")
    assert row["batch_digest"] == digest(data)
    assert (row["cluster"], row["node"], row["run"]) == ("", "node", scene.spool.run)
    assert (row["batch"], row["batch_table"], row["batch_rows"], row["first_seq"], row["last_seq"]) == (0, "links", 2, 0, 1)
    assert (row["source"], row["source_offset"]) == (f"spool/{scene.spool.id}", 0)
    assert row["seq"] is None
    assert row["origin"] == "processor"
    assert row["occurred_before"].timestamp() * NANOSECONDS == header.sealed_at
    assert row["occurred_after"] < row["occurred_before"]


def test_rows_of_many_days_go_to_their_days(tmp_path: Path) -> None:
    """A batch that waited over midnights makes one file for each day."""
    scene = Scene(tmp_path)
    scene.record_rows("links", [link(number, START + number * DAY) for number in range(5)])
    scene.processor().drain()
    files = Lake.open(scene.lake_path).files("links")
    assert [Path(file).parent.name for file in files] == [f"day=2026-11-{23 + number}" for number in range(5)]
    assert scene.numbers("links") == list(range(5))


# --- when things are committed --------------------------------------------------------------------------------------


def test_a_change_is_in_the_lake_at_once_and_idle_rows_wait(tmp_path: Path) -> None:
    """The first change is committed in the round that sees it, the next within two seconds; heartbeats alone after thirty."""
    scene = Scene(tmp_path)
    processor = scene.processor()
    scene.record("links", 1)
    assert processor.run_once().committed
    scene.record("links", 2)
    assert not processor.run_once().committed
    scene.clock.advance(1.9)
    assert not processor.run_once().committed
    scene.clock.advance(0.2)
    assert processor.run_once().committed
    scene.clock.advance(100)
    scene.record("findings", 1)
    assert processor.run_once().committed
    scene.clock.advance(100)
    scene.record("coverage", 1)
    scene.record("usage", 1)
    assert not processor.run_once().committed
    scene.clock.advance(29)
    assert not processor.run_once().committed
    scene.clock.advance(2)
    assert processor.run_once().committed
    assert scene.numbers("coverage") == scene.numbers("usage") == [1]


def test_an_hour_of_heartbeats_makes_few_files(tmp_path: Path) -> None:
    """A node where nothing happens (heartbeat each minute, sizes each five) costs some dozens of files an hour."""
    scene = Scene(tmp_path)
    processor = scene.processor()
    for second in range(0, 3600, 15):
        if second % 60 == 0:
            scene.record("coverage", second)
        if second % 300 == 0:
            scene.record("usage", second)
        processor.run_once()
        scene.clock.advance(15)
    processor.drain()
    lake = Lake.open(scene.lake_path)
    assert len(scene.numbers("coverage")) == 60
    assert sum(len(lake.files(table)) for table in COMMIT_ORDER) <= 80


@pytest.mark.parametrize("policy", [FlushPolicy(rows=10), FlushPolicy(size_bytes=1000)])
def test_a_flood_is_committed_by_size(tmp_path: Path, policy: FlushPolicy) -> None:
    """Rows and bytes that wait are bounded whatever the clock says."""
    scene = Scene(tmp_path, policy=policy)
    processor = scene.processor()
    scene.record("usage", *range(20))
    assert processor.run_once().committed


def test_a_start_or_a_gap_of_the_collector_is_not_held_back(tmp_path: Path) -> None:
    """Statements about the record other than heartbeats are urgent."""
    scene = Scene(tmp_path)
    processor = scene.processor()
    scene.record("coverage", 1, kind="start")
    assert processor.run_once().committed


# --- killed, failing, racing ----------------------------------------------------------------------------------------


class _KilledError(BaseException):
    """Stands for kill -9: nothing in the program handles it."""


@pytest.mark.parametrize("killed_after", range(1, 9))
def test_killed_between_any_two_commits(tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next processor reads the records again and leaves out, table by table, what is committed."""
    scene = Scene(tmp_path)
    commits = 0
    commit = LakeTable.commit

    def fatal(self: LakeTable, *arguments: Any) -> None:
        nonlocal commits
        if commits == killed_after:
            raise _KilledError
        commits += 1
        commit(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, "commit", fatal)
        processor = scene.processor()
        with pytest.raises(_KilledError):  # noqa: PT012 - the kill may come in either round
            for number in (1, 2, 3):
                fill(scene, number)
                processor.drain()
    fill(scene, 4)
    scene.processor().drain()
    assert [scene.numbers(table) for table in TABLES] == [[*range(1, scene.spool.next_offset // 4), 4]] * 4
    assert scene.kinds()["batch"] == scene.spool.next_offset
    assert not scene.gaps()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_committing_with_the_nth_call_failing(tmp_path: Path, code: int) -> None:
    """Whichever call fails: one typed error, nothing acknowledged that is not committed, and all rows once after going on."""
    Lake.open_for_writing(tmp_path / "empty", filesystem=FailingFileSystem())
    for number in count(1):
        scene = Scene(tmp_path / str(number))
        shutil.copytree(tmp_path / "empty", scene.lake_path)
        scene.record("links", 1)
        scene.record("findings", 1)
        filesystem = FailingFileSystem()
        processor = scene.processor(filesystem)
        filesystem.calls, filesystem.fail_at, filesystem.code = 0, number, code
        try:
            processor.drain()
        except LinktrailError as error:
            passing = "Full" in type(error).__name__
            assert passing == (code == errno.ENOSPC), error  # noqa: PT017 - the class depends on the call that failed
            assert scene.spool.acknowledged() <= (Lake.open(scene.lake_path).transaction_version(f"spool/{scene.spool.id}") or 0)
            (processor if passing else scene.processor()).drain()
        assert scene.numbers("links") == scene.numbers("findings") == [1]
        assert scene.kinds() == {"batch": 2}
        assert scene.spool.acknowledged() == 2
        if not filesystem.failed:
            assert number > 20
            return


def test_two_processors_race_and_no_row_is_doubled(tmp_path: Path) -> None:
    """Both read the same spool into the same lake; one is fenced again and again, and between them every row arrives once."""
    scene = Scene(tmp_path, policy=FlushPolicy(take=3, urgent_seconds=0.0, idle_seconds=0.0))
    fenced: list[int] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def process() -> None:
        try:
            processor = scene.processor()
            while not done.is_set() or processor.position < scene.spool.next_offset:
                try:
                    processor.run_once()
                except FencedError:
                    fenced.append(processor.position)
        except BaseException as error:  # noqa: BLE001 - a thread must tell what happened to it
            failures.append(error)

    threads = [threading.Thread(target=process) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(12):
        fill(scene, number)
        time.sleep(0.03)
    done.set()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert fenced
    assert [scene.numbers(table) for table in TABLES] == [list(range(12))] * 4
    assert scene.kinds() == {"batch": 48, "heartbeat": 12}


def test_the_loop_waits_out_a_full_disk_and_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space: said once, nothing acknowledged; space again: everything is there, and nothing is left waiting at the stop."""
    scene = Scene(tmp_path, policy=FlushPolicy(poll_seconds=0.01))
    fill(scene, 1)
    processor = scene.processor()
    full = threading.Event()
    full.set()
    commit = LakeTable.commit

    def fill_up(self: LakeTable, *arguments: Any) -> None:
        if full.is_set() and self.name == "findings":
            raise LakeFullError(path=self.path, what="writing a data file")
        commit(self, *arguments)

    monkeypatch.setattr(LakeTable, "commit", fill_up)
    stop = threading.Event()
    thread = threading.Thread(target=processor.run, args=(stop,))
    thread.start()
    _wait_for(lambda: isinstance(processor.trouble, LakeFullError))
    assert scene.spool.acknowledged() == 0
    full.clear()
    _wait_for(lambda: scene.spool.acknowledged() == 4)
    fill(scene, 2)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert processor.trouble is None
    assert [scene.numbers(table) for table in TABLES] == [[1, 2]] * 4
    assert scene.spool.acknowledged() == 8


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- what is wrong with the record ----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_batch_that_cannot_be_decoded_is_kept_and_stated(tmp_path: Path, damage: bytes | None) -> None:
    """The rest goes on; one gap says where, since when, and where the bytes are; its hole in the numbering is not stated twice."""
    scene = Scene(tmp_path)
    for number in (1, 2, 3):
        scene.record("links", number)
    file = tmp_path / "spool" / f"{1:016d}.batch"
    whole = file.read_bytes()
    damaged = whole[:-5] if damage is None else damage
    file.write_bytes(damaged)
    processor = scene.processor()
    processor.drain()
    assert scene.numbers("links") == [1, 3]
    [gap] = scene.gaps()
    assert (gap["cause"], gap["source_offset"], gap["node"]) == ("batch-undecodable", 1, "node")
    assert gap["occurred_after"].timestamp() * NANOSECONDS <= START
    kept = tmp_path / "spool" / "quarantine" / file.name
    assert str(kept) in gap["message"]
    assert kept.read_bytes() == damaged
    assert processor.totals.set_aside == 1
    assert scene.spool.acknowledged() == 3
    scene.processor().drain()
    assert len(scene.gaps()) == 1


def test_killed_between_setting_aside_and_stating_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch already in quarantine still has its place: the gap is stated by the next processor, once."""
    scene = Scene(tmp_path)
    for number in (1, 2):
        scene.record("links", number)
    (tmp_path / "spool" / f"{0:016d}.batch").write_bytes(b"garbage")
    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, "commit", _raise_killed)
        with pytest.raises(_KilledError):
            scene.processor().drain()
    assert scene.spool.reader.quarantined() == [0]
    scene.processor().drain()
    assert [gap["cause"] for gap in scene.gaps()] == ["batch-undecodable"]
    assert scene.numbers("links") == [2]


def _raise_killed(*_: Any) -> None:
    raise _KilledError


def test_an_unreadable_block_does_not_stop_the_rest(tmp_path: Path) -> None:
    """A batch that the disk cannot give back is moved aside unread; any other trouble with reading is not taken for damage."""
    scene = Scene(tmp_path)
    for number in (1, 2):
        scene.record("links", number)

    class BadBlock(FailingFileSystem):
        error = errno.EMFILE

        def read(self, path: Path) -> bytes:
            if path.name == f"{0:016d}.batch":
                raise OSError(self.error, "bad block")
            return super().read(path)

    filesystem = BadBlock()
    processor = scene.processor(filesystem)
    with pytest.raises(SpoolError, match="bad block"):
        processor.drain()
    filesystem.error = errno.EIO
    processor.drain()
    assert scene.numbers("links") == [2]
    assert [gap["cause"] for gap in scene.gaps()] == ["batch-undecodable"]
    assert scene.spool.reader.quarantined() == [0]


def test_missing_batches_are_a_gap_with_bounds(tmp_path: Path) -> None:
    """Files that vanished: one gap, from what the batch before speaks of to the sealing of the batch after."""
    scene = Scene(tmp_path)
    for number in range(5):
        scene.clock.advance(10)
        scene.record_rows("links", [link(number, scene.clock.now().wall)])
    for offset in (1, 2, 3):
        (tmp_path / "spool" / f"{offset:016d}.batch").unlink()
    scene.processor().drain()
    [gap] = scene.gaps()
    assert (gap["cause"], gap["run"], gap["batch"], gap["first_seq"], gap["last_seq"]) == ("batch-missing", scene.spool.run, 1, 1, 3)
    assert gap["gap_id"] == f"{scene.spool.run}/1-3"
    assert gap["message"] == f"batches 1 to 3 of run {scene.spool.run} never arrived"
    lower, upper = (gap[name].timestamp() - START / NANOSECONDS for name in ("occurred_after", "occurred_before"))
    assert (round(lower), round(upper)) == (10, 50)


def test_a_run_that_vanished_whole_is_a_gap_of_the_source(tmp_path: Path) -> None:
    """No numbering of a run shows that a run is missing, the offsets do."""
    scene = Scene(tmp_path)
    scene.record("links", 1)
    scene.spool.begin_run()
    scene.record("links", 2)
    scene.record("links", 3)
    scene.spool.begin_run()
    scene.record("links", 4)
    for offset in (1, 2):
        (tmp_path / "spool" / f"{offset:016d}.batch").unlink()
    scene.processor().drain()
    [gap] = scene.gaps()
    assert (gap["cause"], gap["run"], gap["gap_id"]) == ("batch-missing", "", f"spool/{scene.spool.id}/1-2")
    assert gap["message"] == f"offsets 1 to 2 are gone from spool/{scene.spool.id}"
    assert scene.numbers("links") == [1, 4]


def test_gaps_before_and_after_a_restart_are_the_same(tmp_path: Path) -> None:
    """Continuity lives in the lake: a processor started anew notices a hole that opened while it was away."""
    scene = Scene(tmp_path)
    scene.record("links", 0)
    scene.processor().drain()
    scene.record("links", 1)
    scene.record("links", 2)
    (tmp_path / "spool" / f"{1:016d}.batch").unlink()
    scene.processor().drain()
    assert [gap["gap_id"] for gap in scene.gaps()] == [f"{scene.spool.run}/1-1"]
    scene.record("links", 3)
    scene.processor().drain()
    assert len(scene.gaps()) == 1


def test_a_spool_that_lost_its_name_is_read_again_without_doubling(tmp_path: Path) -> None:
    """A new id means position zero; the batches that the lake has are known by run and number, and skipped."""
    scene = Scene(tmp_path)
    fill(scene, 1, 2)
    scene.processor().drain()
    scene.spool.close()
    (tmp_path / "spool" / "spool.json").unlink()
    scene.spool = scene.collector()
    fill(scene, 3)
    processor = scene.processor()
    processor.drain()
    assert [scene.numbers(table) for table in TABLES] == [[1, 2, 3]] * 4
    assert processor.totals.duplicates == 8
    assert not scene.gaps()


def test_a_deleted_spool_starts_at_its_own_beginning(tmp_path: Path) -> None:
    """The old spool's position in the lake is not applied to the new one's offsets."""
    scene = Scene(tmp_path)
    fill(scene, 1, 2, 3)
    scene.processor().drain()
    scene.spool.close()
    for file in (tmp_path / "spool").iterdir():
        file.unlink()
    scene.spool = scene.collector()
    scene.record("links", 9)
    assert scene.spool.next_offset == 1
    scene.processor().drain()
    assert scene.numbers("links") == [1, 2, 3, 9]


def test_a_spool_restored_from_a_copy_is_refused(tmp_path: Path) -> None:
    """Its offsets would be given out a second time and skipped: one clear error instead, and what to do."""
    scene = Scene(tmp_path)
    fill(scene, 1, 2)
    scene.processor().drain()
    for offset in range(3, 8):
        (tmp_path / "spool" / f"{offset:016d}.batch").unlink()
    (tmp_path / "spool" / "acknowledged").unlink()
    with pytest.raises(SpoolRewoundError, match="it ends at 3, the lake already has it up to 8") as caught:
        scene.processor().drain()
    assert "spool.json" in caught.value.advice


def test_a_batch_of_a_newer_linktrail_stops_the_processor_and_loses_nothing(tmp_path: Path) -> None:
    """What came before it is committed, it stays where it is, and the next processor meets it again."""
    scene = Scene(tmp_path)
    scene.record("links", 1)
    scene.record("links", 2)
    file = tmp_path / "spool" / f"{1:016d}.batch"
    stream = zstandard.decompress(file.read_bytes())
    file.write_bytes(zstandard.compress(_with_version(stream, 2)))
    for processor in (scene.processor(), scene.processor()):
        with pytest.raises(NewerSchemaError):
            processor.drain()
    assert scene.numbers("links") == [1]
    assert scene.spool.acknowledged() == 1
    file.write_bytes(zstandard.compress(stream))  # as after an upgrade
    scene.processor().drain()
    assert scene.numbers("links") == [1, 2]


def _with_version(stream: bytes, version: int) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - this test alone takes a batch apart

    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    sink = pa.BufferOutputStream()
    metadata = {**table.schema.metadata, b"linktrail.schema_version": str(version).encode()}
    with pa.ipc.new_stream(sink, table.schema.with_metadata(metadata)) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def test_a_batch_that_contradicts_the_lake_is_set_aside(tmp_path: Path) -> None:
    """The same number of the same run with other content: its bytes are kept, and the contradiction is stated."""
    scene = Scene(tmp_path)
    scene.record("links", 1)
    scene.record("links", 2)
    other = encode(
        "links", [link(7)], cluster="", node="node", run=scene.spool.run, batch=0, first_seq=0, previous_digest="", sealed_at=START
    )
    (tmp_path / "spool" / f"{1:016d}.batch").write_bytes(other)
    scene.processor().drain()
    assert scene.numbers("links") == [1]
    [gap] = scene.gaps()
    assert gap["cause"] == "chain-broken"
    assert (tmp_path / "spool" / "quarantine" / f"{1:016d}.batch").read_bytes() == other


def test_a_processor_knows_its_position_before_and_after(tmp_path: Path) -> None:
    """For health and metrics."""
    scene = Scene(tmp_path)
    processor: Processor = scene.processor()
    assert processor.position == 0
    scene.record("links", 1)
    assert processor.run_once().position == processor.position == 1
