"""Stores made by hand, in the format of containers/storage 1.57 as real engines write it, of any size and shape."""

from __future__ import annotations

import base64
import codecs
import hashlib
import itertools
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.links import Link, LinkKind, Survey
from collector.stores.containers_storage import DRIVER
from linktrail.testing.clock import FakeClock

CREATED = "2026-11-23T15:53:58.240285769Z"


def layer_id(number: int) -> str:
    """Return the id of the layer of that number."""
    return hashlib.sha256(f"layer {number}".encode()).hexdigest()


def short_name(number: int) -> str:
    """Return the short name of the layer of that number."""
    return base64.b32encode(hashlib.sha256(f"link {number}".encode()).digest()).decode()[:26]


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file by rename, as the engine does."""
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


class Made:
    """A store in the making; ``save`` writes its metadata."""

    def __init__(self, root: Path) -> None:
        """Lay out an empty store at ``root``."""
        self.root = root
        self.layers: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.containers: list[dict[str, Any]] = []
        self._numbers = itertools.count()
        self._chains: dict[str, list[str]] = {}
        for place in ("overlay/l", "overlay-layers", "overlay-images", "overlay-containers"):
            (root / place).mkdir(parents=True)
        (root / "overlay-layers/layers.lock").touch()
        self.save()

    def layer(self, parent: str = "", **fields: Any) -> str:
        """Make a layer on ``parent`` and return its id; the record is written by ``save``."""
        number = next(self._numbers)
        layer, short = layer_id(number), short_name(number)
        directory = self.root / "overlay" / layer
        for name in ("diff", "work", "merged", *(() if parent else ("empty",))):
            (directory / name).mkdir(parents=True)
        (directory / "link").write_text(short)
        chain = self._chains.get(parent, [])
        if chain:
            (directory / "lower").write_text(":".join(f"l/{name}" for name in chain))
        self._chains[layer] = [short, *chain]
        (self.root / "overlay/l" / short).symlink_to(f"../{layer}/diff")
        (self.root / "overlay-layers" / f"{layer}.tar-split.gz").write_bytes(b"x")
        self.layers.append({"id": layer, **({"parent": parent} if parent else {}), "created": CREATED, **fields})
        return layer

    def chain(self, length: int) -> list[str]:
        """Make a chain of layers and return their ids, base first."""
        made = [""]
        for _ in range(length):
            made.append(self.layer(made[-1]))
        return made[1:]

    def image(self, name: str, layer: str, **fields: Any) -> str:
        """Make an image record and return its id."""
        image = hashlib.sha256(f"image {name}".encode()).hexdigest()
        self.images.append({"id": image, "names": [name] if name else [], "layer": layer, "created": CREATED, **fields})
        return image

    def container(self, name: str, layer: str, image: str, **fields: Any) -> str:
        """Make a container record and return its id."""
        container = hashlib.sha256(f"container {name}".encode()).hexdigest()
        self.containers.append({"id": container, "names": [name], "layer": layer, "image": image, "created": CREATED, **fields})
        return container

    def save(self) -> None:
        """Write the three metadata files."""
        write_json(self.root / "overlay-layers/layers.json", self.layers)
        write_json(self.root / "overlay-images/images.json", self.images)
        write_json(self.root / "overlay-containers/containers.json", self.containers)


def small(root: Path) -> Made:
    """Make a store of three image layers, one image, and one container on it."""
    made = Made(root)
    chain = made.chain(3)
    image = made.image("localhost/app:1", chain[-1])
    layer = made.layer(chain[-1])
    made.container("c1", layer, image, metadata=json.dumps({"image-name": "localhost/app:1", "image-id": image, "name": "c1"}))
    made.save()
    return made


def survey(root: Path, **options: Any) -> Survey:
    """Survey the store at ``root`` under a clock that stands still."""
    return DRIVER.survey(root, clock=FakeClock(), **options)


def problem_paths(found: Survey) -> set[str]:
    """Return the paths that could not be read."""
    return set(found.unread)


@contextmanager
def open_place() -> Iterator[Path]:
    """Make a directory that any user can enter, of our own: pytest's are closed to others, and their parents are not ours to open."""
    with tempfile.TemporaryDirectory() as where:
        Path(where).chmod(0o755)
        yield Path(where)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Act as a user without privileges (needs root), who may not be allowed to load what Python loads at its first use."""
    for codec in ("ascii", "unicode_escape"):
        codecs.lookup(codec)
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def paths_below(root: Path) -> list[Path]:
    """Return every path below ``root`` and itself. Listing sets access times."""
    found = [root]
    with os.scandir(root) as entries:
        inner = [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for path, directory in inner:
        found += paths_below(path) if directory else [path]
    return sorted(found)


def traces(paths: Iterable[Path]) -> dict[Path, tuple[object, ...]]:
    """Return all that a write, or a careless read, would change of ``paths``, without touching them.

    The access time of symbolic links is left out: no system call reads a link without setting it.
    """
    return {path: _trace(os.lstat(path)) for path in paths}


def _trace(facts: os.stat_result) -> tuple[object, ...]:
    kept = (facts.st_ino, facts.st_mode, facts.st_nlink, facts.st_size, facts.st_uid, facts.st_gid, facts.st_mtime_ns, facts.st_ctime_ns)
    return kept if stat.S_ISLNK(facts.st_mode) else (*kept, facts.st_atime_ns)


def one(found: Survey, kind: LinkKind, path: str) -> Link:
    """Return the only link of a kind at a path."""
    (link,) = [link for link in found.of_kind(kind) if link.path == path]
    return link


def records(found: Survey) -> set[str]:
    """Return the layers that have a record."""
    return {link.subject for link in found.of_kind(LinkKind.LAYER_RECORD)}
