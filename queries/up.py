"""``linktrail up``: record this machine, and show what is recorded and what leaks, until Ctrl-C.

It is the same collector and processor as on a fleet, each a process of its own (so either may die without the other), with the spool
between them. This module starts them, starts again what died, shows ``status.json`` and the open findings, and ends both in order: the
collector first (it seals its last rows), then the processor (it commits them).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from collector.commands import (
    AsJson,
    MaxDelay,
    MinimumAge,
    ProcOption,
    Quiet,
    RecordedRoots,
    StateOption,
    WatchMode,
    chosen_roots,
    spool_limit,
)
from collector.settings import Settings
from collector.source import find_sources
from linktrail.clock import SystemClock
from linktrail.errors import LinktrailError, ProgramFailedError
from linktrail.state import State, open_state
from linktrail.stopping import until_signalled
from processor.commands import LakeOption
from processor.location import address
from queries.live_view import View, summary

_REFRESH_SECONDS: Final = 1.0
_START_SECONDS: Final = 5.0  # a program that ends sooner than this has something to say, and is not started again
_BACKOFF: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
_STOP_SECONDS: Final = 60.0
_LAST_WORDS: Final = 4096
_MAINTAIN_EVERY: Final = "10m"


def up(
    roots: RecordedRoots = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Read the stores once, record, show the findings, and end.")] = False,
    state: StateOption = None,
    cluster: Annotated[str, typer.Option(envvar="LINKTRAIL_CLUSTER", help="Name of the cluster.")] = "",
    node: Annotated[str | None, typer.Option(envvar="LINKTRAIL_NODE", help="Name of this node (default: the host's name).")] = None,
    watch: WatchMode = "inotify",
    quiet: Quiet = None,
    max_delay: MaxDelay = None,
    min_age: MinimumAge = None,
    proc: ProcOption = None,
    lake: LakeOption = None,
    as_json: AsJson = False,
) -> int:
    """Record this machine's container stores, and show what leaks. Finds the stores when none is named; Ctrl-C ends it cleanly.

    Example: linktrail up /var/lib/containers/storage
    """
    settings = Settings.of(min_age=min_age, quiet=quiet, max_delay=max_delay, environment=os.environ)
    chosen = chosen_roots(roots)
    opened = open_state(state, chosen, lake)
    find_sources(chosen)  # a root that is no store is said here, not in a log
    if once:
        return _once(chosen, opened, cluster=cluster, node=node, settings=settings, proc=proc, as_json=as_json)
    given = {
        "--node": node,
        "--watch": watch,
        "--quiet": quiet,
        "--max-delay": max_delay,
        "--min-age": min_age,
        "--proc": proc and str(proc),
    }
    words = ["--state", str(opened.path), "--cluster", cluster]
    words += [word for option, value in given.items() if value for word in (option, value)]
    programs = [
        Program("collect", [*(str(root.absolute()) for root in chosen), *words], opened.log("collect")),
        Program(
            "process",
            ["--state", str(opened.path), "--lake", address(opened.lake), "--maintain-every", _MAINTAIN_EVERY],
            opened.log("process"),
        ),
    ]
    return _supervise(programs, opened, as_json=as_json)


def _once(
    roots: Sequence[Path], state: State, *, cluster: str, node: str | None, settings: Settings, proc: Path | None, as_json: bool
) -> int:
    from collector import program as collector  # noqa: PLC0415 - --help must not wait for it
    from processor import program as processor  # noqa: PLC0415 - likewise

    options = collector.Options.of(cluster=cluster, node=node, once=True, settings=settings, proc=proc, spool_limit=spool_limit(os.environ))
    collector.collect(roots, state.path, options)
    processor.drain(state, state.lake)
    summary(state, sys.stdout, as_json=as_json)
    return 0


@dataclass(slots=True)
class Program:
    """One child: ``linktrail VERB WORDS``, what it says goes to ``log``."""

    verb: str
    words: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    again_at: float = 0.0
    _file: IO[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, in a session of its own so that Ctrl-C reaches only us."""
        self._file = self._file or self.log.open("ab")
        command = [sys.executable, "-m", "linktrail", self.verb, *self.words]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file, start_new_session=True)
        self.started = time.monotonic()

    def tend(self) -> str | None:
        """Start it again when it died; return what there is to say of it. Raises ``ProgramFailedError`` when it cannot run at all."""
        if self.process is None:
            if time.monotonic() >= self.again_at:
                self.start()
            return f"{self.verb} died and is started again"
        code = self.process.poll()
        if code is None:
            return None
        if code > 0 and time.monotonic() - self.started < _START_SECONDS:
            raise ProgramFailedError(verb=self.verb, code=code, words=self.last_words(), log=self.log)
        self.process = None
        self.again_at = time.monotonic() + _BACKOFF[min(self.deaths, len(_BACKOFF) - 1)]
        self.deaths += 1
        return f"{self.verb} died (code {code}) and is started again"

    def last_words(self) -> str:
        """Return the end of what it said."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _LAST_WORDS))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return " ".join(line.strip() for line in lines[-2:])

    def stop(self) -> None:
        """End it in good order: SIGTERM and wait; killed only when it does not end within a minute."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._file is not None:
            self._file.close()
            self._file = None


def _supervise(programs: Sequence[Program], state: State, *, as_json: bool) -> int:
    try:
        state.path.mkdir(mode=0o750, parents=True, exist_ok=True)
        for program in programs:
            program.start()
    except OSError as error:
        raise ProgramFailedError(verb="collect", code=1, words=error.strerror or error, log=state.path) from error
    with until_signalled(threading.Event()) as stopping:
        failure: LinktrailError | None = None
        with View(state, sys.stdout, clock=SystemClock(), as_json=as_json) as view:
            try:
                while not stopping.wait(_REFRESH_SECONDS):
                    view.refresh([said for program in programs if (said := program.tend())])
            except LinktrailError as error:
                failure = error
            finally:
                for program in programs:
                    program.stop()
        if failure is not None:
            raise failure
        summary(state, sys.stdout, as_json=as_json)
    return 0


def demo(
    *,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Play in DIR and leave the store and its record there (default: a temporary one)."),
    ] = None,
) -> int:
    """Play an incident on a small store in a temporary directory: it is recorded as it happens, then explained. Ends by itself."""
    from queries.demo import play  # noqa: PLC0415 - --help must not wait for it

    return play(sys.stdout, directory=keep)
