"""Whatever stands where Docker's files should: a typed answer in bounded time, the rest of the store as it was, and no trace of reading."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.diagnose import diagnose
from collector.links import LinkKind, LinkState
from collector.stores.docker import DRIVER
from collector.stores.docker.records import container_record, image_record, names_of
from linktrail.errors import NoStoreError, StoreUnreadableError
from linktrail.testing.clock import FakeClock
from tests.containers_storage.made import as_nobody, open_place, paths_below, traces
from tests.docker_store.build import LATER, Small, build_id, check, found, of, survey
from tests.needs import need

Spoil = Callable[[Path], None]
SECONDS = 10.0  # for a store of ten layers, on a busy machine


@pytest.fixture
def store(tmp_path: Path) -> Small:
    return Small(tmp_path / "docker")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def newline(path: Path) -> None:
    path.write_bytes(b"\n")


def climbing(path: Path) -> None:
    path.write_bytes(b"../../../../etc/passwd")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 << 20)


def not_utf8(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{\x80\x00" * 20)


def garbage(path: Path) -> None:
    path.write_bytes(b'{"a": [' + b"[" * 5000)


def wrong_types(path: Path) -> None:
    path.write_bytes(b'{"Repositories": [1], "State": 7, "Config": {"Labels": [null]}, "Name": {}, "Image": 3, "rootfs": {"diff_ids": 4}}')


def linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILS: list[Spoil] = [
    emptied,
    newline,
    climbing,
    huge,
    not_utf8,
    garbage,
    wrong_types,
    linked,
    piped,
    replaced_by_a_directory,
]


def files(store: Small) -> list[Path]:
    """Return every file that a survey may read."""
    top = store.record(store.top)
    mount = store.layerdb / "mounts" / store.c1
    return [
        *(top / name for name in ("cache-id", "diff", "parent", "size", "tar-split.json.gz")),
        *(mount / name for name in ("mount-id", "init-id", "parent")),
        *(store.place(store.middle) / name for name in ("link", "lower")),
        *(store.overlay / store.writable / name for name in ("link", "lower")),
        store.imagedb / "content/sha256" / store.app.removeprefix("sha256:"),
        store.root / "containers" / store.c1 / "config.v2.json",
        store.root / "image/overlay2/repositories.json",
        store.root / "buildkit/snapshots.db",
        store.root / "buildkit/containerdmeta.db",
    ]


@pytest.mark.parametrize("spoil", SPOILS)
def test_each_file_spoiled(tmp_path: Path, spoil: Spoil) -> None:
    """One file at a time: the answer names that file or what it belongs to, and every untouched object is still reported."""
    whole = Small(tmp_path / "whole")
    known = {link.key for link in survey(whole.root).of_kind(LinkKind.LAYER_DIRECTORY, LinkKind.CONTAINER_RECORD, LinkKind.IMAGE_RECORD)}
    for number, path in enumerate(files(whole)):
        root = tmp_path / f"store{number}"
        shutil.copytree(whole.root, root, symlinks=True)
        spoil(root / path.relative_to(whole.root))
        began = time.monotonic()
        read = survey(root)
        findings = diagnose(read, now=LATER)
        assert time.monotonic() - began < SECONDS
        assert known == {key for key in read.links if key in known}, path
        harmless = path.name in {"tar-split.json.gz", "size", "containerdmeta.db"} or spoil is newline
        named = [part for part in (*(finding.path for finding in findings), *read.unread) if part is not None]
        if not harmless:
            place = str(path.relative_to(whole.root))
            home = place.rpartition("/")[0]
            assert any(part.startswith(home) or place.startswith(part) for part in named), (place, named)


def test_reading_leaves_no_trace(store: Small) -> None:
    """Not a time, not an inode: neither survey, nor plan, nor check."""
    paths = paths_below(store.root)
    before = traces(paths)
    survey(store.root)
    DRIVER.watch_plan(store.root)
    check(store.root)
    assert traces(paths) == before
    assert paths_below(store.root) == paths


def planted(path: Path) -> None:
    """Move a directory away and leave a link in its place."""
    path.rename(path.with_name("moved"))
    path.symlink_to("/etc")


@pytest.mark.parametrize(
    "place",
    ["overlay2", "overlay2/l", "image/overlay2/layerdb/sha256", "image/overlay2/layerdb/mounts", "containers", "buildkit", "tmp"],
)
def test_a_link_in_place_of_a_directory_is_never_followed(store: Small, place: str) -> None:
    """What lies there is a problem or a finding; nothing of /etc is."""
    planted(store.root / place)
    read = survey(store.root)
    assert any(path == place or path.startswith(f"{place}/") for path in read.unread)
    assert not [link for link in read.links.values() if "passwd" in link.subject or "hostname" in link.subject]
    diagnose(read, now=LATER)


def test_a_link_in_place_of_one_record_or_layer_is_never_followed(store: Small) -> None:
    """It is a finding of its own; what it hides is not judged."""
    planted(store.record(store.another))
    planted(store.place(store.base))
    report = check(store.root)
    paths = {finding.path for _, finding in report.findings}
    assert str(store.record(store.another).relative_to(store.root)) in paths
    assert ("layer-missing", store.base) in found(report)
    directory = of(report.stores[0].survey, LinkKind.LAYER_DIRECTORY)[store.place(store.base).name]
    assert (directory.state, directory.detail) == (LinkState.MALFORMED, {"type": "symlink", "to": "/etc"})


def test_names_that_are_no_text(store: Small) -> None:
    """Directories, links and containers under any name are kept byte by byte and told."""
    odd = os.fsdecode(b"\xff\n;rm -rf")
    (store.overlay / odd / "diff").mkdir(parents=True)
    (store.root / "containers" / odd).mkdir()
    (store.overlay / "l" / odd).symlink_to("../x/diff")
    report = check(store.root)
    assert found(report) == {("unaccounted-layer", odd), ("metadata-leftover", odd), ("short-link-malformed", odd)}
    for _, finding in report.findings:
        assert "\n" not in finding.message + finding.advice


def test_what_a_user_may_not_read_is_a_problem() -> None:
    """A store all the same; what is closed is an error of the reader and no finding, and nothing is concluded from it."""
    need("root")
    with open_place() as where:
        store = Small(where / "docker")
        assert found(check(store.root)) == set()
        store.layerdb.chmod(0o700)
        with as_nobody():
            assert DRIVER.detect(store.root)
            report = check(store.root)
        assert {finding.code for _, finding in report.findings} == set()
        assert report.errors
        store.root.chmod(0o700)
        with as_nobody(), pytest.raises(StoreUnreadableError):
            survey(store.root)


@pytest.mark.parametrize("made", [(), ("image",), ("containers",), ("overlay2/l",), ("image/overlay2",), ("image/btrfs/layerdb", "btrfs")])
def test_what_is_no_store(tmp_path: Path, made: tuple[str, ...]) -> None:
    """Parts of a layout, and data roots with another storage driver, are not taken for one."""
    root = tmp_path / "root"
    root.mkdir()
    for place in made:
        (root / place).mkdir(parents=True)
    assert not DRIVER.detect(root)
    with pytest.raises(NoStoreError):
        survey(root)
    with pytest.raises(NoStoreError):
        DRIVER.watch_plan(root)


def test_a_root_without_image_metadata_is_a_store_that_lost_it(store: Small) -> None:
    """The directories and the containers tell what it was."""
    shutil.rmtree(store.root / "image")
    assert DRIVER.detect(store.root)
    assert {finding.code for _, finding in check(store.root).findings} == {"metadata-unreadable", "container-image-missing"}


def test_loops_and_crowds(store: Small) -> None:
    """A parent that is its own child, a thousand names in a record, ten thousand in a lower file."""
    (store.record(store.base) / "parent").write_text(store.top)
    for number in range(1000):
        (store.record(store.another) / f"x{number}").touch()
    (store.place(store.another) / "lower").write_text(":".join(["l/" + "A" * 26] * 10_000))
    began = time.monotonic()
    codes = {finding.code for _, finding in check(store.root).findings}
    assert time.monotonic() - began < SECONDS
    assert "overlapping-layers" in codes


def test_build_cache_in_a_circle(store: Small) -> None:
    """Snapshots that are their own parents end."""
    one, two = build_id("one"), build_id("two")
    store.snapshot(one)
    store.snapshot(two, one)
    store.database("snapshots.db").root.bucket(one.encode()).put(b"parent", two.encode())
    store.commit()
    assert "overlapping-layers" in {finding.code for _, finding in check(store.root).findings}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just("sha256:" + "0" * 64),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["Repositories", "State", "Dead", "Config", "Labels", "Image", "Driver", "Name", "rootfs", "diff_ids", "created", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(value=JSON, raw=st.binary(max_size=200))
def test_any_json_is_understood_or_refused(value: object, raw: bytes) -> None:
    """No parser raises, whatever the file holds."""
    for data in (json.dumps(value).encode(), raw, b'{"Repositories": ' + raw + b"}"):
        record = container_record("c", "containers/c/config.v2.json", data)
        assert record.fault or isinstance(record.labels, dict)
        assert image_record("sha256:x", "p", data, None).fault, "its digest is another"
        assert all(image.startswith("sha256:") for image in names_of(data).images.values())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=120), which=st.integers(0, 16))
def test_any_bytes_in_any_file(store: Small, content: bytes, which: int) -> None:
    """Reading and diagnosis end with an answer."""
    path = files(store)[which]
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        read = DRIVER.survey(store.root, clock=FakeClock())
        for finding in diagnose(read, now=LATER):
            finding.document(read.root)
    finally:
        path.write_bytes(kept)
