"""What is watched, in which order, and what each change means."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from collector import stores
from collector.links import LinkKind, LinkState
from collector.stores import driver_for, find_stores, looked_at
from collector.stores.containers_storage import DRIVER
from collector.stores.protocol import LOOK_AGAIN, NOISE, Change, Driver, Meaning, Purpose
from linktrail.errors import ConfigurationError
from tests.containers_storage.made import layer_id, short_name, small, survey

ROOT = Path("/store")
ID = "a" * 64


def meaning(place: str, name: str, action: str = "created", *, directory: bool = False) -> Meaning:
    return DRIVER.interpret(ROOT, Change(ROOT / place if place else ROOT, name, action, directory))


def test_the_driver_keeps_the_contract() -> None:
    """It has the verbs of the protocol, as the registry takes it."""
    driver: Driver = DRIVER
    assert driver in stores.DRIVERS


def test_the_plan_covers_all_that_holds_links(tmp_path: Path) -> None:
    """Metadata first, then plumbing, then every layer, newest first; nothing that is not there."""
    made = small(tmp_path / "s")
    root = made.root.resolve()
    (root / "overlay/compat123").mkdir()
    (root / "overlay" / layer_id(1) / "extra").mkdir()  # changes the directory: it is the newest now
    plan = DRIVER.watch_plan(made.root)
    places = [(str(item.path.relative_to(root)), item.purpose) for item in plan.items]
    assert plan.root == root
    assert places[:6] == [
        ("overlay-layers", Purpose.METADATA),
        ("overlay-images", Purpose.METADATA),
        ("overlay-containers", Purpose.METADATA),
        (".", Purpose.PLUMBING),
        ("overlay/l", Purpose.PLUMBING),
        ("overlay", Purpose.PLUMBING),
    ]
    assert places[6] == (f"overlay/{layer_id(1)}", Purpose.LAYER)
    assert {place for place, purpose in places[6:]} == {f"overlay/{layer_id(number)}" for number in range(4)}
    (root / "overlay/staging").mkdir()
    (root / "overlay/tempdirs").mkdir()
    shutil.rmtree(root / "overlay-images")
    again = [str(item.path.relative_to(root)) for item in DRIVER.watch_plan(made.root).items]
    assert {"overlay/staging", "overlay/tempdirs"} <= set(again)
    assert "overlay-images" not in again


def test_a_plan_follows_the_link_at_the_root_once(tmp_path: Path) -> None:
    """Watches are set on real directories; changes reported there are understood under either name of the root."""
    made = small(tmp_path / "real")
    (tmp_path / "named").symlink_to("real")
    plan = DRIVER.watch_plan(tmp_path / "named")
    assert plan.root == made.root.resolve()
    change = Change(plan.root / "overlay-layers", "layers.json", "moved_in", is_directory=False)
    assert DRIVER.interpret(tmp_path / "named", change) is LOOK_AGAIN
    assert DRIVER.interpret(plan.root, change) is LOOK_AGAIN


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("overlay-layers", "layers.json"),
        ("overlay-layers", "volatile-layers.json"),
        ("overlay-images", "images.json"),
        ("overlay-containers", "containers.json"),
        ("overlay-containers", "volatile-containers.json"),
    ],
)
@pytest.mark.parametrize("action", ["moved_in", "created", "modified", "removed", "moved_out", "attributes"])
def test_metadata_files(place: str, name: str, action: str) -> None:
    """Whatever happens to a metadata file, it is read again."""
    assert meaning(place, name, action) is LOOK_AGAIN


@pytest.mark.parametrize(
    ("place", "name", "action", "directory"),
    [
        ("overlay-layers", "layers.lock", "modified", False),
        ("overlay-layers", ".tmp-layers.json123", "created", False),
        ("overlay-layers", ".tmp-layers.json123", "moved_out", False),
        ("overlay-layers", f".tmp-{ID}.tar-split.gz9", "created", False),
        ("overlay-images", "images.lock", "attributes", False),
        ("overlay-images", ID, "attributes", True),
        ("overlay-containers", "containers.lock", "modified", False),
        ("", "storage.lock", "modified", False),
        ("", "userns.lock", "created", False),
        ("", "libpod", "created", True),
        ("", "db.sql-journal", "removed", False),
        ("", "overlay", "attributes", True),
        ("overlay", ".has-mount-program", "modified", False),
        ("overlay", "compat123", "created", True),
        ("overlay", "opaque-bug-check77", "removed", True),
        ("overlay", ID, "attributes", True),
        ("overlay", "l", "attributes", True),
        ("overlay/l", "A" * 26, "attributes", False),
        ("overlay/staging", "lock", "created", False),
        ("overlay/tempdirs", "lock-7", "removed", False),
        (f"overlay/{ID}", "merged", "created", True),
        (f"overlay/{ID}", "merged", "removed", True),
        (f"overlay/{ID}", "diff", "attributes", True),
        (f"overlay/{ID}/diff", "link", "created", False),
        (f"overlay/{ID}/diff/etc", "passwd", "modified", False),
        ("overlay-images/x", "manifest", "created", False),
        ("overlay-layers", "", "attributes", True),
        ("elsewhere", "layers.json", "moved_in", False),
        ("../store2/overlay/l", "A" * 26, "created", False),
    ],
)
def test_noise(place: str, name: str, action: str, directory: bool) -> None:
    """Locks, temporary names, feature tests, mounts, attributes of directories, and what is no part of the store."""
    assert meaning(place, name, action, directory=directory) == NOISE


def test_a_root_that_is_the_beginning_of_another_name() -> None:
    """``/store`` is not where ``/store2`` is."""
    assert DRIVER.interpret(ROOT, Change(Path("/store2/overlay/l"), "A" * 26, "created", is_directory=False)) == NOISE


@pytest.mark.parametrize("action", ["created", "moved_in", "removed", "moved_out"])
def test_short_links_prove_themselves(action: str) -> None:
    """A short link made and removed between two reads is known by its event alone; target unknown."""
    found = meaning("overlay/l", "A" * 26, action)
    assert found.relevant
    assert found.watch is None
    assert found.link is not None
    assert (found.link.key, found.link.target) == ((LinkKind.SHORT_LINK, "A" * 26, f"overlay/l/{'A' * 26}"), None)


@pytest.mark.parametrize("action", ["created", "moved_in", "removed", "moved_out"])
def test_layer_directories_prove_themselves(action: str) -> None:
    """A layer directory is known by its event; a new one is to be watched, one that went is not."""
    found = meaning("overlay", ID, action, directory=True)
    assert found.link is not None
    assert found.link.key == (LinkKind.LAYER_DIRECTORY, ID, f"overlay/{ID}")
    assert found.link.layer_id == ID
    if action in ("created", "moved_in"):
        assert found.watch is not None
        assert (found.watch.path, found.watch.purpose) == (ROOT / "overlay" / ID, Purpose.LAYER)
    else:
        assert found.watch is None


@pytest.mark.parametrize(
    ("place", "name", "directory", "kind"),
    [
        (f"overlay/{ID}", "link", False, LinkKind.LINK_FILE),
        (f"overlay/{ID}", "lower", False, LinkKind.LOWER_REFERENCE),
        (f"overlay/{ID}", "lower-layers", False, LinkKind.LOWER_REFERENCE),
        ("overlay/staging", "123", True, LinkKind.TEMPORARY_DIRECTORY),
        ("overlay/tempdirs", "temp-dir-1", True, LinkKind.TEMPORARY_DIRECTORY),
        ("overlay-images", ID, True, LinkKind.OWNER_DIRECTORY),
        ("overlay-containers", ID, True, LinkKind.OWNER_DIRECTORY),
        ("overlay-layers", f"{ID}.tar-split.gz", False, LinkKind.DATA_FILE),
    ],
)
@pytest.mark.parametrize("action", ["created", "removed"])
def test_other_links_prove_themselves(place: str, name: str, directory: bool, kind: LinkKind, action: str) -> None:
    """The key of the proof is the key that a survey gives the same link."""
    found = meaning(place, name, action, directory=directory)
    assert found.link is not None
    assert (found.link.kind, found.link.path) == (kind, f"{place}/{name}")
    assert found.link.subject == (ID if ID in f"{place}/{name}" else name)


@pytest.mark.parametrize(("name", "purpose"), [("overlay", Purpose.PLUMBING), ("overlay-layers", Purpose.METADATA)])
def test_a_place_that_appears_is_watched(name: str, purpose: Purpose) -> None:
    """A directory of the engine made anew is part of the plan; one that goes is looked at."""
    new = meaning("", name, "created", directory=True).watch
    assert new is not None
    assert (new.path, new.purpose) == (ROOT / name, purpose)
    assert meaning("", name, "removed", directory=True) == LOOK_AGAIN


@pytest.mark.parametrize("name", ["l", "staging", "tempdirs"])
def test_plumbing_that_appears_is_watched(name: str) -> None:
    """Likewise below overlay/; and l/ itself going is the news of the year."""
    new = meaning("overlay", name, "created", directory=True).watch
    assert new is not None
    assert new.purpose is Purpose.PLUMBING
    assert meaning("overlay", name, "removed", directory=True) == LOOK_AGAIN


def test_things_planted_for_directories_are_looked_at() -> None:
    """A symbolic link under a layer's name is no directory, but no noise; nor is a layer's diff coming or going."""
    assert meaning("overlay", ID, "created") is LOOK_AGAIN
    assert meaning(f"overlay/{ID}", "diff", "removed", directory=True) is LOOK_AGAIN
    assert meaning("overlay", "", "removed", directory=True) is LOOK_AGAIN


def test_every_link_that_a_directory_holds_is_proved_under_its_own_key(tmp_path: Path) -> None:
    """Whatever a survey finds by its file alone, the event of that file names by the same key: a proof is never a second link."""
    made = small(tmp_path / "s")
    (made.root / "overlay/tempdirs/temp-dir-1").mkdir(parents=True)
    (made.root / "overlay-images" / made.images[0]["id"]).mkdir()
    found = survey(made.root)
    proved = 0
    for link in found.links.values():
        path = made.root / link.path
        if (
            link.kind in (LinkKind.STORE_ROOT, LinkKind.METADATA_FILE)
            or not (path.is_symlink() or path.exists())
            or path.name.endswith(".json")
        ):
            continue
        is_directory = path.is_dir() and not path.is_symlink()
        result = DRIVER.interpret(made.root, Change(path.parent, path.name, "created", is_directory))
        assert result.link is not None, link
        assert result.link.key == link.key
        assert result.link.layer_id == (None if link.kind is LinkKind.SHORT_LINK else link.layer_id)
        assert result.link.state is LinkState.PRESENT
        proved += 1
    assert proved > 15


def test_stores_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual roots are asked; two names of one store count once, and what is no store not at all."""
    made = small(tmp_path / "s")
    (tmp_path / "named").symlink_to("s")
    roots = (tmp_path / "none", made.root, tmp_path / "named")
    monkeypatch.setattr("collector.stores.containers_storage.usual_roots", lambda: roots)
    for driver in stores.DRIVERS:
        if driver is not DRIVER:
            monkeypatch.setattr(type(driver), "usual_roots", lambda self: ())  # noqa: ARG005 - the signature of the real one
    monkeypatch.setattr(stores, "configured_roots", lambda warn: ())  # noqa: ARG005 - the signature of the real one
    warnings: list[ConfigurationError] = []
    assert find_stores(warnings.append) == ((DRIVER, made.root),)
    assert warnings == []
    assert looked_at() == roots
    assert driver_for(made.root) is DRIVER
    assert short_name(0) in {link.subject for link in survey(made.root).of_kind(LinkKind.SHORT_LINK)}
