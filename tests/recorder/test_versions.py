"""Versions of metadata files between two readings: read as they come and told step by step, or counted as unread and made a gap."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.links import Survey
from collector.statements import UNREAD_VERSION
from collector.stores.containers_storage import ContainersStorage
from collector.versions import Version, VersionKeeper
from linktrail.clock import Instant, SystemClock
from linktrail.events import Row
from tests.recorder.support import Rig, bounds, fold, of_link, plain
from tests.recorder.world import Truth

FILE = "overlay-images/images.json"


@contextmanager
def keeping(root: Path, **limits: int) -> Iterator[VersionKeeper]:
    """A keeper that follows one file below ``root`` and looks only when it is told to."""
    keeper = VersionKeeper(SystemClock(), threaded=False, **limits)
    try:
        keeper.follow(root, [root / FILE], None)
        yield keeper
    finally:
        keeper.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with the file in it."""
    (tmp_path / FILE).parent.mkdir()
    put(tmp_path, b"first")
    return tmp_path


def put(root: Path, content: bytes, path: str = FILE) -> None:
    """Replace the file, as engines do."""
    temporary = (root / path).with_name(".tmp-images.json")
    temporary.write_bytes(content)
    temporary.replace(root / path)


def told(versions: list[Version]) -> list[tuple[bytes | None, int]]:
    """Return content and number of missed ones."""
    return [(version.data, version.missed) for version in versions]


def test_every_version_that_is_looked_at_is_read(root: Path) -> None:
    """Each content once, in order, between the look before and the look after it."""
    with keeping(root) as keeper:
        instants = []
        for number in range(5):
            instants.append(SystemClock().now().monotonic)
            put(root, b"%d" % number)
            keeper.look()
        versions = keeper.take(root)
        assert told(versions) == [(b"%d" % number, 0) for number in range(5)]
        for version, begun in zip(versions, instants, strict=True):
            assert version.after.monotonic <= version.before.monotonic
            assert version.before.monotonic >= begun
        assert keeper.take(root) == []


def test_what_was_replaced_unread_is_counted(root: Path) -> None:
    """Five replacements at once: four of them missed; one that goes leaves nothing to read, and is known to be gone."""
    with keeping(root) as keeper:
        for number in range(5):
            put(root, b"%d" % number)
        assert told(keeper.take(root)) == [(b"4", 4)]
        (root / FILE).unlink()
        [gone] = keeper.take(root)
        assert (gone.signature, gone.data, gone.known, gone.missed) == (None, None, True, 0)
        put(root, b"back")
        (root / FILE).write_bytes(b"in place")
        assert told(keeper.take(root)) == [(b"in place", 1)]


def test_limits_cost_content_not_count(root: Path) -> None:
    """Too large a file, and more than may be kept: the version is told without content."""
    with keeping(root, file_bytes=10, kept_bytes=15) as keeper:
        put(root, b"x" * 11)
        keeper.look()
        put(root, b"y" * 10)
        keeper.look()
        put(root, b"z" * 10)
        versions = keeper.take(root)
        assert told(versions) == [(None, 0), (b"y" * 10, 0), (None, 0)]
        assert len({version.signature for version in versions}) == 3
        put(root, b"w" * 10)
        assert told(keeper.take(root)) == [(b"w" * 10, 0)]


def test_a_directory_that_is_replaced_is_followed_anew(root: Path) -> None:
    """What happened in the new one before it was followed is counted as missed."""
    with keeping(root) as keeper:
        since = SystemClock().now()
        (root / FILE).parent.rename(root / "aside")
        (root / FILE).parent.mkdir()
        put(root, b"unseen")
        put(root, b"seen")
        assert keeper.take(root) == []
        keeper.follow(root, [root / FILE], since)
        [version] = keeper.take(root)
        assert (version.data, version.missed, version.after.monotonic) == (b"seen", 1, since.monotonic)
        put(root, b"next")
        assert told(keeper.take(root)) == [(b"next", 0)]
        (root / "aside/images.json").unlink()
        assert keeper.take(root) == []


def test_a_planted_link_leads_nowhere(root: Path, tmp_path: Path) -> None:
    """A file replaced by a link is not followed; it is not known what stands."""
    (tmp_path / "secret").write_bytes(b"secret")
    with keeping(root) as keeper:
        (root / "overlay-images/.tmp-x").symlink_to(tmp_path / "secret")
        (root / "overlay-images/.tmp-x").replace(root / FILE)
        [version] = keeper.take(root)
        assert (version.data, version.known) == (None, False)


# --- what the recorder makes of them --------------------------------------------------------------------------------

NAMES = ["a", "b", "c"]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["tag", "tag", "look", "read", "untold read", "tag while it is read"]), st.sampled_from(NAMES)), max_size=30
)


class Disturbed(ContainersStorage):
    """A driver under which the store changes when it has just been read."""

    def __init__(self, world: Tagging) -> None:
        super().__init__()
        self._world = world

    def survey(self, root: Path, **options: Any) -> Survey:
        """Read, and let the rest happen."""
        survey = super().survey(root, **options)
        while self._world.during:
            self._world.tag(self._world.during.pop())
        return survey


class Tagging:
    """Image names given and taken away, with the truth about each."""

    def __init__(self, where: Path, *, images: bool = True) -> None:
        """Start the recorder on a store of two layers, in which there is no file of images yet unless ``images``."""
        self.rig = Rig(where, layers=2, versions=True)
        if not images:
            self.rig.store.images.clear()
            (self.rig.store.root / FILE).unlink()
        self.rig.store.write = self.write  # type: ignore[method-assign]  # one that puts versions in place one by one
        self.rig.start()
        recorder = self.rig.recorder.stores[0]
        recorder.source = replace(recorder.source, driver=Disturbed(self))
        self.sizes = 0
        self.during: list[str] = []  # names that are given or taken when the store was read and the reading is not over
        self.rig.settle(0.5)
        self.untold: Instant | None = None  # since when the watch has told nothing of the file
        self.truth: dict[str, list[Truth]] = {f"localhost/{name}:1": [] for name in NAMES}

    def write(self, path: str, value: Any) -> None:
        """Replace a file by one of another size: here, more versions stand within a tick of the kernel's clock than in a second of life."""
        self.sizes += 1
        put(self.rig.store.root, json.dumps(value).encode() + b" " * self.sizes, path)

    def tag(self, name: str) -> None:
        """Give or take a name."""
        rig = self.rig
        truth = self.truth[f"localhost/{name}:1"]
        now = rig.clock.now()
        self.untold, begun = self.untold or now, now.wall
        removed = len(truth) % 2 == 1
        if removed:
            rig.store.remove_image(name)
        else:
            rig.store.add_image(name, 1)
        truth.append(("removed" if removed else "created", begun, rig.clock.now().wall))

    def read(self, *, tell: bool = True) -> None:
        """Let the recorder read the store."""
        if tell and self.untold is not None:
            self.rig.event_at("moved_in", FILE, self.untold, self.rig.clock.now())
            self.untold = None
            self.rig.recorder.step(0)
        assert self.rig.recorder.stores[0].read()

    def finish(self) -> tuple[list[Row], list[tuple[int, int]]]:
        """Return the rows of links and the gaps, having read everything."""
        self.read()
        self.rig.settle(3)
        self.rig.recorder.stop()
        rows = self.rig.rows("links")
        assert plain(fold(rows)) == plain(self.rig.survey().links)
        gaps = [row for row in self.rig.rows("coverage") if row["kind"] == "gap"]
        assert {row["cause"] for row in gaps} <= {UNREAD_VERSION}
        self.rig.crash()
        return rows, [bounds(row) for row in gaps]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS, st.booleans())
def test_every_name_is_told_or_its_time_is_a_gap(actions: list[tuple[str, str]], images: bool) -> None:
    """Whatever is read when: no row is untrue, and a change without a row lies in a gap."""
    with tempfile.TemporaryDirectory() as where:
        world = Tagging(Path(where), images=images)
        for action, name in actions:
            if action == "tag":
                world.tag(name)
            elif action == "look":
                assert world.rig.keeper is not None
                world.rig.keeper.look()
            else:
                world.during = [name] if action == "tag while it is read" else []
                world.read(tell=action == "read")
        rows, gaps = world.finish()
        for name, truth in world.truth.items():
            mine = of_link(rows, name)
            for row in mine:
                after, before = bounds(row)
                assert any(what == row["action"] and after <= done and begun <= before for what, begun, done in truth), (row, truth)
            for what, begun, done in truth:
                exact = any(row["action"] == what and bounds(row)[0] <= done and begun <= bounds(row)[1] for row in mine)
                assert exact or any(after <= done and begun <= before for after, before in gaps), (name, what, mine, gaps)


@pytest.mark.parametrize("read_every", [1, 3, 50])
def test_versions_that_were_all_read_leave_no_gap(tmp_path: Path, read_every: int) -> None:
    """Every step is told, with its target, in an interval as narrow as the looks were, however rarely the store is read."""
    world = Tagging(tmp_path)
    assert world.rig.keeper is not None
    for number in range(24):
        world.rig.keeper.look()
        world.tag(NAMES[number % 3])
        world.rig.keeper.look()
        world.rig.clock.advance(0.01)
        if number % read_every == read_every - 1:
            world.read()
    rows, gaps = world.finish()
    assert gaps == []
    for name, truth in world.truth.items():
        mine = of_link(rows, name)
        assert [row["action"] for row in mine] == [what for what, _, _ in truth] == ["created", "removed"] * 4
        assert all(row["target"] for row in mine if row["action"] == "created")
        for row, (_, begun, done) in zip(mine, truth, strict=True):
            after, before = bounds(row)
            assert after <= done
            assert begun <= before
            assert before - after < 30_000_000 or read_every == 1


def test_a_busy_store_has_one_gap_row_for_a_row_of_unread_versions(tmp_path: Path) -> None:
    """Nobody looks in between: the whole time is one gap that names the file and the numbers, and is vouched for by nothing."""
    world = Tagging(tmp_path)
    begun = world.rig.clock.now().wall
    for _ in range(10):
        for _ in range(4):
            world.tag("a")
        world.read()
        world.rig.clock.advance(0.5)
    vouched = world.rig.recorder.stores[0].memory.vouched
    ended = world.rig.clock.now().wall
    world.finish()
    gaps = [row for row in world.rig.rows("coverage") if row["kind"] == "gap"]
    assert [row["message"] for row in gaps] == [
        f"30 of 40 versions of {FILE} were replaced before they were read; a record that was made and removed again within them is missing"
    ]
    after, before = bounds(gaps[0])
    assert after <= begun + 1_000_000
    assert ended - 600_000_000 <= before <= ended
    assert vouched is not None
    assert vouched <= begun + 1_000_000
