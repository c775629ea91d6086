"""Incidents in which the kernel holds something: mounts that outlive, that are gone, that are busy, and deleted files that are open."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

from linktrail.clock import NANOSECONDS as SECOND
from linktrail.clock import iso
from linktrail.testing.containers_storage import finish, stop_after
from linktrail.testing.store_files import CONTAINERS, IMAGES, LAYERS
from tests.docker_store.build import Small, digest
from tests.incidents.containerd import APP as LAB
from tests.incidents.containerd import BASE, MIDDLE, POD, TOP, Kube, kube
from tests.incidents.kernel import Kernel
from tests.incidents.made import APP, OTHER, Shop, shop
from tests.incidents.registry import incident
from tests.incidents.replay import DAY, HOUR, MINUTE, Ask, Broken, Says, Scene, allocated


def merged(made: Shop) -> Path:
    """Return where the container's root is mounted."""
    return made.directory(made.writable) / "merged"


def run(kernel: Kernel, made: Shop, *pids: int) -> None:
    """Mount the root of the container, as an engine does that starts it."""
    lower = [made.directory(layer) / "diff" for layer in (made.top, made.middle, made.base)]
    kernel.mount(merged(made), made.directory(made.writable) / "diff", lower, *pids)


@incident("A12", "the mount at overlay/ is undone, and the next check calls every layer damaged: another directory stands there")
def unmounted_below(scene: Scene) -> Says:
    made = shop(scene)

    def unmount() -> None:
        (made.root / "overlay").rename(scene.where / "hidden")
        (made.root / "overlay").mkdir()

    broken = scene.break_in(unmount)
    asked = scene.now
    (made.root / "overlay").rmdir()
    (scene.where / "hidden").rename(made.root / "overlay")
    scene.wait(MINUTE)
    back = scene.record()
    return Says(
        "layer-missing",
        made.base,
        words=("like that of every other layer", "as when the filesystem of overlay/ is not mounted", "findmnt", '"all_layers_gone": true'),
        when=broken,
        owner=APP,
        at=asked,
        asks=(
            *(
                Ask("findings", "", ("layer-missing", layer), {"at": asked}, together=True)
                for layer in (made.top, made.extra, made.writable)
            ),
            Ask("findings_history", "", (made.base, "layer-missing"), {"since": broken.healthy, "until": back + 10**10}, together=True),
            Ask("timeline", made.base, ("layer_directory", "removed"), when=broken),
        ),
    )


@incident("B08", "after an unclean shutdown busy mounts are taken for damage, and a whole store is wiped for it")
def wiped_for_mounts(scene: Scene) -> Says:
    kernel = Kernel(scene)
    made = shop(scene)
    run(kernel, made)
    healthy = scene.record()
    scene.crash()
    booted = scene.record()
    held = allocated(*(made.directory(layer) for layer in (made.base, made.middle, made.top, made.extra, made.writable)))

    def wipe() -> None:
        kernel.unmount(merged(made))
        for place in ("overlay-containers", "overlay-images", "overlay-layers", "overlay"):
            shutil.rmtree(made.root / place)
            (made.root / place).mkdir()
        (made.root / "overlay/l").mkdir()
        for file in (LAYERS, IMAGES, CONTAINERS):  # the engine starts anew
            made.builder.replace_json(file, [])

    broken = scene.break_in(wipe)
    since = {"since": broken.healthy, "until": scene.now}
    return Says(
        None,
        asks=(
            Ask("diff", nothing=True, values={"since": healthy + SECOND, "until": booted + SECOND}),
            Ask("findings", nothing=True, values={"at": booted + SECOND}),
            Ask("timeline", made.base, ("layer_directory", "removed"), when=broken),
            Ask("timeline", made.app, ("image_record", "removed"), when=broken),
            Ask("images", "", (APP, OTHER), {"at": broken.healthy + SECOND}),
            Ask("images", nothing=True),
            Ask("growth", "", (f'"growth_bytes": {-held}',), {**since, "by": "store"}),
        ),
    )


@incident("B09", "a checker unmounts the root of a container that runs: the files of the store stay as they are")
def unmounted_by_a_checker(scene: Scene) -> Says:
    kernel = Kernel(scene)
    made = shop(scene)
    run(kernel, made)
    point = str(merged(made))
    broken = scene.break_in(lambda: kernel.unmount(merged(made)))
    return Says(
        None,
        asks=(
            Ask("containers", "", (made.container, f'"mounted": ["{point}"]'), {"at": broken.healthy + SECOND}, together=True),
            Ask("containers", "", (made.container, '"mounted": []', "web-1"), together=True),
            Ask("timeline", made.writable, ("mount", "removed", point, "web"), when=broken),
            Ask("diff", "", ('"change": "removed", "link_kind": "mount"', point), {"since": broken.healthy + SECOND}, together=True),
        ),
    )


@incident("D06", "files are deleted and their space does not come back: a process of a container, and the engine, keep them open")
def deleted_and_open(scene: Scene) -> Says:
    kernel = Kernel(scene)
    made = shop(scene)
    log = made.directory(made.writable) / "diff/var/log/app"
    finish(made.builder.write(made.container, "var/log/app", 3 << 20))
    blob = made.root / "tmp/GetImageBlob108926430"
    blob.parent.mkdir()
    blob.write_bytes(b"b" * (5 << 20))
    with log.open("rb") as file, blob.open("rb") as temporary:
        process = subprocess.Popen(["sleep", "1000"], stdin=file, stdout=temporary)
    kernel.real(process)

    def delete() -> None:
        log.unlink()
        blob.unlink()

    try:
        broken = scene.break_in(delete)
    finally:
        process.kill()
        process.wait()
    return Says(
        "deleted-open-file",
        made.writable,
        words=(f"({process.pid})", "diff/var/log/app"),
        when=broken,
        owner="web-1",
        bytes=3 << 20,
        asks=(
            Ask("usage", "", (f'"what": "deleted files that processes keep open", "things": 2, "bytes": {8 << 20}',)),
            Ask(
                "findings",
                "",
                (
                    "deleted-open-file",
                    '"subject": "tmp"',
                    str(5 << 20),
                    f"sleep ({process.pid})",
                    str(blob),
                    'descriptors\\":[1]',
                    f"/proc/{process.pid}/fd/1 ",
                ),
                together=True,
            ),
            Ask("timeline", "tmp", ("open_file", "created"), when=broken),
            Ask("usage", "", ('"what": "writable layer of shop/web-1"',)),
            Ask("timeline", made.writable, ("open_file", "created"), when=broken),
        ),
    )


@incident("D07", "device or resource busy: another process has the root of a removed container mounted")
def mounted_elsewhere(scene: Scene) -> Says:
    kernel = Kernel(scene)
    made = shop(scene)
    kernel.process(118860, "node_exporter")
    run(kernel, made, 1, 118860)
    writable = made.writable

    def remove() -> None:
        kernel.unmount(merged(made))
        stop_after(made.builder.remove_container(made.container), "container-directory-removed")

    point = str(merged(made))
    broken = scene.break_in(remove)
    return Says(
        "orphan-mount",
        point,
        words=(writable, "in the mount namespace of node_exporter (118860", "nsenter --target 118860"),
        when=broken,
        asks=(
            Ask("whois", writable, ("shop/web-1", "web")),
            Ask("why", writable, ("mount", point), together=True),
            Ask("can-delete", writable, ("no", point)),
            Ask("findings", "", ("unreferenced-layer", writable, str(allocated(made.directory(writable)))), together=True),
        ),
    )


@incident("D08", "each export of a container leaves two directories and a mount")
def left_by_exports(scene: Scene) -> Says:
    kernel = Kernel(scene)
    store = Small(scene.root)
    top = store.place(store.top)
    left = [digest(f"export {number}") for number in range(3)]
    times: list[Broken] = []
    for name in left:
        times.append(scene.break_in(partial(_export, kernel, store, top, name)))
        scene.wait(DAY)
    size = allocated(store.overlay / left[1])
    return Says(
        "unaccounted-layer",
        left[1],
        when=times[1],
        bytes=size,
        asks=(
            *(Ask("timeline", name, ("layer_directory", "created"), when=when) for name, when in zip(left, times, strict=True)),
            *(Ask("findings", "", ("orphan-mount", f"{name}/merged"), together=True) for name in left),
            *(Ask("findings", "", ("unaccounted-layer", f"{name}-init"), together=True) for name in left),
            Ask("leaks_by_code", "", ("unaccounted-layer", '"leaks": 6'), together=True),
            Ask("leaks_by_code", "", ("orphan-mount", '"leaks": 3'), together=True),
        ),
    )


def _export(kernel: Kernel, store: Small, top: Path, name: str) -> None:
    init = store.directory(f"{name}-init", top.name)
    home = store.directory(name, init.name)
    kernel.mount(home / "merged", home / "diff", [init / "diff", top / "diff"])


@incident("E09", "root filesystems stay mounted by the thousand after their containers: from when on, and of which pods?")
def outlived_by_mounts(scene: Scene) -> Says:
    kernel = Kernel(scene)
    made = kube(scene)
    times: dict[str, Broken] = {}
    for number in range(2, 5):
        name = f"job-{number}"
        labels = {**POD, "io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "training"}
        made.numbers[name] = made.store.container(name, LAB, TOP, labels=labels)
        made.store.commit()
        _mount(kernel, made, name, Path(f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{name}/rootfs"))
        scene.record()
        times[name] = scene.break_in(partial(_end, made, name))
        scene.wait(DAY)
    point = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/job-3/rootfs"
    return Says(
        "orphan-mount",
        point,
        words=(f"snapshots/{made.numbers['job-3']} was removed while mounted",),
        when=times["job-3"],
        asks=(
            Ask("leaks_by_code", "", ("orphan-mount", '"leaks": 3'), together=True),
            Ask("whois", "job-3", ("training/job-3",)),
            *(Ask("timeline", name, ("container_record", "removed"), when=when) for name, when in times.items()),
        ),
    )


def _mount(kernel: Kernel, made: Kube, name: str, point: Path) -> None:
    lower = [made.store.directory(made.numbers[layer]) / "fs" for layer in (TOP, MIDDLE, BASE)]
    kernel.mount(point, made.store.directory(made.numbers[name]) / "fs", lower)


def _end(made: Kube, name: str) -> None:
    made.drop_container(name)
    made.store.remove_snapshot(name)
    made.store.commit()


@incident("E12", "the upper directory of a mount that is used is collected when its lease has expired")
def collected_in_use(scene: Scene) -> Says:
    kernel = Kernel(scene)
    made = kube(scene)
    name, point = "toolbox", Path("/var/lib/toolbox/core-1")
    made.numbers[name] = made.store.snapshot(name, TOP, kind="active")
    (made.store.directory(made.numbers[name]) / "fs/home").write_bytes(b"h" * 50_000)
    labels = {"containerd.io/gc.expire": iso(scene.now + round(DAY * 1e9)) or ""}
    made.store.lease("mount-1", {"snapshots/overlayfs": [name]}, labels)
    made.store.commit()
    _mount(kernel, made, name, point)
    subject, size = made.id(name), made.size(name)

    def collect() -> None:
        made.store.place("k8s.io", "leases").delete(b"mount-1")
        made.store.remove_snapshot(name)
        made.store.commit()

    broken = scene.break_in(collect, after=DAY + HOUR)
    return Says(
        "orphan-mount",
        str(point),
        words=(f"snapshots/{made.numbers[name]} was removed while mounted",),
        when=broken,
        asks=(
            Ask("whois", f"snapshots/{made.numbers[name]}", (subject,)),
            Ask("timeline", name, (f"{name} is a name of {subject}",)),
            Ask("timeline", subject, ("layer_directory", "removed"), when=broken),
            Ask("timeline", subject, ("lease", "removed", "mount-1"), when=broken),
            Ask("timeline", subject, ("measured", f'"bytes": {size}'), together=True),
            Ask("timeline", subject, ("mount", str(point), "observed"), together=True),
        ),
    )
