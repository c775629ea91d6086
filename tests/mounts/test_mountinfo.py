"""Mount tables as the kernel writes them, hostile names included, and whatever else may stand in one."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from collector.mounts.mountinfo import Layers, Mount, layers_of, parse, within
from tests.mounts.spaces import Shell
from tests.needs import need

LINE = (
    rb"106 59 0:50 / /srv/a\040b/merged rw,relatime shared:1 master:2 - overlay overlay"
    rb" rw,lowerdir=l/A:l/B,upperdir=/srv/x/diff,workdir=/srv/x/work,uuid=on"
)


def the_mount(line: bytes) -> Mount:
    """Return the one mount of a table."""
    (mount,) = parse(line + b"\n").mounts
    return mount


def test_a_line() -> None:
    """All fields, whatever tags stand between."""
    mount = the_mount(LINE)
    assert (mount.id, mount.device, mount.root, mount.point, mount.kind) == (106, "0:50", "/", "/srv/a b/merged", "overlay")
    assert not mount.read_only
    assert not mount.deleted
    assert layers_of(mount) == Layers("/srv/x/diff", ("l/A", "l/B"))


def test_the_new_mount_interface_names_each_layer_alone() -> None:
    """lowerdir+ takes its path as it is; data-only layers come last; a colon needs no escape there."""
    mount = the_mount(LINE.replace(b"lowerdir=l/A:l/B", rb"lowerdir+=/a:b,lowerdir+=/c\134d,datadir+=/e\054f"))
    assert layers_of(mount).lower == ("/a:b", "/c\\d", "/e,f")


def test_escapes_in_a_list_of_layers() -> None:
    """A backslash hides the next character from the list; an octal escape stands for a byte before that."""
    mount = the_mount(LINE.replace(b"l/A:l/B", rb"/a\134:b:/g\040h:/e\134\134f:/c\134\054d::/data\012x"))
    assert layers_of(mount).lower == ("/a:b", "/g h", "/e\\f", "/c,d", "/data\nx")


def test_a_directory_removed_under_its_mount() -> None:
    """The kernel appends //deleted to what was mounted."""
    assert the_mount(rb"7 1 254:0 /srv/gone//deleted /mnt rw - ext4 /dev/vda rw").deleted


def test_what_is_no_mount_is_counted() -> None:
    """Garbage between good lines hides nothing."""
    table = parse(b"\n".join([b"garbage", LINE, b"\xff\xfe - x y z", b"1 2 3 4 5 6 - ", LINE]))
    assert len(table.mounts) == 2
    assert table.odd == 3


def test_names_through_other_mounts() -> None:
    """A directory is seen wherever a mount of its filesystem shows it."""
    lines = [
        b"1 0 254:0 / / rw - ext4 /dev/vda rw",
        b"2 1 254:0 /var/lib /host/lib rw - ext4 /dev/vda rw",
        b"3 1 254:0 /home /home rw - ext4 /dev/vda rw",
        b"4 1 254:9 / /other rw - ext4 /dev/vdb rw",
    ]
    mounts = parse(b"\n".join(lines)).mounts
    assert list(within(mounts, "254:0", "/var/lib/x")) == ["/var/lib/x", "/host/lib/x"]
    assert list(within(mounts, "254:0", "/var/lib")) == ["/var/lib", "/host/lib"]


@given(st.lists(st.one_of(st.just(LINE), st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: LINE[:90] + tail))))
@example([b"1 1 1:1 / / rw - overlay o lowerdir=\\"])
@example([b"1 1 1:1 \\777 /\\9 rw - overlay o lowerdir=\\\\\\134:,upperdir"])
def test_any_bytes(lines: list[bytes]) -> None:
    """No table makes the reader fail, and every good line is read."""
    table = parse(b"\n".join(lines))
    for mount in table.mounts:
        found = layers_of(mount)
        assert all(found.lower)
        os.fsencode(mount.point)
    assert len(table.mounts) >= sum(line == LINE for line in lines)


def test_hostile_names_in_a_real_table(tmp_path: Path) -> None:
    """Layers whose names hold what separates and escapes are found again, byte by byte."""
    need("root")
    names = [b"a:b", b"g h", b"e\\f", b"c,d", b"new\nline", b"tab\t", b"\xff\xfe", b"x=y", b"plain"]
    lower = [os.fsencode(tmp_path) + b"/" + name for name in names]
    for path in lower:
        os.mkdir(path)  # noqa: PTH102 - bytes
    point = os.fsencode(tmp_path) + b"/merged \n\xfe"
    os.mkdir(point)  # noqa: PTH102 - bytes
    escaped = b":".join(path.replace(b"\\", b"\\\\").replace(b":", b"\\:").replace(b",", b"\\,") for path in lower)
    with Shell() as shell:
        script = tmp_path / "mount.py"
        script.write_text(
            "import ctypes, sys, os\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            f"done = libc.mount(b'overlay', {point!r}, b'overlay', 0, {b'lowerdir=' + escaped!r})\n"
            "sys.exit(os.strerror(ctypes.get_errno()) if done else 0)\n"
        )
        shell.run(f"python3 {script}")
        table = parse(Path(f"/proc/{shell.pid}/mountinfo").read_bytes())
    (mount,) = [mount for mount in table.mounts if mount.kind == "overlay" and os.fsencode(mount.point) == point]
    assert [os.fsencode(path) for path in layers_of(mount).lower] == lower
