"""Family E: snapshots of containerd that outlive what they were for, and whose a numbered directory is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from linktrail.clock import iso
from tests.containerd.build import Store, chain
from tests.incidents.kernel import Kernel
from tests.incidents.registry import incident
from tests.incidents.replay import DAY, Ask, Broken, Says, Scene, allocated

APP = "docker.io/lab/app:1"
OTHER = "docker.io/lab/other:1"
POD = {
    "io.kubernetes.pod.name": "web-1",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": "11111111-2222-4333-8444-555555555555",
    "io.kubernetes.container.name": "web",
}
BASE, MIDDLE, TOP, EXTRA = (chain(word) for word in ("base", "middle", "top", "extra"))


@dataclass(frozen=True, slots=True)
class Kube:
    """A containerd of a Kubernetes node: image APP (base, middle, top), image OTHER (base, middle, extra), a container of APP in POD."""

    store: Store
    numbers: dict[str, int]

    def id(self, name: str) -> str:
        """Return the id of a snapshot, as it stands in the snapshotter's database."""
        return f"k8s.io/{self.numbers[name]}/{name}"

    def size(self, name: str) -> int:
        """Return the allocated bytes of a snapshot's directory."""
        return allocated(self.store.directory(self.numbers[name]))

    def drop_container(self, name: str) -> None:
        """Remove the record of a container and leave its snapshot."""
        self.store.place("k8s.io", "containers").delete(name.encode())
        self.store.commit()


def kube(scene: Scene) -> Kube:
    """Make the store."""
    store = Store(scene.root)
    numbers = {}
    for name, parent in ((BASE, None), (MIDDLE, BASE), (TOP, MIDDLE), (EXTRA, MIDDLE)):
        numbers[name] = store.snapshot(name, parent)
        (store.directory(numbers[name]) / "fs/file").write_bytes(b"f" * 20_000)
    store.image(APP, [BASE, MIDDLE, TOP])
    store.image(OTHER, [BASE, MIDDLE, EXTRA])
    numbers["c1"] = store.container("c1", APP, TOP, labels=POD)
    (store.directory(numbers["c1"]) / "fs/written").write_bytes(b"w" * 70_000)
    store.commit()
    return Kube(store, numbers)


@incident("E01", "the container is gone and its snapshot is not: no mount, no tool that lists it")
def outlived(scene: Scene) -> Says:
    made = kube(scene)
    broken = scene.break_in(lambda: made.drop_container("c1"))
    number = made.numbers["c1"]
    return Says(
        "unreferenced-layer",
        made.id("c1"),
        when=broken,
        owner="web-1",
        bytes=made.size("c1"),
        asks=(
            Ask("timeline", "c1", ("container_layer", "removed"), when=broken),
            Ask("whois", made.id("c1"), ("shop/web-1",)),
            Ask("why", made.id("c1"), ("Nothing on record held it",)),
            Ask("can-delete", made.id("c1"), ("yes", str(made.size("c1")))),
            Ask("findings", "", (f"snapshots/{number}",)),
        ),
    )


@incident("E06", "failed to stat parent: .../snapshots/N/fs: the record of a snapshot is there and its directory is not")
def parent_gone(scene: Scene) -> Says:
    made = kube(scene)
    size = made.size(MIDDLE)

    def lose() -> None:
        scene.crash()
        shutil.rmtree(made.store.directory(made.numbers[MIDDLE]))

    broken = scene.break_in(lose)
    return Says(
        "layer-missing",
        made.id(MIDDLE),
        words=(f"snapshots/{made.numbers[MIDDLE]}",),
        when=broken,
        owner=APP,
        asks=(
            Ask("shared_by", MIDDLE, (APP, OTHER, "c1")),
            Ask("timeline", made.id(MIDDLE), ("boot", "layer_directory", str(size))),
            Ask("repair-plan", MIDDLE, (APP, OTHER)),
        ),
    )


@incident("E10", "a scanner names snapshots/N: which image and pod is it, and whose was it?")
def whose_number(scene: Scene) -> Says:
    made = kube(scene)

    def remove() -> None:
        made.store.remove_snapshot("c1")
        made.drop_container("c1")

    broken = scene.break_in(remove)
    directory = "io.containerd.snapshotter.v1.overlayfs/snapshots"
    return Says(
        None,
        asks=(
            Ask("whois", f"{directory}/{made.numbers[MIDDLE]}", (APP, OTHER, MIDDLE)),
            Ask("whois", f"snapshots/{made.numbers[MIDDLE]}/fs", (APP, OTHER)),
            Ask("why", MIDDLE, ("image", APP, f'"{made.id(TOP)}", "{made.id(MIDDLE)}"], "steps": 2'), together=True),
            Ask("whois", f"{directory}/{made.numbers['c1']}/fs/written", ("shop/web-1", "c1")),
            Ask("shared_by", MIDDLE, (APP, OTHER)),
            Ask("timeline", "c1", ("container_record", "removed", "web-1"), when=broken),
        ),
    )


@incident("E11", "a scanner leaves one view snapshot after another: nothing else removes them")
def views(scene: Scene) -> Says:
    made = kube(scene)

    def scan() -> None:
        for number in range(3):
            name = f"sbom-scan-{number}"
            made.numbers[name] = made.store.snapshot(name, TOP, kind="view", labels={"containerd.io/gc.root": "2026-11-23T16:00:00Z"})
            (made.store.directory(made.numbers[name]) / "fs/left").write_bytes(b"l" * 8_000)
            made.store.commit()

    broken = scene.break_in(scan)
    return Says(
        "pinned-by-label",
        made.id("sbom-scan-1"),
        words=("containerd.io/gc.root",),
        when=broken,
        bytes=made.size("sbom-scan-1"),
        asks=(
            Ask("findings", "", ("pinned-by-label", "sbom-scan-0"), together=True),
            Ask("why", "sbom-scan-2", ("label",)),
            Ask("leaks_by_code", "", ("pinned-by-label", '"leaks": 3'), together=True),
            Ask("why", TOP, (APP,)),
        ),
    )


@incident("E13", "the snapshotter grows and nobody knows what is safe: how much each image, pod and namespace takes")
def growing(scene: Scene) -> Says:
    made = kube(scene)
    name, outside = chain("outside"), "docker.io/lab/build:1"

    def grow() -> None:
        (made.store.directory(made.numbers["c1"]) / "fs/more").write_bytes(b"m" * 900_000)
        made.numbers[name] = made.store.snapshot(name, namespace="moby")
        (made.store.directory(made.numbers[name]) / "fs/built").write_bytes(b"b" * 300_000)
        made.store.image(outside, [name], namespace="moby")
        made.store.commit()

    broken = scene.break_in(grow, after=DAY)
    values = {"since": broken.healthy, "until": scene.now}
    return Says(
        None,
        asks=(
            Ask("usage", "", ("c1", "container", "web-1", str(made.size("c1"))), together=True),
            Ask("timeline", made.id("c1"), ("measured", f'"bytes": {made.size("c1")}', "web-1"), when=broken),
            Ask("timeline", name, ("layer_name", "created"), when=broken),
            Ask("usage", "", (name, "image", outside, str(made.size(name))), together=True),
            Ask("growth", "", ("c1", "web-1"), values, together=True),
            Ask("growth", "", ("shop/web-1",), {**values, "by": "pod"}),
            Ask("growth", "", (outside,), {**values, "by": "image"}),
            Ask("can-delete", MIDDLE, ("no", APP, OTHER)),
        ),
    )


@incident("E03", "a pull is interrupted by a restart: its lease expires, and an idle containerd collects nothing")
def expired(scene: Scene) -> Says:
    made = kube(scene)
    name = chain("pulled")

    expiry: list[int] = []

    def pull() -> None:
        expiry.append(scene.now + round(DAY * 1e9))
        made.numbers[name] = made.store.snapshot(name, MIDDLE)
        (made.store.directory(made.numbers[name]) / "fs/pulled").write_bytes(b"p" * 200_000)
        labels = {"containerd.io/gc.expire": iso(expiry[0]) or ""}
        made.store.lease("pull-1", {"snapshots/overlayfs": [name]}, labels)
        made.store.commit()

    broken = scene.break_in(pull)
    scene.wait(7 * DAY)
    scene.record()
    scene.record()
    return Says(
        "unreferenced-layer",
        made.id(name),
        words=(f"Lease pull-1 held it until {iso(expiry[0])}",),
        when=Broken(expiry[0], expiry[0], expiry[0]),
        bytes=made.size(name),
        asks=(
            Ask("why", made.id(name), ("Nothing on record held it",)),
            Ask("timeline", made.id(name), ("lease", "created", "pull-1"), when=broken),
        ),
    )


@incident("E04", "cannot remove snapshot with child: the child is gone, its name stands in the parent's index")
def phantom(scene: Scene) -> Says:
    made = kube(scene)
    name = chain("failed")
    made.store.snapshot(name, EXTRA)
    made.store.commit()

    def collect() -> None:
        made.store.remove_snapshot(name, unlink=False)
        made.store.commit()

    broken = scene.break_in(collect)
    return Says(
        "phantom-child",
        made.id(EXTRA),
        words=(name,),
        when=broken,
        owner=OTHER,
        asks=(
            Ask("why", made.id(EXTRA), ("phantom child", OTHER)),
            Ask("timeline", f"k8s.io/6/{name}", ("layer_directory", "removed"), when=broken),
            Ask("can-delete", made.id(EXTRA), ("no", OTHER)),
        ),
    )


@incident("E14", "a lease in a namespace that nobody looks at pins snapshots for ever")
def forgotten_lease(scene: Scene) -> Says:
    made = kube(scene)
    name = chain("variant")

    def lease() -> None:
        made.numbers[name] = made.store.snapshot(name, namespace="buildkit")
        (made.store.directory(made.numbers[name]) / "fs/variant").write_bytes(b"v" * 400_000)
        made.store.lease("variant-1", {"snapshots/overlayfs": [name]}, namespace="buildkit")
        made.store.commit()

    broken = scene.break_in(lease)
    subject = f"buildkit/1/{name}"
    return Says(
        None,
        asks=(
            Ask("why", subject, ("variant-1", "lease"), together=True),
            Ask("timeline", subject, ("lease", "created", "variant-1"), when=broken),
            Ask("can-delete", subject, ("no", "variant-1")),
            Ask("usage", "", (subject, str(made.size(name))), together=True),
        ),
    )


@incident("F02", "the kubelet cannot delete an image: which containers, of which pods, use it")
def in_use(scene: Scene) -> Says:
    made = kube(scene)

    def create() -> None:
        labels = {**POD, "io.kubernetes.pod.name": "web-2"}
        made.numbers["c2"] = made.store.container("c2", APP, TOP, labels=labels)
        made.store.commit()

    broken = scene.break_in(create)
    return Says(
        None,
        asks=(
            Ask("why", made.id(TOP), ("container", "c1", "web-1"), together=True),
            Ask("why", made.id(TOP), ("container", "c2", "web-2"), together=True),
            Ask("timeline", "c2", ("container_layer", "created", "web-2"), when=broken),
            Ask("shared_by", made.id(TOP), (APP, "c1", "c2")),
            Ask("can-delete", made.id(TOP), ("no", APP)),
        ),
    )


@incident("E02", "a pull is cancelled: layers and content stay, and no image tells what they are of")
def cancelled(scene: Scene) -> Says:
    made = kube(scene)
    lower, upper = chain("cancelled 1"), chain("cancelled 2")

    def pull() -> None:
        for name, parent in ((lower, None), (upper, lower)):
            made.numbers[name] = made.store.snapshot(name, parent, namespace="moby")
            (made.store.directory(made.numbers[name]) / "fs/pulled").write_bytes(b"p" * 300_000)
        labels = {"containerd.io/gc.expire": iso(scene.now + round(DAY * 1e9)) or ""}
        made.store.lease("pull-7", {"snapshots/overlayfs": [upper]}, labels, namespace="moby")
        made.store.commit()

    broken = scene.break_in(pull)
    held, expiry = scene.now, broken.happened + round(DAY * 1e9)
    scene.wait(3 * DAY)
    scene.record()
    scene.record()
    subject, below = f"moby/2/{upper}", f"moby/1/{lower}"
    return Says(
        "unreferenced-layer",
        subject,
        words=(below, f"Lease pull-7 held it until {iso(expiry)}"),
        when=Broken(expiry, expiry, expiry),
        bytes=made.size(lower) + made.size(upper),
        asks=(
            Ask("why", subject, ("pull-7", "lease"), {"at": held}, together=True),
            Ask("why", subject, ("Nothing on record held it",)),
            Ask("timeline", subject, ("layer_record", "created"), when=broken),
            Ask("timeline", below, ("layer_record", "created"), when=broken),
            Ask("can-delete", subject, ("yes",)),
        ),
    )


@incident("E05", "one snapshot cannot be removed, and the collection that stops at it frees nothing any more")
def blocked(scene: Scene) -> Says:
    kernel = Kernel(scene)
    made = kube(scene)
    point = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c1/rootfs"
    lower = [made.store.directory(made.numbers[name]) / "fs" for name in (TOP, MIDDLE, BASE)]
    kernel.mount(Path(point), made.store.directory(made.numbers["c1"]) / "fs", lower)
    blocker = scene.break_in(lambda: made.drop_container("c1"))
    waiting = [f"waits-{number}" for number in range(3)]
    for name in waiting:
        scene.wait(DAY)
        made.numbers[name] = made.store.container(name, APP, TOP)
        (made.store.directory(made.numbers[name]) / "fs/written").write_bytes(b"w" * 40_000)
        made.store.commit()
        scene.record()
        scene.break_in(partial(made.drop_container, name))
    total = sum(made.size(name) for name in ("c1", *waiting))
    return Says(
        "unreferenced-layer",
        made.id("c1"),
        when=blocker,
        owner="web-1",
        bytes=made.size("c1"),
        asks=(
            Ask("why", made.id("c1"), ("mount", point), together=True),
            Ask("can-delete", made.id("c1"), ("no", point)),
            *(Ask("findings", "", ("unreferenced-layer", made.id(name), str(made.size(name))), together=True) for name in waiting),
            Ask("leaks_by_code", "", ("unreferenced-layer", '"leaks": 4', f'"bytes": {total}'), together=True),
        ),
    )


@incident("E07", "parent snapshot does not exist: it was collected between the pull of a layer and that of the next")
def collected_under_a_pull(scene: Scene) -> Says:
    made = kube(scene)
    name, other = chain("parent"), "docker.io/lab/third:1"
    committed = scene.break_in(lambda: _third(made, name, other))

    def remove_image() -> None:
        made.store.place("k8s.io", "images").delete(other.encode())
        made.store.commit()

    untagged = scene.break_in(remove_image)

    def collect() -> None:
        made.store.remove_snapshot(name)
        made.store.commit()

    collected = scene.break_in(collect)
    subject = f"k8s.io/6/{name}"
    return Says(
        None,
        asks=(
            Ask("timeline", subject, ("layer_record", "created"), when=committed),
            Ask("timeline", other, ("image_name", "removed"), when=untagged),
            Ask("timeline", subject, ("layer_record", "removed"), when=collected),
            Ask("timeline", subject, ("layer_directory", "removed"), when=collected),
            Ask("findings_history", "", ("unreferenced-layer", subject), {"since": committed.healthy, "until": scene.now}, together=True),
            Ask("whois", subject, (other,)),
        ),
    )


def _third(made: Kube, name: str, image: str) -> None:
    made.numbers[name] = made.store.snapshot(name, BASE)
    made.store.image(image, [BASE, name])
    made.store.commit()
