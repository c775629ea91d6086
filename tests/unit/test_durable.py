from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from linktrail.durable import LocalFileSystem, write_durably


def test_replacing_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """The target always has whole content, and a temporary name left by a crash does not block the next write."""
    target = tmp_path / "cursor"
    (tmp_path / ".cursor.tmp").write_bytes(b"left by a crash")
    write_durably(LocalFileSystem(), target, b"one")
    write_durably(LocalFileSystem(), target, b"two")
    assert target.read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["cursor"]


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle of a new file removes what was begun."""

    def full(descriptor: int, data: object) -> int:
        del descriptor, data
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        LocalFileSystem().write_new(tmp_path / "batch", b"data")
    assert list(tmp_path.iterdir()) == []


def test_directories_are_private(tmp_path: Path) -> None:
    """Records of a machine are not for every user of it."""
    LocalFileSystem().make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o007 == 0
