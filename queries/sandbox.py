"""SQL from people, run where it can do no harm: in a child process of its own (``sandbox_child``), under a deadline.

What holds, and why two guards: DuckDB's own settings let ``COPY`` inside a CTE overwrite every file that may be read, and its memory
limit and interrupt do not stop every query. So the child is kept from writing by the kernel (landlock, and as root also the loss of
identity; where a machine has neither, the lake is copied into memory and no file may be opened), its address space is limited, and
it is killed with SIGKILL at the deadline. The lake may be private to its owner (mode 0700).

What does not hold: the child reads the Python installation and, without landlock, may read what its user may read if DuckDB's own lock
were broken; it shares the machine's CPU until the deadline.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from linktrail.errors import LakeError, LinktrailError, QueryError, QueryLimitError, QueryRefusedError
from queries.engine import SETTINGS, Setup, literal, needed_tables, setup
from queries.snapshot import LakeFiles
from queries.views import REPEATED, definitions, wanted

MIB: Final = 1 << 20
DEFAULT_MEMORY: Final = 2048 * MIB
LEAST_MEMORY: Final = 256 * MIB
DEFAULT_SECONDS: Final = 60.0
GUARDS: Final = ("landlock", "identity")
_CHILD: Final = Path(__file__).with_name("sandbox_child.py")
_SYSTEM_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_LIBRARIES: Final = ("duckdb", "pyarrow")
_MOST_THREADS: Final = 4
_ENVIRONMENT: Final = {"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
_DUCKDB_SHARE: Final = 0.8  # of the memory; the rest is for the rows on their way out, and for what DuckDB does not count


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may use: ``seconds`` of wall time, ``memory`` in bytes of address space beyond what the libraries take."""

    seconds: float = DEFAULT_SECONDS
    memory: int = DEFAULT_MEMORY


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows of a query, and the guards that held while it ran (landlock, identity; or copy)."""

    rows: pa.Table
    guards: tuple[str, ...]


def run_sql(lake: LakeFiles, sql: str, limits: Limits | None = None, *, guards: Sequence[str] = GUARDS) -> Outcome:
    """Run one statement of a person over ``lake``; ``guards`` can only leave some out (tests do).

    Raises ``QueryRefusedError`` (it asks for more than rows), ``QueryLimitError`` (time or memory), ``QueryError`` (it is wrong SQL),
    ``LakeError`` (a file of the lake cannot be read).
    """
    limits = limits or Limits()
    request = json.dumps(_request(lake, sql, limits, guards)).encode()
    command = [sys.executable, "-I", "-S", str(_CHILD)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/", env=_ENVIRONMENT, start_new_session=True) as child:
        try:
            output, complaint = child.communicate(request, timeout=limits.seconds)
        except subprocess.TimeoutExpired as error:
            raise QueryLimitError(what=f"it ran longer than {limits.seconds:g} s; --timeout allows more") from error
        finally:
            child.kill()  # also on Ctrl-C; nothing to do where it has ended
            child.wait()
    return _outcome(lake, limits, child.returncode, output, complaint)


def _request(lake: LakeFiles, sql: str, limits: Limits, guards: Sequence[str]) -> dict[str, Any]:
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    needed = wanted(sql, definitions())
    names = needed_tables(lake, sql, needed)
    return {
        "parent": os.getpid(),
        "guards": list(guards),
        "directory": str(lake.path),
        "files": lake.files,
        "libraries": _libraries(),
        "path": [entry for entry in sys.path if entry],
        "settings": {**SETTINGS, "threads": str(threads), "memory_limit": f"{int(limits.memory * _DUCKDB_SHARE)}B"},
        "setup": _statements(setup(lake, names)),
        "copy": _statements(setup(lake, names, copy=True)),
        "repeated": REPEATED,
        "views": [definition.sql for definition in needed],
        "allowed": f"[{', '.join(literal(file) for table in lake.tables.values() for file in table.stored)}]",
        "sql": sql,
        "memory": limits.memory,
        "cpu_seconds": int(limits.seconds * threads) + 10,
    }


def _statements(of_lake: Setup) -> dict[str, list[str]]:
    return {"first": of_lake.first, "stored": of_lake.stored, "plain": of_lake.plain, "once": of_lake.once}


def _libraries() -> list[str]:
    """Return the directories that Python and the two libraries are loaded from."""
    found = {*_SYSTEM_LIBRARIES, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(_CHILD)}
    for name in _LIBRARIES:
        specification = importlib.util.find_spec(name)
        found.update(str(Path(place).parent) for place in (specification.submodule_search_locations if specification else None) or ())
    return sorted(found)


def _outcome(lake: LakeFiles, limits: Limits, code: int, output: bytes, complaint: bytes) -> Outcome:
    line, _, stream = output.partition(b"\n")
    try:
        verdict = json.loads(line)
    except ValueError:
        raise _died(limits, code, complaint) from None
    if not verdict["ok"]:
        raise _error(lake, limits, verdict["kind"], " ".join(verdict["what"].split()))
    try:
        rows = pa.ipc.open_stream(io.BytesIO(stream)).read_all()
    except pa.ArrowInvalid:
        raise _died(limits, code, complaint) from None
    return Outcome(rows, tuple(verdict["guards"]))


def _error(lake: LakeFiles, limits: Limits, kind: str, what: str) -> LinktrailError:
    if kind == "refused":
        return QueryRefusedError(what=what)
    if kind == "memory":
        return QueryLimitError(what=f"it needs more than {limits.memory // MIB} MiB of memory; --memory allows more")
    if kind == "lake":
        return LakeError(path=lake.path, what=f"a file cannot be read ({what})")
    return QueryError(what=what)


def _died(limits: Limits, code: int, complaint: bytes) -> QueryError:
    """Say why a child gave no whole answer. Where C++ cannot allocate it aborts, and a thread that cannot start does too."""
    if code == -signal.SIGXCPU:
        return QueryLimitError(what=f"it used more CPU time than {limits.seconds:g} s allow; --timeout allows more")
    if code in {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS} or b"MemoryError" in complaint or b"bad_alloc" in complaint:
        return QueryLimitError(what=f"it ran out of the {limits.memory // MIB} MiB of memory it may use; --memory allows more")
    last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"the process that ran it ended with code {code}"]
    return QueryError(what=last[0])
