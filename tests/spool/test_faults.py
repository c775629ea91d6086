from __future__ import annotations

import contextlib
import errno
from itertools import count
from pathlib import Path

import pytest

from collector.spool import Spool
from linktrail.batch import decode
from linktrail.errors import SpoolError, SpoolFullError
from linktrail.testing.clock import FakeClock
from tests.faults.filesystems import FailingFileSystem
from tests.faults.rows import finding, link


def opened(path: Path, filesystem: FailingFileSystem) -> Spool:
    spool = Spool.open(path, filesystem=filesystem, clock=FakeClock(), cluster="", node="n", reserve_bytes=0)
    spool.begin_run()
    return spool


def numbers(spool: Spool) -> list[int]:
    found: list[int] = []
    for offset in spool.offsets():
        header, rows = decode(spool.read(offset) or b"", str(offset))
        found += rows.column("file_inode" if header.table == "links" else "bytes").to_pylist()
    return found


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_sealing_with_the_nth_call_failing(tmp_path: Path, code: int, *, beside: bool) -> None:
    """Whichever call fails: one typed error, every promised row there after a restart, no row twice, and no offset used again."""
    for number in count(1):
        filesystem = FailingFileSystem()
        path = tmp_path / f"{number}"
        spool = opened(path, filesystem)
        spool.append("links", [link(1)])
        promised = [one.offset for one in spool.seal()]
        spool.append("links", [link(2)])
        if beside:
            assert spool.seal_beside() == []
        spool.append("findings", [finding(3)])
        filesystem.calls, filesystem.fail_at, filesystem.code = 0, number, code
        try:
            promised += [one.offset for one in spool.seal()]
        except SpoolFullError:
            assert code != errno.EIO
            promised += [one.offset for one in spool.seal()]  # there is room again
            assert numbers(spool) == [1, 2, 3]
        except SpoolError:
            with pytest.raises(SpoolError):
                spool.seal()
        following = spool.next_offset
        spool.close()
        again = opened(path, FailingFileSystem())
        assert set(promised) <= set(again.offsets())
        assert numbers(again) == [1, 2, 3][: len(numbers(again))]
        assert again.next_offset >= following
        again.close()
        if not filesystem.failed:
            assert number > 8
            return


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_opening_with_the_nth_call_failing(tmp_path: Path, code: int) -> None:
    """A spool that could not be opened is reported as such, releases its lock, and opens the next time."""
    for number in count(1):
        path = tmp_path / f"{number}"
        filesystem = FailingFileSystem(number, code)
        try:
            opened(path, filesystem).close()
        except SpoolFullError:
            assert code == errno.ENOSPC
        except SpoolError:
            assert code == errno.EIO
        opened(path, FailingFileSystem()).close()
        if not filesystem.failed:
            assert number > 4
            return


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_acknowledging_and_trimming_with_the_nth_call_failing(tmp_path: Path, code: int) -> None:
    """What was acknowledged may be forgotten, never exceeded; a trim that failed leaves a sound spool."""
    for number in count(1):
        filesystem = FailingFileSystem()
        spool = opened(tmp_path / f"{number}", filesystem)
        for one in range(4):
            spool.append("links", [link(one)])
            spool.seal()
        filesystem.calls, filesystem.fail_at, filesystem.code = 0, number, code
        with contextlib.suppress(OSError, SpoolError):
            spool.reader.acknowledge(spool.id, 3)
            spool.trim(spool.acknowledged())
        spool.close()
        again = opened(tmp_path / f"{number}", FailingFileSystem())
        assert again.acknowledged() in (0, 3)
        assert numbers(again)[-1] == 3
        assert again.next_offset == 4
        again.close()
        if not filesystem.failed:
            return
