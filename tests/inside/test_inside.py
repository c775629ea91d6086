"""Links inside a container's layer, changed through its real overlay mount, as the real collector in deep mode records them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.watch.probe import FANOTIFY, INOTIFY, probe
from tests.inside.scene import Scene, scene
from tests.recorder.support import bounds


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """Return a place whose filesystem can be watched in deep mode."""
    refused = next(found.refused for found in probe([tmp_path]) if found.name == FANOTIFY)
    if refused:
        pytest.skip(f"fanotify: {refused}")
    return tmp_path


@pytest.fixture
def running(where: Path) -> Iterator[Scene]:
    """A container, and a collector that hears what happens in it."""
    with scene(where) as made:
        made.watching()
        yield made


def test_symbolic_links_are_told_as_what_happens_to_them(running: Scene) -> None:
    """Created, retargeted by a rename over it, retargeted by unlink and symlink, removed; each within the time it happened in."""
    times = [running.inside("ln -s one L")]
    running.told("/L", "symlink", "created", "one")
    times.append(running.inside("ln -s two .t && mv -fT .t L"))
    running.told("/L", "symlink", "retargeted", "two")
    times.append(running.inside("rm L && ln -s two L"))
    running.until(lambda: len(running.of("/L")) >= 4)
    times.append(running.inside("rm L"))
    running.told("/L", "symlink", "removed", None)
    rows = running.of("/L")
    assert [row["action"] for row in rows] == ["created", "retargeted", "removed", "created", "removed"]
    for row, (begun, done) in zip(rows, [times[0], times[1], times[2], times[2], times[3]], strict=True):
        after, before = bounds(row)
        assert begun - 10_000_000 <= before
        assert after <= done
        assert after <= before
        assert row["layer_id"] == running.store.writable
        assert row["container_name"] == "one"
        assert row["file_path"] == f"overlay/{running.store.writable}/diff/L"
        assert row["origin"] == "watch"


def test_what_is_no_link_is_no_news(running: Scene) -> None:
    """Files with one name and directories are not recorded, however they come and go."""
    running.inside("echo x > file; mkdir -p a/b; echo y > a/b/c; mv a/b/c a/b/d; mv a e; rm file")
    running.inside("echo z > old; echo n > .new; mv .new old; rm -r e old")
    running.inside("ln -s end END")
    running.told("/END", "symlink", "created", "end")
    strange = {row["subject"] for row in running.rows() if row["link_kind"] in ("symlink", "hardlink", "whiteout")}
    assert {name for name in strange if not str(name).startswith("/probe-")} == {"/END"}


def test_hard_links_count_their_names_also_outside_the_layer(running: Scene) -> None:
    """A second and a third name, one of them outside of the store, and the way back to one name, which is no hard link any more."""
    running.inside("mkdir d; echo x > d/first")
    running.watching()
    running.inside("ln d/first second")
    inode = (running.store.upper / "second").stat().st_ino
    running.told("/second", "hardlink", "created", f"inode:{inode}")
    running.told("/d/first", "hardlink", "created", f"inode:{inode}")
    outside = running.where / "outside"
    os.link(running.store.upper / "second", outside)
    running.until(lambda: all(running.of(name)[-1]["file_nlink"] == 3 for name in ("/second", "/d/first")))
    assert running.of("/second")[-1]["action"] == "changed"
    outside.unlink()
    running.until(lambda: all(running.of(name)[-1]["file_nlink"] == 2 for name in ("/second", "/d/first")))
    running.inside("rm second")
    running.told("/second", "hardlink", "removed", None)
    running.told("/d/first", "hardlink", "removed", None)


def test_a_removed_lower_file_is_a_whiteout_and_no_hard_link(running: Scene) -> None:
    """Whiteouts are one inode with many names in a live upper; their counts are no news, and they end when the name is made again."""
    names = [f"lower{number}" for number in range(5)]
    lower = running.store.overlay / running.store.chain_ids[-1] / "diff"
    for name in names:
        (lower / name).write_text("x")
    running.inside("sync; rm " + " ".join(names))
    for name in names:
        running.told(f"/{name}", "whiteout", "created", None)
    running.inside("ln -s again lower0")
    running.told("/lower0", "symlink", "created", "again")
    assert running.steps("/lower0") == [("whiteout", "created", None), ("whiteout", "removed", None), ("symlink", "created", "again")]
    assert not [row for row in running.rows() if row["link_kind"] == "hardlink"]


def test_a_moved_directory_takes_its_links_along(running: Scene) -> None:
    """What was recorded below the old name is removed, and what stands below the new one is created."""
    running.inside("mkdir -p a/b; ln -s t a/b/L")
    running.told("/a/b/L", "symlink", "created", "t")
    begun, done = running.inside("mv a z")
    running.told("/a/b/L", "symlink", "removed", None)
    running.told("/z/b/L", "symlink", "created", "t")
    for name in ("/a/b/L", "/z/b/L"):
        after, before = bounds(running.of(name)[-1])
        assert after <= done
        assert before >= begun - 10_000_000


def test_a_link_that_nobody_could_read_is_told_all_the_same(running: Scene) -> None:
    """Made and removed in one go, many times: each life is there, as a name that nobody read or as the link it was."""
    running.inside("for n in $(seq 200); do ln -s t S$n; rm S$n; done")
    running.inside("ln -s end END")
    running.told("/END", "symlink", "created", "end")
    for number in range(1, 201):
        rows = running.of(f"/S{number}")
        assert [row["action"] for row in rows] == ["created", "removed"], number
        assert {row["link_kind"] for row in rows} <= {"symlink", "unread_name"}


def test_what_happened_while_nobody_listened_is_found_and_the_time_is_a_gap(running: Scene) -> None:
    """Killed and started again: links made, retargeted and removed meanwhile are told in the time since, which is a gap of the layers."""
    running.inside("ln -s one kept; ln -s one moved; ln -s one gone")
    running.told("/gone", "symlink", "created", "one")
    running.watching()
    running.kill()
    begun, done = running.inside("ln -s new made; ln -sfn two moved; rm gone")
    running.start()
    running.told("/made", "symlink", "created", "new")
    running.told("/moved", "symlink", "retargeted", "two")
    running.told("/gone", "symlink", "removed", None)
    assert len(running.of("/kept")) == 1
    for name in ("/made", "/moved", "/gone"):
        after, before = bounds(running.of(name)[-1])
        assert after <= begun
        assert done <= before

    def gaps() -> list[tuple[int, int]]:
        return [bounds(row) for row in running.rows("coverage") if row["kind"] == "gap" and "inside" in str(row["message"])]

    running.until(lambda: bool(gaps()))
    assert any(after <= begun and done <= before for after, before in gaps())


def test_links_end_with_their_layer(running: Scene) -> None:
    """The container is removed while the collector is down: what was in its layer is told as removed."""
    running.inside("ln -s one L")
    running.told("/L", "symlink", "created", "one")
    running.kill()
    running.shell.run(f"umount {running.store.merged}")
    running.store.forget_container()
    running.shell.run(f"rm -r {running.store.overlay / running.store.writable}")
    running.start()
    running.told("/L", "symlink", "removed", None)


def test_without_deep_mode_nobody_looks_after_them_and_the_record_says_so(running: Scene) -> None:
    """The next run watches with inotify: the start row names the inside of layers, and what was known of it is in doubt."""
    running.inside("ln -s one L")
    running.told("/L", "symlink", "created", "one")
    running.stop()
    running.mode = INOTIFY
    running.start()
    running.until(lambda: running.of("/L")[-1]["link_state"] == "unreadable")
    running.inside("rm L")
    running.until(lambda: len([row for row in running.rows("coverage") if row["kind"] == "start"]) == 2)  # sealed behind the links
    assert "changes inside the layers" in str([row for row in running.rows("coverage") if row["kind"] == "start"][-1]["message"])
    running.stop()
    running.mode = FANOTIFY
    running.start()
    running.told("/L", "symlink", "removed", None)
