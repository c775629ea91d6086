"""The store that ``linktrail demo`` plays on: what is pulled, and a builder that goes at the recorder's pace.

Engines leave their metadata files alone for a few milliseconds between two versions, in which each is read (``collector.versions``). A
builder in Python is as fast as its disk, and a machine may be busy: so it waits, and what the demo records is complete everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linktrail.clock import Clock
from linktrail.testing.containers_storage import Layer, StoreBuilder, Symlink
from linktrail.testing.store_files import CONTAINERS, IMAGES, LAYERS, VOLATILE_CONTAINERS, VOLATILE_LAYERS

_METADATA: Final = frozenset({LAYERS, IMAGES, CONTAINERS, VOLATILE_LAYERS, VOLATILE_CONTAINERS})


@dataclass(frozen=True, slots=True)
class Images:
    """What is pulled: one image that runs, one that is used for a moment, and one whose pull is killed in its top layer."""

    shop: tuple[Layer, ...]
    job: tuple[Layer, ...]
    big: tuple[Layer, ...]

    @classmethod
    def make(cls) -> Images:
        """Return them, the same in every run."""
        noise = random.Random("linktrail demo")  # noqa: S311 - contents of files
        base = Layer({"bin/shop": noise.randbytes(120_000), "etc/os-release": b"ID=demo\n", "usr/bin/shop": Symlink("../../bin/shop")})
        shop = (base, Layer({"srv/pages": noise.randbytes(60_000)}), Layer({"etc/shop.conf": b"workers = 4\n"}))
        job = (base, Layer({"bin/job": noise.randbytes(40_000)}))
        model = Layer({f"srv/model/part-{number:03}": noise.randbytes(64 << 10) for number in range(80)})
        return cls(shop, job, (base, Layer({"lib/runtime": noise.randbytes(200_000)}), model))


class Paced(StoreBuilder):
    """A builder that replaces no metadata file again before the version that it wrote was read."""

    def __init__(self, root: Path, *, clock: Clock, seed: int, read: Callable[[], None]) -> None:
        """``read`` waits until whatever was written is read."""
        super().__init__(root, clock=clock, seed=seed)
        self._read = read

    def replace(self, file: str, data: bytes) -> None:
        """Put ``data`` at ``file`` by rename."""
        super().replace(file, data)
        if file in _METADATA:
            self._read()
