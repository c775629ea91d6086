from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from linktrail.errors import LakeError, QueryError, QueryLimitError, QueryRefusedError
from queries import sandbox, sandbox_child
from queries.sandbox import GUARDS, MIB, Limits, run_sql
from queries.snapshot import LakeFiles, read_lake
from tests.needs import in_ci, need
from tests.queries.story import write_story
from tests.queries.test_engine import fingerprint

SMALL = Limits(seconds=60, memory=1024 * MIB)
EACH_GUARD = [("landlock",), ("identity",), ()]


def need_guard(guards: tuple[str, ...]) -> None:
    """Go on only where this machine has the guards."""
    if "identity" in guards:
        need("root")
    if "landlock" in guards and not _landlock_version():
        reason = "needs a kernel with landlock"
        if in_ci():
            pytest.fail(reason)
        pytest.skip(reason)


def _landlock_version() -> int:
    return max(0, int(ctypes.CDLL(None).syscall(444, None, ctypes.c_long(0), ctypes.c_long(1))))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LakeFiles:
    """A lake that only its owner may enter, as the processor of root makes it."""
    path = write_story(tmp_path_factory.mktemp("sandbox") / "lake")
    path.chmod(0o700)
    return read_lake(path, memory_rows=0)


@pytest.fixture
def untouched(lake: LakeFiles) -> Iterator[None]:
    """Nothing in or beside the lake changes, whatever is tried."""
    before = fingerprint(lake.path.parent)
    yield
    assert fingerprint(lake.path.parent) == before


# --- what it is for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guards", [GUARDS, *EACH_GUARD], ids=lambda guards: "+".join(guards) or "copy")
def test_questions_are_answered_under_every_guard(lake: LakeFiles, guards: tuple[str, ...]) -> None:
    """A private lake is read as another user, under landlock, and as a copy; and the outcome says what held."""
    if guards != GUARDS:
        need_guard(guards)
    outcome = run_sql(lake, "SELECT code, bytes, observed_at FROM findings_at('2026-11-23 16:31:30')", SMALL, guards=guards)
    assert outcome.rows.to_pylist()[0]["bytes"] == 12_000_000
    assert str(outcome.rows.schema.field("observed_at").type) == "timestamp[us, tz=UTC]"
    if guards != GUARDS:
        assert outcome.guards == (guards or ("copy",))
    elif os.geteuid() == 0 and _landlock_version():
        assert outcome.guards == GUARDS


@pytest.mark.parametrize("sql", ["DESCRIBE links", "SUMMARIZE findings", "PIVOT findings ON action USING count(*)", "EXPLAIN FROM links"])
def test_other_questions_than_select(lake: LakeFiles, sql: str) -> None:
    """What only looks is allowed."""
    assert run_sql(lake, sql, SMALL).rows.num_columns


def test_wrong_sql_says_where(lake: LakeFiles) -> None:
    """The message of DuckDB, on one line, exit code 1."""
    with pytest.raises(QueryError, match="nothere") as caught:
        run_sql(lake, "SELECT nothere\nFROM links", SMALL)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1


def test_a_file_that_is_gone_is_a_lake_error(tmp_path: Path) -> None:
    """Damage of the lake is not blamed on the question."""
    path = write_story(tmp_path / "lake")
    files = read_lake(path)
    next((path / "links").rglob("*.parquet")).unlink()
    with pytest.raises(LakeError):
        run_sql(files, "FROM links", SMALL)


# --- escapes ----------------------------------------------------------------------------------------------------

WRITES = [
    "WITH x AS (COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)) SELECT 1",
    "WITH x AS (COPY (SELECT 1) TO '{file}' (FORMAT parquet)) FROM x",
    "WITH x AS (COPY (SELECT 1) TO '{lake}/new.csv' (USE_TMP_FILE false)) SELECT 1",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/../escape.csv'",
]
READS = [
    "FROM read_csv('/etc/passwd')",
    "SELECT content FROM read_text('/proc/self/environ')",
    "FROM read_blob('{lake}/links/_delta_log/00000000000000000000.json')",
    "FROM glob('{lake}/*')",
    "FROM read_parquet('{lake}/links/*/*.parquet')",
    "FROM '/etc/hostname.csv'",
    "FROM read_json('https://example.org/x.json')",
]
OUTGROWING = [
    "SELECT list_sort(range(200000000))",
    "SELECT count(*) FROM (SELECT unnest(range(1000000000)))",
    "SELECT range(1000000000)",
]
NO_QUESTIONS = [
    "ATTACH '{lake}/new.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "COPY links TO '{lake}/escape.csv'",
    "EXPORT DATABASE '{lake}/escape'",
    "CREATE TABLE x AS SELECT 1",
    "DROP VIEW links",
    "DELETE FROM lake.repeated",
    "PREPARE x AS SELECT 1",
    "USE memory.lake",
    "CHECKPOINT",
    "BEGIN",
    "CONNECT 'x'",
    "SELECT 1; SELECT 2",
    "",
    "-- nothing",
]


def filled(sql: str, lake: LakeFiles) -> str:
    """Put the paths of the lake into an attempt."""
    return sql.format(file=lake.tables["links"].files[0], lake=lake.path)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("guards", EACH_GUARD, ids=lambda guards: "+".join(guards) or "copy")
@pytest.mark.parametrize("sql", WRITES[:3])
def test_no_guard_alone_lets_sql_write(lake: LakeFiles, sql: str, guards: tuple[str, ...]) -> None:
    """DuckDB lets COPY in a CTE overwrite any file it may read; each guard stops it, by itself."""
    need_guard(guards)
    with pytest.raises(QueryError):
        run_sql(lake, filled(sql, lake), SMALL, guards=guards)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("sql", [*WRITES[3:], *READS])
def test_files_are_out_of_reach(lake: LakeFiles, sql: str) -> None:
    """Nothing is written, and nothing is read but the data files of the lake."""
    with pytest.raises(QueryError):
        run_sql(lake, filled(sql, lake), SMALL)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("sql", ["ATTACH '{lake}/new.db'", "SET enable_external_access = true", "INSTALL httpfs"])
def test_statements_that_are_no_question_are_refused(lake: LakeFiles, sql: str) -> None:
    """Exit code 2, and the message names what is allowed."""
    with pytest.raises(QueryRefusedError, match="SELECT") as caught:
        run_sql(lake, filled(sql, lake), SMALL)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("sql", NO_QUESTIONS)
def test_the_filter_knows_what_is_no_question(sql: str) -> None:
    """The first line, without a process: everything that is not one question."""
    with duckdb.connect() as connection, pytest.raises(sandbox_child.Refusal) as caught:
        sandbox_child.check(connection, sql.format(lake="/x"))
    assert caught.value.kind in {"refused", "sql"}


@pytest.mark.parametrize("setting", ["allowed_paths", "enable_external_access", "lock_configuration"])
def test_the_settings_are_locked(lake: LakeFiles, setting: str) -> None:
    """What the guards rest on inside DuckDB, as the query itself sees it."""
    shown = run_sql(lake, f"SELECT current_setting('{setting}')::VARCHAR AS value", SMALL).rows.to_pylist()[0]["value"]
    assert {"enable_external_access": "false", "lock_configuration": "true"}.get(setting, lake.files[0]) in shown


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("sql", OUTGROWING)
def test_memory_is_limited_whatever_the_query(lake: LakeFiles, sql: str) -> None:
    """Queries that outgrow DuckDB's own limit by gigabytes end at once, with the option that allows more."""
    started = time.monotonic()
    with pytest.raises(QueryLimitError, match="--memory"):
        run_sql(lake, sql, SMALL)
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("untouched")
def test_the_deadline_is_kept(lake: LakeFiles) -> None:
    """A query without end is killed, and no process is left."""
    started = time.monotonic()
    with pytest.raises(QueryLimitError, match="--timeout"):
        run_sql(lake, "SELECT count(*) FROM range(100000000000) a, range(1000000) b", Limits(1.0, SMALL.memory))
    assert time.monotonic() - started < 15
    assert not children()


def test_large_answers_come_whole(lake: LakeFiles) -> None:
    """More rows than a pipe holds."""
    rows = run_sql(lake, "SELECT i, repeat('x', 20) AS text FROM range(300000) t(i)", SMALL).rows
    assert rows.num_rows == 300_000


@pytest.mark.parametrize(
    ("code", "complaint", "kind"),
    [(-signal.SIGABRT, b"terminate called", QueryLimitError), (-signal.SIGXCPU, b"", QueryLimitError), (1, b"MemoryError", QueryLimitError),
     (1, b"Traceback\nImportError: no duckdb", QueryError), (3, b"", QueryError)],
)  # fmt: skip
def test_a_child_that_dies_is_explained(code: int, complaint: bytes, kind: type[QueryError]) -> None:
    """However the process ends, it is one error."""
    assert type(sandbox._died(SMALL, code, complaint)) is kind


def children() -> list[str]:
    """Return the sandbox processes of this process."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{os.getpid()}\n" in status.read_text() and b"sandbox_child" in (status.parent / "cmdline").read_bytes():
                found.append(status.parent.name)
        except OSError:
            continue  # it ended meanwhile
    return found


# --- the guards themselves, without DuckDB ----------------------------------------------------------------------

ATTEMPTS = """
import json, os, socket, sys
sys.path.insert(0, {directory!r})
import sandbox_child
request = json.load(sys.stdin)
request["parent"] = os.getppid()
listening = request["port"]
held = sandbox_child.lock_down(request)
lake, file, own = request["directory"], request["files"][0], request["own"]

def tried(act):
    try:
        act()
    except OSError as error:
        return error.errno
    return 0

results = {{
    "read": tried(lambda: open(file, "rb").read(4)),
    "append": tried(lambda: open(file, "ab")),
    "truncate": tried(lambda: os.truncate(file, 0)),
    "create": tried(lambda: open(lake + "/new", "xb")),
    "unlink": tried(lambda: os.unlink(file)),
    "rename": tried(lambda: os.rename(file, file + ".x")),
    "link": tried(lambda: os.link(file, lake + "/hard")),
    "symlink": tried(lambda: os.symlink(file, lake + "/soft")),
    "mkdir": tried(lambda: os.mkdir(lake + "/directory")),
    "own": tried(lambda: open(own, "wb").write(b"x")),
    "other": tried(lambda: open("/etc/passwd").read()),
    "connect": tried(lambda: socket.create_connection(("127.0.0.1", listening), 2).close()),
    "grow": tried(lambda: os.pwrite(request["descriptor"], b"more", 0)),
}}
tasks = [open(f"/proc/self/task/{{task}}/status").read() for task in os.listdir("/proc/self/task")] if "landlock" not in held else []
capabilities = [line.split()[1] for text in tasks for line in text.splitlines() if line.startswith(("CapEff", "CapPrm", "CapAmb"))]
print(json.dumps({{"held": held, "results": results, "uid": os.getresuid(), "capabilities": capabilities}}))
"""


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("guard", ["landlock", "identity"])
def test_a_guard_denies_every_way_to_write(lake: LakeFiles, tmp_path: Path, guard: str) -> None:
    """Not SQL but the system calls: after the guard, only reading the data files is left."""
    need_guard((guard,))
    own = lake.path.parent / "own"
    descriptor = os.open(tmp_path / "open", os.O_RDWR | os.O_CREAT)
    with socket.create_server(("127.0.0.1", 0)) as server:
        request = {**sandbox._request(lake, "", SMALL, [guard]), "own": str(own), "port": server.getsockname()[1], "descriptor": descriptor}
        program = textwrap.dedent(ATTEMPTS).format(directory=str(Path(sandbox_child.__file__).parent))
        command = [sys.executable, "-c", program]
        text = json.dumps(request)
        done = subprocess.run(command, input=text, capture_output=True, text=True, pass_fds=[descriptor], check=False, timeout=60)
    os.close(descriptor)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["held"] == [guard]
    allowed = {"read"} if guard == "landlock" else {"read", "other", "connect"}
    assert {name for name, failed in told["results"].items() if not failed} == allowed
    if guard == "identity":
        assert told["uid"] == [sandbox_child.NOBODY] * 3
        assert {int(mask, 16) for mask in told["capabilities"]} <= {0, 1 << 2}


def test_without_a_guard_the_child_notices(lake: LakeFiles) -> None:
    """It tries whether it could write, and then reads the lake into memory before DuckDB loses every file."""
    if os.geteuid() != 0 and not os.access(lake.path, os.W_OK):
        pytest.fail("the lake of this test belongs to this user")
    assert sandbox_child._can_write(lake.files, str(lake.path))
    assert run_sql(lake, "SELECT count(*) AS n FROM links", SMALL, guards=()).guards == ("copy",)


def test_the_environment_of_the_child_is_bare(lake: LakeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret of the caller reaches the process that runs SQL."""
    monkeypatch.setenv("LINKTRAIL_SECRET", "hunter2")
    assert "LINKTRAIL_SECRET" not in sandbox._ENVIRONMENT
    assert "hunter2" not in json.dumps(sandbox._request(lake, "SELECT 1", SMALL, GUARDS))


def test_interrupting_ends_the_child(lake: LakeFiles) -> None:
    """Ctrl-C while a query runs leaves no process behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite that was started in the background ignores it
    try:
        timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run_sql(lake, "SELECT count(*) FROM range(100000000000) a, range(1000000) b", Limits(60, SMALL.memory))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not children()
