"""Family A, containers/storage: links between layers that a crash, a failed creation or another program left wrong."""

from __future__ import annotations

from linktrail.testing.containers_storage import finish
from tests.incidents.made import APP, shop
from tests.incidents.registry import incident
from tests.incidents.replay import HOUR, Ask, Says, Scene


@incident("A04", "deleting one layer with an empty link deletes the whole of l/")
def wiped(scene: Scene) -> Says:
    made = shop(scene)

    def wipe() -> None:
        made.builder.damage.empty_link(made.middle)
        scene.wait(1)
        made.builder.damage.lose_all_short_links()

    broken = scene.break_in(wipe)
    return Says(
        "link-file-empty",
        made.middle,
        words=("erase", made.short[made.middle]),
        when=broken,
        owner=APP,
        asks=(
            *(Ask("timeline", "overlay/l", ("short_link", "removed", name), when=broken) for name in made.short.values()),
            Ask("findings", "", ("short-link-missing", made.top, "overlay/l is empty or gone"), together=True),
            Ask("can-delete", made.middle, ("no",)),
            Ask("repair-plan", made.middle, (made.short[made.middle], "nothing")),
        ),
    )


@incident("A05", "a symbolic link is left in l/ when the creation of its layer fails")
def failed_creation(scene: Scene) -> Says:
    made = shop(scene)
    name = "DANGLINGDANGLINGDANGLING22"
    broken = scene.break_in(lambda: made.builder.damage.dangle_short_link(name))
    return Says(
        "short-link-dangling",
        name,
        words=("0" * 64, "Safe to remove: no lower file names it"),
        when=broken,
        asks=(Ask("timeline", name, ("created",)),),
    )


@incident("A06", "the symbolic links of l/ are lost in a sudden reboot, and made again by the engine")
def lost_and_made_again(scene: Scene) -> Says:
    made = shop(scene)

    def lose() -> None:
        scene.crash()
        for layer in (made.base, made.top):
            made.builder.damage.lose_short_link(layer)

    broken = scene.break_in(lose)
    asked = scene.now
    repaired = scene.break_in(lambda: finish(made.builder.recreate_short_links()))
    return Says(
        "short-link-missing",
        made.base,
        words=(made.short[made.base],),
        when=broken,
        owner=APP,
        at=asked,
        asks=(
            Ask("timeline", made.base, ("boot",)),
            *(
                Ask("timeline", made.short[layer], ("short_link", action, layer), when=when)
                for layer in (made.base, made.top)
                for action, when in (("removed", broken), ("created", repaired))
            ),
            Ask("findings", nothing=True),
            Ask("findings", "", (made.top, "short-link-missing"), {"at": asked}, together=True),
        ),
    )


@incident("A07", "link file and symbolic link of a layer are both gone: the record still knows the name")
def both_gone(scene: Scene) -> Says:
    made = shop(scene)

    def lose() -> None:
        made.builder.damage.lose_short_link(made.middle)
        made.builder.damage.lose_link(made.middle)

    broken = scene.break_in(lose)
    name = made.short[made.middle]
    return Says(
        "link-file-missing",
        made.middle,
        words=(name, made.top, made.extra),
        when=broken,
        owner=APP,
        asks=(Ask("timeline", made.middle, (name, "removed")), Ask("repair-plan", made.middle, (name, made.middle))),
    )


@incident("A08", "two symbolic links for one layer make the engine's repair run in circles")
def twice(scene: Scene) -> Says:
    made = shop(scene)
    stray = "DUPLICATEDUPLICATEDUPLICAT"
    broken = scene.break_in(lambda: made.builder.damage.duplicate_short_link(made.middle, stray))
    return Says(
        "short-link-duplicate",
        made.middle,
        words=(stray, f"The link file names {made.short[made.middle]}; {stray} is the stray"),
        when=broken,
        owner=APP,
        asks=(
            Ask("timeline", stray, ("short_link", "created", made.middle), when=broken),
            Ask("timeline", made.short[made.middle], ("short_link", "observed", made.middle), together=True),
            Ask("repair-plan", made.middle, (stray,)),
        ),
    )


@incident("A09", "commit, then power is lost: lower of the new layer is empty though the record names its parent")
def committed_then_lost(scene: Scene) -> Says:
    made = shop(scene)
    scene.record()
    scene.wait(HOUR)
    image = finish(made.builder.commit(made.container, "localhost/saved:1"))
    layer = str(made.builder.image(image)["layer"])
    lower = made.lower(layer)

    def lose() -> None:
        scene.crash()
        made.builder.damage.empty_lower(layer)

    broken = scene.break_in(lose, after=4)
    return Says(
        "lower-empty",
        layer,
        words=(lower,),
        owner="localhost/saved:1",
        when=broken,
        asks=(Ask("timeline", layer, ("boot", "created", "lower")), Ask("repair-plan", layer, (lower,))),
    )


@incident("A10", "the lower file of a container is empty since it was made, and nobody knows how the container was made")
def empty_since_creation(scene: Scene) -> Says:
    made = shop(scene)

    layers: list[str] = []

    def create() -> None:
        layers.append(made.layer_of(finish(made.builder.create(APP, "web", pod=("shop", "web-2")))))
        made.builder.damage.empty_lower(layers[0])

    broken = scene.break_in(create)
    layer = layers[0]
    return Says("lower-empty", layer, when=broken, owner="web-2", asks=(Ask("timeline", layer, ("created", "web-2")),))


@incident("A11", "after a power failure a name in lower leads nowhere: what it pointed to is on record")
def name_leads_nowhere(scene: Scene) -> Says:
    made = shop(scene)

    def lose() -> None:
        scene.crash()
        made.builder.damage.lose_short_link(made.top)

    broken = scene.break_in(lose)
    name = made.short[made.top]
    return Says(
        "short-link-missing",
        made.top,
        words=(name,),
        when=broken,
        owner=APP,
        asks=(
            Ask("timeline", name, (f"../{made.top}/diff", "removed", "boot")),
            Ask("repair-plan", made.top, (name, made.top, "nothing: the content is intact")),
        ),
    )


@incident("A13", "lower and lower-layers of one layer disagree: old and new engines mount different chains")
def two_formats(scene: Scene) -> Says:
    made = shop(scene, lower_layers=True)
    broken = scene.break_in(lambda: (scene.root / "overlay" / made.top / "lower-layers").write_text(made.base))
    return Says(
        "lower-mismatch",
        made.top,
        words=("lower-layers", f"{made.middle}:{made.base}"),
        when=broken,
        owner=APP,
        asks=(Ask("timeline", made.top, ("lower", made.base)),),
    )
