"""What a collector gives back to the system: memory that is free, and code that only starting needed, and none that was written to."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path

from collector.interpreter import give_back

PAGE = mmap.PAGESIZE
WORKS_ON = """
import re
from pathlib import Path
import pyarrow as pa
from collector.interpreter import give_back

def code():
    found = re.findall(rb"r-xp .*/.*\\n(?:[A-Z].*\\n)*?Rss: +(\\d+) kB", Path("/proc/self/smaps").read_bytes())
    return sum(map(int, found))

before = code()
give_back()
after = code()
assert pa.array([1, None, 3]).to_pylist() == [1, None, 3]
print(before, after)
"""


def test_code_that_only_loading_needed_is_resident_no_more_and_what_is_used_again_works() -> None:
    done = subprocess.run((sys.executable, "-c", WORKS_ON), capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 2


def test_code_that_was_written_to_is_kept(tmp_path: Path) -> None:
    """A page that a loader or a debugger changed is in no file: dropped, it would be what the file says again."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    file = tmp_path / "code"
    file.write_bytes(b"a" * 2 * PAGE)
    with file.open("rb") as stream:
        address = libc.mmap(None, 2 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, stream.fileno(), 0)
    ctypes.memset(address, ord("b"), 1)
    assert libc.mprotect(address, 2 * PAGE, mmap.PROT_READ | mmap.PROT_EXEC) == 0
    give_back()
    assert ctypes.string_at(address, 2) == b"ba"
    libc.munmap(address, 2 * PAGE)
