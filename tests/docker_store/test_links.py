"""How a data root stands in links: ids, targets, paths, owners; and that a survey under a writer mixes no two instants."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector.links import LinkKind, LinkState, Survey
from collector.stores.docker import overlay
from collector.stores.docker import survey as reading
from linktrail.errors import NoStoreError, StoreUnstableError
from tests.docker_store.build import Small, build_id, digest, found, of, short_name, survey
from tests.docker_store.build import check as checked


@pytest.fixture
def store(tmp_path: Path) -> Small:
    return Small(tmp_path / "docker")


def test_a_chain_from_name_to_base(store: Small) -> None:
    """Name -> image -> top layer -> parents -> directories -> short names."""
    read = survey(store.root)
    assert of(read, LinkKind.IMAGE_NAME)["lab/app:1"].target == store.app
    assert of(read, LinkKind.IMAGE_LAYER)[store.app].target == store.top
    parents = {link.subject: link.target for link in read.of_kind(LinkKind.PARENT_POINTER)}
    assert (parents[store.top], parents[store.middle], parents.get(store.base)) == (store.middle, store.base, None)
    record = of(read, LinkKind.LAYER_RECORD)[store.top]
    place = store.place(store.top).name
    assert (record.target, record.path) == (place, f"image/overlay2/layerdb/sha256/{store.top.removeprefix('sha256:')}")
    assert record.detail["diff_size"] == 1234
    assert of(read, LinkKind.LAYER_DIRECTORY)[place].layer_id == store.top
    assert of(read, LinkKind.LINK_FILE)[place].target == short_name(place)
    assert of(read, LinkKind.SHORT_LINK)[short_name(place)].target == f"../{place}/diff"
    assert of(read, LinkKind.DATA_FILE)[store.top].target == "tar-split"


def test_a_container_from_id_to_chain(store: Small) -> None:
    """Container -> writable layer -> init layer -> top layer of its image."""
    read = survey(store.root)
    parents = {link.subject: link.target for link in read.of_kind(LinkKind.PARENT_POINTER)}
    assert of(read, LinkKind.CONTAINER_LAYER)[store.c1].target == store.writable
    assert parents[store.writable] == f"{store.writable}-init"
    assert parents[f"{store.writable}-init"] == store.top
    assert of(read, LinkKind.CONTAINER_IMAGE)[store.c1].target == store.app
    for layer in (store.writable, f"{store.writable}-init"):
        owner = of(read, LinkKind.LAYER_RECORD)[layer].owner
        assert (owner.container_id, owner.container_name, owner.container_image_name) == (store.c1, "c1", "lab/app:1")
        assert of(read, LinkKind.LAYER_DIRECTORY)[layer].owner == owner


def test_pods_are_known_by_the_labels_of_cri_dockerd(store: Small) -> None:
    """Pod, namespace, uid and the container's name in the pod stand on the container, its layers and findings about them."""
    labels = {
        "io.kubernetes.pod.name": "web-0",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": "3f0c",
        "io.kubernetes.container.name": "nginx",
        "io.kubernetes.docker.type": "container",
        "com.example.other": "x",
    }
    config = {"Image": "lab/app:1", "Labels": labels}
    container = store.container("k8s_nginx_web-0_shop_3f0c_0", store.app, store.top, Config=config)
    writable = digest(f"mount {container}")
    owner = of(survey(store.root), LinkKind.LAYER_RECORD)[writable].owner
    assert (owner.k8s_pod_name, owner.k8s_namespace_name, owner.k8s_pod_uid) == ("web-0", "shop", "3f0c")
    assert (owner.container_name, owner.container_image_id) == ("nginx", store.app)
    shutil.rmtree(store.overlay / writable)
    ((_, finding),) = checked(store.root).findings
    assert (finding.subject, finding.owner.k8s_pod_name) == (writable, "web-0")


def test_a_tag_is_a_better_name_than_a_digest(store: Small) -> None:
    """An image pulled by digest has that name only; one that is tagged too is called by its tag."""
    store.names["lab/app"] = {f"lab/app@sha256:{digest('manifest')}": store.app, "lab/app:1": store.app}
    store.names["lab/other"] = {f"lab/other@sha256:{digest('other')}": store.other}
    store.save_names()
    read = survey(store.root)
    assert of(read, LinkKind.LAYER_RECORD)[store.top].owner.container_image_name == "lab/app:1"
    assert of(read, LinkKind.LAYER_RECORD)[store.another].owner.container_image_name == f"lab/other@sha256:{digest('other')}"
    assert found(checked(store.root)) == set()


def test_layers_of_an_image_that_is_gone_are_known_by_its_container(store: Small) -> None:
    """The container still says what it was made of."""
    (store.imagedb / "content/sha256" / store.app.removeprefix("sha256:")).unlink()
    del store.names["lab/app"]
    store.save_names()
    owner = of(survey(store.root), LinkKind.LAYER_RECORD)[store.top].owner
    assert (owner.container_id, owner.container_image_name, owner.container_image_id) == (None, "lab/app:1", store.app)


def test_build_cache(store: Small) -> None:
    """A committed snapshot lies in the directory of the active one; what became a layer is recorded once, as that layer."""
    store.cached(build_id("step"), {"cache.description": "mount / from exec /bin/make"})
    became = store.layer("became", store.top, place=store.snapshot(build_id("became active"), store.top))
    store.database("snapshots.db").root.bucket(build_id("became").encode()).put(b"chainid", became.encode())
    store.database("snapshots.db").root.bucket(build_id("became").encode()).put(b"committed", build_id("became active").encode())
    store.lease(build_id("became"), build_id("became"))
    store.commit()
    read = survey(store.root)
    records = of(read, LinkKind.LAYER_RECORD)
    assert records[build_id("step")].target == build_id("active")
    assert records[build_id("source")].target == build_id("source")
    assert records[became].target == build_id("became active")
    assert not {build_id("became"), build_id("became active"), build_id("active")} & set(records)
    parents = {link.subject: link.target for link in read.of_kind(LinkKind.PARENT_POINTER)}
    assert parents[build_id("step")] == store.top
    held = {(link.subject, link.target) for link in read.of_kind(LinkKind.LEASE)}
    assert (build_id("became"), became) in held
    [told] = [link for link in read.of_kind(LinkKind.LEASE) if link.path.startswith("buildkit/metadata_v2.db")]
    assert told.detail == {"description": "mount / from exec /bin/make"}
    assert found(checked(store.root)) == set(), "no image has that layer, but the cache does"


def test_what_comes_and_goes_has_the_name_of_its_record(store: Small) -> None:
    """A layer in removal, and a write set that knows its directory already, are incomplete."""
    chain = store.layer("gone")
    name = f"{chain.removeprefix('sha256:')}-{digest('random')}-removing"
    store.record(chain).rename(store.layerdb / "sha256" / name)
    store.directory(digest("half"))
    (store.layerdb / "tmp/write-set-7").mkdir()
    (store.layerdb / "tmp/write-set-7/cache-id").write_text(digest("half"))
    records = of(survey(store.root), LinkKind.LAYER_RECORD)
    assert (records[name].state, records[name].detail["chain"]) == (LinkState.INCOMPLETE, chain)
    assert (records["write-set-7"].state, records["write-set-7"].target) == (LinkState.INCOMPLETE, digest("half"))


def test_a_root_that_is_a_link_is_followed_once(store: Small, tmp_path: Path) -> None:
    """And recorded as one."""
    (tmp_path / "named").symlink_to(store.root)
    [root] = survey(tmp_path / "named").of_kind(LinkKind.STORE_ROOT)
    assert (root.subject, root.target) == (str(tmp_path / "named"), str(store.root.resolve()))


# --- a writer beside the reader -----------------------------------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> list[int]:
    """Take one of ``steps`` after each reading of the directories; return how often they were read."""
    real, waiting = overlay.read_overlay, list(steps)
    read: list[int] = []

    def read_overlay(*arguments: Any) -> Any:
        parts = real(*arguments)
        read.append(len(parts))
        if waiting:
            waiting.pop(0)()
        return parts

    monkeypatch.setattr(reading, "read_overlay", read_overlay)
    return read


def contradicting(read: Survey, store: Small) -> set[str]:
    """Return the recorded directories that the survey does not have, and those it has without a record."""
    targets = {link.target for link in read.of_kind(LinkKind.LAYER_RECORD)}
    return {str(name) for name in targets ^ set(of(read, LinkKind.LAYER_DIRECTORY))} - {store.source}


def test_an_image_and_a_container_that_come_while_the_directories_are_read(store: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are there, whole."""

    def pull_and_run() -> None:
        image = store.image("lab/new:1", "base", "new")
        store.container("new", image, store.layer("new", store.base))

    read_often = meanwhile(monkeypatch, pull_and_run)
    read = survey(store.root)
    assert contradicting(read, store) == set()
    assert "lab/new:1" in of(read, LinkKind.IMAGE_NAME)
    assert len(read_often) == 2


def test_a_container_that_goes_while_the_directories_are_read(store: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of it in the survey."""

    def remove() -> None:
        for place in (store.writable, f"{store.writable}-init"):
            shutil.rmtree(store.overlay / place)
            (store.overlay / "l" / short_name(place)).unlink()
        shutil.rmtree(store.layerdb / "mounts" / store.c1)
        shutil.rmtree(store.root / "containers" / store.c1)

    meanwhile(monkeypatch, remove)
    read = survey(store.root)
    assert contradicting(read, store) == set()
    assert of(read, LinkKind.CONTAINER_RECORD) == of(read, LinkKind.CONTAINER_LAYER) == {}


def test_a_layer_that_is_never_whole_while_it_is_looked_at(store: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that change under every reading, and never agree, are an error of their own and no finding."""

    def half(number: int) -> Callable[[], None]:
        def step() -> None:
            shutil.rmtree(store.place(store.layer(f"half {number}")))

        return step

    meanwhile(monkeypatch, *(half(number) for number in range(20)))
    with pytest.raises(StoreUnstableError):
        survey(store.root)


def test_a_store_that_goes_while_it_is_read(store: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone then, not damaged."""
    meanwhile(monkeypatch, lambda: shutil.rmtree(store.root))
    with pytest.raises(NoStoreError):
        survey(store.root)
