"""What is watched of a data root, and what each change there means."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from collector.links import LinkKind
from collector.stores import DRIVERS, driver_for
from collector.stores.docker import DRIVER, layout
from collector.stores.protocol import Change, Purpose
from linktrail.errors import NoStoreError
from tests.docker_store.build import Small, build_id, digest

HEX = digest("x")
ROOT = Path("/var/lib/docker")
LAYERDB = "image/overlay2/layerdb"


@pytest.fixture
def store(tmp_path: Path) -> Small:
    return Small(tmp_path / "docker")


def test_the_driver_is_offered(store: Small) -> None:
    """A data root is found by its structure."""
    assert DRIVER in DRIVERS
    assert driver_for(store.root) is DRIVER


def test_the_plan_covers_every_place_that_records_anything(store: Small) -> None:
    """Records first, layers last, newest first; each once; all of them there."""
    plan = DRIVER.watch_plan(store.root)
    places = [str(item.path.relative_to(plan.root)) for item in plan.items]
    assert len(places) == len(set(places))
    assert all(item.path.is_dir() for item in plan.items)
    expected = ["image/overlay2", f"{LAYERDB}/sha256", f"{LAYERDB}/mounts", f"{LAYERDB}/tmp", LAYERDB]
    assert places[: len(expected)] == expected
    assert {
        "image/overlay2/imagedb/content/sha256",
        "image/overlay2/imagedb/metadata/sha256",
        "containers",
        "buildkit",
        ".",
        "tmp",
        "overlay2/l",
        "overlay2",
        "image",
        f"containers/{store.c1}",
        f"overlay2/{store.writable}",
        f"overlay2/{store.source}",
    } <= set(places)
    layers = [item for item in plan.items if item.purpose is Purpose.LAYER]
    assert plan.items[-len(layers) :] == tuple(layers)
    assert {item.path.name for item in layers} == {path.name for path in store.overlay.iterdir()} - {"l"}
    assert "overlay2/l" not in [str(item.path.relative_to(plan.root)) for item in layers]


def test_a_plan_of_a_store_that_is_gone(store: Small) -> None:
    """Raises the error that says so."""
    shutil.rmtree(store.root)
    with pytest.raises(NoStoreError):
        DRIVER.watch_plan(store.root)


def change(path: str, action: str = "created", *, directory: bool = False) -> Change:
    """Return a change of the name ``path``, relative to the root."""
    home, _, name = path.rpartition("/")
    return Change(ROOT / home, name, action, directory)


@pytest.mark.parametrize(
    ("path", "action", "directory", "kind", "subject"),
    [
        (f"{LAYERDB}/sha256/{HEX}", "moved_in", True, LinkKind.LAYER_RECORD, f"sha256:{HEX}"),
        (f"{LAYERDB}/sha256/{HEX}-{HEX}-removing", "moved_in", True, LinkKind.LAYER_RECORD, f"{HEX}-{HEX}-removing"),
        (f"{LAYERDB}/tmp/write-set-12", "created", True, LinkKind.TEMPORARY_DIRECTORY, "write-set-12"),
        ("tmp/docker-import-1", "created", True, LinkKind.TEMPORARY_DIRECTORY, "docker-import-1"),
        ("tmp/GetImageBlob7", "created", False, LinkKind.TEMPORARY_DIRECTORY, "GetImageBlob7"),
        (f"image/overlay2/imagedb/content/sha256/{HEX}", "moved_in", False, LinkKind.IMAGE_RECORD, f"sha256:{HEX}"),
        (f"image/overlay2/imagedb/metadata/sha256/{HEX}", "created", True, LinkKind.OWNER_DIRECTORY, f"sha256:{HEX}"),
        (f"containers/{HEX}", "created", True, LinkKind.OWNER_DIRECTORY, HEX),
        (f"overlay2/{HEX}-init", "created", True, LinkKind.LAYER_DIRECTORY, f"{HEX}-init"),
        (f"overlay2/{build_id('x')}", "removed", True, LinkKind.LAYER_DIRECTORY, build_id("x")),
        (f"overlay2/l/{'A' * 26}", "removed", False, LinkKind.SHORT_LINK, "A" * 26),
        (f"overlay2/{HEX}/link", "modified", False, LinkKind.LINK_FILE, HEX),
        (f"overlay2/{HEX}/lower", "created", False, LinkKind.LOWER_REFERENCE, HEX),
    ],
)
def test_a_change_that_proves_a_link(path: str, action: str, directory: bool, kind: LinkKind, subject: str) -> None:
    """Something made and gone between two readings is told all the same."""
    meaning = DRIVER.interpret(ROOT, change(path, action, directory=directory))
    assert meaning.relevant
    assert meaning.link is not None
    assert (meaning.link.kind, meaning.link.subject, meaning.link.path) == (kind, subject, path)


@pytest.mark.parametrize(
    ("path", "action", "directory"),
    [
        ("image/overlay2/repositories.json", "moved_in", False),
        (f"containers/{HEX}/config.v2.json", "moved_in", False),
        ("buildkit/snapshots.db", "modified", False),
        ("buildkit/containerdmeta.db", "modified", False),
        ("buildkit/metadata_v2.db", "modified", False),
        (f"{LAYERDB}/mounts/{HEX}", "created", True),
        (f"overlay2/{HEX}/committed", "created", False),
        (f"overlay2/{HEX}/diff", "removed", True),
    ],
)
def test_a_change_to_look_at_again(path: str, action: str, directory: bool) -> None:
    """It says that something changed, not what."""
    meaning = DRIVER.interpret(ROOT, change(path, action, directory=directory))
    assert (meaning.relevant, meaning.link) == (True, None)


@pytest.mark.parametrize(
    ("path", "purpose"),
    [
        ("image", Purpose.PLUMBING),
        ("image/overlay2", Purpose.METADATA),
        (f"{LAYERDB}/sha256", Purpose.PLUMBING),
        ("image/overlay2/imagedb/content", Purpose.PLUMBING),
        ("image/overlay2/imagedb/content/sha256", Purpose.METADATA),
        ("buildkit", Purpose.METADATA),
        ("tmp", Purpose.PLUMBING),
        ("overlay2/l", Purpose.PLUMBING),
        (f"overlay2/{HEX}", Purpose.LAYER),
        (f"containers/{HEX}", Purpose.METADATA),
    ],
)
def test_a_new_directory_is_watched(path: str, purpose: Purpose) -> None:
    """As the plan would have it."""
    made = DRIVER.interpret(ROOT, change(path, "created", directory=True))
    assert made.relevant
    assert made.watch is not None
    assert (made.watch.path, made.watch.purpose) == (ROOT / path, purpose)
    gone = DRIVER.interpret(ROOT, change(path, "removed", directory=True))
    assert (gone.relevant, gone.watch) == (True, None)


@pytest.mark.parametrize(
    ("path", "action", "directory"),
    [
        ("network", "created", True),
        ("image/overlay2/.tmp-repositories.json123", "created", False),
        ("image/overlay2/distribution", "created", True),
        (f"containers/{HEX}/.tmp-config.v2.json99", "created", False),
        (f"containers/{HEX}/{HEX}-json.log", "modified", False),
        (f"containers/{HEX}/hostconfig.json", "moved_in", False),
        ("buildkit/cache.db", "modified", False),
        ("tmp/GetImageBlob7", "modified", False),
        ("overlay2/opaque-bug-check12", "created", True),
        ("overlay2/backingFsBlockDev", "created", False),
        (f"overlay2/{HEX}/merged", "created", True),
        (f"overlay2/{HEX}/diff/etc", "created", True),
        (f"overlay2/{HEX}", "attributes", True),
        ("", "modified", True),
    ],
)
def test_noise(path: str, action: str, directory: bool) -> None:
    """Logs, temporary names and mounts are nothing to read again for."""
    assert not DRIVER.interpret(ROOT, change(path, action, directory=directory)).relevant


def test_elsewhere_and_the_watched_directory_itself() -> None:
    """What is outside says nothing; the end of a watched directory does."""
    assert not DRIVER.interpret(ROOT, Change(Path("/var/lib/dockers"), HEX, "created", is_directory=True)).relevant
    assert DRIVER.interpret(ROOT, Change(ROOT / "overlay2", "", "removed", is_directory=True)).relevant
    assert not DRIVER.interpret(ROOT, Change(ROOT / "overlay2", "", "attributes", is_directory=True)).relevant


def test_a_named_root_that_is_a_link(store: Small, tmp_path: Path) -> None:
    """Changes come under the resolved name."""
    named = tmp_path / "named"
    named.symlink_to(store.root)
    seen = Change(store.root.resolve() / "overlay2", HEX, "created", is_directory=True)
    assert DRIVER.interpret(named, seen).link is not None


def test_usual_roots_name_the_systems_first() -> None:
    """And the snap's, and this user's."""
    roots = DRIVER.usual_roots()
    assert roots[0] == Path("/var/lib/docker")
    assert Path("/var/snap/docker/common/var-lib-docker") in roots
    assert any(str(root).endswith(".local/share/docker") for root in roots)


def test_chain_ids_are_those_of_the_image_specification() -> None:
    """As seen in a real store: the chain of podman's three layers in Docker's layerdb."""
    diffs = (
        "sha256:5178d4dddda32eff399984791eec9a767ab899820c289a0bf67eb099d61738c2",
        "sha256:3e4c0b50827d5b34bea38be77a1c02aa527ef1accb34954d36e48663764f19b9",
        "sha256:e51bdc628b3b7ff2f29aea7fbf6d3c77d3a61ab716fce6d4f466a12d2d0a9ca2",
    )
    base, _, top = layout.chain_ids(diffs)
    assert base == diffs[0]
    assert top == "sha256:223b575c6cd5eec4782ee6d72c7f9f1751fd0370fdef9aa46bf74d4a1fa8f5f4"
