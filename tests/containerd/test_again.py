from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.links import LinkKind
from collector.stores.containerd import Containerd
from collector.stores.containerd.survey import State, read_store
from collector.stores.protocol import no_progress
from linktrail.testing.clock import FakeClock
from tests.containerd.build import Store, chain
from tests.containerd.helpers import META, of, survey, whole
from tests.containerd.large import large_node, one_transaction

STEP = st.tuples(
    st.sampled_from(["pull", "run", "remove", "collect", "tag", "lease", "label", "forget", "ingest"]), st.integers(0, 9), st.booleans()
)


def step(store: Store, what: str, number: int, flag: bool) -> None:
    """Do one thing that containerd does; what makes no sense now is not done."""
    names = [f"c{number}", chain(f"layer{number}")]
    snapshots = store.place("k8s.io", "snapshots", "overlayfs")
    has = [snapshots.get(name.encode()) is not None for name in names]
    if what == "pull" and not has[1]:
        parent = chain(f"layer{number - 1}")
        below = parent if snapshots.get(parent.encode()) is not None else None
        store.snapshot(names[1], below)
        store.image(f"docker.io/library/app:{number}", [names[1]], unpacked=flag)
    elif what == "run" and not has[0]:
        parents = [chain(f"layer{place}") for place in range(10) if snapshots.get(chain(f"layer{place}").encode()) is not None]
        store.container(
            f"c{number}", f"docker.io/library/app:{number % 3}", parents[-1] if parents and flag else None, labels={"n": str(number)}
        )
    elif what in ("remove", "collect") and has[0]:
        store.remove_snapshot(f"c{number}", unlink=what == "remove")
        if store.place("k8s.io", "containers").get(f"c{number}".encode()) is not None:
            store.place("k8s.io", "containers").delete(f"c{number}".encode())
    elif what == "tag":
        store.tag(f"docker.io/library/app:{number}", f"sha256:{number % 4}")
    elif what == "lease":
        store.lease(f"l{number % 3}", {"snapshots/overlayfs": [names[number % 2]]}, {"containerd.io/gc.expire": str(number)})
    elif what == "label" and has[number % 2]:
        store.place("k8s.io", "snapshots", "overlayfs", names[number % 2], "labels").put(b"containerd.io/gc.root", b"%d" % number)
    elif what == "forget" and store.place("k8s.io", "images").get(f"docker.io/library/app:{number}".encode()) is not None:
        store.place("k8s.io", "images").delete(f"docker.io/library/app:{number}".encode())
    elif what == "ingest" and not (store.root / "io.containerd.content.v1.content/ingest").joinpath("x").exists():
        store.place("k8s.io", "content", "ingests", f"i{number}").put(b"ref", f"k8s.io/{number}/x".encode())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(STEP, min_size=1, max_size=5), min_size=1, max_size=10))
def test_a_survey_that_remembers_equals_one_that_does_not(tmp_path_factory: pytest.TempPathFactory, rounds: list[Any]) -> None:
    """Links, facts and owners, after any steps between two readings: remembering is a shortcut and never a source."""
    store = Store(tmp_path_factory.mktemp("again"), page_size=1024)
    store.snapshot("first", kind="view")
    store.commit()
    driver = Containerd()
    for steps in rounds:
        for what, number, flag in steps:
            step(store, what, number, flag)
        store.commit()
        again, fresh = survey(store.root, driver), survey(store.root)
        assert whole(again.links) == whole(fresh.links)
        assert list(again.links) == list(fresh.links)
    store.close()


def test_an_unchanged_store_is_the_same_objects(tmp_path: Path) -> None:
    """Nothing is made again when nothing changed."""
    store = Store(tmp_path)
    store.snapshot(chain("a"))
    store.image("docker.io/library/app:1", [chain("a")])
    store.container("c1", "docker.io/library/app:1", chain("a"))
    store.commit()
    driver = Containerd()
    one, other = survey(store.root, driver), survey(store.root, driver)
    kept = [key for key, link in one.links.items() if other.links[key] is link and link.path.partition("#")[0].endswith(".db")]
    assert len(kept) >= 12
    assert whole(one.links) == whole(other.links)


def test_a_change_elsewhere_reaches_the_links_that_depend_on_it(tmp_path: Path) -> None:
    """A page that did not change is told anew when what its names lead to, or who owns its objects, changed."""
    store = Store(tmp_path)
    store.snapshot(chain("a"))
    store.lease("l", {"snapshots/overlayfs": ["later"]})
    store.commit()
    driver = Containerd()
    assert {link.target for link in survey(store.root, driver).of_kind(LinkKind.LEASE) if link.target} == {"later"}
    store.snapshot("later", chain("a"), kind="active")
    store.commit()
    read = survey(store.root, driver)
    assert {link.target for link in read.of_kind(LinkKind.LEASE) if link.target} == {"k8s.io/2/later"}
    store.image("docker.io/library/app:1", [chain("a")])
    store.commit()
    read = survey(store.root, driver)
    assert {link.owner.container_image_name for link in read.of_kind(LinkKind.LAYER_RECORD)} == {"docker.io/library/app:1"}
    store.tag("app:0", next(iter(of(read, LinkKind.IMAGE_RECORD))))
    store.commit()
    assert {link.owner.container_image_name for link in survey(store.root, driver).of_kind(LinkKind.LAYER_RECORD)} == {"app:0"}


def test_one_transaction_in_a_large_file_is_read_at_the_cost_of_what_changed(tmp_path: Path) -> None:
    """Of a meta.db of more than 64 MB some pages are parsed and some links are made; the graph is whole (its time: bench_reread)."""
    large = large_node(tmp_path)
    assert large.meta_path.stat().st_size > 64 << 20
    _, before = read_store(large.root, clock=FakeClock(), progress=no_progress, state=State())
    one_transaction(large, 1)
    read, after = read_store(large.root, clock=FakeClock(), progress=no_progress, state=before)
    old, new = before.files.meta.image, after.files.meta.image
    assert old is not None
    assert new is not None
    parsed = [node for number, node in new.nodes.items() if old.nodes.get(number) is not node]
    assert len(new.nodes) > 10_000
    assert len(parsed) < 30, "a path from the root to each of two leaves"
    assert before.memory.made > 1000
    assert after.memory.made < before.memory.made / 50
    assert any(link.subject == "pull-1" and link.target for link in read.of_kind(LinkKind.LEASE))
    assert f"{META}#k8s.io/snapshots/overlayfs/{chain('7/2')}/labels/containerd.io/gc.root" in {
        link.path for link in read.of_kind(LinkKind.LABEL_REFERENCE)
    }
    assert len(read.links) > 20_000
