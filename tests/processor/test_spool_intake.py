from __future__ import annotations

from pathlib import Path

import pytest

from linktrail.errors import SpoolError
from processor.spool_intake import SpoolIntake
from tests.faults.filesystems import QuickFileSystem
from tests.processor.scene import Scene


def test_records_come_in_order_and_in_parts(tmp_path: Path) -> None:
    """Up to the limit at a time, each once, with whose they are; seeking goes back."""
    scene = Scene(tmp_path)
    for number in range(5):
        scene.record("links", number)
    intake = SpoolIntake(tmp_path / "spool", filesystem=QuickFileSystem())
    assert [record.offset for record in intake.take(2)] == [0, 1]
    assert [(record.offset, record.missing, record.node) for record in intake.take(9)] == [(2, 0, "node"), (3, 0, "node"), (4, 0, "node")]
    assert intake.take(9) == []
    intake.seek(3)
    assert [record.offset for record in intake.take(9)] == [3, 4]
    scene.record("links", 5)
    assert [record.offset for record in intake.take(9)] == [5]


def test_a_listing_that_missed_a_file_is_not_taken_for_a_hole(tmp_path: Path) -> None:
    """A directory that grows while it is listed may show a later file without an earlier one."""

    class GrowingDirectory(QuickFileSystem):
        listings = 0

        def names(self, path: Path) -> list[str]:
            found = super().names(path)
            if path.name == "spool":
                self.listings += 1
                if self.listings == 1:
                    found.remove(f"{1:016d}.batch")
            return found

    scene = Scene(tmp_path)
    for number in range(3):
        scene.record("links", number)
    intake = SpoolIntake(tmp_path / "spool", filesystem=GrowingDirectory())
    assert [(record.offset, record.missing) for record in intake.take(9)] == [(0, 0), (1, 0), (2, 0)]


def test_a_batch_trimmed_between_listing_and_reading_is_counted(tmp_path: Path) -> None:
    """A collector that had to drop its oldest batches unread leaves a number, not a silence."""
    scene = Scene(tmp_path)
    for number in range(6):
        scene.record("links", number)
    intake = SpoolIntake(tmp_path / "spool", filesystem=QuickFileSystem())
    assert [record.offset for record in intake.take(1)] == [0]
    scene.spool.trim(4)
    assert [(record.offset, record.missing) for record in intake.take(9)] == [(4, 3), (5, 0)]


def test_another_spool_in_the_same_place_is_noticed(tmp_path: Path) -> None:
    """Offsets of one spool are never committed under the name of another."""
    scene = Scene(tmp_path)
    scene.record("links", 1)
    intake = SpoolIntake(tmp_path / "spool", filesystem=QuickFileSystem())
    scene.spool.close()
    (tmp_path / "spool" / "spool.json").unlink()
    scene.spool = scene.collector()
    with pytest.raises(SpoolError, match="replaced by another spool"):
        intake.take(9)


def test_a_directory_without_a_spool_is_one_clear_error(tmp_path: Path) -> None:
    """A processor started before any collector says so."""
    with pytest.raises(SpoolError, match="no collector has written here yet"):
        SpoolIntake(tmp_path, filesystem=QuickFileSystem())
