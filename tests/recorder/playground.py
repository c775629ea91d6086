"""A containers-storage store that tests change at will, in the order of steps that the engine takes."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from linktrail.testing.clock import START

CREATED = "2026-11-20T10:00:00Z"  # older than every grace period at ``START``
OLD = START - 4 * 86_400 * 10**9


def layer_id(number: int) -> str:
    """Return the id of the layer of that number."""
    return hashlib.sha256(f"layer {number}".encode()).hexdigest()


def short_name(number: int) -> str:
    """Return the name in ``l/`` of that number."""
    return base64.b32encode(hashlib.sha256(f"short {number}".encode()).digest()).decode()[:26]


class Playground:
    """A store at ``root``. Every method is one engine operation (or a part of one that tests want alone)."""

    def __init__(self, root: Path) -> None:
        """Lay out an empty store."""
        self.root = root
        self.layers: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        for place in ("overlay/l", "overlay-layers", "overlay-images", "overlay-containers"):
            (root / place).mkdir(parents=True, exist_ok=True)
        self.write("overlay-layers/layers.json", [])
        self.write("overlay-images/images.json", [])
        self.write("overlay-containers/containers.json", [])

    @classmethod
    def filled(cls, root: Path, layers: int = 3) -> Playground:
        """Make a store with a chain of ``layers`` and one image on it."""
        made = cls(root)
        for number in range(layers):
            made.add_layer(number, parent=number - 1 if number else None)
        if layers:
            made.add_image("base", layers - 1)
        return made

    @property
    def short_links(self) -> Path:
        """The directory ``overlay/l``."""
        return self.root / "overlay/l"

    def write(self, path: str, value: Any) -> None:
        """Replace a JSON file by rename, as the engine does."""
        target = self.root / path
        temporary = target.with_name(f".tmp-{target.name}")
        temporary.write_text(json.dumps(value))
        temporary.replace(target)

    # --- short links alone ----------------------------------------------------------------------------------------

    def link(self, name: str, target: str) -> None:
        """Make a short link."""
        (self.short_links / name).symlink_to(target)

    def unlink(self, name: str) -> None:
        """Remove a short link."""
        (self.short_links / name).unlink()

    def retarget(self, name: str, target: str) -> None:
        """Put another link over a short link, by rename."""
        temporary = self.root / "overlay-layers" / f".tmp-{name}"
        temporary.symlink_to(target)
        temporary.replace(self.short_links / name)

    # --- layers and images ----------------------------------------------------------------------------------------

    def make_directory(self, number: int, *, lower: str | None = None) -> Path:
        """Make the directory of a layer, its short link, link file and lower."""
        layer, short = layer_id(number), short_name(number)
        directory = self.root / "overlay" / layer
        (directory / "diff").mkdir(parents=True)
        self.link(short, f"../{layer}/diff")
        (directory / "link").write_text(short)
        (directory / "work").mkdir()
        if lower is None:
            (directory / "empty").mkdir()
        else:
            (directory / "lower").write_text(lower)
        return directory

    def add_layer(self, number: int, *, parent: int | None = None) -> str:
        """Create a layer: incomplete record, directory, data, complete record."""
        layer = layer_id(number)
        record = {"id": layer, "created": CREATED, "diff-size": 1024, **({} if parent is None else {"parent": layer_id(parent)})}
        self.layers[layer] = {**record, "flags": {"incomplete": True}}
        self._write_layers()
        self.make_directory(number, lower=None if parent is None else self._chain(parent))
        (self.root / "overlay-layers" / f"{layer}.tar-split.gz").write_bytes(b"data")
        self.layers[layer] = record
        self._write_layers()
        return layer

    def remove_layer(self, number: int) -> None:
        """Remove a layer: mark it, take away short link, directory and data, then the record."""
        layer = layer_id(number)
        self.layers[layer] = {**self.layers[layer], "flags": {"incomplete": True}}
        self._write_layers()
        self.unlink(short_name(number))
        shutil.rmtree(self.root / "overlay" / layer)
        (self.root / "overlay-layers" / f"{layer}.tar-split.gz").unlink()
        del self.layers[layer]
        self._write_layers()

    def add_image(self, name: str, top: int) -> str:
        """Record an image."""
        image = hashlib.sha256(name.encode()).hexdigest()
        self.images[image] = {"id": image, "names": [f"localhost/{name}:1"], "layer": layer_id(top), "created": CREATED}
        self.write("overlay-images/images.json", list(self.images.values()))
        return image

    def remove_image(self, name: str) -> None:
        """Remove an image's record."""
        del self.images[hashlib.sha256(name.encode()).hexdigest()]
        self.write("overlay-images/images.json", list(self.images.values()))

    def _write_layers(self) -> None:
        self.write("overlay-layers/layers.json", list(self.layers.values()))

    def _chain(self, number: int) -> str:
        names = []
        layer: str | None = layer_id(number)
        while layer is not None:
            names.append(f"l/{(self.root / 'overlay' / layer / 'link').read_text()}")
            layer = self.layers[layer].get("parent")
        return ":".join(names)
