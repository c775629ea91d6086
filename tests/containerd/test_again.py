from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.links import LinkKind
from collector.stores.containerd import Containerd
from tests.containerd.build import Store, chain
from tests.containerd.helpers import META, of, survey, whole

LAYERS = 5
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


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A node with 900 images and 1,600 pods: a meta.db of more than 64 MB."""
    store = Store(tmp_path_factory.mktemp("large"))
    store.files = False
    annotations = {f"io.kubernetes.cri.filler-{number}": "x" * 200 for number in range(36)}
    for image in range(900):
        layers = [chain(f"{image}/{layer}") for layer in range(LAYERS)]
        for number, layer in enumerate(layers):
            store.snapshot(layer, layers[number - 1] if number else None)
        store.image(f"registry.example.com/team/app:{image}", layers)
    for pod in range(1600):
        image = pod % 900
        labels = {"io.kubernetes.pod.name": f"app-{pod}", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": f"u{pod}"}
        top = chain(f"{image}/{LAYERS - 1}")
        store.container(f"pod{pod}", f"registry.example.com/team/app:{image}", top, labels=labels, annotations=annotations)
    return store.commit()


def test_one_transaction_in_a_large_file_costs_a_fraction_of_a_first_reading(large: Store) -> None:
    """The new graph is there in less than a tenth of the time, and it is the whole graph."""
    assert large.meta_path.stat().st_size > 64 << 20
    first, driver = _cost(large, Containerd()), Containerd()
    first = min(first, _cost(large, driver))
    seconds = []
    for turn in range(3):
        large.lease(f"pull-{turn}", {"snapshots/overlayfs": [chain("5/3")]})
        large.place("k8s.io", "snapshots", "overlayfs", chain("7/2"), "labels").put(b"containerd.io/gc.root", b"%d" % turn)
        large.meta.commit()
        seconds.append(_cost(large, driver))
    again = survey(large.root, driver)
    assert any(link.subject == "pull-2" and link.target for link in again.of_kind(LinkKind.LEASE))
    assert f"{META}#k8s.io/snapshots/overlayfs/{chain('7/2')}/labels/containerd.io/gc.root" in {
        link.path for link in again.of_kind(LinkKind.LABEL_REFERENCE)
    }
    assert min(seconds) < 0.1 * first, f"{seconds} against {first}"


def _cost(store: Store, driver: Containerd) -> float:
    """Return the processor seconds of one survey: the clock on the wall would measure what else the machine does."""
    began = time.process_time()
    survey(store.root, driver)
    return time.process_time() - began
