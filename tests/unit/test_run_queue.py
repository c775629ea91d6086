"""How long a thread waited for a processor."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from collector.run_queue import waited_ns


def test_waiting_is_counted_while_two_computations_share_one_processor() -> None:
    """Two processes on one processor: each waits about as long as it runs."""
    waited: list[int] = []

    def compute() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # this thread, and the process it starts
        child = os.posix_spawnp("sh", ["sh", "-c", "while :; do :; done"], dict(os.environ))
        try:
            began, before = time.thread_time_ns(), waited_ns()
            while time.thread_time_ns() - began < 100_000_000:
                pass
            waited.append(waited_ns() - before)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert waited[0] > 20_000_000


def test_a_kernel_that_does_not_count_says_nothing(tmp_path: Path) -> None:
    """Then all waiting counts as work."""
    assert waited_ns(tmp_path / "none") == 0
    (tmp_path / "short").write_text("12\n")
    assert waited_ns(tmp_path / "short") == 0
    (tmp_path / "words").write_text("a b c\n")
    assert waited_ns(tmp_path / "words") == 0
    (tmp_path / "whole").write_text("12 34 5\n")
    assert waited_ns(tmp_path / "whole") == 34
