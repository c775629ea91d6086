"""What a tree takes: the same as du, hard links once, nothing followed, nothing entered that is another filesystem."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.measure import BLOCK, OPEN_LIMIT, measure
from tests.needs import need


def du(path: Path) -> int:
    """Return the allocated bytes as counted by du."""
    return int(subprocess.run(["du", "-s", "-B1", str(path)], check=True, capture_output=True, text=True).stdout.split()[0])


def test_files_and_directories(tmp_path: Path) -> None:
    """Allocated bytes are du's, apparent ones the sum of file sizes, and the top directory is an inode too."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_bytes(b"x" * 5000)
    (tmp_path / "a" / "b" / "other").write_bytes(b"y" * 70_000)
    size = measure(tmp_path)
    assert size.bytes == du(tmp_path)
    assert size.apparent_bytes == 75_000
    assert size.inodes == 5
    assert size.shared_bytes == 0
    assert size.problems == ()


def test_a_sparse_file_takes_what_it_takes(tmp_path: Path) -> None:
    """A hole has size but no blocks."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    size = measure(tmp_path)
    assert size.apparent_bytes == 1 << 30
    assert size.bytes == du(tmp_path) < 1 << 20


def test_hard_links_count_once_and_outside_names_are_shared(tmp_path: Path) -> None:
    """Two names inside: once. A third name outside the tree: its bytes are shared."""
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "one").write_bytes(b"x" * 9000)
    os.link(inside / "one", inside / "sub" / "two")
    both = measure(inside)
    assert both.bytes == du(inside)
    assert (both.inodes, both.apparent_bytes, both.shared_bytes) == (3, 9000, 0)
    os.link(inside / "one", tmp_path / "three")
    blocks = (inside / "one").stat().st_blocks
    assert measure(inside).shared_bytes == blocks * BLOCK > 0
    assert measure(tmp_path).shared_bytes == 0


def test_nothing_is_followed(tmp_path: Path) -> None:
    """Links to files, directories and to the tree itself are what they are: small. A link as the top is refused."""
    big = tmp_path / "big"
    big.mkdir()
    (big / "data").write_bytes(b"x" * 1_000_000)
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, target in (("file", big / "data"), ("directory", big), ("loop", tree), ("gone", tmp_path / "nothing")):
        (tree / name).symlink_to(target)
    size = measure(tree)
    assert size.inodes == 5
    assert size.bytes < 100_000
    (tmp_path / "link").symlink_to(big)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        measure(tmp_path / "link")


def test_the_top_may_be_a_name_in_an_open_directory(tmp_path: Path) -> None:
    """The collector holds the root of a store open and names one directory in it."""
    (tmp_path / "layer" / "diff").mkdir(parents=True)
    (tmp_path / "layer" / "diff" / "file").write_bytes(b"x" * 100)
    opened = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert measure("layer", directory=opened) == measure(tmp_path / "layer")
    finally:
        os.close(opened)


def test_newest_is_the_latest_time_that_can_be_evidence(tmp_path: Path) -> None:
    """An image may bring files dated in the future: those say nothing about when somebody worked here."""
    for name, when in (("old", 1000), ("newer", 2000), ("future", 4_000_000_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (when, when))
    os.utime(tmp_path, (500, 500))
    assert measure(tmp_path, not_after=3_000_000_000 * 10**9).newest_ns == 2000 * 10**9
    assert measure(tmp_path).newest_ns == 4_000_000_000 * 10**9
    assert measure(tmp_path, not_after=1).newest_ns == 0


def test_a_tree_of_ten_thousand_levels(tmp_path: Path) -> None:
    """Depth takes neither stack nor descriptors."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(10_000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())  # the limit is on the number, not on the count
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2 * OPEN_LIMIT, hard))
    try:
        size = measure(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)
    assert (size.inodes, size.problems) == (10_002, ())


def test_a_part_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """The rest is counted; the problem names the place."""
    tree = tmp_path / "tree"
    (tree / "open").mkdir(parents=True)
    (tree / "open" / "file").write_bytes(b"x" * 100)
    closed = tree / "shut" / "closed"
    closed.mkdir(parents=True)
    (closed / "hidden").write_bytes(b"x" * 100)
    closed.chmod(0)
    tmp_path.chmod(0o755)
    opened = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _without_root():
            size = measure("tree", directory=opened)
    finally:
        os.close(opened)
        closed.chmod(0o755)
    assert [problem.path for problem in size.problems] == ["shut/closed"]
    assert size.inodes == 5


@contextmanager
def _without_root() -> Iterator[None]:
    """Let the kernel check this thread's file accesses as those of nobody, because root may read everything."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = libc.setfsuid(65534 if os.geteuid() == 0 else os.geteuid())
    try:
        yield
    finally:
        libc.setfsuid(before)


@pytest.fixture(name="mounted")
def _mounted(tmp_path: Path) -> Iterator[Path]:
    """Return a tree with another filesystem mounted in it."""
    need("root")
    place = tmp_path / "tree" / "mounted"
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=False, capture_output=True).returncode:
        pytest.skip("cannot mount here")
    try:
        (place / "elsewhere").write_bytes(b"x" * 100_000)
        yield tmp_path / "tree"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_mount_points_are_not_crossed(mounted: Path) -> None:
    """A merged directory of a running container is another filesystem: its files are counted where they are."""
    assert measure(mounted).inodes == 1


def test_whiteouts_are_inodes_without_bytes(tmp_path: Path) -> None:
    """A removed name in an upper directory is a character device 0:0."""
    need("root")
    try:
        os.mknod(tmp_path / "gone", 0o020000, os.makedev(0, 0))
    except OSError:
        pytest.skip("cannot make a device here")
    os.link(tmp_path / "gone", tmp_path / "gone too")
    before = measure(tmp_path)
    assert before.inodes == 2
    assert before.apparent_bytes == 0
    assert before.bytes == tmp_path.stat().st_blocks * BLOCK


Tree = dict[str, "int | Tree"]
NAMES = st.text(st.sampled_from("abc\udc80é\n *"), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30)
@given(st.recursive(st.dictionaries(NAMES, st.integers(0, 9000), max_size=5), lambda below: st.dictionaries(NAMES, below, max_size=4)))
def test_any_tree_is_what_du_says(tree: Tree) -> None:
    """Whatever the names and the shape."""
    top = Path(tempfile.mkdtemp())
    try:
        count = _make(os.fsencode(top), tree)
        size = measure(top)
        assert (size.bytes, size.inodes) == (du(top), count + 1)
    finally:
        shutil.rmtree(top)


def _make(directory: bytes, tree: Tree) -> int:
    count = 0
    for name, value in tree.items():
        path = os.path.join(directory, os.fsencode(name))  # noqa: PTH118 - names are bytes
        count += 1
        if isinstance(value, int):
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
            os.write(descriptor, b"x" * value)
            os.close(descriptor)
        else:
            os.mkdir(path)  # noqa: PTH102 - names are bytes
            count += _make(path, value)
    return count
