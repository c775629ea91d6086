"""Workers as processes of their own, to be killed or frozen wherever they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any

_PROCESSES = multiprocessing.get_context("forkserver")  # each life costs a fork, not the start of an interpreter


_PROCESSES.set_forkserver_preload(["tests.processor.workers", "tests.kafka.workers"])


class Life:
    """One life of a worker."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        """Start it."""
        self.said, theirs = _PROCESSES.Pipe(duplex=False)
        self.last: Any = None
        self.process = _PROCESSES.Process(target=work, args=(*arguments, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def hear(self, seconds: float) -> None:
        """Take in what it says for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self.process.is_alive():
            self._hear(left)

    def wait_said(self, seconds: float = 60.0) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + seconds
        while self.last is None:
            assert time.monotonic() < deadline, "it says nothing"
            assert self.process.is_alive(), "it ended by itself"
            self._hear(0.1)

    def kill(self) -> Any:
        """Kill it where it is; return the last thing it said."""
        assert self.process.is_alive(), "it ended by itself"
        self.process.kill()
        self.process.join()
        while self._hear(0):
            pass
        self.said.close()
        return self.last

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self._pid(), signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self._pid(), signal.SIGCONT)

    def _pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def _hear(self, seconds: float) -> bool:
        try:
            if not self.said.poll(seconds):
                return False
            self.last = self.said.recv()
        except EOFError:
            return False
        return True
