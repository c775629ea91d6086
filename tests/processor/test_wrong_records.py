"""Records that are damaged, missing, contradictory or too new: nothing is dropped in silence."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard

from linktrail.batch import encode
from linktrail.clock import NANOSECONDS
from linktrail.errors import NewerSchemaError, SpoolError, SpoolRewoundError
from linktrail.testing.clock import START
from processor.lake_table import LakeTable
from tests.faults.filesystems import FailingFileSystem
from tests.faults.rows import link
from tests.processor.scene import TABLES, KilledError, Scene, fill


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
        with pytest.raises(KilledError):
            scene.processor().drain()
    assert scene.spool.reader.quarantined() == [0]
    scene.processor().drain()
    assert [gap["cause"] for gap in scene.gaps()] == ["batch-undecodable"]
    assert scene.numbers("links") == [2]


def _raise_killed(*_: Any) -> None:
    raise KilledError


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
