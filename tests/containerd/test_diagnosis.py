"""What diagnosis says of containerd roots made of files: one case a rule, each beside its healthy twin."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.diagnose import diagnose, examine
from collector.findings import Finding
from collector.links import Survey
from collector.stores.containerd import Containerd
from linktrail.testing.clock import FakeClock
from tests.containerd.build import AT, SECOND, Store, chain

NOW = AT + 2 * 86_400 * SECOND
BASE, MIDDLE, TOP = chain("base"), chain("middle"), chain("top")
POD = {"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "u-1"}
SANDBOX, MEMBER = ({**POD, "io.cri-containerd.kind": kind} for kind in ("sandbox", "container"))
TOMORROW = "2099-01-01T00:00:00Z"
Planted = Callable[[Store], None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a healthy node: an image of three layers, a pod's container, Docker and BuildKit with leases of their own."""
    made = Store(tmp_path / "root")
    made.snapshot(BASE)
    made.snapshot(MIDDLE, BASE)
    made.snapshot(TOP, MIDDLE)
    made.image("registry.example/shop/web:1", [BASE, MIDDLE, TOP])
    made.container("c1", "registry.example/shop/web:1", TOP, labels=MEMBER)
    made.container("s1", "registry.example/shop/web:1", TOP, labels=SANDBOX)
    made.snapshot(BASE, namespace="moby")
    made.snapshot("d1-init", BASE, kind="committed", namespace="moby")
    made.snapshot("d1", "d1-init", kind="active", namespace="moby")
    made.lease("d1", {"snapshots/overlayfs": ["d1"]}, namespace="moby")
    made.snapshot("cache", namespace="buildkit")
    made.lease("cache", {"snapshots/overlayfs": ["cache"]}, namespace="buildkit")
    made.commit()
    return made


def survey(root: Path) -> Survey:
    """Read ``root`` two days after its last change."""
    return Containerd().survey(root, clock=FakeClock(NOW))


def found(store: Store) -> list[Finding]:
    """Return what is found once all is committed, without grace."""
    store.commit()
    return diagnose(survey(store.root), now=NOW, min_age=0)


def keys(findings: list[Finding]) -> set[tuple[str, str]]:
    """Return codes and subjects, keys without namespace and number."""
    return {(finding.code, re.sub(r"^[a-z0-9.]+/[0-9]+/", "", finding.subject)) for finding in findings}


def test_a_healthy_node_is_silent(store: Store) -> None:
    """Kubernetes, Docker's stopped container and BuildKit's cache: all is held by somebody."""
    assert found(store) == []


def lease_forever(store: Store) -> None:
    store.snapshot("scan-low")
    store.snapshot("scan", "scan-low", kind="view")
    store.lease("scanner", {"snapshots/overlayfs": ["scan"]})


def lease_until_tomorrow(store: Store) -> None:
    store.snapshot("scan", TOP, kind="view")
    store.lease("scanner", {"snapshots/overlayfs": ["scan"]}, {"containerd.io/gc.expire": TOMORROW})


def lease_expired(store: Store) -> None:
    store.snapshot("scan", TOP, kind="view")
    store.lease("scanner", {"snapshots/overlayfs": ["scan"]}, {"containerd.io/gc.expire": "2026-11-24T00:00:00Z"})


def lease_on_content(store: Store) -> None:
    store.snapshot("left")
    config = store.blob(chain("config of a lost image"), {"containerd.io/gc.ref.snapshot.overlayfs": "left"})
    store.lease("puller", {"content": [config]})


def lease_flat(store: Store) -> None:
    lease_on_content(store)
    store.lease("puller", {}, {"containerd.io/gc.flat": "yes"})


def label_root(store: Store) -> None:
    store.snapshot("kept", TOP, kind="active", labels={"containerd.io/gc.root": "2026-11-23T16:05:48Z"})


def label_expire(store: Store) -> None:
    store.snapshot("kept", TOP, kind="active", labels={"containerd.io/gc.expire": TOMORROW})


def label_over(store: Store) -> None:
    store.snapshot("kept", TOP, kind="active", labels={"containerd.io/gc.expire": "2026-11-24T00:00:00Z"})


def label_on_content(store: Store) -> None:
    store.snapshot("kept")
    store.blob(chain("a pinned blob"), {"containerd.io/gc.ref.snapshot.overlayfs": "kept", "containerd.io/gc.root": "yes"})


def back_reference(store: Store) -> None:
    store.snapshot("index-of-web", labels={"containerd.io/gc.bref.snapshot.overlayfs": TOP})


def container_label(store: Store) -> None:
    store.snapshot("volume")
    store.container("c2", "registry.example/shop/web:1", TOP, labels={"containerd.io/gc.ref.snapshot.overlayfs/v": "volume"})


def sandbox_lost(store: Store) -> None:
    store.place("k8s.io", "containers").delete(b"s1")
    store.remove_snapshot("s1")


def sandbox_of_its_own(store: Store) -> None:
    """A sandbox that is no container (a virtual machine): only the sandbox API records it."""
    sandbox_lost(store)
    store.place("k8s.io", "containers", "c1").put(b"sandboxid", b"vm1")
    store.place("k8s.io", "sandboxes", "vm1").put(b"createdat", store.now())


def sandbox_api_lost(store: Store) -> None:
    sandbox_of_its_own(store)
    store.place("k8s.io", "sandboxes").delete(b"vm1")


def view_left(store: Store) -> None:
    store.snapshot("view", TOP, kind="view")


def pull_killed(store: Store) -> None:
    store.snapshot(chain("new base"))
    store.snapshot(f"extract-1-aB {chain('new top')}", chain("new base"), kind="active")


def only_stored(store: Store) -> None:
    store.snapshot("gone", TOP, kind="active")
    store.remove_snapshot("gone", where="meta")


def only_named(store: Store) -> None:
    store.remove_snapshot("c1", where="stored disk")


def directory_lost(store: Store) -> None:
    shutil.rmtree(store.directory(2))


def content_of_snapshot_lost(store: Store) -> None:
    (store.directory(2) / "fs").rmdir()


def work_lost(store: Store) -> None:
    (store.directory(4) / "work").rmdir()


def phantom(store: Store) -> None:
    store.snapshot("view", TOP, kind="view")
    store.remove_snapshot("view", unlink=False)


def container_snapshot_lost(store: Store) -> None:
    store.remove_snapshot("c1")


def image_chain_lost(store: Store) -> None:
    for name in ("c1", "s1"):
        store.remove_snapshot(name)
        store.place("k8s.io", "containers").delete(name.encode())
    store.remove_snapshot(TOP)


def image_removed(store: Store) -> None:
    store.place("k8s.io", "images").delete(b"registry.example/shop/web:1")


def parents_differ(store: Store) -> None:
    store.place("k8s.io", "snapshots", "overlayfs", TOP).put(b"parent", BASE.encode())
    store.place("k8s.io", "snapshots", "overlayfs", BASE, "children").put(TOP.encode(), b"")


def child_not_listed(store: Store) -> None:
    store.place("k8s.io", "snapshots", "overlayfs", BASE, "children").delete(MIDDLE.encode())


def blob_lost(store: Store) -> None:
    blobs = store.root / "io.containerd.content.v1.content/blobs/sha256"
    (blobs / chain("registry.example/shop/web:1config").removeprefix("sha256:")).unlink()


def blob_cut(store: Store) -> None:
    blobs = store.root / "io.containerd.content.v1.content/blobs/sha256"
    (blobs / chain("registry.example/shop/web:1config").removeprefix("sha256:")).write_bytes(b"")


def directories_left(store: Store) -> None:
    for name in ("900", "new-1", "rm-3", "lost+found"):
        (store.home() / "snapshots" / name).mkdir()


def download_left(store: Store) -> None:
    store.ingest("layer-sha256:abc")


def database_lost(store: Store) -> None:
    (store.home() / "metadata.db").unlink()


WEB = chain("registry.example/shop/web:1manifest")
CASES: dict[Planted, set[tuple[str, str]]] = {
    lease_forever: {("pinned-by-lease", "scan")},  # with the one below it: one chain, one finding
    lease_until_tomorrow: {("pinned-by-lease", "scan")},
    lease_expired: {("unreferenced-layer", "scan")},
    lease_on_content: {("pinned-by-lease", "left")},
    lease_flat: {("unreferenced-layer", "left")},  # a flat lease holds the blob, not what its labels lead to
    label_root: {("pinned-by-label", "kept")},
    label_expire: {("pinned-by-label", "kept")},
    label_over: {("unreferenced-layer", "kept")},
    label_on_content: {("pinned-by-label", "kept")},
    back_reference: set(),  # it lives as long as the image's top
    container_label: set(),
    sandbox_lost: {("ghost-reference", "c1")},
    sandbox_of_its_own: set(),
    sandbox_api_lost: {("ghost-reference", "c1")},
    view_left: {("unreferenced-layer", "view")},
    pull_killed: {("incomplete-layer", f"extract-1-aB {chain('new top')}")},
    only_stored: {("interrupted-removal", "gone")},
    only_named: {("layer-missing", "c1")},
    directory_lost: {("layer-missing", MIDDLE)},
    content_of_snapshot_lost: {("layer-missing", MIDDLE)},
    work_lost: {("layer-data-missing", "c1")},
    phantom: {("phantom-child", TOP)},
    container_snapshot_lost: {("container-layer-missing", "c1")},
    image_chain_lost: {("image-layer-missing", WEB), ("unreferenced-layer", MIDDLE)},
    image_removed: {
        ("container-image-missing", "c1"),
        ("container-image-missing", "s1"),
    },  # the container goes on with what was unpacked: its chain is in use
    parents_differ: {("lower-mismatch", TOP)},
    child_not_listed: {("lower-mismatch", MIDDLE)},
    blob_lost: {("image-data-missing", WEB)},
    blob_cut: {("image-data-modified", WEB)},
    directories_left: {("unaccounted-layer", "900"), ("leftover-tempdir", "new-1"), ("leftover-tempdir", "rm-3")},
    download_left: {("leftover-ingest", "layer-sha256:abc")},
    # of what a database would have said nothing is claimed
    database_lost: {("metadata-unreadable", "io.containerd.snapshotter.v1.overlayfs/metadata.db")},
}


@pytest.mark.parametrize("planted", CASES, ids=lambda planted: planted.__name__)
def test_one_damage_is_one_finding(planted: Planted, store: Store) -> None:
    """Each damage by its code and subject, and nothing else."""
    planted(store)
    findings = found(store)
    assert keys(findings) == CASES[planted]
    for finding in findings:
        assert finding.message
        assert "Next: " in finding.advice
        assert "podman" not in finding.advice


def test_what_a_lost_layer_takes_with_it_is_related(store: Store) -> None:
    """Directory, key, chain id, image, container and pod lead to each other in the finding."""
    directory_lost(store)
    (finding,) = found(store)
    assert finding.subject == f"k8s.io/2/{MIDDLE}"
    assert {MIDDLE, "2", WEB, "c1"} <= set(finding.related)
    assert finding.evidence["images"] == ["registry.example/shop/web:1"]
    assert finding.owner.container_image_name == "registry.example/shop/web:1"
    work_lost(store)
    (pod,) = [finding for finding in found(store) if finding.code == "layer-data-missing"]
    assert (pod.owner.k8s_pod_name, pod.owner.k8s_namespace_name, pod.owner.container_id) == ("web-0", "shop", "c1")


def test_work_in_progress_is_held_back(store: Store) -> None:
    """A pull makes its layers one after another under a lease; while any of it is young, none of it is a leak."""
    pull_killed(store)
    lease_until_tomorrow(store)
    view_left(store)
    download_left(store)
    store.commit()
    diagnosis = examine(survey(store.root), now=AT + 60 * SECOND)
    assert diagnosis.findings == ()
    assert {item.code for item in diagnosis.withheld} == {"incomplete-layer", "pinned-by-lease", "unreferenced-layer", "leftover-ingest"}


def test_a_chain_that_one_lease_holds_is_one_finding(store: Store) -> None:
    """Five layers of a cancelled pull: the uppermost is the subject, the others are related."""
    names = [chain(f"layer {number}") for number in range(5)]
    for number, name in enumerate(names):
        store.snapshot(name, names[number - 1] if number else None)
    store.lease("pull", {"snapshots/overlayfs": names}, {"containerd.io/gc.expire": TOMORROW})
    (finding,) = found(store)
    assert finding.code == "pinned-by-lease"
    assert finding.evidence["chain"] == names[::-1]
    assert len(finding.held) == 5
    assert "ctr -n k8s.io leases delete --sync pull" in finding.advice


def test_a_snapshotter_that_keeps_its_data_elsewhere_is_left_alone(store: Store) -> None:
    """Records of a proxy plugin (stargz, nydus) have no database here: nothing is missing."""
    store.snapshot("lazy", snapshotter="nydus")
    store.lease("pull", {"snapshots/nydus": ["lazy"]})
    store.commit()
    shutil.rmtree(store.home("nydus"))
    assert found(store) == []


def test_another_snapshotter_is_judged_by_its_own_layout(store: Store) -> None:
    """A snapshot of native has no fs; its directories are found by their own path."""
    number = store.snapshot("plain", snapshotter="native", labels={"containerd.io/gc.root": "x"})
    (finding,) = found(store)
    assert (finding.code, finding.subject) == ("pinned-by-label", "native:k8s.io/1/plain")
    assert "ctr -n k8s.io snapshots --snapshotter native rm plain" in finding.advice
    shutil.rmtree(store.directory(number, "native"))
    assert {finding.code for finding in found(store)} == {"pinned-by-label", "layer-missing"}


def test_meta_db_that_cannot_be_read_silences_what_rests_on_it(store: Store) -> None:
    """Everything would look unreferenced."""
    store.commit()
    store.meta_path.write_bytes(b"\xff" * 8192)
    findings = diagnose(survey(store.root), now=NOW, min_age=0)
    assert {(finding.code, finding.subject) for finding in findings} == {("metadata-unreadable", "io.containerd.metadata.v1.bolt/meta.db")}


def test_records_in_a_circle_end(store: Store) -> None:
    """A parent that is its own grandchild: reported once, and looked at in bounded time."""
    store.place("k8s.io", "snapshots", "overlayfs", BASE).put(b"parent", TOP.encode())
    store.stores["overlayfs"].root.bucket(b"v1").bucket(b"snapshots").bucket(f"k8s.io/1/{BASE}".encode()).put(
        b"parent", f"k8s.io/3/{TOP}".encode()
    )
    codes = [finding.code for finding in found(store)]
    assert codes.count("overlapping-layers") == 1


def test_all_directories_gone_at_once_is_said_to_be_a_mount(store: Store) -> None:
    """Nobody is sent to remove every image because a disk is not there."""
    store.commit()
    for directory in (store.home() / "snapshots").iterdir():
        shutil.rmtree(directory)
    findings = found(store)
    assert {finding.code for finding in findings} == {"layer-missing"}
    assert all("findmnt" in finding.advice and "every other snapshot" in finding.message for finding in findings)
