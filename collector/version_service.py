"""Reading versions of metadata files in a process of its own, where nothing keeps it waiting.

An engine replaces a file again within milliseconds, and a collector that reads a large store holds Python's interpreter for longer than
that, so a thread of its own would come too late just when much happens. Recording does not wait for the process to start: until it is
ready, and again should it end, a thread reads (``VersionKeeper``). Nothing is told twice when one takes over from the other, and
what a process that ended had not handed over is told as unread.

Where it may (CAP_SYS_NICE), the process runs before others of its machine: what it does is little, and soon or in vain.

Messages (``multiprocessing.connection``): the process says ``ready``; then (verb, arguments) is answered with the verb's result. The end of
the socket ends the process.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from collector.versions import Version, VersionKeeper
from linktrail.clock import Clock, Instant, SystemClock

COMMAND: Final = "import sys; from collector.version_service import main; main(int(sys.argv[1]))"
ANSWER_SECONDS: Final = 10.0
_READY: Final = "ready"
_NICE: Final = -15


class ProcessEndedError(Exception):
    """The process does not answer."""


class VersionService:
    """A ``VersionKeeper`` by thread or by process. Its methods are those of the keeper, called by one thread."""

    def __init__(self, clock: Clock) -> None:
        """Begin with a thread. Raises ``OSError`` where the kernel grants no inotify descriptor."""
        self._clock = clock
        self._near: VersionKeeper | None = VersionKeeper(clock)
        self._far: _Process | None = None
        self._followed: dict[Path, tuple[Path, ...]] = {}
        self._left: dict[Path, list[Version]] = {}  # what the thread had read when the process took over
        self._taken_at = clock.now()

    @property
    def in_process(self) -> bool:
        """Whether the process reads now."""
        return self._near is None

    def start(self) -> None:
        """Read by thread, and start the process; where none can be started, the thread goes on."""
        if self._near is not None:
            self._near.start()
        with contextlib.suppress(OSError):
            self._far = _Process()

    def tend(self) -> None:
        """Let the process take over once it is ready."""
        if self._near is not None:
            self._near.tend()
            if self._far is not None and self._far.ready():
                self._hand_over(self._near, self._far)

    def stop(self) -> None:
        """End thread and process; twice is no harm."""
        if self._near is not None:
            self._near.stop()
        if self._far is not None:
            self._far.end()
            self._far = None

    def follow(self, root: Path, files: Iterable[Path], since: Instant | None) -> None:
        """Follow exactly ``files`` below ``root``; see ``VersionKeeper.follow``."""
        self._followed[root] = tuple(files)
        if self._near is not None:
            self._near.follow(root, self._followed[root], since)
        else:
            self._ask("follow", root, self._followed[root], since)

    def forget(self, root: Path) -> None:
        """Follow nothing below ``root`` any more."""
        self._followed.pop(root, None)
        self._left.pop(root, None)
        if self._near is not None:
            self._near.forget(root)
        else:
            self._ask("forget", root)

    def take(self, root: Path) -> list[Version]:
        """Return the versions that were not taken yet; see ``VersionKeeper.take``."""
        since, self._taken_at = self._taken_at, self._clock.now()
        if self._near is not None:
            return self._near.take(root)
        found = self._ask("take", root)
        if found is None:
            return [*self._left.pop(root, []), *self._unknown(root, since)]
        left = self._left.pop(root, [])
        return [*left, *_news(found, left)]

    def _hand_over(self, near: VersionKeeper, far: _Process) -> None:
        """Let the process follow everything, and keep what the thread has read until then."""
        try:
            for root, files in self._followed.items():
                far.ask("follow", root, files, None)
        except ProcessEndedError:
            self._give_up()
            return
        self._left = {root: near.take(root) for root in self._followed}
        near.stop()
        self._near = None

    def _ask(self, verb: str, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the verb returns
        """Ask the process; ``None`` when it has ended, and the thread reads again from now on."""
        try:
            return self._far.ask(verb, *arguments) if self._far is not None else None
        except ProcessEndedError:
            self._give_up()
            return None

    def _give_up(self) -> None:
        if self._far is not None:
            self._far.end()
            self._far = None
        if self._near is None:
            self._near = VersionKeeper(self._clock)
            self._near.start()
            for root, files in self._followed.items():
                self._near.follow(root, files, None)

    def _unknown(self, root: Path, since: Instant) -> list[Version]:
        """Return what to say of a time in which nobody read: at least one version of every file may be missed."""
        now = self._clock.now()
        paths = [str(file.relative_to(root)) for file in self._followed.get(root, ())]
        return [Version(path, None, None, since, now, known=False) for path in paths]


class _Process:
    """The process and the way to it."""

    def __init__(self) -> None:
        """Start it. Raises ``OSError``."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = (sys.executable, "-c", COMMAND, str(theirs.fileno()))
            try:
                self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, process_group=0)
            except OSError:
                ours.close()
                raise
        self._connection = Connection(ours.detach())
        self._ready = False

    def ready(self) -> bool:
        """Tell whether it has started."""
        try:
            self._ready = self._ready or (self._connection.poll(0) and self._connection.recv() == _READY)
        except (OSError, EOFError):  # it ended before it began; asked, it would not answer
            return False
        return self._ready

    def ask(self, verb: str, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the verb returns
        """Return the answer. Raises ``ProcessEndedError``."""
        try:
            self._connection.send((verb, arguments))
            if not self._connection.poll(ANSWER_SECONDS):
                raise ProcessEndedError
            return self._connection.recv()
        except (OSError, EOFError) as error:
            raise ProcessEndedError from error

    def end(self) -> None:
        """End it, and wait for it."""
        self._connection.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _news(found: list[Version], left: list[Version]) -> list[Version]:
    """Return what the process has read beyond what the thread had: both heard of what happened while one took over."""
    result: list[Version] = []
    for path in dict.fromkeys(version.path for version in found):
        told = {version.signature for version in left if version.path == path and version.signature is not None}
        mine = [version for version in found if version.path == path]
        known = [number for number, version in enumerate(mine) if version.signature in told]
        result += mine[known[-1] + 1 :] if known else mine
    return result


def main(descriptor: int) -> None:
    """Serve the socket ``descriptor`` until its other end is closed."""
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, ConnectionError):
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        keeper = VersionKeeper(SystemClock(), threaded=False)
        connection.send(_READY)
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(keeper.descriptor, select.POLLIN)
        while True:
            asked = any(ready == connection.fileno() for ready, _ in poll.poll(keeper.looks.seconds * 1000))
            keeper.look()
            if asked:
                verb, arguments = connection.recv()
                connection.send(getattr(keeper, verb)(*arguments))
