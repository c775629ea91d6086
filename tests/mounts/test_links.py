"""From mount tables to links, without a kernel: forms of mounts that this machine may not be able to make."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.diagnose import examine
from collector.links import Link, LinkKind, Survey
from collector.mounts.links import MountLinks
from collector.mounts.machine import Seen, with_seen
from collector.mounts.mountinfo import parse
from collector.mounts.namespaces import Namespace, Namespaces
from collector.mounts.places import Places, Position
from collector.stores.containers_storage import DRIVER
from linktrail.clock import SystemClock
from tests.mounts.spaces import Running


@pytest.fixture
def store(tmp_path: Path) -> Running:
    """A store with one container."""
    return Running(tmp_path / "cs")


def survey_of(store: Running) -> Survey:
    """Survey the store as it is."""
    return DRIVER.survey(store.root, clock=SystemClock())


def links(store: Running, *lines: str) -> tuple[Link, ...]:
    """Return the links of a mount table; the store lies on the filesystem 8:1."""
    mounts = parse("\n".join(lines).encode()).mounts
    position = Position("8:1", str(store.overlay), read_only=False)
    spaces = Namespaces((Namespace("mnt:[1]", (1, 2), mounts),))
    return MountLinks(Places(survey_of(store), [str(store.overlay)]), position, spaces).links


def found(store: Running, *lines: str) -> list[tuple[str, str]]:
    """Return what is found with these mounts."""
    survey = with_seen(survey_of(store), Seen(links(store, *lines), 1))
    later = survey.finished + 3600 * 10**9
    return [finding.key for finding in examine(survey, now=later, settle=0).findings]


def test_fuse_overlayfs_of_a_rootless_user(store: Running) -> None:
    """It does not say what it is made of, so its mount point tells the layer."""
    line = f"9 1 0:99 / {store.merged} rw - fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0"
    (link,) = links(store, line)
    assert (link.target, link.detail["type"]) == (store.writable, "fuse.fuse-overlayfs")
    assert found(store, line) == []
    assert links(store, "9 1 0:99 / /elsewhere rw - fuse.fuse-overlayfs fuse-overlayfs rw") == ()


def test_everything_relative(store: Running) -> None:
    """With long chains engines mount from overlay/, the upper directory too; the mount point then tells whose it is."""
    made = f"lowerdir={store.lower()},upperdir={store.writable}/diff,workdir={store.writable}/work"
    (link,) = links(store, f"9 1 0:99 / {store.merged} rw - overlay overlay rw,{made}")
    assert (link.target, link.detail["lower"]) == (store.writable, store.chain_ids[::-1])
    assert links(store, f"9 1 0:99 / /elsewhere rw - overlay overlay rw,lowerdir=1/fs:2/fs,upperdir={store.writable}/diff") == ()


def test_a_layer_bound_elsewhere(store: Running) -> None:
    """A bind mount of a layer's directory holds it; that engines make one their root while they unpack is nothing."""
    line = f"9 1 8:1 {store.upper} /mnt rw - ext4 /dev/sda1 rw"
    (link,) = links(store, line)
    assert (link.subject, link.target, link.detail["type"]) == ("/mnt", store.writable, "bind")
    assert found(store, line) == []
    assert links(store, line.replace(" /mnt ", " / ")) == ()
    assert links(store, f"9 1 8:1 {store.overlay} {store.overlay} rw - ext4 /dev/sda1 rw") == (), "root podman binds overlay/ to itself"
    gone = f"9 1 8:1 {store.overlay}/{'d' * 64}/diff//deleted /mnt rw - ext4 /dev/sda1 rw"
    assert found(store, gone) == [("orphan-mount", "/mnt")]


def test_a_record_without_its_directory_is_one_finding(store: Running) -> None:
    """What is mounted of a layer that is recorded and lost is told by the break, not twice."""
    line = f"9 1 0:99 / {store.merged} rw - overlay overlay rw,lowerdir={store.lower()},upperdir={store.upper},workdir=w"
    assert found(store, line) == []
    store.upper.rename(store.root / "away")
    assert {code for code, _ in found(store, line)} == {"layer-missing"}


def test_metadata_that_cannot_be_read_makes_no_orphans(store: Running) -> None:
    """Who needs a layer is unknown then."""
    line = f"9 1 0:99 / {store.merged} rw - overlay overlay rw,lowerdir={store.lower()},upperdir={store.upper},workdir=w"
    (store.root / "overlay-containers/containers.json").write_text("[{")
    assert "orphan-mount" not in {code for code, _ in found(store, line)}
    assert [link.kind for link in links(store, line)] == [LinkKind.MOUNT]
