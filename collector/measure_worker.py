"""A process that measures parts of trees for ``collector.measuring``, politely: idle class for I/O, lowest priority, paced.

The parent starts it with ``COMMAND FD RATE``; FD is a socket to the parent, RATE how many entries a second it may read on average (0: as
fast as it can). The idle class of I/O counts where the disk's scheduler knows classes (BFQ, mq-deadline); the pace
always does. The pace is kept between directories, so a directory is read without a rest, however large.

Messages (``multiprocessing.connection``): ``Begin`` is followed by the descriptor of the top directory, ``Part`` is answered by
``Done``, ``End`` closes the descriptor. The end of the socket ends the process.
"""

from __future__ import annotations

import contextlib
import os
import time
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Final, NamedTuple

from collector.measure import Tally, Walk

COMMAND: Final = "import sys; from collector.measure_worker import main; main(int(sys.argv[1]), float(sys.argv[2]))"
"""For ``python -c``: a module run by ``-m`` would not know the classes of its own messages again."""

_CREDIT_SECONDS: Final = 0.05
_REST_SECONDS: Final = 0.01


class Begin(NamedTuple):
    """A tree to come: its number, and the latest modification time that counts (ns UTC). Its descriptor follows."""

    tree: int
    not_after: int


class Part(NamedTuple):
    """A part of a tree to count: the ways to its directories, and after how many entries to stop."""

    tree: int
    ways: tuple[tuple[str, ...], ...]
    limit: int


class Done(NamedTuple):
    """What a part came to, and the ways that are left; ``error`` (an errno) when nothing could be counted."""

    tree: int
    tally: Tally
    left: tuple[tuple[str, ...], ...]
    error: int = 0


class End(NamedTuple):
    """A tree is done."""

    tree: int


Request = Begin | Part | End


class Pace:
    """Rests so that not more than ``rate`` entries a second are read on average (0: never)."""

    def __init__(self, rate: float) -> None:
        """Begin now."""
        self._rate = rate
        self._earliest = time.monotonic()

    def seen(self, entries: int) -> None:
        """Rest if ``entries`` more were too many already."""
        if self._rate <= 0:
            return
        now = time.monotonic()
        self._earliest = max(self._earliest, now - _CREDIT_SECONDS) + entries / self._rate
        if self._earliest - now > _REST_SECONDS:
            time.sleep(self._earliest - now)


def serve(connection: Connection, rate: float) -> None:
    """Answer requests. Raises ``EOFError`` or ``ConnectionError`` once the parent has closed its end."""
    pace = Pace(rate)
    tops: dict[int, tuple[int, int]] = {}
    while True:
        request: Request = connection.recv()
        if isinstance(request, Begin):
            tops[request.tree] = (recv_handle(connection), request.not_after)
        elif isinstance(request, End):
            os.close(tops.pop(request.tree)[0])
        else:
            connection.send(_counted(request, *tops[request.tree], pace))


def _counted(part: Part, top: int, not_after: int, pace: Pace) -> Done:
    try:
        walk = Walk(top, not_after=not_after, limit=part.limit, seen=pace.seen)
        left = walk.run(part.ways)
    except OSError as error:
        return Done(part.tree, Tally(), (), error.errno or 1)
    return Done(part.tree, walk.tally, tuple(left))


def main(descriptor: int, rate: float) -> None:
    """Serve on the socket ``descriptor`` until the parent closes its end."""
    import psutil  # noqa: PLC0415 - the parent imports the messages, and has no use for it

    os.nice(19)
    psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    with contextlib.suppress(EOFError, ConnectionError):
        serve(Connection(descriptor), rate)
