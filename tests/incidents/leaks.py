"""Family C: layers and containers of CRI-O and podman that nobody lists, and whose they were."""

from __future__ import annotations

from dataclasses import replace

from linktrail.clock import NANOSECONDS as SECOND
from linktrail.testing.containers_storage import finish, stop_after
from tests.incidents.made import APP, shop
from tests.incidents.registry import incident
from tests.incidents.replay import DAY, Ask, Says, Scene, allocated


@incident("C01", "an image cannot be removed: a build's container, which no engine lists, is on it")
def pinned_by_a_build(scene: Scene) -> Says:
    made = shop(scene)
    built: list[str] = []

    def build() -> None:
        built.append(finish(made.builder.create(APP, "app-working-container", buildah=True)))
        finish(made.builder.write(built[0], "srv/built", 120_000))

    broken = scene.break_in(build)
    container = built[0]
    return Says(
        "external-container",
        container,
        words=("app-working-container", "buildah"),
        when=broken,
        owner="app-working-container",
        bytes=allocated(made.directory(made.layer_of(container))),
        asks=(
            Ask("why", made.app, (container, "container", "app-working-container"), together=True),
            Ask("can-delete", made.app, ("no", container)),
        ),
    )


@incident("C02", "directories of overlay/ of which nobody can say what they are")
def what_is_each(scene: Scene) -> Says:
    made = shop(scene)
    writable = made.writable

    def leave() -> None:
        stop_after(made.builder.remove_container(made.container), "container-directory-removed")
        made.builder.drop("overlay-layers/volatile-layers.json", writable)

    broken = scene.break_in(leave)
    return Says(
        "unaccounted-layer",
        writable,
        when=broken,
        owner="web-1",
        bytes=allocated(made.directory(writable)),
        asks=(
            Ask("timeline", writable, ("layer_record", "removed"), when=broken),
            Ask("usage", "", (made.base, "image", APP), together=True),
            Ask("usage", "", (writable, "orphan"), together=True),
            Ask("whois", writable, ("shop/web-1", "web")),
        ),
    )


@incident("C03", "a container's root filesystem outlived it, and its id is not the container's")
def outlived(scene: Scene) -> Says:
    made = shop(scene)
    writable = made.writable
    finish(made.builder.write(made.container, "home/runner/cache", 900_000))

    broken = scene.break_in(lambda: stop_after(made.builder.remove_container(made.container), "container-directory-removed"))
    return Says(
        "unreferenced-layer",
        writable,
        when=broken,
        owner="web-1",
        bytes=allocated(made.directory(writable)),
        asks=(
            Ask("timeline", writable, ("container_layer", "removed", made.container), when=broken),
            Ask("whois", writable, ("pod", "shop/web-1"), together=True),
            Ask("timeline", made.container, ("container_record", "removed")),
            Ask("can-delete", writable, ("yes",)),
        ),
    )


@incident("C04", "a build is killed: its layer has content, and no image or container")
def killed_build(scene: Scene) -> Says:
    made = shop(scene)
    lost = "0123456789abcdef" * 4
    broken = scene.break_in(lambda: made.builder.damage.orphan_directory(lost, size=400_000))
    return Says(
        "unaccounted-layer",
        lost,
        when=broken,
        bytes=allocated(made.directory(lost)),
        asks=(Ask("timeline", lost, ("created", "measured")), Ask("can-delete", lost, ("yes",)), Ask("repair-plan", lost, (lost,))),
    )


@incident("C05", "orphans by the thousand, which no command reports: the record shows them from the first on")
def slope(scene: Scene) -> Says:
    made = shop(scene)
    sizes: list[int] = []

    def leave() -> None:
        for number in range(4):
            for copy in range(3):
                lost = f"{number}{copy}" * 32
                made.builder.damage.orphan_directory(lost, size=20_000)
                sizes.append(allocated(made.directory(lost)))
            scene.wait(DAY)
            scene.record()

    broken = scene.break_in(leave)
    total = sum(sizes)
    return Says(
        "unaccounted-layer",
        "00" * 32,
        when=replace(broken, seen=broken.happened + round(DAY * 1e9) + 2 * SECOND),
        bytes=sizes[0],
        asks=(
            Ask("leaks_by_code", "", ("unaccounted-layer", '"leaks": 12', f'"bytes": {total}'), together=True),
            Ask("held_over_time", "", (str(sum(sizes[:3])), str(sum(sizes[:6])), str(total)), {"since": 0}),
        ),
    )
