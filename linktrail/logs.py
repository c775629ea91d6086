"""The log of the two programs: one record a line on standard error, for people (``console``) or as JSON.

* A JSON record has ``time`` (UTC, RFC 3339), ``level``, ``program``, ``logger``, ``message``, ``pid``, ``thread``, and where that applies
  ``error`` (its class), ``exit_code``, ``trace`` and ``repeated``. It is ASCII.
* Names from disks are inert: control characters, bidirectional overrides and lone surrogates are escaped, so a record is always one line.
* No storms: of records with the same template from the same logger, ``BURST`` are written in ``WINDOW`` seconds; the next one after that
  says how many were left out (so does the last one, at the end of the program).
* An uncaught exception, in whatever thread, is one record with its trace. Secrets are never logged: no code has them but to hand them on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Annotated, Final

import typer

from linktrail.errors import LinktrailError, UsageError
from linktrail.text import printable

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FORMS: Final = ("console", "json")
BURST: Final = 10
WINDOW: Final = 60.0
_MOST_KINDS: Final = 1000
_log = logging.getLogger(__name__)

LogLevel = Annotated[
    str, typer.Option("--log-level", metavar="LEVEL", envvar="LINKTRAIL_LOG_LEVEL", help="debug, info, warning or error: what is logged.")
]
LogFormat = Annotated[
    str, typer.Option("--log-format", metavar="FORM", envvar="LINKTRAIL_LOG_FORMAT", help="console (for people) or json (a record a line).")
]


class Formatter(logging.Formatter):
    """Makes one line of a record."""

    def __init__(self, program: str, form: str) -> None:
        """``program`` stands in each JSON record."""
        super().__init__()
        self._program = program
        self._as_json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message, trace = printable(record.getMessage()), _trace(record)
        repeated = getattr(record, "repeated", 0)
        if not self._as_json:
            more = f" ({repeated} more like this were left out)" if repeated else ""
            return f"{moment} {record.levelname} {record.name}: {message}{more}{f' [{trace}]' if trace else ''}"
        document: dict[str, object] = {
            "time": moment,
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "message": message,
            "pid": record.process,
            "thread": printable(record.threadName or ""),
        }
        extra = {name: getattr(record, name) for name in ("error", "exit_code") if hasattr(record, name)}
        document |= extra | ({"trace": trace} if trace else {}) | ({"repeated": repeated} if repeated else {})
        return json.dumps(document)


def _trace(record: logging.LogRecord) -> str:
    """Return where an exception came from, outermost first, on one line; empty without one."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    error = record.exc_info[1]
    frames = traceback.extract_tb(error.__traceback__)
    places = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
    return printable(f"{type(error).__name__}: {error} at {places}" if places else f"{type(error).__name__}: {error}")


@dataclass(slots=True)
class _Seen:
    until: float
    count: int
    left_out: int
    last: logging.LogRecord


class Limiter(logging.Filter):
    """Lets the first ``burst`` records of a kind through in each window, and counts the others."""

    def __init__(self, burst: int = BURST, window: float = WINDOW, now: Callable[[], float] = time.monotonic) -> None:
        """``now`` in seconds."""
        super().__init__()
        self._burst, self._window, self._now = burst, window, now
        self._seen: dict[tuple[str, int, str], _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether ``record`` is written; one after a pause gets ``repeated``, how many were left out."""
        now, key = self._now(), (record.name, record.levelno, str(record.msg))
        seen = self._seen.get(key)
        if seen is None or now >= seen.until:
            if seen is not None and seen.left_out:
                record.repeated = seen.left_out
            if len(self._seen) >= _MOST_KINDS:
                self._seen = {kind: one for kind, one in self._seen.items() if one.left_out or one.until > now}
            self._seen[key] = _Seen(now + self._window, 1, 0, record)
            return True
        seen.count += 1
        if seen.count <= self._burst:
            return True
        seen.left_out += 1
        seen.last = record
        return False

    def rest(self) -> list[logging.LogRecord]:
        """Return the last record of each kind of which some were left out, and forget them."""
        found = [seen for seen in self._seen.values() if seen.left_out]
        for seen in found:
            seen.last.repeated = seen.left_out - 1
        self._seen.clear()
        return [seen.last for seen in found]


class _Handler(logging.StreamHandler[IO[str]]):
    """Writes lines; ends with what the limiter left out. The lock of a handler covers its filters here."""

    def __init__(self, stream: IO[str], limiter: Limiter) -> None:
        super().__init__(stream)
        self._limiter = limiter

    def emit(self, record: logging.LogRecord) -> None:
        if self._limiter.filter(record):
            super().emit(record)

    def finish(self) -> None:
        with self.lock or contextlib.nullcontext():
            for record in self._limiter.rest():
                super().emit(record)
            self.flush()


def set_level(level: str) -> None:
    """Log from ``level`` on."""
    logging.getLogger().setLevel(LEVELS[level])


@contextlib.contextmanager
def logging_to(stream: IO[str], program: str, *, level: str, form: str, limiter: Limiter | None = None) -> Iterator[None]:
    """Log to ``stream`` meanwhile, uncaught exceptions of threads too. Raises ``UsageError``."""
    if level not in LEVELS or form not in FORMS:
        raise UsageError(what=f"--log-level is one of {', '.join(LEVELS)}, --log-format one of {', '.join(FORMS)}")
    handler = _Handler(stream, limiter or Limiter())
    handler.setFormatter(Formatter(program, form))
    root = logging.getLogger()
    before, level_before, hook = root.handlers[:], root.level, threading.excepthook
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    threading.excepthook = _thread_failed
    try:
        yield
    finally:
        handler.finish()
        threading.excepthook = hook
        root.handlers[:] = before
        root.setLevel(level_before)


@contextlib.contextmanager
def running(program: str, *, level: str, form: str) -> Iterator[None]:
    """Log as a program does. What ends it is a record: with its exit code, and where linktrail does not know it, with its trace.

    In the form for people, an error that linktrail knows is left to the caller, who shows it with its advice.
    """
    with logging_to(sys.stderr, program, level=level, form=form):
        try:
            yield
        except LinktrailError as error:
            if form != "json":
                raise
            extra = {"error": type(error).__name__, "exit_code": error.exit_code}
            _log.critical("%s %s", error.message, error.advice, extra=extra)
            raise typer.Exit(error.exit_code) from error
        except Exception as error:  # a defect of ours, whatever it is: said with its trace, and the program ends
            _log.critical(
                "linktrail %s ends: this is a defect of it", program, exc_info=True, extra={"error": type(error).__name__, "exit_code": 1}
            )
            raise typer.Exit(1) from error


def _thread_failed(told: threading.ExceptHookArgs) -> None:
    name = told.thread.name if told.thread is not None else "?"
    value = told.exc_value or told.exc_type()
    trace: TracebackType | None = told.exc_traceback
    extra = {"error": told.exc_type.__name__}
    _log.critical("thread %s died: this is a defect of linktrail", name, exc_info=(told.exc_type, value, trace), extra=extra)
