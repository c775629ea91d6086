"""What each mode needs, shown with the real program: started with these capabilities and no others, on a store that only root may enter.

| mode | user | capabilities | call that needs it |
| --- | --- | --- | --- |
| inotify | any | CAP_DAC_READ_SEARCH | open(2) and inotify_add_watch(2) in directories of mode 0700 of somebody else |
| fanotify | any | the same, and CAP_SYS_ADMIN | fanotify_init(2) with an unlimited queue, fanotify_mark(2) of a filesystem |
| | | (CAP_DAC_READ_SEARCH) | open_by_handle_at(2) |
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.watch.probe import FANOTIFY, INOTIFY, probe
from linktrail.events import Row
from tests.mounts.spaces import Running
from tests.needs import need
from tests.recorder.support import spool_rows

SOMEBODY = 12345
SECONDS = 60
READ = "dac_read_search"
ADMIN = "sys_admin"


@pytest.fixture
def store(tmp_path: Path) -> Running:
    """Return a store of root with a container, closed to everybody else, down to the files; and a state directory of somebody."""
    need("root")
    for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent, tmp_path.parent.parent.parent):
        above.chmod(0o755)  # the way there is not what is asked about
    made = Running(tmp_path / "store")
    for directory, _, files in os.walk(made.root):
        Path(directory).chmod(0o700)
        for name in files:
            (Path(directory) / name).chmod(0o600)
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, SOMEBODY, SOMEBODY)
    return made


@contextmanager
def collecting(store: Running, mode: str, *capabilities: str) -> Iterator[Callable[[str], list[Row]]]:
    """Run ``linktrail collect`` as somebody with these capabilities alone; yield what returns the sealed rows of a table."""
    state = store.root.parent / "state"
    only = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    who = (f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups")
    may = (f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}", "--no-new-privs")
    program = (sys.executable, "-m", "linktrail", "collect", str(store.root), "--state", str(state), "--watch", mode, "--node", "n1")
    with subprocess.Popen(("setpriv", *who, *may, *program), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:

        def rows(table: str) -> list[Row]:
            assert process.poll() is None, process.stderr.read() if process.stderr else b""
            return [row for name, row in spool_rows(state / "spool") if name == table] if (state / "spool").is_dir() else []

        try:
            until(lambda: any(row["kind"] == "start" for row in rows("coverage")))
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert f"Uid:\t{SOMEBODY}\t" in status
            effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
            assert int(effective, 16).bit_count() == len(capabilities)
            yield rows
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


def until(reached: Callable[[], bool]) -> None:
    """Wait until that is so."""
    end = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.1)


def changed(rows: Callable[[str], list[Row]], kind: str, subject: str) -> bool:
    """Tell whether a link was told as created by the watch."""
    found = [row for row in rows("links") if (row["link_kind"], row["subject"], row["action"]) == (kind, subject, "created")]
    return any(row["origin"] == "watch" for row in found)


def test_the_default_mode_records_with_dac_read_search_alone(store: Running) -> None:
    """Links, records and layers are read, and changes heard, in directories of mode 0700 of root."""
    with collecting(store, INOTIFY, READ) as rows:
        assert {row["mode"] for row in rows("coverage")} == {INOTIFY}
        assert {"layer_record", "short_link", "link_file", "container_record"} <= {str(row["link_kind"]) for row in rows("links")}
        (store.overlay / "l" / ("A" * 26)).symlink_to("../nowhere/diff")
        until(lambda: changed(rows, "short_link", "A" * 26))
        assert not [row for row in rows("coverage") if row["kind"] == "gap"]
        until(lambda: any(row["scope"] == "layer" for row in rows("usage")))


def test_without_any_capability_it_says_what_it_needs(store: Running) -> None:
    """Not a stack trace: one error that names the capability."""
    state = store.root.parent / "state"
    who = (f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    readable = (sys.executable, "-c", "import sys")
    if subprocess.run(("setpriv", *who, *readable), capture_output=True, check=False).returncode:
        pytest.skip("this Python cannot be started by somebody else")
    program = (sys.executable, "-m", "linktrail", "collect", str(store.root), "--state", str(state))
    done = subprocess.run(("setpriv", *who, *program), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "CAP_DAC_READ_SEARCH" in done.stderr
    assert "Traceback" not in done.stderr


def deep_is_possible(where: Path) -> None:
    """Go on only where the kernel lets this process use the deep mode."""
    refused = next(found.refused for found in probe([where]) if found.name == FANOTIFY)
    if refused:
        pytest.skip(f"fanotify: {refused}")


def test_deep_mode_records_with_two_capabilities(store: Running) -> None:
    """CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH are all that it takes, also for what is inside layers."""
    deep_is_possible(store.root)
    with collecting(store, FANOTIFY, READ, ADMIN) as rows:
        assert {row["mode"] for row in rows("coverage")} == {FANOTIFY}
        time.sleep(1)
        (store.upper / "L").symlink_to("somewhere")
        until(lambda: any(row["subject"] == "/L" and row["target"] == "somewhere" for row in rows("links")))


@pytest.mark.parametrize("left", [READ])
def test_deep_mode_falls_back_without_sys_admin(store: Running, left: str) -> None:
    """The start row names the mode in use, why the deeper one was refused, and what is not covered."""
    deep_is_possible(store.root)
    with collecting(store, FANOTIFY, left) as rows:
        start = next(row for row in rows("coverage") if row["kind"] == "start")
        assert start["mode"] == INOTIFY
        assert "fanotify refused: it needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH" in str(start["message"])
        assert "changes inside the layers" in str(start["message"])
        (store.overlay / "l" / ("B" * 26)).symlink_to("../nowhere/diff")
        until(lambda: changed(rows, "short_link", "B" * 26))


WITHOUT_READ = """
import sys
from pathlib import Path
from collector.watch.probe import probe
print(*(f"{mode.name}: {mode.refused}" for mode in probe([Path(sys.argv[1])])), sep="\\n")
"""


def test_deep_mode_is_refused_without_dac_read_search(store: Running) -> None:
    """Root itself, owner of the store, but without the capability: open_by_handle_at says no, and the probe sees it."""
    deep_is_possible(store.root)
    only = "-all,+sys_admin"
    command = ("setpriv", f"--inh-caps={only}", f"--bounding-set={only}", sys.executable, "-c", WITHOUT_READ, str(store.root))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:2] == [f"fanotify: {store.root}: it needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH", "inotify: "]
