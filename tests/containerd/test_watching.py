from __future__ import annotations

from pathlib import Path

import pytest

from collector.links import LinkKind
from collector.stores.containerd import DRIVER
from collector.stores.protocol import LOOK_AGAIN, NOISE, Change, Meaning, Purpose, WatchItem
from tests.containerd.build import Store, chain
from tests.containerd.helpers import survey

HOME = "io.containerd.snapshotter.v1.overlayfs"
CONTENT = "io.containerd.content.v1.content"
BOLT = "io.containerd.metadata.v1.bolt"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.snapshot(chain("a"))
    return made.commit()


def meaning(root: Path, directory: str, name: str, action: str, *, is_directory: bool = False) -> Meaning:
    return DRIVER.interpret(root, Change(root / directory if directory else root, name, action, is_directory))


def test_the_plan_covers_databases_first_and_resolves_the_root(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nine shallow directories of a root with one snapshotter more than it uses, whatever the number of snapshots."""
    (store.root / "io.containerd.snapshotter.v1.native/snapshots").mkdir(parents=True)
    link = tmp_path_factory.mktemp("named") / "root"
    link.symlink_to(store.root)
    plan = DRIVER.watch_plan(link)
    assert plan.root == store.root.resolve()
    places = [(str(item.path.relative_to(plan.root)), item.purpose) for item in plan.items]
    assert places == [
        (BOLT, Purpose.METADATA),
        ("io.containerd.snapshotter.v1.native", Purpose.METADATA),
        (HOME, Purpose.METADATA),
        ("io.containerd.snapshotter.v1.native/snapshots", Purpose.PLUMBING),
        (f"{HOME}/snapshots", Purpose.PLUMBING),
        (".", Purpose.PLUMBING),
        (f"{CONTENT}/ingest", Purpose.PLUMBING),
        (f"{CONTENT}/blobs", Purpose.PLUMBING),
        (f"{CONTENT}/blobs/sha256", Purpose.PLUMBING),
    ]


def test_databases_change_in_place(store: Store) -> None:
    """MODIFY is all that is ever seen of them while containerd lives."""
    for directory, name in ((BOLT, "meta.db"), (HOME, "metadata.db")):
        assert meaning(store.root, directory, name, "modified") == LOOK_AGAIN
        assert meaning(store.root, directory, "other", "modified") == NOISE


@pytest.mark.parametrize(
    ("directory", "name", "is_directory", "kind"),
    [
        (f"{HOME}/snapshots", "7", True, LinkKind.LAYER_DIRECTORY),
        (f"{HOME}/snapshots", "new-123", True, LinkKind.TEMPORARY_DIRECTORY),
        (f"{CONTENT}/ingest", "ab" * 32, True, LinkKind.INGEST),
        (f"{CONTENT}/blobs/sha256", "cd" * 32, False, LinkKind.CONTENT),
    ],
)
@pytest.mark.parametrize("action", ["created", "removed", "moved_in", "moved_out"])
def test_names_that_come_and_go_are_links_with_the_key_that_a_survey_gives(
    store: Store, directory: str, name: str, *, is_directory: bool, kind: LinkKind, action: str
) -> None:
    """One made and removed between two surveys is not lost, and one that stays is not told twice."""
    said = meaning(store.root, directory, name, action, is_directory=is_directory)
    assert said.relevant
    assert said.link is not None
    assert said.watch is None
    path = store.root / directory / name
    if is_directory:
        path.mkdir()
    else:
        path.write_bytes(b"{}")
    found = survey(store.root).links[said.link.key]
    assert found.kind is kind
    assert found.key[2] == f"{directory}/{name}"


@pytest.mark.parametrize(
    ("directory", "name", "purpose"),
    [
        ("", BOLT, Purpose.METADATA),
        ("", "io.containerd.snapshotter.v1.erofs", Purpose.METADATA),
        ("", CONTENT, Purpose.PLUMBING),
        (HOME, "snapshots", Purpose.PLUMBING),
        (CONTENT, "ingest", Purpose.PLUMBING),
        (f"{CONTENT}/blobs", "sha512", Purpose.PLUMBING),
        ("io.containerd.snapshotter.v1.stargz", "snapshotter", Purpose.METADATA),
    ],
)
def test_new_directories_of_the_plan_are_watched(store: Store, directory: str, name: str, purpose: Purpose) -> None:
    """A snapshotter that is used for the first time makes its directories then."""
    said = meaning(store.root, directory, name, "created", is_directory=True)
    assert said == Meaning(relevant=True, watch=WatchItem(store.root / directory / name if directory else store.root / name, purpose))
    assert meaning(store.root, directory, name, "removed", is_directory=True) == LOOK_AGAIN


@pytest.mark.parametrize(
    ("directory", "name", "action", "is_directory"),
    [
        ("", "io.containerd.runtime.v2.task", "created", True),
        ("", "tmpmounts", "removed", True),
        (f"{HOME}/snapshots", "7", "attributes", True),
        (f"{HOME}/snapshots/7", "fs", "created", True),
        (f"{CONTENT}/ingest/ab", "data", "modified", False),
        (f"{CONTENT}/blobs/sha256", "ab", "attributes", False),
        (f"{HOME}/snapshots", "", "modified", True),
        ("io.containerd.runtime.v2.task/k8s.io", "x", "created", True),
        (f"{BOLT}/deeper", "meta.db", "modified", False),
    ],
)
def test_noise(store: Store, directory: str, name: str, action: str, *, is_directory: bool) -> None:
    """What says nothing of the plumbing costs no reading."""
    assert meaning(store.root, directory, name, action, is_directory=is_directory) == NOISE


def test_the_end_of_a_watched_directory_is_news_and_other_places_are_not(store: Store) -> None:
    """A root moved away; an event of another store."""
    assert meaning(store.root, HOME, "", "removed", is_directory=True) == LOOK_AGAIN
    assert DRIVER.interpret(store.root, Change(Path("/elsewhere"), "meta.db", "modified", is_directory=False)) == NOISE


def test_usual_roots_are_those_of_the_known_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """containerd, k3s, RKE2, microk8s, k0s, Docker, and nerdctl without root."""
    monkeypatch.setenv("HOME", "/home/user")
    assert [str(root) for root in DRIVER.usual_roots()] == [
        "/var/lib/containerd",
        "/var/lib/rancher/k3s/agent/containerd",
        "/var/lib/rancher/rke2/agent/containerd",
        "/var/snap/microk8s/common/var/lib/containerd",
        "/var/lib/k0s/containerd",
        "/var/lib/docker/containerd/daemon",
        "/home/user/.local/share/containerd",
    ]
