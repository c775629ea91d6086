"""Family E: snapshots of containerd that outlive what they were for, and whose a numbered directory is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from linktrail.clock import iso
from tests.containerd.build import Store, chain
from tests.incidents.registry import incident
from tests.incidents.replay import DAY, Ask, Says, Scene, allocated

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

    scene.break_in(remove)
    directory = "io.containerd.snapshotter.v1.overlayfs/snapshots"
    return Says(
        None,
        asks=(
            Ask("whois", f"{directory}/{made.numbers[MIDDLE]}", (APP, MIDDLE)),
            Ask("whois", f"{directory}/{made.numbers['c1']}/fs/written", ("shop/web-1", "c1")),
            Ask("shared_by", MIDDLE, (APP, OTHER)),
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

    def pull() -> None:
        made.numbers[name] = made.store.snapshot(name, MIDDLE)
        (made.store.directory(made.numbers[name]) / "fs/pulled").write_bytes(b"p" * 200_000)
        labels = {"containerd.io/gc.expire": iso(scene.now + round(DAY * 1e9)) or ""}
        made.store.lease("pull-1", {"snapshots/overlayfs": [name]}, labels)
        made.store.commit()

    scene.break_in(pull)
    scene.wait(7 * DAY)
    scene.record()
    scene.record()
    return Says(
        "unreferenced-layer",
        made.id(name),
        words=("Lease pull-1 held it until",),
        bytes=made.size(name),
        asks=(Ask("why", made.id(name), ("Nothing on record held it",)), Ask("timeline", made.id(name), ("lease", "created"))),
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
        asks=(Ask("why", made.id(EXTRA), ("phantom child", OTHER)), Ask("timeline", made.id(EXTRA), (name, "removed"))),
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
    scene.break_in(lambda: None)
    return Says(
        None,
        asks=(
            Ask("why", made.id(TOP), ("container", "c1", "web-1"), together=True),
            Ask("shared_by", made.id(TOP), (APP, "c1")),
            Ask("can-delete", made.id(TOP), ("no", APP)),
        ),
    )
