"""The plan is made true: no link followed, no budget exceeded, nothing claimed that is not watched."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.stores.protocol import Purpose, WatchItem, WatchPlan
from collector.watch.interface import Cause
from collector.watch.limits import Budget, Limits, held_by_others, read_limits
from collector.watch.plain import InotifyWatcher
from linktrail.clock import NANOSECONDS, Instant, SystemClock
from linktrail.errors import WatchError
from tests.needs import need
from tests.watch.conftest import Start
from tests.watch.tools import ShiftedClock, loss_told, losses_of, plan, quiet, reports_until, told, words


def test_a_planted_link_is_not_followed(watching: Start, tmp_path: Path) -> None:
    """Neither as the last step nor in the middle: what it points to is not watched, and that is no loss."""
    secret = tmp_path / "secret"
    (secret / "inner").mkdir(parents=True)
    root = tmp_path / "store"
    root.mkdir()
    (root / "last").symlink_to(secret)
    (root / "middle").symlink_to(secret)
    (root / "file").write_text("x", encoding="ascii")
    missing = (root / "last", root / "middle" / "inner", root / "file", root / "nowhere", tmp_path / "secret")
    watcher = watching(root, *missing[:4], root=root)
    assert watcher.covered == {root}
    (secret / "inner" / "x").mkdir()
    (secret / "y").mkdir()
    assert quiet(watcher, 0.2) == []


def test_what_lies_outside_the_root_is_refused(watching: Start, tmp_path: Path) -> None:
    """A plan is of one root."""
    root, other = tmp_path / "store", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    watcher = watching(root, other, root=root)
    assert watcher.covered == {root}
    assert watcher.uncovered == (other,)
    assert loss_told(watcher, Cause.UNREADABLE).paths == (other,)


def test_covering_the_same_plan_again_changes_nothing(watching: Start, tmp_path: Path) -> None:
    """Idempotent: the same kernel watches, no events, no losses."""
    layer = tmp_path / "layer"
    layer.mkdir()
    watcher = watching(tmp_path, layer)
    before = dict(watcher._table.by_descriptor)
    for _ in range(5):
        watcher.cover(plan(tmp_path, tmp_path, layer))
    assert watcher._table.by_descriptor == before
    assert quiet(watcher, 0.2) == []


def test_a_changed_purpose_changes_the_mask(watching: Start, tmp_path: Path) -> None:
    """The same directory may be wanted for something else later."""
    watcher = watching()
    watcher.cover(WatchPlan(tmp_path, (WatchItem(tmp_path, Purpose.PLUMBING),)))
    assert watcher.watches == 1
    (tmp_path / "f").write_text("x", encoding="ascii")
    assert words(told(watcher, tmp_path)) == [("f", "created")]
    watcher.cover(WatchPlan(tmp_path, (WatchItem(tmp_path, Purpose.METADATA),)))
    (tmp_path / "f").write_text("yy", encoding="ascii")
    assert ("f", "modified") in words(told(watcher, tmp_path))


def test_watching_leaves_no_trace_on_the_disk(watching: Start, tmp_path: Path) -> None:
    """Neither times nor content of what is watched change."""
    layer = tmp_path / "layer"
    layer.mkdir()
    os.utime(layer, ns=(1, 2))
    before = layer.stat()
    watching(tmp_path, layer)
    after = layer.stat()
    assert (before.st_atime_ns, before.st_mtime_ns, before.st_ctime_ns) == (after.st_atime_ns, after.st_mtime_ns, after.st_ctime_ns)


def test_beyond_the_budget_the_plans_order_decides_and_the_rest_is_a_loss(watching: Start, tmp_path: Path) -> None:
    """100 directories, 40 allowed in all, an eighth of them free and ten taken by others: 25 watched, 75 stated."""
    directories = [tmp_path / f"d{number:03}" for number in range(100)]
    for directory in directories:
        directory.mkdir()
    budget = Budget(lambda: Limits(40, 128, 16_384), lambda: 10)
    watcher = watching(*directories, budget=budget)
    assert watcher.covered == set(directories[:25])
    loss = loss_told(watcher, Cause.WATCH_BUDGET)
    assert loss.paths == tuple(directories[25:])
    assert "75 of 100 directories" in loss.message
    assert "max_user_watches is 40, others of this user hold 10" in loss.message
    watcher.cover(plan(tmp_path, *directories))
    assert quiet(watcher, 0.2) == [], "stated already"


def test_a_standing_loss_is_stated_again_and_has_no_holes(watching: Start, tmp_path: Path) -> None:
    """Every minute, and once more when it is over: each statement begins where the one before ended."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    directories = [tmp_path / name for name in ("a", "b", "c")]
    limit = [Limits(16, 1, 1)]
    clock = ShiftedClock()
    watcher = watching(*directories, clock=clock, budget=Budget(lambda: limit[0], lambda: 12), restate_seconds=0.2)
    found = losses_of(reports_until(watcher, lambda reports: len(losses_of(reports)) >= 3))
    limit[0] = Limits(1000, 1, 1)
    watcher.cover(plan(tmp_path, *directories))
    found += [loss for loss in losses_of(quiet(watcher)) if loss.cause is Cause.WATCH_BUDGET]
    assert {loss.cause for loss in found} == {Cause.WATCH_BUDGET}
    assert {loss.paths for loss in found} == {(tmp_path / "c",)}
    for earlier, later in itertools.pairwise(found):
        assert later.after.monotonic == earlier.before.monotonic
    assert watcher.uncovered == ()
    assert watcher.covered == set(directories)


SMALL_USER_NAMESPACE = """
import sys
from pathlib import Path
Path("/proc/sys/user/max_inotify_watches").write_text("40")
from collector.watch.interface import Loss
from collector.watch.limits import Budget, Limits
from collector.watch.plain import InotifyWatcher
from linktrail.clock import SystemClock
from tests.watch.tools import plan
root = Path(sys.argv[1])
directories = [root / f"d{number:03}" for number in range(100)]
for directory in directories:
    directory.mkdir()
blind = Budget(lambda: Limits(192536, 128, 16384), lambda: 0)
watcher = InotifyWatcher(clock=SystemClock(), budget=blind if sys.argv[2] == "blind" else Budget(others=lambda: 0))
watcher.cover(plan(root, *directories))
(loss,) = watcher.take(0)
assert isinstance(loss, Loss)
assert watcher.covered | set(loss.paths) == set(directories)
assert watcher.covered == set(directories[:watcher.watches])
print(loss.cause.value, watcher.watches)
"""


@pytest.mark.parametrize(("sight", "watched"), [("blind", "40"), ("seeing", "35")])
def test_the_kernels_own_limit(tmp_path: Path, sight: str, watched: str) -> None:
    """A user namespace with 40 watches: asked before (an eighth stays free), or met as ENOSPC when the numbers were wrong."""
    need("root")
    tmp_path.chmod(0o777)
    command = ("unshare", "--user", "--map-root-user", sys.executable, "-c", SMALL_USER_NAMESPACE, str(tmp_path), sight)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"watch-budget {watched}\n", "")


def test_the_limits_are_the_least_of_what_the_kernel_says(tmp_path: Path) -> None:
    """Per user and per user namespace; unreadable numbers count as the kernel's smallest defaults."""
    assert read_limits(tmp_path) == Limits(8192, 128, 16_384)
    for name, value in {
        "fs/inotify/max_user_watches": "5000",
        "user/max_inotify_watches": "700",
        "fs/inotify/max_queued_events": "9",
    }.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n", encoding="ascii")
    assert read_limits(tmp_path) == Limits(700, 128, 9)
    real = read_limits()
    assert real.watches > 0
    assert real.queued > 0


def test_the_watches_of_other_processes_are_counted(watching: Start, tmp_path: Path) -> None:
    """Counted from outside, in another process of the same user; our own do not count as others'."""
    before = held_by_others()
    script = "import sys; from tests.watch.test_watches import hold; hold(sys.argv[1])"
    with subprocess.Popen((sys.executable, "-c", script, str(tmp_path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        watching(tmp_path)
        assert held_by_others() >= before + 3 or held_by_others() >= 3, "three more, unless others let go meanwhile"
        assert other.stdin is not None
        other.stdin.close()
        assert other.wait(10) == 0


def hold(directory: str) -> None:
    """Hold three watches until standard input ends."""
    root = Path(directory)
    names = [root / name for name in ("1", "2", "3")]
    for name in names:
        name.mkdir()
    watcher = InotifyWatcher(clock=SystemClock())
    watcher.cover(plan(root, *names))
    print("holding", flush=True)
    sys.stdin.read()
    watcher.stop()


def test_a_small_plan_never_counts_others() -> None:
    """Up to an eighth of the limit nobody is asked: on most nodes nothing else of /proc is read."""
    asked: list[int] = []

    def others() -> int:
        asked.append(1)
        return 50

    budget = Budget(lambda: Limits(800, 1, 1), others)
    now = Instant(0, 0)
    assert budget.allows(100, now) == 100
    assert not asked
    assert budget.allows(10_000, now) == 650
    assert budget.allows(10_000, now) == 650
    assert len(asked) == 1
    assert budget.allows(10_000, Instant(0, 301 * NANOSECONDS)) == 650
    assert len(asked) == 2


def test_others_that_took_everything_leave_us_an_eighth() -> None:
    """A number that is out of date must not blind us: the kernel has the last word."""
    assert Budget(lambda: Limits(800, 1, 1), lambda: 5000).allows(400, Instant(0, 0)) == 100


def test_no_instance_left_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMFILE is an error of linktrail with the numbers in it, not a traceback."""

    def refuse() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("collector.watch.plain.Inotify", refuse)
    with pytest.raises(WatchError, match="the kernel refuses a queue: Too many open files"):
        InotifyWatcher(clock=SystemClock())


def test_a_plan_of_ten_thousand_is_covered_fast(watching: Start, memory: Path) -> None:
    """Ten thousand directories: held within seconds, and covered again in a fraction."""
    directories = [memory / f"{number:064x}" for number in range(10_000)]
    for directory in directories:
        directory.mkdir()
    watcher = watching(memory, *directories, root=memory)
    if watcher.uncovered:
        pytest.skip("this machine allows fewer watches")
    assert watcher.watches == 10_001
    (directories[-1] / "link").write_text("x", encoding="ascii")
    assert (directories[-1], "link") in [(change.directory, change.name) for change in told(watcher, memory)]
