"""Transactions of containerd's databases between two readings: each is read and told by itself, or counted and made a gap."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector import versions
from collector.links import LinkKind
from collector.safe import open_root
from collector.statements import UNREAD_VERSION
from collector.stores.bolt import Defect, copied, root_of
from collector.stores.containerd import Containerd
from collector.stores.containerd.layout import META
from collector.versions import VersionKeeper
from linktrail.clock import Instant
from linktrail.events import Row
from tests.bolt.helpers import plain, written
from tests.bolt.writer import write_bolt
from tests.containerd.build import AT, Store
from tests.containerd.helpers import STORED, survey
from tests.needs import need
from tests.recorder.support import Rig, bounds, fold, of_link
from tests.recorder.support import plain as without_owners
from tests.recorder.world import Truth
from tests.stores import unpack

NAMES = ["docker.io/library/a:1", "docker.io/library/b:1", "docker.io/library/c:1"]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["tag", "tag", "tag", "look", "read", "untold read", "tag under a look"]), st.sampled_from(NAMES)),
    max_size=30,
)


class Tagging:
    """Image names given and taken away, a transaction each, with the truth about them."""

    def __init__(self, where: Path) -> None:
        """Start the recorder on a store with one image."""
        self.rig = Rig(where, layers=1, versions=True)
        self.rig.root = where / "containerd"
        self.store = Store(self.rig.root)
        self.store.snapshot("sha256:layer")
        self.digest = self.store.image("docker.io/library/base:1", ["sha256:layer"])
        self.store.commit()
        self.rig.start()
        self.rig.settle(0.5)
        assert self.rig.keeper is not None
        self.keeper: VersionKeeper = self.rig.keeper
        self.untold: Instant | None = None
        self.truth: dict[str, list[Truth]] = {name: [] for name in NAMES}

    def tag(self, name: str, *, look: bool = False) -> None:
        """Give or take a name; with ``look``, the keeper looks when its pages are written and it is not committed yet."""
        now = self.rig.clock.now()
        self.untold, truth = self.untold or now, self.truth[name]
        removed = len(truth) % 2 == 1
        if removed:
            self.store.place("k8s.io", "images").delete(name.encode())
        else:
            self.store._clock = AT  # the record is the same each time
            self.store.tag(name, self.digest)
        begun = now.wall
        if look:
            self.store.meta.commit(self.keeper.look)
        else:
            self.store.meta.commit()
        truth.append(("removed" if removed else "created", begun, self.rig.clock.now().wall))

    def read(self, *, tell: bool = True) -> None:
        """Let the recorder read the store."""
        if tell and self.untold is not None:
            self.rig.event_at("modified", META, self.untold, self.rig.clock.now())
            self.untold = None
            self.rig.recorder.step(0)
        assert self.rig.recorder.stores[0].read()

    def finish(self) -> tuple[list[Row], list[Row]]:
        """Return the rows of links and the gaps, having read everything."""
        self.read()
        self.rig.settle(3)
        self.rig.recorder.stop()
        rows = self.rig.rows("links")
        assert without_owners(fold(rows)) == without_owners(self.rig.survey().links)
        gaps = [row for row in self.rig.rows("coverage") if row["kind"] == "gap"]
        assert {row["cause"] for row in gaps} <= {UNREAD_VERSION}
        self.rig.crash()
        self.store.close()
        return rows, gaps


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_every_name_is_told_or_its_time_is_a_gap(actions: list[tuple[str, str]]) -> None:
    """Whatever is read when: no row is untrue, and a change without a row lies in a gap."""
    with tempfile.TemporaryDirectory() as where:
        world = Tagging(Path(where))
        for action, name in actions:
            if action.startswith("tag"):
                world.tag(name, look=action != "tag")
            elif action == "look":
                world.keeper.look()
            else:
                world.read(tell=action == "read")
        rows, gaps = world.finish()
        for name, truth in world.truth.items():
            mine = [row for row in of_link(rows, name) if row["link_kind"] == LinkKind.IMAGE_NAME]
            for row in mine:
                after, before = bounds(row)
                assert any(what == row["action"] and after <= done and begun <= before for what, begun, done in truth), (row, truth)
            for what, begun, done in truth:
                exact = any(row["action"] == what and bounds(row)[0] <= done and begun <= bounds(row)[1] for row in mine)
                in_gap = any(bounds(gap)[0] <= done and begun <= bounds(gap)[1] for gap in gaps)
                assert exact or in_gap, (name, what, mine, gaps)


@pytest.mark.parametrize("read_every", [1, 3, 50])
def test_transactions_that_were_all_read_leave_no_gap(tmp_path: Path, read_every: int) -> None:
    """Every step is told, with its target, in an interval as narrow as the looks were, however rarely the store is read."""
    world = Tagging(tmp_path)
    for number in range(24):
        world.keeper.look()
        world.tag(NAMES[number % 3])
        world.keeper.look()
        world.rig.clock.advance(0.01)
        if number % read_every == read_every - 1:
            world.read()
    rows, gaps = world.finish()
    assert gaps == []
    for name, truth in world.truth.items():
        mine = [row for row in of_link(rows, name) if row["link_kind"] == LinkKind.IMAGE_NAME]
        assert [row["action"] for row in mine] == [what for what, _, _ in truth] == ["created", "removed"] * 4
        assert {row["target"] for row in mine if row["action"] == "created"} == {world.digest}
        for row, (_, begun, done) in zip(mine, truth, strict=True):
            after, before = bounds(row)
            assert after <= done
            assert begun <= before
            assert before - after < 30_000_000 or read_every == 1


def test_whose_it_was_is_told_though_a_database_alone_does_not_say(tmp_path: Path) -> None:
    """A snapshotter's database knows no containers: its record of a container's snapshot is told with its owner to the end."""
    world = Tagging(tmp_path)
    store = world.store
    store.container("c1", "docker.io/library/base:1", "sha256:layer")
    store.commit()
    world.read()
    for step in ("other", None, "c1"):
        if step == "other":
            store.snapshot("other", None, kind="active")
        elif step == "c1":
            store.remove_snapshot("c1", where="meta stored")
        store.commit()
        world.keeper.look()
    rows, gaps = world.finish()
    assert gaps == []
    removed = [row for row in rows if row["action"] == "removed" and row["link_kind"] in (LinkKind.LAYER_RECORD, LinkKind.PARENT_POINTER)]
    assert {row["file_path"] for row in removed} == {META, STORED}
    assert {row["container_id"] for row in removed} == {"c1"}


def test_what_nobody_has_read_is_counted(tmp_path: Path) -> None:
    """Of seven transactions two were read by themselves and the last by the survey: four are unread, in one gap."""
    world = Tagging(tmp_path)
    for number in range(7):
        world.tag(NAMES[0])
        if number in (2, 4):
            world.keeper.look()
    _, [gap] = world.finish()
    assert str(gap["message"]).startswith(f"4 of 7 transactions of {META} ")


@pytest.mark.parametrize(("limit", "unread"), [("DATABASE_BYTES", 6), ("COPIED_BYTES", 4)])
def test_limits_cost_content_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, unread: int) -> None:
    """A database that is too large, or more copies than are kept: what was seen and not copied is unread, as if nobody had looked."""
    world = Tagging(tmp_path)
    size = world.store.meta_path.stat().st_size
    monkeypatch.setattr(versions, limit, 3 * size if limit == "COPIED_BYTES" else size // 8)
    for _ in range(7):
        world.keeper.look()
        world.tag(NAMES[0])
        world.keeper.look()
    rows, [gap] = world.finish()
    assert str(gap["message"]).startswith(f"{unread} of {unread + 1} transactions of {META} "), gap["message"]
    assert len([row for row in of_link(rows, NAMES[0]) if row["link_kind"] == LinkKind.IMAGE_NAME]) == 7 - unread


@pytest.mark.parametrize("name", ["containerd16-healthy", "containerd16-leaky"])
def test_a_transaction_states_what_a_survey_reads_in_it(name: str, tmp_path: Path) -> None:
    """Databases of a real engine: the links of each, made of its bytes alone, are those of the survey."""
    need("fixtures")
    root = unpack(name, tmp_path)
    found, driver = survey(root), Containerd()
    for path in (META, STORED):
        stated = driver.version(path, (root / path).read_bytes(), found)
        assert stated is not None
        here = {key: link for key, link in found.links.items() if key[2] == path or key[2].startswith(f"{path}#")}
        assert {link.key: link for link in stated} == here
        assert len(here) > 10
    assert driver.version(META, b"no database", found) is None


def test_the_older_meta_page_roots_no_version(tmp_path: Path) -> None:
    """Its tree is written over before any meta page says so; so only the newest transaction is ever copied, and that one whole."""
    path = tmp_path / "x.db"
    writer = write_bolt(path, {b"v1": {b"key-%03d" % number: b"x" * 100 for number in range(80)}}, 1024)
    trees: list[dict[bytes, object]] = []
    torn = 0

    def look() -> None:
        nonlocal torn
        newest = (writer.txid - 1) % 2  # transaction N has its meta page there, N-1 the other, in which N+1 will be written
        try:
            torn += plain(root_of(_without_meta(path.read_bytes(), newest))) != trees[-2]
        except Defect:
            torn += 1
        assert plain(root_of(_copy(path))) == trees[-1]

    for turn in range(40):
        if len(trees) > 1:
            writer.commit(look)
        else:
            writer.commit()
        trees.append(written(writer.root))
        writer.root.bucket(b"v1").put(b"key-%03d" % (turn * 7 % 80), b"%d" % turn * 50)
    writer.close()
    assert torn > 20


def _without_meta(data: bytes, page: int) -> bytes:
    """Return a file in which only the other meta page is valid."""
    damaged = bytearray(data)
    damaged[page * 1024 + 40] ^= 1
    return bytes(damaged)


def _copy(path: Path) -> bytes:
    with open_root(path.parent) as directory:
        found = copied(directory, path.name, 1 << 20)
    assert found is not None
    assert found.data is not None
    return found.data
