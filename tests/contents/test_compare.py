from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.check import run_check
from collector.contents.owners import Owners
from linktrail.testing.clock import FakeClock
from linktrail.testing.layer_tar import Entry, Hardlink, Symlink, Whiteout
from tests.contents.scene import ThroughLink, codes, look, store
from tests.needs import need

FILES: dict[str, Entry] = {
    "bin/app": b"program" * 100,
    "bin/again": Hardlink("bin/app"),
    "bin/sh": Symlink("app"),
    "etc/passwd": b"root:x:0:0",
    "etc/empty": b"",
    "usr/share/doc/readme": b"words",
}


def chmod(diff: Path) -> None:
    (diff / "etc/passwd").chmod(0o4755)


def unlink_again(diff: Path) -> None:
    data = (diff / "bin/again").read_bytes()
    (diff / "bin/again").unlink()
    (diff / "bin/again").write_bytes(data)
    (diff / "bin/again").chmod(0o755)


def swap_file(diff: Path) -> None:
    (diff / "etc/passwd").write_bytes(b"toor:x:0:0")


def swap_type(diff: Path) -> None:
    (diff / "etc/passwd").unlink()
    os.mkfifo(diff / "etc/passwd", 0o755)


def truncate(diff: Path) -> None:
    os.truncate(diff / "etc/passwd", 0)


def grow(diff: Path) -> None:
    (diff / "etc/empty").write_bytes(b"x")


def remove(diff: Path) -> None:
    (diff / "usr/share/doc/readme").unlink()


def add(diff: Path) -> None:
    (diff / "etc/shadow").write_bytes(b"x")


def retarget(diff: Path) -> None:
    (diff / "bin/sh").unlink()
    (diff / "bin/sh").symlink_to("../etc/passwd")


@pytest.mark.parametrize(
    ("damage", "code", "name"),
    [
        (chmod, "layer-content-modified", "etc/passwd"),
        (unlink_again, "layer-content-modified", "bin/again"),
        (swap_file, "layer-content-digest", "etc/passwd"),
        (swap_type, "layer-content-modified", "etc/passwd"),
        (truncate, "zero-length-files", "etc/passwd"),
        (grow, "layer-content-modified", "etc/empty"),
        (remove, "layer-content-modified", "usr/share/doc/readme"),
        (add, "layer-content-modified", "etc/shadow"),
        (retarget, "layer-symlink-retargeted", "bin/sh"),
    ],
)
def test_one_change_is_one_finding(damage: Callable[[Path], None], code: str, name: str, tmp_path: Path) -> None:
    """Mode, hard link, content, type, size, absence, presence, target: each is named, with the file."""
    (diff,) = store(tmp_path, [FILES])
    assert look(tmp_path) == []
    damage(diff)
    assert codes(tmp_path) == {(code, name)}


def test_the_changed_files_are_named_beside_the_digest(tmp_path: Path) -> None:
    """The checksums of the tar-split tell which of the files it is, and the digest is there to compare with the engine's."""
    (diff,) = store(tmp_path, [FILES])
    swap_file(diff)
    (finding,) = look(tmp_path)
    assert finding["evidence"]["files"] == ["etc/passwd"]
    assert finding["evidence"]["recorded"] != finding["evidence"]["found"]


def test_an_owner_that_departs_from_the_layers_own_map_is_named(tmp_path: Path) -> None:
    """Among files of one owner, the one that was given to another."""
    need("root")
    (diff,) = store(tmp_path, [FILES])
    os.chown(diff / "etc/passwd", 1000, 0)
    (diff / "etc/passwd").chmod(0o755)
    (finding,) = look(tmp_path)
    assert finding["evidence"]["changed"] == [{"path": "etc/passwd", "what": "owner", "recorded": "0:0", "found": "1000:0"}]


def test_a_layer_shifted_as_a_whole_is_silent(tmp_path: Path) -> None:
    """User namespaces and ignore_chown_errors give every file another owner."""
    need("root")
    (diff,) = store(tmp_path, [FILES])
    for directory, _, names in os.walk(diff):
        for name in (".", *names):
            os.chown(Path(directory, name), 100_000, 100_000, follow_symlinks=False)
    for name in ("bin/app", "etc/passwd", "etc/empty", "usr/share/doc/readme"):
        (diff / name).chmod(0o755)
    assert look(tmp_path) == []


@pytest.mark.parametrize(
    ("pairs", "departed"),
    [
        ([(0, 0), (0, 0), (0, 0), (0, 7)], {(0, 7)}),
        ([(0, 1000), (33, 100_032), (0, 1000)], set()),
        ([(0, 1000), (33, 1000), (1, 1000)], set()),
        ([(0, 0), (33, 33), (5, 0)], {(5, 0)}),
        ([(0, 0), (0, 7)], set()),
        ([(0, 0), (33, 0), (5, 0)], set()),
    ],
    ids=["one of four", "shifted", "one owner for all", "two witnesses", "no majority", "chown was refused"],
)
def test_owners(pairs: list[tuple[int, int]], departed: set[tuple[int, int]]) -> None:
    """The map is learnt from the layer; where nothing speaks for a map, nothing is said."""
    owners = Owners()
    for recorded, found in pairs:
        owners.add(recorded, found)
    assert owners.departed() == departed


def test_what_force_mask_moved_into_an_attribute_is_where_it_was(tmp_path: Path) -> None:
    """With force_mask every file is 0700 of one user, and an attribute says what it should be; a wrong attribute is damage."""
    need("root")
    (diff,) = store(tmp_path, [{**FILES, "fifo-to-be": b""}])
    for name in ("bin/app", "etc/passwd", "etc/empty", "usr/share/doc/readme", "bin", "etc", "usr"):
        (diff / name).chmod(0o700)
        os.setxattr(diff / name, "user.containers.override_stat", b"0:0:0755")
    os.chown(diff / "etc/passwd", 1000, 1000)
    assert look(tmp_path) == []
    os.setxattr(diff / "etc/passwd", "user.containers.override_stat", b"0:0:04755")
    assert codes(tmp_path) == {("layer-content-modified", "etc/passwd")}


def test_what_engines_leave_beside_the_content_is_silent(tmp_path: Path) -> None:
    """Empty places for mounts, directories on the way to an entry, whiteouts more or less, times, a whiteout of fuse-overlayfs."""
    (diff,) = store(tmp_path, [FILES])
    for name in ("dev", "proc", "sys", "run"):
        (diff / name).mkdir()
    for name in ("dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv"):
        (diff / name).touch()
    (diff / "etc/mtab").symlink_to("/proc/mounts")
    (diff / "etc/.wh.gone").touch()
    (diff / "usr/.wh..wh..opq").touch()
    os.utime(diff / "etc", (1, 1))
    os.utime(diff / "etc/passwd", (1, 1))
    assert look(tmp_path) == []
    (diff / "etc/hosts").write_bytes(b"6.6.6.6 registry")
    assert codes(tmp_path) == {("layer-content-modified", "etc/hosts")}


def test_a_whiteout_of_the_archive_may_stand_in_any_of_its_forms(tmp_path: Path) -> None:
    """A device 0:0, an attribute on an empty file, or (unprivileged) nothing at all."""
    need("root")
    _, upper = store(tmp_path, [FILES, {"etc/passwd": Whiteout(), "etc/own": b"x"}])
    assert look(tmp_path) == []
    (upper / "etc/passwd").unlink()
    assert look(tmp_path) == []
    (upper / "etc/passwd").touch()
    os.setxattr(upper / "etc/passwd", "trusted.overlay.whiteout", b"y")
    assert look(tmp_path) == []


def test_a_file_that_cannot_be_read_is_an_error_and_the_rest_is_compared(tmp_path: Path) -> None:
    """A tree deeper than any image is not followed to its end; it is said, and other damage is still found."""
    (diff,) = store(tmp_path, [FILES])
    deep = diff / "deep"
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    truncate(diff)
    report = run_check([tmp_path], contents=True, min_age=0, clock=FakeClock(), configurations=())
    assert {finding.code for _, finding in report.findings} == {"zero-length-files", "layer-content-modified"}
    assert ["deeper than 256 levels" in error.message for error in report.errors] == [True]


def test_an_entry_unpacked_through_a_link_stands_where_that_leads(tmp_path: Path) -> None:
    """Archives may name lib/x where lib is a link to usr/lib: the file is in usr/lib, compared there, and damage of it found."""
    (diff,) = store(tmp_path, [ThroughLink({"usr/lib/own": b"1", "lib": Symlink("usr/lib"), "lib/x": b"library" * 9})])
    assert (diff / "usr/lib/x").is_file()
    assert look(tmp_path) == []
    (diff / "usr/lib/x").write_bytes(b"LIBRARY" * 9)
    assert codes(tmp_path) == {("layer-content-digest", "usr/lib/x")}
    (diff / "usr/lib/x").unlink()
    assert codes(tmp_path) == {("layer-content-modified", "lib/x")}


def test_layers_of_composefs_are_counted_not_accused(tmp_path: Path) -> None:
    """Their files stand under digests: names say nothing."""
    base, _ = store(tmp_path, [FILES, {"etc/more": b"y"}])
    (base.parent / "composefs-data").mkdir()
    (base / "etc/passwd").rename(base / "0a")
    report = run_check([tmp_path], contents=True, all_links=True, min_age=0, clock=FakeClock(), configurations=())
    assert report.findings == []
    (entry,) = report.document()["stores"]
    assert entry["contents"] == {"layers": 2, "compared": 1, "not_compared": {"composefs": 1}}


def test_an_opaque_directory_of_its_own_is_no_addition(tmp_path: Path) -> None:
    """An archive may say only that a directory is opaque; it stands on disk all the same."""
    _, upper = store(tmp_path, [FILES, {"etc/.wh..wh..opq": b"", "opt/app/.wh..wh..opq": b""}])
    for directory in ("etc", "opt/app"):
        (upper / directory / ".wh..wh..opq").unlink()
    assert look(tmp_path) == []
