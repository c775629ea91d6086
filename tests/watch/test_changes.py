"""What happens to names is told as what it is, in order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.stores.protocol import Change, Purpose
from collector.watch.plain import InotifyWatcher
from tests.watch.conftest import Start
from tests.watch.tools import changes_of, exchange, plan, quiet, reports_until, told, words


def test_a_link_made_and_removed_between_two_looks_is_told_twice(watching: Start, tmp_path: Path) -> None:
    """Short-lived links: both changes arrive, in order, although nothing is left to see."""
    watcher = watching()
    for number in range(50):
        (tmp_path / f"L{number}").symlink_to("../layer/diff")
        (tmp_path / f"L{number}").unlink()
    expected = [(f"L{number}", action) for number in range(50) for action in ("created", "removed")]
    assert words(told(watcher, tmp_path)) == expected


def test_the_same_name_again_and_again_is_never_merged(watching: Start, tmp_path: Path) -> None:
    """A thousand short lives of one name are a thousand pairs of changes: no equal events are dropped on the way."""
    watcher = watching()
    for _ in range(1000):
        (tmp_path / "L").symlink_to("target")
        (tmp_path / "L").unlink()
    assert words(told(watcher, tmp_path)) == [("L", "created"), ("L", "removed")] * 1000


def test_a_retarget_by_rename_over_carries_one_cookie(watching: Start, tmp_path: Path) -> None:
    """The atomic way to retarget: made aside, moved over; both sides of the move name each other."""
    (tmp_path / "L").symlink_to("old")
    watcher = watching()
    (tmp_path / ".t").symlink_to("new")
    (tmp_path / ".t").rename(tmp_path / "L")
    changes = told(watcher, tmp_path)
    assert words(changes) == [(".t", "created"), (".t", "moved_out"), ("L", "moved_in")]
    assert changes[1].cookie == changes[2].cookie != 0
    assert changes[0].cookie == 0


def test_a_retarget_by_unlink_and_symlink(watching: Start, tmp_path: Path) -> None:
    """The other way to retarget."""
    (tmp_path / "L").symlink_to("old")
    watcher = watching()
    (tmp_path / "L").unlink()
    (tmp_path / "L").symlink_to("new")
    assert words(told(watcher, tmp_path)) == [("L", "removed"), ("L", "created")]


def test_an_exchange_is_two_moves(watching: Start, tmp_path: Path) -> None:
    """RENAME_EXCHANGE: each name moves out and in, with a cookie a pair."""
    (tmp_path / "a").symlink_to("1")
    (tmp_path / "b").symlink_to("2")
    watcher = watching()
    exchange(tmp_path / "a", tmp_path / "b")
    changes = told(watcher, tmp_path)
    assert sorted(words(changes)) == [("a", "moved_in"), ("a", "moved_out"), ("b", "moved_in"), ("b", "moved_out")]
    assert len({change.cookie for change in changes}) == 2


def test_moves_across_the_border_of_what_is_watched(watching: Start, tmp_path: Path) -> None:
    """A move in and a move out, at once: no half waits for its other half."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "a").symlink_to("x")
    watcher = watching(inside)
    (outside / "a").rename(inside / "b")
    (inside / "b").rename(outside / "c")
    assert words(told(watcher, inside)) == [("b", "moved_in"), ("b", "moved_out")]


def test_a_move_between_two_watched_directories(watching: Start, tmp_path: Path) -> None:
    """Both directories tell, with one cookie."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (one / "a").symlink_to("x")
    watcher = watching(one, other)
    (one / "a").rename(other / "b")
    changes = told(watcher, one)
    assert [(change.directory, change.name, change.action) for change in changes] == [(one, "a", "moved_out"), (other, "b", "moved_in")]
    assert changes[0].cookie == changes[1].cookie


def test_names_are_hostile_bytes(watching: Start, tmp_path: Path) -> None:
    """A name that is no UTF-8, one with a line feed, one of 255 bytes: each as os.fsdecode gives it."""
    names = [b"\xff\xfe", b"a\nb", b"x" * 255, b" ", b"\xc3("]
    watcher = watching()
    for name in names:
        (tmp_path / os.fsdecode(name)).symlink_to("t")
    assert [os.fsencode(change.name) for change in told(watcher, tmp_path)] == names


def test_directories_are_told_apart_and_links_to_them_are_not_directories(watching: Start, tmp_path: Path) -> None:
    """``is_directory`` is about the name itself, never about what a link points to."""
    watcher = watching()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    assert [(change.name, change.is_directory) for change in told(watcher, tmp_path)] == [("directory", True), ("link", False)]


def test_a_metadata_file_rewritten_in_place_without_closing_is_told(watching: Start, tmp_path: Path) -> None:
    """A bolt file stays open for months; every write to it counts."""
    watcher = watching()
    watcher.cover(plan(tmp_path, tmp_path, purpose=Purpose.METADATA))
    with (tmp_path / "meta.db").open("wb", buffering=0) as file:
        file.write(b"one")
        assert words(told(watcher, tmp_path)) == [("meta.db", "created"), ("meta.db", "modified")]
        file.write(b"two")
        assert words(told(watcher, tmp_path)) == [("meta.db", "modified")]


def test_plumbing_tells_names_only(watching: Start, tmp_path: Path) -> None:
    """Where only links and directories matter, writes and attributes are not asked for."""
    watcher = watching(drain=False)
    watcher.cover(plan(tmp_path, tmp_path, purpose=Purpose.PLUMBING))
    watcher.start()
    (tmp_path / "file").write_text("x", encoding="ascii")
    (tmp_path / "file").chmod(0o600)
    assert words(told(watcher, tmp_path)) == [("file", "created")]


def test_our_own_reading_is_never_told(watching: Start, tmp_path: Path) -> None:
    """Listing, opening, reading and asking: a survey causes no event, so it cannot cause itself."""
    (tmp_path / "layers.json").write_text("[]", encoding="ascii")
    (tmp_path / "L").symlink_to("x")
    watcher = watching()
    for _ in range(3):
        assert os.listdir(tmp_path)  # noqa: PTH208 - reading is the point
        (tmp_path / "layers.json").read_bytes()
        (tmp_path / "L").readlink()
    assert quiet(watcher) == []


def test_the_end_of_a_watched_directory(watching: Start, tmp_path: Path) -> None:
    """Its removal and its move away are told with an empty name, and its watch is given up."""
    gone, moved = tmp_path / "gone", tmp_path / "moved"
    gone.mkdir()
    moved.mkdir()
    watcher = watching(tmp_path, gone, moved)
    assert watcher.watches == 3
    gone.rmdir()
    moved.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "later").mkdir()
    changes = told(watcher, tmp_path)
    assert Change(gone, "", "removed", is_directory=True) in changes
    assert Change(moved, "", "moved_out", is_directory=True) in changes
    assert "later" not in [change.name for change in changes], "a change under a path that is not true"
    assert watcher.covered == {tmp_path}
    assert watcher.watches == 1


def test_a_directory_that_comes_back_is_watched_again(watching: Start, tmp_path: Path) -> None:
    """Removed and made anew, moved away and back: covering the same plan again is enough."""
    layer = tmp_path / "layer"
    layer.mkdir()
    watcher = watching(tmp_path, layer)
    same = plan(tmp_path, tmp_path, layer)
    layer.rmdir()
    layer.mkdir()
    told(watcher, tmp_path)
    watcher.cover(same)
    (layer / "one").mkdir()
    assert ("one", "created") in words(told(watcher, tmp_path))
    layer.rename(tmp_path / "aside")
    (tmp_path / "aside").rename(layer)
    told(watcher, tmp_path)
    watcher.cover(same)
    (layer / "two").mkdir()
    assert [(change.directory, change.name) for change in told(watcher, tmp_path)] == [(layer, "two")]


def test_what_is_queued_of_a_directory_dropped_from_the_plan_is_still_told(watching: Start, tmp_path: Path) -> None:
    """A layer is removed bottom up; by the time the plan omits it, the events of its links may still wait."""
    layer = tmp_path / "layer"
    layer.mkdir()
    watcher = watching(tmp_path, layer, drain=False)
    (layer / "link").write_text("x", encoding="ascii")
    (layer / "link").unlink()
    layer.rmdir()
    watcher.cover(plan(tmp_path, tmp_path))
    watcher.start()
    assert ("link", "removed") in words(told(watcher, tmp_path))


def test_a_hard_link_is_told_by_its_new_name(watching: Start, tmp_path: Path) -> None:
    """Default mode sees the name, not the count; deep mode sees both."""
    (tmp_path / "a").write_text("x", encoding="ascii")
    watcher = watching()
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").unlink()
    assert words(told(watcher, tmp_path)) == [("b", "created"), ("a", "removed")]


def test_one_watcher_holds_the_plans_of_several_roots(watching: Start, tmp_path: Path) -> None:
    """Each root keeps its own plan; giving one up leaves the other."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    watcher = watching(one, root=one)
    watcher.cover(plan(other, other))
    watcher.cover(plan(one, one))
    assert watcher.covered == {one, other}
    watcher.uncover(one)
    assert watcher.covered == {other}
    (one / "x").mkdir()
    (other / "y").mkdir()
    assert words(told(watcher, other)) == [("y", "created")]


@pytest.mark.parametrize("portion", [1, 3])
def test_reports_come_in_portions_and_none_is_left_behind(
    watching: Start, tmp_path: Path, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``take`` bounds what it returns at once; the rest follows in order."""
    monkeypatch.setattr("collector.watch.engine.PORTION_BYTES", portion * 4096)
    watcher: InotifyWatcher = watching(drain=False)
    monkeypatch.setattr("collector.watch.inotify.READ_BYTES", 2048)
    for number in range(1000):
        (tmp_path / f"d{number}").mkdir()
    watcher.start()
    first = reports_until(watcher, bool)
    assert len(changes_of(first)) < 1000
    rest = reports_until(watcher, lambda reports: len(changes_of(reports)) + len(changes_of(first)) >= 1000)
    assert [change.name for change in changes_of(first + rest)] == [f"d{number}" for number in range(1000)]
