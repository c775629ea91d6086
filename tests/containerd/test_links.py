from __future__ import annotations

from pathlib import Path

import pytest

from collector.links import NOBODY, Attribution, Link, LinkKind, LinkState
from tests.containerd.build import Store, chain, uvarint
from tests.containerd.helpers import META, SNAPSHOTS, STORED, of, survey, targets

POD = {
    "io.kubernetes.pod.name": "web-7d9",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": "4f1c",
    "io.kubernetes.container.name": "nginx",
    "io.cri-containerd.kind": "container",
}
LOW, TOP = chain("low"), chain("top")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An image of two layers in the namespace of Kubernetes."""
    made = Store(tmp_path)
    made.snapshot(LOW)
    made.snapshot(TOP, LOW)
    made.image("docker.io/library/nginx:1.27", [LOW, TOP])
    return made


def owner(store: Store, name: str) -> Attribution:
    """Return whom the snapshot called ``name`` belongs to."""
    store.commit()
    read = survey(store.root)
    key = of(read, LinkKind.LAYER_NAME)[name].target
    owners = {link.owner for link in read.links.values() if link.layer_id == key and link.kind is not LinkKind.LEASE}
    assert len(owners) == 1, "all links of a layer say the same"
    return owners.pop()


def test_a_pod_owns_the_snapshot_of_its_container(store: Store) -> None:
    """By the labels that the CRI plugin writes on the container."""
    store.container("c1", "docker.io/library/nginx:1.27", TOP, labels=POD)
    digest = next(survey(store.commit().root).of_kind(LinkKind.IMAGE_RECORD)).subject
    assert owner(store, "c1") == Attribution("web-7d9", "shop", "4f1c", "c1", "nginx", "docker.io/library/nginx:1.27", digest)
    assert owner(store, LOW) == Attribution(container_image_name="docker.io/library/nginx:1.27", container_image_id=digest)


def test_annotations_of_the_spec_serve_where_labels_are_lacking(store: Store) -> None:
    """An image given by id, and no label: the OCI spec knows the pod and the name of the image."""
    annotations = {
        "io.kubernetes.cri.sandbox-name": "db-0",
        "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.sandbox-uid": "77",
        "io.kubernetes.cri.container-name": "postgres",
        "io.kubernetes.cri.image-name": "docker.io/library/postgres:17",
    }
    store.container("c1", "sha256:0123", TOP, annotations=annotations)
    found = owner(store, "c1")
    assert (found.k8s_pod_name, found.k8s_namespace_name, found.k8s_pod_uid, found.container_name) == ("db-0", "shop", "77", "postgres")
    assert found.container_image_name == "docker.io/library/postgres:17"


def test_a_tag_that_moved_on_does_not_take_old_containers_with_it(store: Store) -> None:
    """A container records a name; the image that it runs is the one whose top layer it stands on."""
    store.container("c1", "docker.io/library/nginx:1.27", TOP)
    store.commit()
    old = targets(survey(store.root), LinkKind.CONTAINER_IMAGE)
    digest = next(iter(old))[1]
    assert digest is not None
    store.tag("sha256:configuration", digest)  # as CRI keeps it
    store.snapshot(chain("newer"), LOW)
    newer = store.image("docker.io/library/nginx:1.27", [LOW, chain("newer")], seed="newer")
    assert newer != digest
    assert owner(store, "c1").container_image_id == digest
    assert targets(survey(store.root), LinkKind.CONTAINER_IMAGE) == old
    assert owner(store, chain("newer")).container_image_id == newer


def test_a_shared_layer_belongs_to_the_nearest_image_above(store: Store) -> None:
    """The lowest layer of a derived image is the top of its base image."""
    store.image("docker.io/library/base:1", [LOW])
    assert owner(store, LOW).container_image_name == "docker.io/library/base:1"
    assert owner(store, TOP).container_image_name == "docker.io/library/nginx:1.27"


def test_what_stands_on_an_image_without_a_container_still_says_which_image(store: Store) -> None:
    """Views of scanners, snapshots left behind: the image below them is known."""
    store.snapshot("scan-1", TOP, kind="view")
    assert owner(store, "scan-1") == owner(store, TOP)
    store.snapshot("alone", kind="active")
    assert owner(store, "alone") == NOBODY


def test_an_image_whose_unpacking_never_ended_owns_what_was_unpacked(tmp_path: Path) -> None:
    """No label leads from the image to a snapshot yet; the diff ids on its blobs do."""
    store = Store(tmp_path)
    store.snapshot(LOW)
    store.snapshot(f"extract-1-x {TOP}", LOW, kind="active")
    store.image("docker.io/library/big:1", [LOW, TOP], unpacked=False)
    assert owner(store, LOW).container_image_name == "docker.io/library/big:1"
    assert owner(store, f"extract-1-x {TOP}").container_image_name == "docker.io/library/big:1"
    assert not of(survey(store.root), LinkKind.IMAGE_LAYER)


def test_names_for_people_come_before_digests_and_ids(store: Store) -> None:
    """CRI keeps three names for one image."""
    store.commit()
    digest = of(survey(store.root), LinkKind.IMAGE_NAME)["docker.io/library/nginx:1.27"].target
    assert digest is not None
    store.tag(f"docker.io/library/nginx@{digest}", digest)
    store.tag("sha256:aaaa", digest)
    assert owner(store, TOP).container_image_name == "docker.io/library/nginx:1.27"
    read = survey(store.root)
    assert len(of(read, LinkKind.IMAGE_NAME)) == 3
    assert set(of(read, LinkKind.IMAGE_RECORD)) == {digest}


def test_every_namespace_is_read_and_kept_apart(store: Store) -> None:
    """The same name, chain id and lease in two namespaces are two things; one image digest in both has a layer in each."""
    for namespace in ("moby", "buildkit"):
        store.snapshot(LOW, namespace=namespace)
        store.image("docker.io/library/nginx:1.27", [LOW], namespace=namespace, seed="same")
        store.lease("lease", {"snapshots/overlayfs": [LOW]}, namespace=namespace)
        store.container("c1", "docker.io/library/nginx:1.27", LOW, namespace=namespace)
    read = survey(store.commit().root)
    assert {link.target for link in read.of_kind(LinkKind.LAYER_NAME) if link.subject == LOW} == {
        f"k8s.io/1/{LOW}",
        f"moby/1/{LOW}",
        f"buildkit/1/{LOW}",
    }
    shared = [link for link in read.of_kind(LinkKind.IMAGE_RECORD) if link.detail["namespace"] != "k8s.io"]
    assert len(shared) == 2
    assert len({link.subject for link in shared}) == 1
    assert {link.target for link in read.of_kind(LinkKind.IMAGE_LAYER) if link.subject == shared[0].subject} == {
        f"moby/1/{LOW}",
        f"buildkit/1/{LOW}",
    }
    assert {link.target for link in read.of_kind(LinkKind.LEASE) if link.target} == {f"moby/1/{LOW}", f"buildkit/1/{LOW}"}
    assert {link.detail["engine"] for link in read.of_kind(LinkKind.CONTAINER_RECORD)} == {"docker", "buildkit"}


def test_other_snapshotters_are_listed_under_their_own_name(store: Store) -> None:
    """Numbers and keys start at 1 in each of them, so they are qualified; native has its content one step higher."""
    store.snapshot(LOW, snapshotter="native", directory=False)
    (store.home("native") / "snapshots/1").mkdir()
    store.snapshot(LOW, snapshotter="erofs")
    read = survey(store.commit().root)
    natives = [link for link in read.links.values() if link.path.startswith("io.containerd.snapshotter.v1.native/")]
    assert {(link.kind, link.subject, link.target) for link in natives if link.kind is not LinkKind.METADATA_FILE} == {
        (LinkKind.LAYER_RECORD, f"native:k8s.io/1/{LOW}", "native:1"),
        (LinkKind.LAYER_DIRECTORY, "native:1", None),
    }
    directories = of(read, LinkKind.LAYER_DIRECTORY)
    assert directories["native:1"].detail == {"diff": True}
    assert directories["erofs:1"].detail == {}  # what is in it is not known, so nothing is claimed
    assert directories["erofs:1"].layer_id == f"erofs:k8s.io/1/{LOW}"
    assert directories["1"].layer_id == f"k8s.io/1/{LOW}"


def test_a_snapshotter_without_directories_claims_none(store: Store) -> None:
    """Devmapper and zfs: a record without a directory is no loss there."""
    store.snapshot("volume", snapshotter="devmapper", directory=False)
    (store.home("devmapper") / "snapshots").rmdir()
    read = survey(store.commit().root)
    assert of(read, LinkKind.LAYER_RECORD)["devmapper:k8s.io/1/volume"].target is None


def test_stargz_keeps_everything_one_directory_deeper(store: Store) -> None:
    """Its database is found there."""
    store.snapshot("remote", snapshotter="stargz")
    store.commit()
    deeper = store.home("stargz") / "snapshotter"
    deeper.mkdir()
    for name in ("metadata.db", "snapshots"):
        (store.home("stargz") / name).rename(deeper / name)
    read = survey(store.root)
    assert of(read, LinkKind.LAYER_DIRECTORY)["stargz:1"].path == "io.containerd.snapshotter.v1.stargz/snapshotter/snapshots/1"
    records = of(read, LinkKind.LAYER_RECORD, "io.containerd.snapshotter.v1.stargz/snapshotter/metadata.db")
    assert records["stargz:k8s.io/1/remote"].target == "stargz:1"


def test_a_snapshot_collected_without_its_parent_knowing_is_a_phantom_child(store: Store) -> None:
    """The index leads to a name that no snapshot has; the other database has no trace of it."""
    store.snapshot("gone", TOP, kind="active")
    store.commit()
    store.remove_snapshot("gone", unlink=False)
    read = survey(store.commit().root)
    children = {(link.target, link.layer_id) for link in read.of_kind(LinkKind.CHILD_POINTER) if link.path.startswith(META)}
    assert children == {(f"k8s.io/2/{TOP}", f"k8s.io/1/{LOW}"), ("gone", f"k8s.io/2/{TOP}")}
    assert targets(read, LinkKind.CHILD_POINTER, STORED) == {(f"k8s.io/1/{LOW}", f"k8s.io/2/{TOP}")}


@pytest.mark.parametrize(("where", "left"), [("meta", {STORED}), ("stored", {META}), ("stored disk", {META})])
def test_databases_that_disagree_show_it(store: Store, where: str, left: set[str]) -> None:
    """A snapshot that only one of them records has one record."""
    number = store.snapshot("half", TOP, kind="active")
    store.commit()
    store.remove_snapshot("half", where=where)
    read = survey(store.commit().root)
    assert {link.path for link in read.of_kind(LinkKind.LAYER_RECORD) if link.subject == "k8s.io/3/half"} == left
    directory = of(read, LinkKind.LAYER_DIRECTORY).get(str(number))
    assert (directory is None) == ("disk" in where)
    if directory is not None:
        assert (directory.layer_id is None) == (where == "stored")


def test_a_name_used_again_beside_its_uncollected_predecessor(store: Store) -> None:
    """meta.db forgets first; until the collector comes, metadata.db has two keys with one name."""
    store.remove_snapshot(TOP, where="meta")
    store.snapshot(TOP, LOW)
    read = survey(store.commit().root)
    assert {key for key in of(read, LinkKind.LAYER_RECORD, STORED) if key.endswith(TOP)} == {f"k8s.io/2/{TOP}", f"k8s.io/3/{TOP}"}
    assert of(read, LinkKind.LAYER_NAME)[TOP].target == f"k8s.io/3/{TOP}"
    assert (
        of(read, LinkKind.IMAGE_LAYER)[of(read, LinkKind.IMAGE_NAME)["docker.io/library/nginx:1.27"].target or ""].target
        == f"k8s.io/3/{TOP}"
    )


def test_leases_say_what_they_hold_until_when(store: Store) -> None:
    """One link a thing held; a lease that holds nothing is there too."""
    digest = store.blob("sha256:blob")
    store.lease(
        "pull",
        {"snapshots/overlayfs": [TOP, "unknown"], "content": [digest], "ingests": ["layer-x"], "images": ["docker.io/a:1"]},
        {"containerd.io/gc.expire": "2026-11-24T16:00:00Z", "containerd.io/gc.flat": "true"},
    )
    store.lease("empty", {})
    read = survey(store.commit().root)
    held = {(link.target, link.detail["kind"]) for link in read.of_kind(LinkKind.LEASE) if link.subject == "pull" and link.target}
    assert held == {
        (f"k8s.io/2/{TOP}", "snapshot"),
        ("unknown", "snapshot"),
        ("sha256:blob", "content"),
        ("layer-x", "ingest"),
        ("docker.io/a:1", "image"),
    }
    terms = {(link.detail.get("expires"), link.detail.get("flat")) for link in read.of_kind(LinkKind.LEASE) if link.subject == "pull"}
    assert terms == {("2026-11-24T16:00:00Z", True)}
    assert [link.target for link in read.of_kind(LinkKind.LEASE) if link.subject == "empty"] == [None]


def test_gc_labels_lead_to_what_they_hold(store: Store) -> None:
    """References forward and back, roots, with and without a suffix, on all objects; other labels are no links."""
    gc = "containerd.io/gc."
    store.snapshot("held", TOP, kind="view", labels={f"{gc}root": "now", f"{gc}bref.container": "c1", "other": "x"})
    store.blob("sha256:one", {f"{gc}ref.content.x": "sha256:two", f"{gc}ref.snapshot.overlayfs/7": "held", f"{gc}ref.snapshot.zfs": "held"})
    store.container(
        "c1", "docker.io/library/nginx:1.27", TOP, labels={f"{gc}ref.snapshot.overlayfs": LOW, f"{gc}bref.snapshot.overlayfs": TOP}
    )
    read = survey(store.commit().root)
    found = {
        (link.detail["label"].removeprefix(gc), link.subject, link.target, link.detail.get("back"))
        for link in read.of_kind(LinkKind.LABEL_REFERENCE)
    }
    assert found >= {
        ("root", "k8s.io/3/held", "k8s.io/3/held", None),
        ("bref.container", "k8s.io/3/held", "c1", True),
        ("ref.content.x", "sha256:one", "sha256:two", None),
        ("ref.snapshot.overlayfs/7", "sha256:one", "k8s.io/3/held", None),
        ("ref.snapshot.zfs", "sha256:one", "held", None),
        ("ref.snapshot.overlayfs", "c1", f"k8s.io/1/{LOW}", None),
        ("bref.snapshot.overlayfs", "c1", f"k8s.io/2/{TOP}", True),
    }
    assert all(link.detail["label"].startswith(gc) for link in read.of_kind(LinkKind.LABEL_REFERENCE))


def test_a_commit_gives_a_directory_another_key_and_no_other_number(store: Store) -> None:
    """What pulling does last: the key becomes the chain id."""
    number = store.snapshot(f"extract-1-x {chain('third')}", TOP, kind="active")
    before = survey(store.commit().root)
    stored, place = store.stores["overlayfs"].root.bucket(b"v1"), b"k8s.io/3/extract-1-x " + chain("third").encode()
    stored.bucket(b"snapshots").delete(place)
    key = f"k8s.io/4/{chain('third')}"
    stored.bucket(b"snapshots").bucket(key.encode()).fill({b"id": uvarint(number), b"kind": b"\x03", b"parent": f"k8s.io/2/{TOP}".encode()})
    after = survey(store.commit().root)
    one, other = (of(read, LinkKind.LAYER_DIRECTORY)[str(number)] for read in (before, after))
    assert one.key == other.key
    assert one.inode == other.inode
    assert (one.layer_id, other.layer_id) == (place.decode(), key)


def test_downloads_under_way_have_their_files_read_with_care(store: Store) -> None:
    """Files of a download come and go: whatever is there is said."""
    whole = store.ingest("layer-sha256:x")
    bare = store.root / "io.containerd.content.v1.content/ingest/bare"
    bare.mkdir()
    (bare / "ref").symlink_to("/etc/passwd")
    (bare / "total").write_text("many")
    read = survey(store.commit().root)
    found = {link.subject: link for link in read.of_kind(LinkKind.INGEST) if not link.path.startswith(META)}
    assert (found[whole].target, found[whole].detail, found[whole].facts["size"]) == (
        "k8s.io/1/layer-sha256:x",
        {"started": "2026-11-23T16:00:00Z", "total": 900000},
        100,
    )
    assert (found["bare"].target, found["bare"].detail) == (None, {})


def test_what_stands_among_the_snapshots_is_told_by_its_name_and_kind(store: Store) -> None:
    """A removal under way, a link in place of a directory, a snapshot without its content."""
    place = store.root / SNAPSHOTS
    (place / "rm-7").mkdir()
    (place / "40").symlink_to("/")
    (place / "41").mkdir()
    (place / "41" / "fs").symlink_to("/etc")
    read = survey(store.commit().root)
    assert of(read, LinkKind.TEMPORARY_DIRECTORY)["rm-7"].target == "7"
    directories = of(read, LinkKind.LAYER_DIRECTORY)
    assert (directories["40"].state, directories["40"].detail) == (LinkState.MALFORMED, {"type": "symlink", "to": "/"})
    assert directories["41"].detail == {"diff": False, "work": False}


def test_names_that_are_no_text_come_back_as_they_were(store: Store) -> None:
    """Keys are bytes."""
    name = b"caf\xe9\x1b[2J"
    store.place("k8s.io", "images").bucket(name).fill({b"target": {b"digest": b"sha256:x"}})
    found = [link for link in survey(store.commit().root).of_kind(LinkKind.IMAGE_NAME) if link.target == "sha256:x"]
    assert [link.subject.encode(errors="surrogateescape") for link in found] == [name]


def test_all_links_of_a_store_have_json_for_a_detail(store: Store) -> None:
    """Rows keep details as JSON."""
    store.container("c1", "docker.io/library/nginx:1.27", TOP, labels=POD)
    store.lease("l", {"snapshots/overlayfs": [TOP]})
    store.ingest("x")
    links: list[Link] = list(survey(store.commit().root).links.values())
    assert {link.kind for link in links} >= {LinkKind.STORE_ROOT, LinkKind.METADATA_FILE, LinkKind.INGEST, LinkKind.CONTENT}
    assert all((link.detail_json() is None) == (not link.detail) for link in links)
