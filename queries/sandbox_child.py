"""The process that runs SQL from people. Started anew for every query, by path and without site packages (``python -I -S``).

It gives up, before it loads any library, whatever SQL could do harm with; settings of DuckDB alone do not hold (COPY inside a CTE writes
where reading is allowed). The guards, strongest first; every one that the machine has is used:

* landlock (Linux 5.13; needs no privilege): no file can be written, made, renamed or removed anywhere, and only the data files of the
  lake and the Python installation can be read; no TCP connection (6.7).
* identity (as root): the user ``nobody``, no groups, no capability but CAP_DAC_READ_SEARCH, so that files below a private directory can be
  read and none can be written.
* copy (where neither holds, which is tried, not assumed): the lake is read into memory first, then DuckDB may open no file at all.

And always: RLIMIT_FSIZE 0, a limit on the address space and on CPU time, no new privileges, death with the parent, DuckDB's external access
off and its settings locked, and one read-only statement at a time. The parent adds the deadline.

Protocol: one JSON request on standard input; one JSON line on standard output (``{"ok": true, "guards": [...]}`` or ``{"ok": false, "kind":
"refused" | "memory" | "sql" | "lake" | "guard", "what": ...}``), then, when it went well, an Arrow IPC stream of the rows.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

NOBODY: Final = 65_534
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAP_DAC_READ_SEARCH: Final = 2
_CAPABILITY_VERSION: Final = 0x2008_0522
_SYS_LANDLOCK_CREATE: Final = 444  # the same number on every architecture of Linux
_SYS_LANDLOCK_ADD: Final = 445
_SYS_LANDLOCK_RESTRICT: Final = 446
_LANDLOCK_ABI_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
# Rights that each ABI version added (include/uapi/linux/landlock.h): 1: bits 0-12, 2: refer, 3: truncate, 5: ioctl on devices.
_FILE_RIGHTS: Final = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_NETWORK_ABI: Final = 4
_NETWORK_RIGHTS: Final = 0b11  # bind and connect TCP
_SCOPE_ABI: Final = 6
_SCOPES: Final = 0b11  # abstract UNIX sockets, signals
_MACHINE: Final = ("/proc/self/cgroup", "/sys/fs/cgroup", "/sys/devices/system/cpu")  # DuckDB aborts where it may not read the first
_NO_MEMORY: Final = ("bad_alloc", "Out of Memory", "failed to allocate", "Failed to allocate", "allocation failure")
_QUESTIONS: Final = "SELECT, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE and PIVOT"
_ALLOWED: Final = frozenset({"SELECT", "EXPLAIN", "MULTI"})  # MULTI is PIVOT


class Refusal(Exception):  # noqa: N818 - it is an answer
    """What the parent is told instead of rows."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what


def main() -> int:
    """Answer the one request on standard input."""
    request = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "wb")
    own_size = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # later no such file can be opened
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing but the answer reaches the parent
    try:
        guards = lock_down(request)
        table = run(request, guards, own_size)
    except Refusal as refusal:
        _say(answer, {"ok": False, "kind": refusal.kind, "what": refusal.what})
        return 0
    except MemoryError:
        _say(answer, {"ok": False, "kind": "memory", "what": ""})
        return 0
    _say(answer, {"ok": True, "guards": guards})
    _send(answer, table)
    return 0


def _say(answer: BinaryIO, verdict: dict[str, Any]) -> None:
    answer.write(json.dumps(verdict).encode() + b"\n")
    answer.flush()


def _send(answer: BinaryIO, table: Any) -> None:  # noqa: ANN401 - a pyarrow table, which is not loaded here
    import pyarrow.ipc  # noqa: PLC0415 - libraries are loaded under guard only

    with pyarrow.ipc.new_stream(answer, table.schema) as writer:
        writer.write_table(table)
    answer.flush()


# --- giving up rights -----------------------------------------------------------------------------------------


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _longs(*numbers: int) -> list[ctypes.c_long]:
    """Variadic C functions take whole registers: Python's plain integers would leave their upper half undefined."""
    return [ctypes.c_long(number) for number in numbers]


def lock_down(request: dict[str, Any]) -> list[str]:
    """Give up every right that reading does not need; return the guards that hold, as tried afterwards."""
    libc = _libc()
    wanted = request["guards"]
    for limit, value in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, request["cpu_seconds"])):
        resource.setrlimit(limit, (value, value))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, *_longs(1, 0, 0, 0))
    guards = []
    if "landlock" in wanted and landlock(libc, request["files"], request["libraries"]):
        guards.append("landlock")
    if "identity" in wanted and os.geteuid() == 0 and become_nobody(libc):
        guards.append("identity")
    libc.prctl(_PR_SET_PDEATHSIG, *_longs(signal.SIGKILL, 0, 0, 0))  # after the change of user, which clears it
    if os.getppid() != request["parent"]:
        raise Refusal("guard", "the program that asked is gone")
    if guards and not _can_write(request["files"], request["directory"]):
        return guards
    return ["copy"]


def become_nobody(libc: ctypes.CDLL) -> bool:
    """Become the user nobody with no capability but reading; ``False`` where the right to do so, or to read then, is missing."""
    reading = 1 << _CAP_DAC_READ_SEARCH
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    if libc.capget(header, held) != 0 or not struct.unpack("=6I", held.raw)[1] & reading:
        return False
    try:
        os.setgroups([])
        libc.prctl(_PR_SET_KEEPCAPS, *_longs(1, 0, 0, 0))
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        return False
    return bool(libc.capset(header, struct.pack("=6I", reading, reading, 0, 0, 0, 0)) == 0)


def landlock(libc: ctypes.CDLL, files: Iterable[str], libraries: Iterable[str]) -> bool:
    """Deny every file access but reading ``files`` and ``libraries``, for this thread and all it starts; ``False`` without landlock."""
    version = libc.syscall(*_longs(_SYS_LANDLOCK_CREATE, 0, 0, _LANDLOCK_ABI_FLAG))
    if version < 1:
        return False
    rights = sum(bits for since, bits in _FILE_RIGHTS if version >= since)
    network = _NETWORK_RIGHTS if version >= _NETWORK_ABI else 0
    scopes = _SCOPES if version >= _SCOPE_ABI else 0
    attributes = struct.pack("=QQQ", rights, network, scopes)  # an older kernel takes trailing zeros
    ruleset = libc.syscall(*_longs(_SYS_LANDLOCK_CREATE), attributes, *_longs(len(attributes), 0))
    if ruleset < 0:
        return False
    try:
        allowed = [(path, _READ_FILE) for path in (*files, *_MACHINE)] + [(path, _READ_FILE | _READ_DIR) for path in libraries]
        for path, access in allowed:
            _allow(libc, ruleset, path, access)
        return bool(libc.syscall(*_longs(_SYS_LANDLOCK_RESTRICT, ruleset, 0)) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    """Add one rule. A path that is gone gets none: it stays denied, and DuckDB will say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            access &= ~0 if Path(path).is_dir() else ~_READ_DIR
            rule = struct.pack("=Qi", access, descriptor)
            libc.syscall(*_longs(_SYS_LANDLOCK_ADD, ruleset, _RULE_PATH_BENEATH), rule, *_longs(0))
        finally:
            os.close(descriptor)


def _can_write(files: Iterable[str], directory: str) -> bool:
    """Try it: open every data file for writing (which changes nothing), and make a nameless file in the lake's directory."""
    attempts = [(path, os.O_WRONLY) for path in files] + [(directory, os.O_WRONLY | os.O_TMPFILE)]
    for path, flags in attempts:
        with contextlib.suppress(OSError):
            os.close(os.open(path, flags | os.O_CLOEXEC, 0o600))
            return True
    return False


# --- running --------------------------------------------------------------------------------------------------


def run(request: dict[str, Any], guards: list[str], own_size: int) -> Any:  # noqa: ANN401 - a pyarrow table, which is not loaded here
    """Define the views, lock DuckDB, and return the rows of the one statement. Raises ``Refusal``."""
    sys.path[:] = request["path"]
    import duckdb  # noqa: PLC0415 - libraries are loaded under guard only
    import pyarrow as pa  # noqa: F401, PLC0415 - before the memory limit counts

    most = _taken_bytes(own_size) + request["memory"]
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    connection: Any = duckdb.connect(":memory:", config=request["settings"])
    copying = guards == ["copy"]
    of_lake = request["copy" if copying else "setup"]
    allowed = "[]" if copying else request["allowed"]
    lock = (f"SET allowed_paths = {allowed}", "SET enable_external_access = false", "SET lock_configuration = true")
    with _explained(duckdb, "lake"):
        for statement in (*of_lake["first"], *of_lake["stored"]):
            connection.execute(statement)
        repeated = connection.execute(request["repeated"]).fetchall()
        for statement in (*of_lake["once" if repeated else "plain"], *request["views"], *lock):
            connection.execute(statement)
    check(connection, request["sql"])
    with _explained(duckdb, "sql"):
        relation = connection.sql(request["sql"])
        if relation is None:
            raise Refusal("refused", "this statement gives no rows")
        return relation.to_arrow_table()


@contextlib.contextmanager
def _explained(duckdb: Any, otherwise: str) -> Iterator[None]:  # noqa: ANN401 - the module, which is loaded late
    """Turn DuckDB's errors into a refusal of the kind they are, ``otherwise`` for those that mean nothing special."""
    try:
        yield
    except duckdb.Error as error:
        what = str(error)
        if isinstance(error, duckdb.PermissionException):
            raise Refusal("refused", what) from error
        short_of_memory = isinstance(error, duckdb.OutOfMemoryException) or any(word in what for word in _NO_MEMORY)
        raise Refusal("memory" if short_of_memory else otherwise, what) from error


def check(connection: Any, sql: str) -> None:  # noqa: ANN401 - DuckDB's connection, which is not loaded here
    """Refuse, with words, what is plainly no question. The guards hold without it: it cannot see into a CTE."""
    try:
        kinds = [statement.type.name for statement in connection.extract_statements(sql)]
    except ValueError as error:  # a kind of statement that the Python client has no name for
        raise Refusal("refused", f"only {_QUESTIONS} are questions") from error
    except Exception as error:  # a DuckDB parser error; its class is not loaded here
        raise Refusal("sql", str(error)) from error
    if len(kinds) != 1:
        raise Refusal("refused", f"one statement at a time, not {len(kinds)}" if kinds else "there is no statement")
    if kinds[0] not in _ALLOWED:
        raise Refusal("refused", f"{kinds[0]} statements; only {_QUESTIONS} are questions")


def _taken_bytes(own_size: int) -> int:
    """Address space that this process has taken before the query, in bytes."""
    return int(os.pread(own_size, 100, 0).split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
