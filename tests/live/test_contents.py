"""``check --contents`` over what real engines unpacked of an image with everything that an archive can hold."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.check import run_check
from linktrail.clock import SystemClock
from tests.live import containerd, docker
from tests.live.podman import Podman, layer_tar, own_directory, programs, write_image
from tests.needs import need

NAME = "localhost/rich:1"
Member = tuple[str, dict[str, Any], bytes]

BASE: tuple[Member, ...] = (
    ("./", {"type": tarfile.DIRTYPE, "mode": 0o755}, b""),
    ("bin/", {"type": tarfile.DIRTYPE, "mode": 0o755}, b""),
    ("bin/app", {"mode": 0o4755}, b"program" * 5000),
    ("bin/sh", {"type": tarfile.SYMTYPE, "linkname": "app", "mode": 0o644}, b""),  # a mode that no link keeps
    ("etc/", {"type": tarfile.DIRTYPE, "mode": 0o750}, b""),
    ("etc/shadow", {"mode": 0o640, "gid": 42}, b"root:*"),
    ("etc/mtab", {"type": tarfile.SYMTYPE, "linkname": "/proc/mounts", "mode": 0o777}, b""),
    ("home/user/", {"type": tarfile.DIRTYPE, "mode": 0o2700, "uid": 1000, "gid": 1000}, b""),
    ("home/user/file", {"mode": 0o600, "uid": 1000, "gid": 1000}, b"mine"),
    ("tmp/", {"type": tarfile.DIRTYPE, "mode": 0o1777}, b""),
    ("var/pipe", {"type": tarfile.FIFOTYPE, "mode": 0o600}, b""),
    ("var/null", {"type": tarfile.CHRTYPE, "mode": 0o666, "devmajor": 1, "devminor": 3}, b""),
    ("usr/lib/", {"type": tarfile.DIRTYPE, "mode": 0o755}, b""),
    ("usr/lib/x", {"mode": 0o644}, b"library" * 100),
    ("usr/lib/y", {"type": tarfile.LNKTYPE, "linkname": "usr/lib/x", "mode": 0o644}, b""),
    ("lib", {"type": tarfile.SYMTYPE, "linkname": "usr/lib", "mode": 0o777}, b""),
    (f"opt/{'d' * 90}/{'e' * 90}/f", {"mode": 0o644}, b"deep"),
    ("opt/n\udcff\u00e4me", {"mode": 0o644}, b"bytes"),
    ("opt/empty", {"mode": 0o644}, b""),
    ("opt/broken", {"type": tarfile.SYMTYPE, "linkname": "../nowhere", "mode": 0o777}, b""),
    ("opt/climbs", {"type": tarfile.SYMTYPE, "linkname": "../../../../etc/shadow", "mode": 0o777}, b""),
)
UPPER: tuple[Member, ...] = (
    ("lib/z", {"mode": 0o644}, b"through a link"),  # without an entry for lib: where it lands depends on the engine
    ("etc/", {"type": tarfile.DIRTYPE, "mode": 0o755}, b""),
    ("etc/.wh..wh..opq", {"mode": 0o644}, b""),
    ("etc/new", {"mode": 0o644}, b"new"),
    ("opt/.wh.empty", {"mode": 0o644}, b""),
    ("usr/lib/deep/er/file", {"mode": 0o644}, b"no entries for its directories"),
    ("bin/app", {"mode": 0o755}, b"another program" * 300),
)


def tar_of(members: tuple[Member, ...]) -> bytes:
    """Return a layer of ``members``."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for name, facts, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_795_449_600
            for fact, value in facts.items():
                setattr(member, fact, value)
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


@contextmanager
def with_podman(archive: Path) -> Iterator[tuple[Path, str]]:
    need("podman")
    with own_directory() as home:
        engine = Podman(home)
        engine.load(archive)
        yield engine.root, "overlay/*/diff"


@contextmanager
def with_docker(archive: Path) -> Iterator[tuple[Path, str]]:
    need("dockerd")
    with docker.running() as engine:
        engine.load(archive)
        yield engine.root, "overlay2/*/diff"


@contextmanager
def with_containerd(archive: Path) -> Iterator[tuple[Path, str]]:
    need("containerd")
    with containerd.running() as engine:
        engine.run("images", "import", str(archive))
        yield engine.root, "io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs"


def look(root: Path) -> tuple[set[str], dict[str, Any]]:
    """Return the codes that ``check --contents`` finds, and how much it compared."""
    report = run_check([root], contents=True, clock=SystemClock(), configurations=())
    document = report.document()
    assert document["errors"] == []
    return {finding["code"] for finding in document["findings"]}, document["stores"][0]["contents"]


@pytest.mark.parametrize("engine", [with_podman, with_docker, with_containerd], ids=["podman", "docker", "containerd"])
def test_what_an_engine_unpacked_is_as_recorded(engine: Callable[[Path], Any], tmp_path: Path) -> None:
    """Nothing is said of an image with every kind of entry; then one file is emptied, and one given another content of the same size."""
    archive = tmp_path / "image.tar"
    write_image(archive, NAME, [tar_of(BASE), tar_of(UPPER)])
    with engine(archive) as (root, places):
        found, compared = look(root)
        assert found == set()
        assert compared == {"layers": 2, "compared": 2, "not_compared": {}}
        (base,) = [place for place in root.glob(places) if (place / "home/user/file").exists()]
        os.truncate(base / "bin/app", 0)
        assert look(root)[0] == {"zero-length-files"}
        (base / "home/user/file").write_bytes(b"ours")
        assert look(root)[0] == {"zero-length-files", "layer-content-digest"}
        os.chown(base / "home/user/file", 0, 0)
        (base / "lib").unlink()
        (base / "lib").symlink_to("usr/share")
        assert look(root)[0] == {"zero-length-files", "layer-content-digest", "layer-content-modified", "layer-symlink-retargeted"}


DOCKERFILE = """FROM scratch
ADD root.tar /
RUN ["/bin/sh", "-c", "rm -r /data/a && mkdir /data/a && touch /data/a/new && ln /data/b/g /data/b/h"]
RUN ["/bin/sh", "-c", "ln -s b/g /data/link && chmod 4755 /bin/cp"]
RUN ["/bin/sh", "-c", "rm /data/b/g && mv /etc/conf /etc/conf2 && touch /data/a/x"]
COPY Dockerfile /data/b/
"""


def context(home: Path) -> str:
    """Make a directory to build from: steps that delete, replace a directory, link, rename and change modes."""
    where = home / "context"
    where.mkdir()
    files = {"data/a/f1": b"1", "data/a/f2": b"2", "data/b/g": b"3", "etc/conf": b"c"}
    (where / "root.tar").write_bytes(layer_tar({**programs("sh", "rm", "ln", "mkdir", "touch", "mv", "cp", "chmod"), **files}))
    (where / "Dockerfile").write_text(DOCKERFILE, encoding="ascii")
    return str(where)


def test_what_podman_built_and_committed_is_as_recorded() -> None:
    """Whiteouts, opaque directories, copies and placeholders of real upper directories raise no alarm."""
    need("podman")
    with own_directory() as home:
        engine = Podman(home)
        engine.run("build", "--layers", "--isolation", "chroot", "--tag", "localhost/built:1", context(home))
        engine.create("localhost/built:1", "one", "/bin/sh", "-c", "rm /data/b/h; touch /new")
        engine.run("start", "--attach", "one")
        engine.run("commit", "--quiet", "one", "localhost/built:2")
        found, compared = look(engine.root)
        assert found == set()
        assert compared == {"layers": 6, "compared": 6, "not_compared": {}}


def test_what_docker_built_is_as_recorded() -> None:
    """The classic builder unpacks a layer from an archive; BuildKit keeps the upper directory itself, with what overlayfs left in it."""
    need("dockerd")
    with docker.running() as engine:
        where = context(engine.home)
        for number, buildkit in enumerate((False, True), 1):
            engine.run("build", "--no-cache", "--network", "none", "--tag", f"built:{number}", where, buildkit=buildkit)
            found, compared = look(engine.root)
            assert found == set()
            assert compared == {"layers": 5 * number, "compared": 5 * number, "not_compared": {}}
