"""The program as a whole: real watch, real time, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.live import Status, StoreStatus, read_status, write_status
from collector.program import Options, collect
from collector.settings import Settings
from collector.spool import Spool
from collector.statements import UNREAD_VERSION
from collector.stores.containers_storage import DRIVER
from collector.watch.probe import FANOTIFY, INOTIFY, probe
from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from linktrail.errors import NoStoreError, SpoolLockedError, StateInStoreError, StateUnusableError
from tests.recorder.child import FAST
from tests.recorder.playground import Playground, layer_id, short_name
from tests.recorder.support import bounds, fold, number, of_link, plain, spool_rows
from tests.stores import unpack


class Running:
    """The program in a thread."""

    def __init__(self, root: Path, state: Path, settings: Settings = FAST, watch: str = "inotify") -> None:
        self.state = state
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(root, Options(node="n1", settings=settings, watch=watch)))
        self._thread.start()

    def _run(self, root: Path, options: Options) -> None:
        try:
            collect([root], self.state, options, stop=self._stop)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error

    def wait(self, seconds: float = 20, *, findings: int = 0) -> Status:
        """Wait until the status says that nothing from before now is missing, nothing waits to be sealed, and so much is found."""
        begun = time.time_ns()
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.error is None:
            status = read_status(self.state)
            read = status is not None and status.stores and (status.stores[0].vouched or 0) > begun and not status.rows_waiting
            if status is not None and read and status.findings >= findings:
                return status
            time.sleep(0.02)
        raise AssertionError(f"never settled: {self.error}")

    def stop(self) -> None:
        """Stop it and raise what it raised."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error


@pytest.fixture(params=[INOTIFY, FANOTIFY])
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Playground, Running]]:
    """A store and the program recording it, in each mode that this process may use."""
    store = Playground.filled(tmp_path / "store", layers=4)
    refused = {mode.name: mode.refused for mode in probe([store.root])}[request.param]
    if refused:
        pytest.skip(f"{request.param}: {refused}")
    program = Running(store.root, tmp_path / "state", watch=request.param)
    program.wait()
    yield store, program
    program._stop.set()
    program._thread.join()


def test_real_changes_in_real_time(running: tuple[Playground, Running]) -> None:
    """Every change lies in its interval, and the intervals are narrow: a watch is not a survey."""
    store, program = running
    truth = []
    for index in range(30):
        begun = time.time_ns()
        store.link(short_name(500 + index), f"../{layer_id(0)}/diff")
        truth.append((short_name(500 + index), begun, time.time_ns()))
        time.sleep(0.01 if index % 3 else 0)
    program.wait()
    program.stop()
    rows = [row for table, row in spool_rows(program.state / "spool") if table == "links"]
    widths = []
    for name, begun, done in truth:
        [row] = of_link(rows, name)
        after, before = bounds(row)
        assert (row["action"], row["origin"]) == ("created", "watch")
        assert after <= done
        assert before >= begun
        widths.append(before - after)
    assert sorted(widths)[len(widths) // 2] < 200_000_000, "half of them within 0.2 s"


def test_short_lived_layer(running: tuple[Playground, Running]) -> None:
    """A layer that lives for an instant, as a failed pull leaves none behind: both ends of it are recorded."""
    store, program = running
    store.add_layer(30, parent=3)
    store.remove_layer(30)
    program.wait()
    program.stop()
    rows = [row for table, row in spool_rows(program.state / "spool") if table == "links"]
    for subject, kind in ((layer_id(30), "layer_directory"), (short_name(30), "short_link")):
        mine = [row["action"] for row in of_link(rows, subject) if row["link_kind"] == kind]
        assert mine == ["created", "removed"], kind


def test_the_spool_is_the_store(running: tuple[Playground, Running]) -> None:
    """Pulls and removals: the fold of the rows is what a reading finds."""
    store, program = running
    for index in range(40, 48):
        store.add_layer(index, parent=3)
    store.add_image("extra", 44)
    for index in range(45, 48):
        store.remove_layer(index)
    program.wait()
    program.stop()
    told = spool_rows(program.state / "spool")
    survey = DRIVER.survey(store.root, clock=SystemClock())
    assert plain(fold([row for table, row in told if table == "links"])) == plain(survey.links)
    gaps = {row["cause"] for table, row in told if table == "coverage" and row["kind"] == "gap"}
    assert gaps <= {UNREAD_VERSION}, "no engine replaces its files so fast"


def test_live_status(running: tuple[Playground, Running]) -> None:
    """What the live view shows: the store, what is open, how it is watched."""
    store, program = running
    store.unlink(short_name(1))
    status = program.wait(findings=1)
    [shown] = status.stores
    assert (shown.root, shown.kind, shown.layers, shown.images) == (str(store.root), "containers_storage", 4, 1)
    assert shown.links == len(fold([row for table, row in spool_rows(program.state / "spool") if table == "links"]))
    assert (shown.findings, status.findings) == ({"error": 1}, 1)
    assert (status.state, status.pid) == ("recording", os.getpid())
    assert status.mode in status.statement
    assert status.watches > 0
    assert status.spool_bytes > 0
    assert status.gaps == 0
    program.stop()
    stopped = read_status(program.state)
    assert stopped is not None
    assert stopped.state == "stopped"


def test_no_status_yet(tmp_path: Path) -> None:
    """No collector has run here."""
    assert read_status(tmp_path) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'{"format": 1}', b'{"format": 2, "stores": []}', b"\xff", b'{"stores": 1, "format": 1}']
)
def test_a_damaged_status_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    """A file that is no status is named, not tripped over."""
    (tmp_path / "status.json").write_bytes(content)
    with pytest.raises(StateUnusableError, match=r"status\.json"):
        read_status(tmp_path)


def test_status_comes_back_as_written(tmp_path: Path) -> None:
    """Names that are not UTF-8 and all."""
    store = StoreStatus(root="/r\\xff", kind="containers_storage", findings={"critical": 2}, down="gone \u202e")
    status = Status(run="r", pid=1, version="0", started_at=1, updated_at=2, stores=(store,))
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status


# --- the process ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number_of_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_clean_stop(tmp_path: Path, number_of_signal: signal.Signals) -> None:
    """Exit code 0, everything sealed, a stop row last, and the ledger written."""
    store = Playground.filled(tmp_path / "store")
    command = [sys.executable, "-m", "linktrail", "collect", str(store.root), "--state", str(tmp_path / "state"), "--node", "n7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for _ in range(400):
            time.sleep(0.05)
            if (tmp_path / "state/status.json").exists():
                break
        store.link(short_name(900), "../x/diff")
        process.send_signal(number_of_signal)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")
    started, stopped = err.splitlines()
    assert b" INFO collector.program: recording 1 stores (" in started
    assert stopped.endswith(b"stopped; everything that was seen is sealed")
    told = spool_rows(tmp_path / "state/spool")
    assert told[-1][1]["kind"] == "stop"
    assert {row["node"] for _, row in told} == {"n7"}
    assert [row["action"] for row in of_link([row for table, row in told if table == "links"], short_name(900))] == ["created"]
    assert (tmp_path / "state/ledger").exists()
    status = json.loads((tmp_path / "state/status.json").read_text())
    assert status["state"] == "stopped"


def test_once_reads_measures_and_ends(tmp_path: Path) -> None:
    """``--once`` on a damaged store: the graph, its findings and sizes are in the spool; a second time adds nothing but that."""
    root = unpack("e00_healthy", tmp_path)
    short = next((root / "overlay/l").iterdir())
    short.unlink()
    state = tmp_path / "state"
    assert collect([root], state, Options(node="n1", once=True)) == 0
    told = spool_rows(state / "spool")
    assert [row["kind"] for table, row in told if table == "coverage"] == ["start", "stop"]
    assert {row["mode"] for table, row in told if table == "coverage"} == {"survey-only"}
    assert [row["code"] for table, row in told if table == "findings"] == ["short-link-missing"]
    assert [row["scope"] for table, row in told if table == "usage"].count("layer") == len(list((root / "overlay").glob("?" * 64)))
    links = [row for table, row in told if table == "links"]
    assert collect([root], state, Options(node="n1", once=True)) == 0
    again = spool_rows(state / "spool")
    assert [row for table, row in again if table == "links"] == links
    assert [row["kind"] for table, row in again if table == "coverage"] == ["start", "stop", "gap", "start", "stop"]


def test_errors_name_what_and_where(tmp_path: Path) -> None:
    """No store, a state directory inside the store, one that is a file, a spool in use: one clear error each, nothing left running."""
    store = Playground.filled(tmp_path / "store")
    with pytest.raises(NoStoreError, match="nowhere"):
        collect([tmp_path / "nowhere"], tmp_path / "state", Options())
    (tmp_path / "other").mkdir()
    with pytest.raises(NoStoreError, match="layout"):
        collect([tmp_path / "other"], tmp_path / "state", Options())
    with pytest.raises(StateInStoreError):
        collect([store.root], store.root / "overlay/state", Options())
    (tmp_path / "file").touch()
    with pytest.raises(StateUnusableError, match="file"):
        collect([store.root], tmp_path / "file/state", Options())
    spool = Spool.open(tmp_path / "state/spool", filesystem=LocalFileSystem(), clock=SystemClock(), cluster="", node="other")
    with pytest.raises(SpoolLockedError):
        collect([store.root], tmp_path / "state", Options())
    spool.close()
    assert collect([store.root], tmp_path / "state", Options(once=True)) == 0


def test_the_store_is_only_read(tmp_path: Path) -> None:
    """Recording leaves no trace in a store: no name, no time but that of links read, no byte."""
    store = Playground.filled(tmp_path / "store")

    def traces() -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for directory, names, files in os.walk(store.root):
            for name in [".", *names, *files]:
                facts = (Path(directory) / name).lstat()
                found[f"{directory}/{name}"] = (
                    facts.st_ino,
                    facts.st_mode,
                    facts.st_nlink,
                    facts.st_size,
                    facts.st_mtime_ns,
                    facts.st_ctime_ns,
                )
        return found

    before = traces()
    program = Running(store.root, tmp_path / "state")
    program.wait()
    program.stop()
    assert traces() == before


def test_two_names_of_one_store_are_one(tmp_path: Path) -> None:
    """A root and a link to it are recorded once, under the first name."""
    store = Playground.filled(tmp_path / "store")
    (tmp_path / "alias").symlink_to(store.root)
    assert collect([tmp_path / "alias", store.root], tmp_path / "state", Options(once=True)) == 0
    roots = {row["store_root"] for _, row in spool_rows(tmp_path / "state/spool")}
    assert roots == {str(tmp_path / "alias")}


def test_a_root_that_is_a_link_is_watched(tmp_path: Path) -> None:
    """Events come under the real path; the rows stand under the name that was given."""
    store = Playground.filled(tmp_path / "store")
    (tmp_path / "alias").symlink_to(store.root)
    program = Running(tmp_path / "alias", tmp_path / "state")
    program.wait()
    store.link(short_name(900), "../x/diff")
    store.unlink(short_name(900))
    program.wait()
    program.stop()
    rows = of_link([row for table, row in spool_rows(tmp_path / "state/spool") if table == "links"], short_name(900))
    assert [row["action"] for row in rows] == ["created", "removed"]
    assert all(number(row, "occurred_before") for row in rows)


def test_a_root_link_that_leads_elsewhere(tmp_path: Path) -> None:
    """The name of the root is given to another store: it is read, its links replace the old ones, and it is watched."""
    first, second = Playground.filled(tmp_path / "first", layers=2), Playground.filled(tmp_path / "second", layers=4)
    alias = tmp_path / "alias"
    alias.symlink_to(first.root)
    program = Running(alias, tmp_path / "state", settings=replace(FAST, survey_interval=0.5))
    program.wait()
    (tmp_path / "new").symlink_to(second.root)
    (tmp_path / "new").replace(alias)
    program.wait()
    time.sleep(0.6)
    second.link(short_name(900), "../x/diff")
    second.unlink(short_name(900))
    program.wait()
    program.stop()
    rows = [row for table, row in spool_rows(tmp_path / "state/spool") if table == "links"]
    assert plain(fold(rows)) == plain(DRIVER.survey(alias, clock=SystemClock()).links)
    assert [row["action"] for row in of_link(rows, short_name(900))] == ["created", "removed"]
    [moved] = [row for row in rows if row["link_kind"] == "store_root" and row["action"] == "retargeted"]
    assert (moved["previous_target"], moved["target"]) == (str(first.root), str(second.root))
