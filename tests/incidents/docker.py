"""Family D: directories and records of Docker that a full disk or a power cut left behind."""

from __future__ import annotations

from tests.docker_store.build import Small, build_id, digest, short_name
from tests.incidents.registry import incident
from tests.incidents.replay import DAY, Ask, Broken, Says, Scene, allocated


@incident("D01", "orphans in overlay2 that no prune sees: some never registered, some init layers without a mount")
def orphans(scene: Scene) -> Says:
    store = Small(scene.root)
    lost, init = digest("lost"), f"{digest('failed')}-init"

    def fail() -> None:
        store.directory(lost)
        (store.overlay / lost / "diff/data").write_bytes(b"d" * 90_000)
        store.directory(init, store.place(store.top).name)

    broken = scene.break_in(fail)
    return Says(
        "unaccounted-layer",
        lost,
        when=broken,
        bytes=allocated(store.overlay / lost),
        asks=(
            Ask("findings", "", ("unaccounted-layer", init), together=True),
            Ask("timeline", lost, ("layer_directory", "created"), when=broken),
            Ask("can-delete", lost, ("yes",)),
            Ask("repair-plan", lost, (f"{store.overlay}/{lost}", short_name(lost))),
        ),
    )


@incident("D03", "an empty directory of layerdb makes every pull of a layer fail: rename ... file exists")
def empty_entry(scene: Scene) -> Says:
    store = Small(scene.root)
    chain = f"sha256:{digest('empty')}"
    broken = scene.break_in((store.layerdb / "sha256" / digest("empty")).mkdir)
    return Says(
        "metadata-leftover",
        chain,
        words=("empty", "rmdir"),
        when=broken,
        asks=(Ask("timeline", chain, ("created",), when=broken), Ask("repair-plan", chain, ("rmdir",))),
    )


@incident("D04", "no space left on device with bytes to spare: the inodes are in layers that nothing holds")
def inodes(scene: Scene) -> Says:
    store = Small(scene.root)
    lost = digest("many")

    def fill() -> None:
        home = store.directory(lost)
        for number in range(300):
            (home / "diff" / f"{number}").mkdir()

    broken = scene.break_in(fill)
    return Says(
        "unaccounted-layer",
        lost,
        when=broken,
        bytes=allocated(store.overlay / lost),
        asks=(
            Ask("usage", "", (lost, '"role": "orphan"', '"inodes": 304'), together=True),
            Ask("usage", "", ('"scope": "filesystem"', "available_inodes", "capacity_inodes"), together=True),
            Ask("timeline", lost, ("measured",), {}),
        ),
    )


@incident("D09", "a device loses power while it downloads: one more copy of the same layer after each boot")
def copies(scene: Scene) -> Says:
    store = Small(scene.root)
    lost = [digest(f"copy {number}") for number in range(3)]
    before = scene.record()
    times = []
    for name in lost:
        happened = scene.now
        (store.directory(name) / "diff/big").write_bytes(b"b" * 120_000)
        scene.crash()
        times.append(Broken(before, happened, before := scene.record()))
        scene.wait(DAY)
    scene.record()
    size = allocated(store.overlay / lost[0])
    assert {allocated(store.overlay / name) for name in lost} == {size}
    return Says(
        "unaccounted-layer",
        lost[1],
        when=times[1],
        bytes=size,
        asks=(
            *(Ask("findings", "", ("unaccounted-layer", name, str(size)), together=True) for name in lost),
            Ask("timeline", lost[1], ("boot",)),
            *(Ask("timeline", name, ("layer_directory", "created"), when=when) for name, when in zip(lost, times, strict=True)),
            Ask("leaks_by_code", "", ("unaccounted-layer", '"leaks": 3', f'"bytes": {3 * size}'), together=True),
        ),
    )


@incident("D02", "builds run side by side and leave directories of BuildKit's that nothing refers to")
def left_by_builds(scene: Scene) -> Says:
    store = Small(scene.root)
    left = [build_id(f"build {number}") for number in range(4)]

    def build() -> None:
        for name in left:
            home = store.directory(name, store.place(store.top).name)
            (home / "diff/object").write_bytes(b"o" * 60_000)
        store.snapshot(build_id("kept"), store.top)

    broken = scene.break_in(build)
    size = allocated(store.overlay / left[0])
    return Says(
        "unaccounted-layer",
        left[2],
        when=broken,
        bytes=size,
        asks=(
            *(Ask("timeline", name, ("layer_directory", "created"), when=broken) for name in left),
            Ask("leaks_by_code", "", ("unaccounted-layer", '"leaks": 4', f'"bytes": {4 * size}'), together=True),
            Ask("can-delete", left[1], ("yes", str(size))),
            Ask("can-delete", build_id("kept"), ("no",)),
        ),
    )
