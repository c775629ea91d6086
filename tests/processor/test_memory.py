"""Memory that a processor frees is used again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_WORK = """
import resource, sys
from processor.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def commit():
    pieces = [b"x" * (3 << 19) for _ in range(20)]
for _ in range(4):
    commit()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    commit()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide otherwise")
def test_freed_memory_is_used_again() -> None:
    """Streams of batches come and go without a page of them being asked of the kernel anew."""
    words = [sys.executable, "-c", _WORK]
    kept, returned = (int(subprocess.run([*words, how], check=True, capture_output=True, text=True).stdout) for how in ("keep", "return"))
    assert kept < 100
    assert returned > 1_000
