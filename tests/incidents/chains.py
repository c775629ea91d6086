"""Family B: records and directories of containers/storage that no longer agree, and healthy stores that were called broken."""

from __future__ import annotations

import shutil

from linktrail.clock import NANOSECONDS as SECOND
from linktrail.testing.containers_storage import Layer, finish, layer_ids, stop_after
from tests.incidents.contents import inside
from tests.incidents.kernel import Kernel
from tests.incidents.made import APP, BASE, OTHER, shop
from tests.incidents.registry import incident
from tests.incidents.replay import HOUR, MINUTE, Ask, Broken, Says, Scene, allocated


@incident("B01", "a VM is powered off: images.json is ahead of layers.json, the directories are still there")
def ahead(scene: Scene) -> Says:
    made = shop(scene)

    def lose() -> None:
        scene.crash()
        for layer in (made.extra, made.middle):
            made.builder.damage.drop_layer_record(layer)

    broken = scene.break_in(lose)
    return Says(
        "image-layer-missing",
        made.other,
        words=(made.extra,),
        when=broken,
        owner=OTHER,
        asks=(
            Ask("timeline", made.extra, ("boot", "parent_pointer", made.middle, "removed")),
            Ask("findings", "", ("parent-missing", made.top, made.middle), together=True),
            Ask("usage", "", (made.extra, str(allocated(made.directory(made.extra)))), together=True),
        ),
    )


@incident("B02", "top layer not found in layer tree: one image is the only victim")
def top_layer(scene: Scene) -> Says:
    made = shop(scene)
    broken = scene.break_in(lambda: made.builder.damage.drop_layer_record(made.extra))
    return Says(
        "image-layer-missing",
        made.other,
        words=(made.extra,),
        when=broken,
        owner=OTHER,
        asks=(Ask("timeline", made.extra, ("layer_record", "removed")), Ask("repair-plan", made.other, (made.other,))),
    )


@incident("B03", "a pull is killed, and the next command of the engine deletes the evidence")
def killed_pull(scene: Scene) -> Says:
    made = shop(scene)
    layers = [BASE, Layer({"big": b"b" * 300_000})]
    cut = layer_ids(layers)[1]
    broken = scene.break_in(lambda: stop_after(made.builder.pull("quay.io/shop/big:1", layers), "layer-entry", cut))
    size = allocated(made.directory(cut))
    asked = scene.now
    scene.wait(HOUR)
    finish(made.builder.open_store())
    removed = Broken(asked - 2 * SECOND, scene.now, scene.record())
    return Says(
        "incomplete-layer",
        cut,
        when=broken,
        bytes=size,
        at=asked,
        asks=(
            Ask("timeline", cut, ("closed", str(size))),
            Ask("timeline", cut, ("layer_directory", "removed"), when=removed),
            Ask("shared_by", cut, nothing=True),
            Ask("findings_history", "", (cut, "incomplete-layer", str(size)), {"since": broken.healthy, "until": scene.now}),
        ),
    )


@incident("B04", "two layers are incomplete, and every command of the engine panics over them")
def two_incomplete(scene: Scene) -> Says:
    made = shop(scene)
    pulls = [[BASE, Layer({f"big-{number}": b"b" * 200_000})] for number in range(2)]
    cut = [layer_ids(layers)[1] for layers in pulls]

    def kill() -> None:
        for number, layers in enumerate(pulls):
            stop_after(made.builder.pull(f"quay.io/shop/big:{number}", layers), "layer-entry", cut[number])
            scene.wait(MINUTE)

    broken = scene.break_in(kill)
    return Says(
        "incomplete-layer",
        cut[0],
        when=broken,
        bytes=allocated(made.directory(cut[0])),
        asks=(
            Ask("findings", "", ("incomplete-layer", cut[1], str(allocated(made.directory(cut[1])))), together=True),
            Ask("can-delete", cut[1], ("yes",)),
            Ask("repair-plan", cut[1], (cut[1],)),
        ),
    )


@incident("B05", "the disk below overlay/ is lost: every directory is gone at once, and no record")
def directories_gone(scene: Scene) -> Says:
    made = shop(scene)
    size = allocated(made.directory(made.base))
    layers = (made.base, made.middle, made.top, made.extra, made.writable)

    def lose() -> None:
        for layer in layers:
            made.builder.damage.lose_layer_directory(layer)

    broken = scene.break_in(lose)
    return Says(
        "layer-missing",
        made.base,
        when=broken,
        owner=APP,
        asks=(
            *(Ask("findings", "", ("layer-missing", layer), together=True) for layer in layers),
            Ask("shared_by", made.base, (APP, OTHER, "web")),
            Ask("timeline", made.base, ("layer_directory", "removed", str(size))),
        ),
    )


@incident("B07", "a removal put a layer aside into tempdirs and never came back")
def put_aside(scene: Scene) -> Says:
    kernel = Kernel(scene)
    made = shop(scene)
    kernel.process(1433, "conmon")

    def leave() -> None:
        finish(made.builder.untag(OTHER))
        made.builder.drop("overlay-images/images.json", made.other)
        shutil.rmtree(made.root / "overlay-images" / made.other)
        made.builder.damage.drop_layer_record(made.extra)
        made.builder.damage.leave_tempdir(made.extra)
        kernel.mount(aside / "merged", aside / "diff", [made.directory(layer) / "diff" for layer in (made.middle, made.base)], 1433)

    aside = made.root / "overlay/tempdirs/temp-dir-1" / f"1-{made.extra}"
    broken = scene.break_in(leave)
    return Says(
        "leftover-tempdir",
        "temp-dir-1",
        words=(made.extra,),
        when=broken,
        bytes=allocated(made.root / "overlay/tempdirs/temp-dir-1"),
        asks=(
            Ask("timeline", made.extra, ("layer_directory", "removed"), when=broken),
            Ask("timeline", made.extra, ("temporary_directory", "created"), when=broken),
            Ask("timeline", made.extra, ("image_layer", "removed"), when=broken),
            Ask("whois", made.extra, (OTHER,)),
            Ask("findings", "", ("orphan-mount", str(aside / "merged"), "conmon (1433"), together=True),
        ),
    )


@incident("B10", "a checker calls a fresh store damaged: nothing in it has changed since it was made")
def false_alarm(scene: Scene) -> Says:
    made = shop(scene)
    made.directory(made.base).joinpath("diff/etc").touch()
    scene.break_in(lambda: None)
    inside(scene, None, ())
    return Says(None, asks=(Ask("timeline", made.base, ("observed", "measured")), Ask("can-delete", made.base, ("no", APP))))


@incident("B11", "after a full disk the engine forgot a container: the storage has it still, with its layer and its image")
def forgotten(scene: Scene) -> Says:
    made = shop(scene)
    containers: list[str] = []

    def create() -> None:
        containers.append(finish(made.builder.create(APP, "forgotten")))
        finish(made.builder.write(containers[0], "var/log/app", 70_000))

    broken = scene.break_in(create)
    container = containers[0]
    layer = made.layer_of(container)
    return Says(
        None,
        asks=(
            Ask("containers", "", (container, "forgotten", layer, str(allocated(made.directory(layer)))), together=True),
            Ask("timeline", container, ("container_record", "created", "forgotten"), when=broken),
            Ask("timeline", layer, ("container_layer", "created", container), when=broken),
            Ask("why", made.app, (container, "container", "forgotten"), together=True),
            Ask("can-delete", made.app, ("no", container)),
        ),
    )
