"""Family A, Docker: link and lower files that lost their content, and the layers that inherited the damage."""

from __future__ import annotations

from tests.docker_store.build import Small, short_name
from tests.incidents.registry import incident
from tests.incidents.replay import HOUR, Ask, Says, Scene


def _inherit(store: Small, name: str, diff: str, lower: str) -> str:
    """Pull an image whose top layer lies on the middle one and has this ``lower``; return the chain id of the top."""
    store.image(name, "base", "middle", diff)
    chain = store.layer(diff, store.middle)
    (store.place(chain) / "lower").write_text(lower)
    return chain


@incident("A01", "power is lost, a link file is empty, and every layer made after it names the bare l")
def bare_l(scene: Scene) -> Says:
    store = Small(scene.root)
    name, base = short_name(store.place(store.middle).name), short_name(store.place(store.base).name)
    made: list[str] = []

    def lose() -> None:
        scene.crash()
        (store.place(store.middle) / "link").write_bytes(b"")

    def inherit() -> None:
        scene.wait(HOUR)
        made.append(_inherit(store, "lab/later:1", "later", f"l:l/{base}"))

    broken = scene.break_in(lose)
    inherit()
    scene.record()
    scene.record()
    return Says(
        "link-file-empty",
        store.middle,
        words=(name, "erase"),
        when=broken,
        owner="lab/app:1",
        asks=(
            Ask("timeline", store.middle, ("boot", name)),
            Ask("findings", "", ("lower-malformed", made[0], store.middle), together=True),
            Ask("shared_by", store.middle, ("lab/later:1", "lab/app:1", "lab/other:1")),
            Ask("repair-plan", made[0], (f"l/{name}",)),
            Ask("can-delete", store.middle, ("no",)),
        ),
    )


@incident("A02", "a pull reuses a damaged layer: what is new inherits an empty component, and pulling again does not help")
def poisoned(scene: Scene) -> Says:
    store = Small(scene.root)
    (store.place(store.middle) / "link").write_bytes(b"")
    base = short_name(store.place(store.base).name)
    made: list[str] = []
    broken = scene.break_in(lambda: made.append(_inherit(store, "lab/again:1", "again", f":l/{base}")))
    return Says(
        "lower-malformed",
        made[0],
        words=("component 1", store.middle),
        when=broken,
        owner="lab/again:1",
        asks=(
            Ask("shared_by", store.middle, ("lab/again:1", "lab/app:1", "lab/other:1")),
            Ask("findings", "", ("link-file-empty", store.middle), together=True),
        ),
    )


@incident("A03", "too many levels of symbolic links: a short link leads into a layer that is in the chain already")
def overlapping(scene: Scene) -> Says:
    store = Small(scene.root)
    name = short_name(store.place(store.top).name)
    link = store.overlay / "l" / name

    def retarget() -> None:
        link.unlink()
        link.symlink_to(f"../{store.place(store.base).name}/diff")

    broken = scene.break_in(retarget)
    return Says(
        "overlapping-layers",
        store.top,
        words=(name, store.place(store.base).name),
        when=broken,
        owner="lab/app:1",
        asks=(
            Ask(
                "timeline",
                store.top,
                ("retargeted", name, f"../{store.place(store.top).name}/diff", f"../{store.place(store.base).name}/diff"),
                together=True,
            ),
            Ask("repair-plan", store.top, (name,)),
        ),
    )
