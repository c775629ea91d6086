"""What may be used is asked of the kernel, what is used is stated, and nothing falls back in silence."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from collector.watch.probe import FANOTIFY, INOTIFY, NOT_COVERED, SURVEY_ONLY, choose, filesystem_type, probe
from linktrail.clock import SystemClock
from linktrail.errors import UsageError
from tests.needs import need
from tests.watch.tools import mounted, opened, plan, run, told, words


def test_inotify_is_stated_with_what_it_leaves_out(tmp_path: Path) -> None:
    """The default: complete as asked for, and honest about what it does not see."""
    choice = choose(INOTIFY, [tmp_path], clock=SystemClock())
    try:
        assert (choice.watcher.mode, choice.complete) == (INOTIFY, True)
        assert choice.statement.startswith("watching with inotify; not covered: changes inside the layers")
        choice.watcher.cover(plan(tmp_path, tmp_path))
        choice.watcher.start()
        (tmp_path / "x").mkdir()
        assert words(told(choice.watcher, tmp_path)) == [("x", "created")]
    finally:
        choice.watcher.stop()


def test_surveys_only_needs_nothing(tmp_path: Path) -> None:
    """It watches nothing, and says that nothing is watched."""
    choice = choose(SURVEY_ONLY, [tmp_path], clock=SystemClock())
    choice.watcher.start()
    choice.watcher.cover(plan(tmp_path, tmp_path))
    assert (choice.watcher.mode, choice.watcher.watches, choice.watcher.covered) == (SURVEY_ONLY, 0, frozenset())
    assert choice.watcher.take(0.01) == []
    assert "whatever begins and ends between two surveys" in choice.statement
    choice.watcher.stop()


def test_fanotify_is_granted_to_root(tmp_path: Path) -> None:
    """With the capabilities everything is covered."""
    need("root")
    opened().stop()
    choice = choose(FANOTIFY, [tmp_path], clock=SystemClock())
    try:
        assert (choice.watcher.mode, choice.complete, choice.statement) == (FANOTIFY, True, "watching with fanotify")
        assert [mode.refused for mode in probe([tmp_path])] == ["", "", ""]
    finally:
        choice.watcher.stop()


def test_a_root_that_is_not_there_yet_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """The engine may make it later."""
    assert [mode.refused for mode in probe([tmp_path / "later"]) if mode.name != FANOTIFY] == ["", ""]


UNPRIVILEGED = """
import sys
from pathlib import Path
from collector.watch.probe import choose, probe
from linktrail.clock import SystemClock
from tests.watch.tools import plan, told, words
root = Path(sys.argv[1])
print(*(f"{mode.name}: {mode.refused}" for mode in probe([root])), sep="\\n")
choice = choose("fanotify", [root], clock=SystemClock())
print(choice.watcher.mode, choice.complete, choice.statement)
choice.watcher.cover(plan(root, root / "private"))
choice.watcher.start()
(root / "private" / "x").mkdir()
print(words(told(choice.watcher, root / "private")), choice.watcher.uncovered)
choice.watcher.stop()
"""


def test_without_the_capabilities_it_falls_back_and_says_what_is_lost(tmp_path: Path) -> None:
    """CAP_DAC_READ_SEARCH alone: fanotify is refused with the reason, inotify watches even directories of mode 0700."""
    need("root")
    directory = tmp_path / "private"
    directory.mkdir(mode=0o700)
    all_but = "-all,+dac_read_search,+dac_override"
    command = ("setpriv", f"--bounding-set={all_but}", f"--inh-caps={all_but}", sys.executable, "-c", UNPRIVILEGED, str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert lines[:3] == ["fanotify: it needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH", "inotify: ", "survey-only: "]
    assert lines[3].startswith("inotify False watching with inotify; fanotify refused: it needs CAP_SYS_ADMIN")
    assert "not covered: changes inside the layers" in lines[3]
    assert lines[4] == "[('x', 'created')] ()"


READER = """
import sys
from pathlib import Path
from collector.watch.plain import InotifyWatcher
from linktrail.clock import SystemClock
from tests.watch.tools import plan
root = Path(sys.argv[1])
watcher = InotifyWatcher(clock=SystemClock())
watcher.cover(plan(root, root, root / "private"))
print([path.name for path in watcher.uncovered], [(loss.cause.value, loss.message) for loss in watcher.take(0)])
"""


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ("+dac_read_search", "[] []\n"),
        ("-all", "['private'] [('unreadable', '1 directories may not be watched: Permission denied')]\n"),
    ],
)
def test_the_default_mode_needs_dac_read_search_alone(capabilities: str, expected: str) -> None:
    """Another user with this one capability watches a store of root; without it the directory is a stated loss."""
    need("root")
    caps = f"-all,{capabilities}".removesuffix(",-all")
    who = ("--reuid=12345", "--regid=12345", "--clear-groups")
    may = (f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "private").mkdir(mode=0o700)
        command = ("setpriv", *who, *may, sys.executable, "-c", READER, str(root))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (expected, "")


def test_an_overlay_root_falls_back_with_the_reason(tmp_path: Path) -> None:
    """An overlay mount has no handles for fanotify; inotify works there, with its limit stated."""
    need("root")
    opened().stop()
    with mounted(tmp_path):
        for name in ("lower", "upper", "work", "merged"):
            (tmp_path / name).mkdir()
        merged = tmp_path / "merged"
        options = f"lowerdir={tmp_path / 'lower'},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", options, str(merged))
        try:
            choice = choose(FANOTIFY, [merged], clock=SystemClock())
            choice.watcher.stop()
            assert (choice.watcher.mode, choice.complete) == (INOTIFY, False)
            assert f"fanotify refused: {merged}: this filesystem has no handles" in choice.statement
            assert "is on an overlay" in choice.statement
        finally:
            run("umount", str(merged))


def test_the_filesystem_type_comes_from_the_mount_table(tmp_path: Path) -> None:
    """By device number; unknown when the table does not have it."""
    table = tmp_path / "mountinfo"
    device = tmp_path.stat().st_dev
    table.write_text(
        f"1 0 0:9999 / /x rw - ext4 a b\n2 0 {device >> 8 & 0xFFF}:{device & 0xFF} / /y rw shared:1 - nfs4 a b\n", encoding="ascii"
    )
    assert filesystem_type(tmp_path, table) in ("nfs4", None)
    assert filesystem_type(Path("/proc")) == "proc"
    assert filesystem_type(tmp_path / "nothing") is None
    assert filesystem_type(tmp_path, tmp_path / "nothing") is None


def test_a_store_on_a_network_filesystem_is_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other hosts' changes are never told by the kernel, in any mode."""
    monkeypatch.setattr("collector.watch.probe.filesystem_type", lambda _: "nfs4")
    choice = choose(INOTIFY, [tmp_path], clock=SystemClock())
    choice.watcher.stop()
    assert f"{tmp_path} is on nfs4: what other hosts change there, the kernel does not tell" in choice.statement


def test_an_unknown_mode_is_a_usage_error() -> None:
    """With the words that are known."""
    with pytest.raises(UsageError, match="unknown watch mode 'deep': one of inotify, fanotify, survey-only"):
        choose("deep", [], clock=SystemClock())


def test_every_mode_says_what_it_leaves_out() -> None:
    """The lists grow from the deepest mode to none."""
    assert NOT_COVERED[FANOTIFY] == ()
    assert set(NOT_COVERED[INOTIFY]) < set(NOT_COVERED[SURVEY_ONLY])
