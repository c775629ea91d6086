"""Families D and F: a filesystem fills, and every tool names another number. ``usage`` is one table that sums to what ``df`` says."""

from __future__ import annotations

from functools import partial

from linktrail.testing.containers_storage import finish
from tests.docker_store.build import Small
from tests.incidents.made import Shop, shop
from tests.incidents.registry import incident
from tests.incidents.replay import DAY, MINUTE, Ask, Broken, Says, Scene, allocated

ELSEWHERE = "elsewhere on the filesystem: not below a store, or hidden under a mount"


@incident("D05", "df, du and the engine disagree: each part of the difference has a name")
def disagreeing(scene: Scene) -> Says:
    store = Small(scene.root)
    unused = allocated(store.place(store.another))

    def log() -> None:
        (store.root / "containers" / store.c1 / f"{store.c1}-json.log").write_bytes(b"l" * 700_000)
        (store.overlay / store.writable / "diff/tmp").write_bytes(b"t" * 90_000)

    broken = scene.break_in(log)
    logs = allocated(store.root / "containers")
    written = allocated(store.overlay / store.writable)
    return Says(
        None,
        asks=(
            Ask(
                "usage",
                "",
                ("image layers that containers use", "writable layer of c1", "metadata of the engine", ELSEWHERE, "used, as df says"),
            ),
            Ask("usage", "", (f'"what": "logs of the engine", "things": 1, "bytes": {logs}',)),
            Ask("usage", "", (f'"what": "image layers that no container uses", "things": 1, "bytes": {unused}',)),
            Ask("timeline", "containers", ("measured", "logs", f'"bytes": {logs}'), when=broken),
            Ask("timeline", store.writable, ("measured", "container", f'"bytes": {written}'), when=broken),
        ),
    )


@incident("F01", "the kubelet wanted to free bytes and found none: every image is in use, what grew is elsewhere")
def nothing_to_free(scene: Scene) -> Says:
    made = shop(scene)
    finish(made.builder.remove_image(made.other))

    def fill() -> None:
        finish(made.builder.write(made.container, "var/cache", 1_500_000))
        (scene.where / "longhorn").write_bytes(b"h" * 2_000_000)

    broken = scene.break_in(fill, after=DAY)
    writable = allocated(made.directory(made.writable))
    since = {"since": broken.healthy, "until": scene.now}
    return Says(
        None,
        asks=(
            Ask("usage", "", ("image layers that containers use", ELSEWHERE)),
            Ask("usage", "", (f'"what": "writable layer of shop/web-1", "things": 1, "bytes": {writable}',)),
            Ask("growth", "", ("shop/web-1",), {**since, "by": "pod"}),
            Ask("growth", "", (made.writable,), since, together=True),
            Ask("timeline", made.writable, ("measured", f'"bytes": {writable}', "web-1"), when=broken),
            Ask("can-delete", made.app, ("no", made.container)),
        ),
    )


@incident("F03", "a pod is evicted for its writable layer, which no summary counted: what it wrote, and how fast")
def uncounted(scene: Scene) -> Says:
    made = shop(scene)
    scene.record()
    scene.wait(DAY)
    sizes = [allocated(made.directory(made.writable))]
    grown: list[Broken] = []
    for number in range(3):
        grown.append(scene.break_in(partial(_write, made, number), after=4 * MINUTE))
        sizes.append(allocated(made.directory(made.writable)))
    wrote = {"since": grown[0].healthy, "until": scene.now}
    return Says(
        None,
        asks=(
            *(
                Ask("timeline", made.writable, ("measured", f'"bytes": {size}', f'"previous_bytes": {before}', "web-1"), when=when)
                for before, size, when in zip(sizes[:-1], sizes[1:], grown, strict=True)
            ),
            Ask("growth", "", ("shop/web-1", f'"growth_bytes": {sizes[-1] - sizes[0]}'), {**wrote, "by": "pod"}, together=True),
            Ask("usage", "", (made.writable, "web-1", f'"bytes": {sizes[-1]}'), together=True),
        ),
    )


def _write(made: Shop, number: int) -> None:
    finish(made.builder.write(made.container, f"tmp/{number}", 900_000))


@incident("F04", "the runtime reports the size of the wrong directory: what the root really holds is measured beside it")
def wrong_directory(scene: Scene) -> Says:
    store = Small(scene.root)
    (store.place(store.top) / "diff/big").write_bytes(b"b" * 2_000_000)
    scene.break_in(lambda: None)
    layers = sum(allocated(path) for path in store.overlay.iterdir() if path.name != "l")
    return Says(
        None,
        asks=(
            Ask("usage", "", ('"scope": "beside"', '"subject": "image"', f'"bytes": {allocated(store.root / "image")}'), together=True),
            Ask("usage", "", ('"scope": "store"', str(store.root), f'"bytes": {layers}'), together=True),
            Ask("usage", "", ('"scope": "filesystem"', "capacity_bytes"), together=True),
        ),
    )
