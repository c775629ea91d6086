from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.links import LinkKind, LinkState, Problem, StoreKind
from collector.stores.containerd import Containerd, directories, files
from collector.stores.containerd import survey as reading
from linktrail.errors import NoStoreError, StoreUnreadableError
from linktrail.testing.clock import FakeClock
from tests.containerd.build import Store, chain
from tests.containerd.helpers import META, SNAPSHOTS, STORED, of, survey
from tests.needs import need


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.snapshot(chain("low"))
    made.image("docker.io/library/nginx:1.27", [chain("low")])
    made.container("c1", "docker.io/library/nginx:1.27", chain("low"))
    return made.commit()


def overwritten(path: Path) -> None:
    path.write_bytes(b"x" * 70000)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [overwritten, emptied, linked, piped])
@pytest.mark.parametrize("path", [META, STORED])
def test_one_bad_database_hides_its_own_links_only(store: Store, damage: Callable[[Path], None], path: str) -> None:
    """The bad one is a malformed link and a problem; the other one and the directories are reported as they are."""
    whole = survey(store.root)
    damage(store.root / path)
    read = survey(store.root)
    link = of(read, LinkKind.METADATA_FILE)[path]
    assert link.state is LinkState.MALFORMED
    assert link.detail["error"]
    assert read.unread == (path,)
    assert not [link for link in read.links.values() if link.path.partition("#")[0] == path and link.kind is not LinkKind.METADATA_FILE]
    rest = {key for key, link in whole.links.items() if link.path.partition("#")[0] != path}
    assert {key for key, link in read.links.items() if link.path.partition("#")[0] != path} == rest
    assert {link.target for link in read.of_kind(LinkKind.PARENT_POINTER)} == {f"k8s.io/1/{chain('low')}"}


def test_owners_are_known_without_the_database_of_the_snapshotter(store: Store) -> None:
    """meta.db knows parents too."""
    overwritten(store.root / STORED)
    names = of(survey(store.root), LinkKind.LAYER_NAME)
    assert names[chain("low")].owner.container_image_name == "docker.io/library/nginx:1.27"


def test_a_database_that_is_not_there_though_it_should_be_is_missing(store: Store) -> None:
    """Absence hides nothing, and is damage only where something needs it."""
    (store.root / STORED).unlink()
    read = survey(store.root)
    assert of(read, LinkKind.METADATA_FILE)[STORED].state is LinkState.MISSING
    assert read.problems == ()
    (store.root / STORED).parent.rename(store.root / "elsewhere")
    assert STORED not in of(survey(store.root), LinkKind.METADATA_FILE)


def test_a_root_without_meta_is_a_store_that_misses_it(store: Store) -> None:
    """The snapshotter's records and the directories still say something."""
    (store.root / META).unlink()
    read = survey(store.root)
    assert of(read, LinkKind.METADATA_FILE)[META].state is LinkState.MISSING
    assert len(of(read, LinkKind.LAYER_RECORD)) == 2


def test_a_value_that_does_not_decode_costs_that_value_only(store: Store) -> None:
    """Unknown kind, a number cut short, a time of the wrong length, no key: faults by name, the rest stands."""
    stored = store.stores["overlayfs"].root.bucket(b"v1").bucket(b"snapshots")
    stored.bucket(b"k8s.io/9/odd").fill({b"id": b"\x80", b"kind": b"\x09", b"createdat": b"12", b"size": b"\x02"})
    stored.bucket(b"no key of meta.db").fill({b"id": b"\x63", b"kind": b"\x01"})
    store.place("k8s.io", "snapshots", "overlayfs", "nameless").put(b"parent", chain("low").encode())
    store.place("k8s.io", "images", "headless").put(b"createdat", b"")
    store.place("k8s.io", "content", "blob", "sha256:x").put(b"size", b"\xff" * 12)
    store.stores["overlayfs"].root.bucket(b"v1").bucket(b"parents").put(b"\xff\xff", b"default/1/x")
    read = survey(store.commit().root)
    records = of(read, LinkKind.LAYER_RECORD)
    odd = records["k8s.io/9/odd"]
    assert (odd.state, odd.target, odd.detail["diff_size"]) == (LinkState.MALFORMED, None, 1)
    assert odd.detail["faults"] == ["id: an integer is cut short", "no id", "kind: unknown kind 09", "createdat: not a time: 2 bytes"]
    assert (records["no key of meta.db"].state, records["no key of meta.db"].target) == (LinkState.PRESENT, "99")
    assert records["k8s.io/overlayfs/nameless"].state is LinkState.MALFORMED
    assert of(read, LinkKind.IMAGE_NAME)["headless"].state is LinkState.MALFORMED
    assert of(read, LinkKind.CONTENT, META)["sha256:x"].detail["faults"] == ["size: an integer is over 64 bits"]
    assert {link.state for link in read.of_kind(LinkKind.CHILD_POINTER) if "#parents/ffff" in link.path} == {LinkState.MALFORMED}
    assert read.problems == ()


def test_parents_in_a_circle_end(store: Store) -> None:
    """Attribution walks along them."""
    stored = store.stores["overlayfs"].root.bucket(b"v1").bucket(b"snapshots")
    low = f"k8s.io/1/{chain('low')}"
    stored.bucket(low.encode()).put(b"parent", low.encode())
    stored.bucket(b"k8s.io/8/a").fill({b"id": b"\x08", b"kind": b"\x02", b"parent": b"k8s.io/9/b"})
    stored.bucket(b"k8s.io/9/b").fill({b"id": b"\x09", b"kind": b"\x02", b"parent": b"k8s.io/8/a"})
    read = survey(store.commit().root)
    assert of(read, LinkKind.PARENT_POINTER, STORED)["k8s.io/9/b"].target == "k8s.io/8/a"
    assert of(read, LinkKind.LAYER_RECORD)[low].owner.container_image_name == "docker.io/library/nginx:1.27"


def test_a_directory_that_cannot_be_listed_is_a_problem_of_its_own(store: Store) -> None:
    """A link in its place is not followed; what it would have held is unknown."""
    place = store.root / SNAPSHOTS
    place.rename(store.root / "elsewhere")
    place.symlink_to(store.root / "elsewhere")
    read = survey(store.root)
    assert [problem.path for problem in read.problems] == [SNAPSHOTS]
    assert not of(read, LinkKind.LAYER_DIRECTORY)
    assert len(of(read, LinkKind.LAYER_RECORD, STORED)) == 2


def test_a_snapshotter_that_is_a_link_is_not_entered(store: Store) -> None:
    """Its database is unreadable then, not absent: absence would mean removal."""
    home = store.home()
    home.rename(store.root / "elsewhere")
    home.symlink_to(store.root / "elsewhere")
    read = survey(store.root)
    assert STORED in read.unread
    assert of(read, LinkKind.METADATA_FILE)[STORED].state in (LinkState.UNREADABLE, LinkState.MALFORMED)


def test_no_store_is_an_error_and_detect_says_no(tmp_path: Path) -> None:
    """Foreign trees, absent ones, and one whose databases were never made."""
    driver = Containerd()
    for root in (tmp_path, tmp_path / "nothing", Path("/proc/self/status"), Path("a\0b")):
        assert not driver.detect(root)
        with pytest.raises(NoStoreError):
            survey(root)
        with pytest.raises(NoStoreError):
            driver.watch_plan(root)
    assert driver.kind is StoreKind.CONTAINERD_OVERLAYFS


def test_a_store_of_which_nothing_can_be_read_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A survey of nothing but problems would claim that the store is empty."""

    def refuse(*_: object, **__: object) -> files.File:
        return files.File(None, LinkState.UNREADABLE, "permission denied")

    monkeypatch.setattr(files, "_read", refuse)
    with pytest.raises(StoreUnreadableError, match="permission denied"):
        survey(store.root)


def test_without_the_right_to_read_what_is_closed_is_a_problem() -> None:
    """Containerd closes the snapshotter to others and leaves meta.db open: the open part is read, the other is no removal."""
    need("root")
    with tempfile.TemporaryDirectory() as where:
        Path(where).chmod(0o755)
        store = Store(Path(where, "root"))
        store.container("c1", "docker.io/library/nginx:1.27")
        store.commit().close()
        store.home().chmod(0o700)
        (child, answer), asked = _as_nobody(store.root), survey(store.root)
        assert asked.problems == ()
        assert answer == [STORED, SNAPSHOTS], f"exit code {child}"


def _as_nobody(root: Path) -> tuple[int, list[str]]:
    """Return what a survey by another user leaves unread, sorted."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tests.containerd.helpers import survey\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(*sorted(survey(Path(sys.argv[1])).unread), sep='\\n')\n"
    )
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(root)], capture_output=True, text=True, cwd=repository, check=False)
    return done.returncode, done.stdout.split()


def test_a_transaction_between_databases_and_directories_is_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out is one cut: the snapshot made meanwhile is in both databases and on disk, or in none."""
    read_disk, turns = directories.read_disk, [2, 1, 1]

    def interrupted(*arguments: object) -> object:
        found = read_disk(*arguments)  # type: ignore[arg-type]  # whatever the survey hands over
        for _ in range(turns.pop(0) if turns else 0):
            store.snapshot(f"busy-{len(turns)}-{store.now().hex()}", chain("low"), kind="active")
            store.commit()
        return found

    monkeypatch.setattr(reading, "read_disk", interrupted)
    read = survey(store.root)
    assert turns == []
    numbers = {str(link.target) for link in read.of_kind(LinkKind.LAYER_RECORD) if link.path == STORED}
    assert numbers == set(of(read, LinkKind.LAYER_DIRECTORY)) == {str(number) for number in range(1, 7)}
    assert set(of(read, LinkKind.LAYER_RECORD, STORED)) == set(of(read, LinkKind.LAYER_RECORD, META))


def test_a_writer_without_pause_does_not_keep_a_survey_from_ending(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last round stands, and each link is true of its own file."""
    read_disk = directories.read_disk

    def interrupted(*arguments: object) -> object:
        store.snapshot(f"busy-{store.now().hex()}", chain("low"), kind="active")
        store.commit()
        return read_disk(*arguments)  # type: ignore[arg-type]  # whatever the survey hands over

    monkeypatch.setattr(reading, "read_disk", interrupted)
    read = survey(store.root)
    assert read.problems == ()
    assert len(of(read, LinkKind.LAYER_DIRECTORY)) == 2 + reading.ROUNDS


def test_a_root_removed_while_it_is_read_is_no_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an empty one."""
    read_disk = directories.read_disk

    def removed(*arguments: object) -> object:
        shutil.rmtree(store.root)
        return read_disk(*arguments)  # type: ignore[arg-type]  # whatever the survey hands over

    monkeypatch.setattr(reading, "read_disk", removed)
    with pytest.raises(NoStoreError):
        Containerd().survey(store.root, clock=FakeClock())


def test_problems_name_what_and_where() -> None:
    """A file that is absent is none."""
    assert files.NO_FILES.meta.problem(META) is None
    assert files.File(None, LinkState.MALFORMED, "torn").problem(META) == Problem(META, "torn")
