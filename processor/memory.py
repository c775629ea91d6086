"""Memory of a processor in a fleet: tens of megabytes come and go with every commit.

glibc gives each large piece back to the kernel when it is freed, and takes the next one page by page, cleared: measured, a quarter
of what reading a batch costs. Its limits for that grow with the largest piece that was ever freed (mallopt(3), M_MMAP_THRESHOLD and
M_TRIM_THRESHOLD), so one is freed here that was never touched. With another C library this does nothing.
"""

from __future__ import annotations

from typing import Final

KEPT_BYTES: Final = 30 << 20  # glibc heeds no more than 32 MiB, and keeps twice of this


def keep_freed_memory() -> None:
    """Let this process use memory again that it freed, up to twice ``KEPT_BYTES`` of it."""
    bytes(KEPT_BYTES)
