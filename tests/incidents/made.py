"""The stores that incidents happen to: small, with two images that share layers, and a pod."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linktrail.testing.containers_storage import Layer, StoreBuilder, finish, layer_ids
from tests.incidents.replay import Scene

APP = "quay.io/shop/app:1"
OTHER = "quay.io/shop/other:1"
POD = ("shop", "web-1")
BASE, MIDDLE, TOP, EXTRA = (
    Layer({"bin/sh": b"s" * 30_000, "etc/os-release": b"ID=shop\n"}),
    Layer({"lib/runtime": b"r" * 50_000}),
    Layer({"srv/app": b"a" * 20_000}),
    Layer({"srv/other": b"o" * 9_000}),
)


@dataclass(frozen=True, slots=True)
class Shop:
    """A containers/storage store of CRI-O: image APP (base, middle, top), image OTHER (base, middle, extra), a container of APP in POD."""

    builder: StoreBuilder
    base: str
    middle: str
    top: str
    extra: str
    app: str
    other: str
    container: str
    short: dict[str, str]
    """Layer -> its name in ``l/``, as it was made."""

    @property
    def root(self) -> Path:
        """The root of the store."""
        return self.builder.root

    @property
    def writable(self) -> str:
        """The writable layer of the container."""
        return self.layer_of(self.container)

    def layer_of(self, container: str) -> str:
        """Return the writable layer of a container."""
        return str(self.builder.container(container)["layer"])

    def directory(self, layer: str) -> Path:
        """Return the directory of a layer."""
        return self.root / "overlay" / layer

    def lower(self, layer: str) -> str:
        """Return the lower file of a layer."""
        return (self.directory(layer) / "lower").read_text(encoding="ascii")


def shop(scene: Scene, *, lower_layers: bool = False) -> Shop:
    """Make the store."""
    builder = StoreBuilder(scene.root, clock=scene.clock, lower_layers=lower_layers)
    base, middle, top = layer_ids([BASE, MIDDLE, TOP])
    app = finish(builder.pull(APP, [BASE, MIDDLE, TOP]))
    other = finish(builder.pull(OTHER, [BASE, MIDDLE, EXTRA]))
    container = finish(builder.create(APP, "web", pod=POD))
    short = {link.readlink().parts[1]: link.name for link in (scene.root / "overlay/l").iterdir()}
    return Shop(builder, base, middle, top, layer_ids([BASE, MIDDLE, EXTRA])[2], app, other, container, short)
