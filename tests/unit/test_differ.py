"""The differ: what leads from a record to a survey."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.differ import Action, LinkChange, Unread, diff, steps
from collector.links import Attribution, Link, LinkKey, LinkKind, LinkState, Problem, StoreKind, Survey
from collector.rows import link_of, link_row, recorded
from linktrail.clock import Instant
from linktrail.events import Interval, Origin, Stamp

SHORT = Link(LinkKind.SHORT_LINK, "A", "overlay/l/A", target="../1/diff", layer_id="1", inode=7)
RECORD = Link(LinkKind.LAYER_RECORD, "1", "overlay-layers/layers.json", layer_id="1", detail={"names": ["x"]})


def survey(*links: Link, unread: tuple[str, ...] = ()) -> Survey:
    problems = [Problem(path, "permission denied") for path in unread]
    return Survey.of(StoreKind.CONTAINERS_STORAGE, "/s", links, problems=problems)


def old(*links: Link) -> dict[LinkKey, Link]:
    return {link.key: recorded(link) for link in links}


def test_equal_links_give_no_change() -> None:
    """Facts and owners are no part of a link's history."""
    same = replace(SHORT, facts={"mtime_ns": 1}, owner=Attribution(container_id="c"))
    assert diff(old(SHORT, RECORD), survey(same, replace(RECORD, detail={"names": ["x"]}))) == []


def test_new_and_gone() -> None:
    """What is only in the survey was created, what is only in the record was removed; removals come first."""
    assert [(change.action, change.link.subject) for change in diff(old(SHORT), survey(RECORD))] == [
        (Action.REMOVED, "A"),
        (Action.CREATED, "1"),
    ]


def test_first_reading_observes() -> None:
    """Nothing is known of when the links of a store's first reading were made."""
    assert [change.action for change in diff({}, survey(SHORT, RECORD), first=True)] == [Action.OBSERVED, Action.OBSERVED]


def test_removed_link_keeps_owner_and_has_no_target() -> None:
    """The owner is the one last known; the removed state says that nothing stands there now."""
    owned = replace(SHORT, owner=Attribution(container_name="web"))
    [change] = diff({SHORT.key: owned}, survey())
    assert change.link.owner.container_name == "web"
    assert (change.link.target, change.link.state, change.previous) == (None, LinkState.REMOVED, owned)


@pytest.mark.parametrize("unread", ["overlay/l/A", "overlay/l", "overlay", "", "."])
def test_unread_is_not_removed(unread: str) -> None:
    """What could not be read is not claimed removed, wherever above it the reading failed."""
    assert diff(old(SHORT), survey(unread=(unread,))) == []


@pytest.mark.parametrize("unread", ["overlay/l/B", "overlay/l/A/x", "over", "overlay/l/AA", "overlay-layers"])
def test_unread_elsewhere_hides_nothing(unread: str) -> None:
    """Only the part that was not read is in doubt; a common beginning of names is not a common directory."""
    assert [change.action for change in diff(old(SHORT), survey(unread=(unread,)))] == [Action.REMOVED]


def test_unread_file_hides_its_parts() -> None:
    """A path behind ``#`` is inside the file."""
    assert Unread(["overlay-images/images.json"]).hides("overlay-images/images.json#mapped/1")


def test_retargeted_says_where_it_pointed() -> None:
    """Another target is a retarget, also when the inode changed with it (every filesystem reuses them differently)."""
    [change] = diff(old(SHORT), survey(replace(SHORT, target="../2/diff", inode=8)))
    assert (change.action, change.link.target) == (Action.RETARGETED, "../2/diff")
    assert change.previous is not None
    assert change.previous.target == "../1/diff"


def test_unreadable_is_changed_not_retargeted() -> None:
    """A target that cannot be read is not a new target, on neither side."""
    hidden = replace(SHORT, target=None, state=LinkState.UNREADABLE)
    assert [change.action for change in diff(old(SHORT), survey(hidden))] == [Action.CHANGED]
    assert [change.action for change in diff(old(hidden), survey(SHORT))] == [Action.CHANGED]


def test_another_inode_is_another_link() -> None:
    """Same name and target, another inode: the old link is gone and another stands there."""
    assert [change.action for change in diff(old(SHORT), survey(replace(SHORT, inode=8)))] == [Action.REMOVED, Action.CREATED]
    directory = Link(LinkKind.LAYER_DIRECTORY, "1", "overlay/1", inode=3)
    assert [change.action for change in diff(old(directory), survey(replace(directory, inode=4)))] == [Action.REMOVED, Action.CREATED]


def test_inode_of_a_metadata_file_means_nothing() -> None:
    """Engines replace metadata files at every write; that is one change, not an end and a beginning."""
    file = Link(LinkKind.METADATA_FILE, "layers.json", "layers.json", inode=1)
    assert [change.action for change in diff(old(file), survey(replace(file, inode=2)))] == [Action.CHANGED]


def test_detail_is_compared_in_its_recorded_form() -> None:
    """Tuples, order of keys and the like do not survive a row, so they are no difference."""
    one = replace(RECORD, detail={"b": (1, 2), "a": {"y": 1, "x": 2}})
    other = replace(RECORD, detail={"a": {"x": 2, "y": 1}, "b": [1, 2]})
    assert diff(old(one), survey(other)) == []
    assert [change.action for change in diff(old(one), survey(replace(other, detail={"a": 1})))] == [Action.CHANGED]


def test_huge_inodes_fit_and_stay_equal() -> None:
    """Overlayfs and FUSE hand out unsigned 64-bit inodes; int64 columns must not make them look changed."""
    huge = replace(SHORT, inode=2**64 - 5)
    assert diff(old(huge), survey(huge)) == []
    assert recorded(huge).inode == -5


TEXT = st.text(st.characters(codec="utf-8"), max_size=6) | st.binary(max_size=6).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
JSON = st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
LINKS = st.builds(
    Link,
    kind=st.sampled_from(LinkKind),
    subject=TEXT,
    path=TEXT,
    target=st.none() | TEXT,
    state=st.sampled_from(LinkState),
    layer_id=st.none() | TEXT,
    inode=st.none() | st.integers(0, 2**64 - 1),
    nlink=st.none() | st.integers(0, 2**31),
    detail=st.dictionaries(TEXT, JSON, max_size=3),
    owner=st.builds(Attribution, container_name=st.none() | TEXT, k8s_pod_uid=st.none() | TEXT),
)
STAMP = Stamp(Interval(1, 2), Instant(3, 4), "boot", Origin.SURVEY, "containers_storage", "/s")


@given(LINKS)
def test_rows_keep_links(link: Link) -> None:
    """A link read back from its row is the link as recorded, owner included, whatever bytes its names are made of."""
    back = link_of(link_row("created", link, None, STAMP))
    assert back == recorded(link)
    assert back.owner == recorded(link).owner
    assert recorded(recorded(link)) == recorded(link)


@given(st.lists(LINKS, max_size=6), st.lists(LINKS, max_size=6))
def test_changes_lead_from_one_to_the_other(before: list[Link], after: list[Link]) -> None:
    """Applying the changes to the record gives the survey, and then there are none left."""
    standing = old(*[link for link in before if link.state is not LinkState.REMOVED])
    now = survey(*[link for link in after if link.state is not LinkState.REMOVED])
    for change in diff(dict(standing), now):
        if change.action is Action.REMOVED:
            del standing[change.link.key]
        else:
            standing[change.link.key] = change.link
    assert standing == {key: recorded(link) for key, link in now.links.items()}
    assert diff(standing, now) == []


def test_steps_of_equal_links_are_none() -> None:
    """Two equal states need no step."""
    assert steps(SHORT, SHORT) == []
    assert steps(SHORT, replace(SHORT, nlink=2)) == [LinkChange(Action.CHANGED, replace(SHORT, nlink=2), SHORT)]
