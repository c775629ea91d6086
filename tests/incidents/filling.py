"""Families D and F: a filesystem fills, and every tool names another number. ``usage`` is one table that sums to what ``df`` says."""

from __future__ import annotations

from linktrail.testing.containers_storage import finish
from tests.docker_store.build import Small
from tests.incidents.made import shop
from tests.incidents.registry import incident
from tests.incidents.replay import DAY, Ask, Says, Scene, allocated

ELSEWHERE = "elsewhere on the filesystem, not below a store"


@incident("D05", "df, du and the engine disagree: each part of the difference has a name")
def disagreeing(scene: Scene) -> Says:
    store = Small(scene.root)
    unused = allocated(store.place(store.another))

    def log() -> None:
        (store.root / "containers" / store.c1 / f"{store.c1}-json.log").write_bytes(b"l" * 700_000)
        (store.overlay / store.writable / "diff/tmp").write_bytes(b"t" * 90_000)

    scene.break_in(log)
    logs = allocated(store.root / "containers")
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
            Ask("timeline", "containers", ("measured", str(logs))),
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
            Ask("can-delete", made.app, ("no", made.container)),
        ),
    )
