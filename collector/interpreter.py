"""How the interpreter is set in a collector: the thread that drains the kernel's queue must never wait long for another one.

* A thread that computes gives way after ``SWITCH_SECONDS`` (Python's default of 5 ms is, at half a million changes a second, 2,500
  changes in a queue of 16,384 for each of the few times that a read needs the interpreter).
* Memory that was used once and is free goes back to the system (``give_back``): one heap for all threads, and Arrow's buffers on it,
  so that what a first reading or a burst took does not stay resident for ever. A C library other than glibc decides for itself. So do
  pages of code, most of which only starting needs: a fifth of what would be resident of an idle collector.
* Garbage is looked for once in ``YOUNG`` new containers, not every 700: reference counts free nearly everything here, while a burst
  makes hundreds of thousands of changes that all live. What is there when recording starts is never looked at again.

These settings are the process's, so only a program makes them, never a library.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
from pathlib import Path
from typing import Final

import pyarrow as pa

SWITCH_SECONDS: Final = 0.0002
YOUNG: Final = 50_000
_M_ARENA_MAX: Final = -8
_MADV_DONTNEED: Final = 4
_OWN_MAPPINGS: Final = Path("/proc/self/smaps")
_CODE: Final = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \d+ +/.*\n(?:[A-Z].*\n)*?Anonymous: +0 kB", re.MULTILINE)
"""Code of a file as the file has it: pages that were written to (by a loader, by a debugger) would be lost."""
_libc = ctypes.CDLL(None)


def set_for_recording() -> None:
    """Set this process's interpreter; twice is no harm."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, 1)
        pa.set_memory_pool(pa.system_memory_pool())
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return free memory to the system, and what is resident of the code of libraries; a few milliseconds.

    Most of that code only their loading needed. What is used again comes back from the page cache, a fault for each 64 kB.
    """
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
    with contextlib.suppress(OSError):  # a process that may not look at itself keeps its pages
        for found in _CODE.finditer(_OWN_MAPPINGS.read_bytes()):
            start, end = int(found[1], 16), int(found[2], 16)
            _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
