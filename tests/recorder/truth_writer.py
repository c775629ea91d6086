"""A writer that changes a store in every way at once, and remembers what stood from when to when.

Short links, layers and images through the store's own directories; inside a container's layer through its real overlay mount, in a mount
namespace of its own: symbolic links, hard links, whiteouts of lower files and links put in their place.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.mounts.spaces import Shell
from tests.recorder.playground import CREATED, Playground, layer_id, short_name

Key = tuple[str, str]
PRESENT: Final = "*"
CONTAINER: Final = 90
SHORT: Final = tuple(("short_link", short_name(number)) for number in range(100, 112))
LAYERS: Final = tuple(("layer_directory", layer_id(number)) for number in range(40, 43))
IMAGES: Final = tuple(f"image{number}" for number in range(3))
LINKS: Final = tuple(("inside", f"/N{number}") for number in range(8))
HARD: Final = tuple(("inside", f"/H{number}") for number in range(3))
LOWER: Final = tuple(("inside", f"/W{number}") for number in range(4))


class World:
    """A store with an image of four layers and a container that runs on it, in the mount namespace of ``shell``."""

    def __init__(self, root: Path, shell: Shell) -> None:
        """Make it, and mount the container's root."""
        self.store = Playground.filled(root, layers=4)
        for _, name in LOWER:
            (root / "overlay" / layer_id(3) / f"diff{name}").write_text("x")
        self.layer = self.store.add_layer(CONTAINER, parent=3)
        image = next(iter(self.store.images))
        container = {"id": "c" * 64, "names": ["one"], "image": image, "layer": self.layer, "created": CREATED}
        self.store.write("overlay-containers/containers.json", [container])
        home = root / "overlay" / self.layer
        (home / "merged").mkdir()
        shell.overlay(home / "merged", (home / "lower").read_text(), home / "diff", at=root / "overlay")
        self.merged = Path(f"/proc/{shell.pid}/root{home / 'merged'}")
        (self.merged / "base").write_text("x")


@dataclass
class Writer(threading.Thread):
    """Changes a world, and remembers (begun, done, what stands or ``None``) of each step of each key."""

    world: World
    chance: random.Random
    deep: bool
    history: dict[Key, list[tuple[int, int, str | None]]] = field(default_factory=dict)
    failure: BaseException | None = None
    burst: int = 0

    def __post_init__(self) -> None:
        threading.Thread.__init__(self, daemon=True)
        self.halt = threading.Event()
        self.history = {key: [] for key in (*SHORT, *LAYERS, *(("image_record", name) for name in IMAGES))}
        if self.deep:
            self.history |= {key: [] for key in (*LINKS, *HARD, *LOWER)}

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Do one thing after another; in a burst only short links, as fast as it goes."""
        try:
            while not self.halt.is_set():
                if self.burst > 0:
                    self.burst -= 1
                    self._short_link()
                    continue
                self.chance.choices(
                    (self._short_link, self._link, self._hard, self._lower, self._layer, self._image), (40, 30, 10, 12, 4, 4)
                )[0]()
                self.halt.wait(self.chance.choice([0, 0.001, 0.005, 0.03]))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.failure = error

    def at(self, key: Key, instant: int) -> tuple[bool, str | None]:
        """Return whether it is known what stood at ``instant``, and what did."""
        stood = None
        for begun, done, what in self.history[key]:
            if done < instant:
                stood = what
            else:
                return begun > instant, stood
        return True, stood

    def _stands(self, key: Key) -> str | None:
        past = self.history[key]
        return past[-1][2] if past else None

    def _do(self, key: Key, what: str | None, step: Callable[[], object]) -> None:
        begun = time.time_ns()
        step()
        self.history.get(key, []).append((begun, time.time_ns(), what))

    def _new_target(self) -> str:
        return f"{self.chance.randrange(10**12):012d}"

    def _short_link(self) -> None:
        key, store = self.chance.choice(SHORT), self.world.store
        name, stands, target = key[1], self._stands(key), f"../{self._new_target():0>64}/diff"
        if stands is not None and self.chance.random() < 0.5:
            self._do(key, None, lambda: store.unlink(name))
        elif stands is None:
            self._do(key, target, lambda: store.link(name, target))
        else:
            self._do(key, target, lambda: store.retarget(name, target))

    def _layer(self) -> None:
        number = self.chance.randrange(40, 43)
        key, store = ("layer_directory", layer_id(number)), self.world.store
        if self._stands(key) is None:
            self._do(key, PRESENT, lambda: store.add_layer(number, parent=3))
        else:
            self._do(key, None, lambda: store.remove_layer(number))

    def _image(self) -> None:
        name = self.chance.choice(IMAGES)
        key, store = ("image_record", name), self.world.store
        if self._stands(key) is None:
            self._do(key, PRESENT, lambda: store.add_image(name, 3))
        else:
            self._do(key, None, lambda: store.remove_image(name))

    def _link(self) -> None:
        self._change_link(self.chance.choice(LINKS), gone=None)

    def _lower(self) -> None:
        """Remove a file of a lower layer, or put a link in the place of one that was."""
        key = self.chance.choice(LOWER)
        path = self.world.merged / key[1][1:]
        if not self.deep:
            return
        if self._stands(key) is None:
            self._do(key, "whiteout:", path.unlink)
        else:
            self._change_link(key, gone="whiteout:")

    def _change_link(self, key: Key, gone: str | None) -> None:
        if not self.deep:
            return
        path, target = self.world.merged / key[1][1:], self._new_target()
        stands = self._stands(key)
        if stands == gone:
            self._do(key, f"symlink:{target}", lambda: path.symlink_to(target))
        elif self.chance.random() < 0.5:
            self._do(key, gone, path.unlink)
        else:
            temporary = path.with_name(f".t-{path.name}")
            temporary.symlink_to(target)
            self._do(key, f"symlink:{target}", lambda: temporary.replace(path))

    def _hard(self) -> None:
        if not self.deep:
            return
        key = self.chance.choice(HARD)
        path = self.world.merged / key[1][1:]
        if self._stands(key) is None:
            self._do(key, "hardlink:*", lambda: path.hardlink_to(self.world.merged / "base"))
        else:
            self._do(key, None, path.unlink)
