"""A data root of Docker made of files, in the layout that Docker 20.10 was seen to write, of any size and shape."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collector.check import CheckReport, run_check
from collector.links import Link, LinkKind, Survey
from collector.stores.docker import DRIVER
from linktrail.clock import NANOSECONDS
from linktrail.testing.clock import FakeClock
from tests.bolt.writer import Writer

CREATED = "2026-11-23T16:15:41.822131729Z"
LATER = 4_000_000_000 * NANOSECONDS  # 2096: whatever a test makes now is old by then


def digest(text: str) -> str:
    """Return 64 hexadecimal digits that stand for ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()


def build_id(text: str) -> str:
    """Return a name as BuildKit gives it."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:25]


def short_name(place: str) -> str:
    """Return the short name of a directory of overlay2."""
    return base64.b32encode(hashlib.sha256(f"link {place}".encode()).digest()).decode()[:26]


class Store:
    """A data root that can be added to; every method leaves it whole."""

    def __init__(self, root: Path) -> None:
        """Lay out an empty data root at ``root``, as dockerd does when it starts."""
        self.root = root
        self.overlay = root / "overlay2"
        self.layerdb = root / "image/overlay2/layerdb"
        self.imagedb = root / "image/overlay2/imagedb"
        self.names: dict[str, dict[str, str]] = {}
        self._lower: dict[str, list[str]] = {}
        self._places: dict[str, str] = {}
        self._databases: dict[str, Writer] = {}
        for place in ("overlay2/l", "image/overlay2/layerdb/mounts", "image/overlay2/layerdb/tmp", "containers", "buildkit", "tmp"):
            (root / place).mkdir(parents=True)
        for place in ("content", "metadata"):
            (self.imagedb / place / "sha256").mkdir(parents=True)
        self.save_names()

    def directory(self, place: str, below: str | None = None) -> Path:
        """Make a directory of overlay2 on the directory ``below``."""
        home = self.overlay / place
        (home / "diff").mkdir(parents=True)
        (home / "diff" / "file").write_text(place)
        name = short_name(place)
        (self.overlay / "l" / name).symlink_to(f"../{place}/diff")
        (home / "link").write_text(name)
        if below is not None:
            self._lower[place] = [short_name(below), *self._lower.get(below, [])]
            (home / "lower").write_text(":".join(f"l/{part}" for part in self._lower[place]))
            (home / "work").mkdir()
            (self.overlay / below / "committed").touch()
        return home

    def layer(self, diff: str, parent: str | None = None, place: str | None = None) -> str:
        """Make a layer with content ``diff`` on chain ``parent`` and return its chain id."""
        diff_id = f"sha256:{digest(f'diff {diff}')}"
        chain = f"sha256:{digest(f'{parent} {diff_id}')}" if parent else diff_id
        if chain in self._places:
            return chain
        cache_id = place or digest(f"cache {chain}")
        if place is None:
            self.directory(cache_id, self._places[parent] if parent else None)
        self._places[chain] = cache_id
        record = self.record(chain)
        record.mkdir(parents=True)
        (record / "cache-id").write_text(cache_id)
        (record / "diff").write_text(diff_id)
        (record / "size").write_text("1234")
        (record / "tar-split.json.gz").write_bytes(b"x")
        if parent:
            (record / "parent").write_text(parent)
        return chain

    def record(self, chain: str) -> Path:
        """Return where a chain is recorded."""
        return self.layerdb / "sha256" / chain.removeprefix("sha256:")

    def place(self, chain: str) -> Path:
        """Return the directory of a chain."""
        return self.overlay / self._places[chain]

    def image(self, name: str | None, *diffs: str) -> str:
        """Make an image with layers of this content, base first, and return its id."""
        chain = None
        for diff in diffs:
            chain = self.layer(diff, chain)
        ids = [f"sha256:{digest(f'diff {diff}')}" for diff in diffs]
        config = {"created": CREATED, "os": "linux", "config": {"Labels": {"of": name}}, "rootfs": {"type": "layers", "diff_ids": ids}}
        data = json.dumps(config).encode()
        image = hashlib.sha256(data).hexdigest()
        (self.imagedb / "content/sha256" / image).write_bytes(data)
        (self.imagedb / "metadata/sha256" / image).mkdir()
        (self.imagedb / "metadata/sha256" / image / "lastUpdated").write_text(CREATED)
        if name is not None:
            self.names.setdefault(name.rpartition(":")[0], {})[name] = f"sha256:{image}"
            self.save_names()
        return f"sha256:{image}"

    def save_names(self) -> None:
        """Write repositories.json."""
        (self.root / "image/overlay2/repositories.json").write_text(json.dumps({"Repositories": self.names}))

    def mount(self, container: str, chain: str | None) -> tuple[str, str]:
        """Make the writable layer of a container and the init layer below it; return their ids."""
        writable = digest(f"mount {container}")
        init = f"{writable}-init"
        self.directory(init, self._places[chain] if chain else None)
        self.directory(writable, init)
        record = self.layerdb / "mounts" / container
        record.mkdir()
        (record / "mount-id").write_text(writable)
        (record / "init-id").write_text(init)
        if chain:
            (record / "parent").write_text(chain)
        return writable, init

    def container(self, name: str, image: str, chain: str | None, **fields: Any) -> str:
        """Make a container of ``image`` on chain ``chain`` and return its id; ``fields`` replace those of its configuration."""
        container = digest(f"container {name}")
        self.mount(container, chain)
        home = self.root / "containers" / container
        home.mkdir()
        config = {
            "ID": container,
            "Created": CREATED,
            "Name": f"/{name}",
            "Image": image,
            "Driver": "overlay2",
            "State": {"Running": False, "Dead": False, "RemovalInProgress": False},
            "Config": {"Image": "lab/app:1", "Labels": {}},
        }
        (home / "config.v2.json").write_text(json.dumps({**config, **fields}))
        return container

    def database(self, name: str) -> Writer:
        """Return the writer of one of BuildKit's databases."""
        if name not in self._databases:
            self._databases[name] = Writer(self.root / "buildkit" / name)
        return self._databases[name]

    def snapshot(self, key: str, parent: str | None = None, *, committed_from: str | None = None, held: bool = True) -> str:
        """Make a snapshot of BuildKit's and return the name of its directory."""
        snapshots = self.database("snapshots.db").root
        place = committed_from or key
        if not (self.overlay / place).exists():
            self.directory(place, self._places.get(parent or "", parent))
        self._places[key] = place
        snapshots.bucket(place.encode()).put(b"parent", (parent or "").encode())
        if committed_from is not None:
            snapshots.bucket(key.encode()).put(b"committed", committed_from.encode())
            snapshots.bucket(committed_from.encode()).put(b"iscommitted", b"")
        if held:
            self.lease(key, key)
        self.commit()
        return place

    def lease(self, name: str, key: str) -> None:
        """Make a lease on a snapshot."""
        leases = self.database("containerdmeta.db").root.bucket(b"v1").bucket(b"buildkit").bucket(b"leases")
        leases.bucket(name.encode()).bucket(b"snapshots").bucket(b"default").put(key.encode(), b"")

    def cached(self, name: str, values: Mapping[str, str]) -> None:
        """Make a record of the cache."""
        record = self.database("metadata_v2.db").root.bucket(b"_main").bucket(name.encode())
        for key, value in values.items():
            record.put(key.encode(), json.dumps({"value": value}).encode())

    def commit(self) -> None:
        """End one transaction in every database."""
        for writer in self._databases.values():
            writer.commit()


class Small(Store):
    """Two images that share two layers, a container of one of them, and build cache."""

    def __init__(self, root: Path) -> None:
        """Make it at ``root``."""
        super().__init__(root)
        self.app = self.image("lab/app:1", "base", "middle", "top")
        self.other = self.image("lab/other:1", "base", "middle", "another")
        self.base = self.layer("base")
        self.middle = self.layer("middle", self.base)
        self.top = self.layer("top", self.middle)
        self.another = self.layer("another", self.middle)
        self.c1 = self.container("c1", self.app, self.top)
        self.writable = digest(f"mount {self.c1}")
        self.source = self.snapshot(build_id("source"))
        self.step = self.snapshot(build_id("step"), self.top, committed_from=build_id("active"))

    def forget(self, container: str) -> None:
        """Remove a container's configuration and directory, as if by hand."""
        shutil.rmtree(self.root / "containers" / container)


def survey(root: Path) -> Survey:
    """Survey the data root long after everything in it was made."""
    return DRIVER.survey(root, clock=FakeClock(LATER))


def check(root: Path, **options: Any) -> CheckReport:
    """Check it long after everything in it was made."""
    return run_check([root], clock=FakeClock(LATER), **options)


def found(report: CheckReport) -> set[tuple[str, str]]:
    """Return code and subject of each finding."""
    return {(finding.code, finding.subject) for _, finding in report.findings}


def of(read: Survey, kind: LinkKind) -> dict[str, Link]:
    """Return the links of one kind by subject."""
    return {link.subject: link for link in read.of_kind(kind)}
