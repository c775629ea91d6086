"""A builder of real containers-storage stores (CRI-O, podman, buildah), as files and without an engine.

``StoreBuilder(root)`` writes what the engine writes, in its order and with its atomic renames, so a store built here
is accepted by ``podman`` and ``containers-storage``, and a watcher sees the same changes. Every operation is a generator of
``Step``; stopping in the middle is ``kill -9`` of the engine:

    builder = StoreBuilder(root)
    image = finish(builder.pull("localhost/app:1", [Layer({"bin/app": b"..."})]))
    stop_after(builder.pull("localhost/big:1", layers), "layer-plumbing", layer_ids(layers)[1])   # a pull killed in its 2nd layer

``builder.damage`` breaks things that an engine would not. Works without root (files belong to the caller then).
Source of the format: storage-formats as traced from containers/storage 1.43 and read in its source (layers.go, images.go,
containers.go, drivers/overlay/overlay.go).
"""

from __future__ import annotations

import json
import os
import stat
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linktrail.clock import Clock, SystemClock
from linktrail.testing.damage import Damage
from linktrail.testing.layer_tar import Entry, Hardlink, Layer, Symlink, Whiteout, layer_id, layer_ids, sha256
from linktrail.testing.store_files import (
    CONTAINERS,
    IMAGES,
    LAYERS,
    VOLATILE_CONTAINERS,
    VOLATILE_LAYERS,
    Record,
    Step,
    Steps,
    StoreFiles,
    big_data_file,
    remove_tree,
    seconds,
)

__all__ = ["Hardlink", "Layer", "Step", "Steps", "StoreBuilder", "Symlink", "Whiteout", "finish", "layer_ids", "stop_after"]

MEBIBYTE = 1 << 20
BUILT = "2026-11-23T16:00:00Z"  # when the images were built elsewhere: fixed, so that an image has the same id on every machine


def finish(steps: Steps) -> str:
    """Run an operation to its end and return its id."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value)


def stop_after(steps: Steps, name: str, subject: str | None = None) -> Step:
    """Run an operation up to and including step ``name`` (of ``subject``), then kill it. Raises ``LookupError`` if it never came."""
    for step in steps:
        if step.name == name and subject in (None, step.subject):
            steps.close()
            return step
    raise LookupError(f"no step {name} of {subject or 'anything'}")


@dataclass(frozen=True, slots=True)
class _Sandbox:
    """A pod as CRI-O names it; its containers carry namespace and uid only inside these names."""

    namespace: str
    pod: str

    @property
    def id(self) -> str:
        return sha256(f"{self.namespace}/{self.pod}".encode()).removeprefix("sha256:")

    @property
    def uid(self) -> str:
        return str(uuid.UUID(self.id[:32], version=4))

    @property
    def name(self) -> str:
        return f"k8s_{self.pod}_{self.namespace}_{self.uid}_0"

    def container(self, name: str) -> str:
        return f"k8s_{name}_{self.pod}_{self.namespace}_{self.uid}_0"


class StoreBuilder(StoreFiles):
    """One store below ``root``; ``seed`` makes random ids repeatable, ``lower_layers`` writes the format of 1.63 and later."""

    def __init__(self, root: Path, *, clock: Clock | None = None, seed: int = 0, lower_layers: bool = False) -> None:
        """Open or make the store at ``root``."""
        super().__init__(root, clock or SystemClock(), seed=seed, lower_layers=lower_layers)
        self.damage = Damage(self)

    def image(self, name: str) -> Record:
        """Return the record of an image by name or id. Raises ``KeyError``."""
        return _find(self.records(IMAGES), name)

    def container(self, name: str) -> Record:
        """Return the record of a container by name or id. Raises ``KeyError``."""
        return _find(self.records(CONTAINERS, VOLATILE_CONTAINERS), name)

    def upper(self, container: str) -> Path:
        """Return the directory that holds what a container wrote."""
        return self.root / "overlay" / str(self.container(container)["layer"]) / "diff"

    # --- images -----------------------------------------------------------------------------------------------

    def pull(self, name: str, layers: Sequence[Layer], *, command: Sequence[str] = ("/bin/app",)) -> Steps:
        """Pull (or load) an image of ``layers``, base first; layers that are there complete are used. Returns the image id."""
        present = {record["id"] for record in self.records(LAYERS) if not record.get("flags")}
        parent: str | None = None
        for layer, content in zip(layer_ids(layers), layers, strict=True):
            if layer not in present:
                yield from self.make_layer(layer, parent, content)
            parent = layer
        if parent is None:
            raise ValueError("an image has at least one layer")
        config = self._config([f"sha256:{layer.diff_hex}" for layer in layers], command, [layer.created_by for layer in layers])
        return (yield from self._record_image(name, parent, config))

    @staticmethod
    def _config(diff_ids: Sequence[str], command: Sequence[str], steps: Sequence[str]) -> bytes:
        document = {
            "created": BUILT,
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
            "history": [{"created": BUILT, "created_by": step} for step in steps],
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def _record_image(self, name: str, top: str, config: bytes) -> Steps:
        records = {record["id"]: record for record in self.records(LAYERS)}
        manifest = _manifest(config, [records[layer] for layer in reversed(self.chain(top))])
        image = sha256(config).removeprefix("sha256:")
        digest = sha256(manifest)
        self.replace_json(IMAGES, [*self.records(IMAGES), {"id": image, "layer": top, "metadata": "{}", "created": self.created()}])
        yield Step("image-recorded", image)
        (self.root / "overlay-images" / image).mkdir(mode=0o700, exist_ok=True)
        items = {sha256(config): config, f"manifest-{digest}": manifest, "manifest": manifest}
        items[f"signature-{digest.removeprefix('sha256:')}"] = b""
        sizes: dict[str, int] = {}
        digests: dict[str, str] = {}
        for item, data in items.items():
            self.replace(f"overlay-images/{image}/{big_data_file(item)}", data)
            sizes[item], digests[item] = len(data), sha256(data)
            changes = {"digest": digests.get("manifest"), "big-data-names": list(sizes)}
            self.edit(IMAGES, image, changes | {"big-data-sizes": sizes, "big-data-digests": digests})
            yield Step("image-data", image)
        self.edit(IMAGES, image, {"metadata": json.dumps({"signatures-sizes": {digest: []}}, separators=(",", ":"))})
        self._name_image(image, name)
        yield Step("image-named", image)
        return image

    def _name_image(self, image: str, name: str) -> None:
        records = self.records(IMAGES)
        for record in records:
            names = [other for other in record.get("names", []) if other != name]
            if record["id"] == image:
                names = [name, *names]
                record["names-history"] = [name, *(other for other in record.get("names-history", []) if other != name)]
            record["names"] = names or None
        self.replace_json(IMAGES, records)

    def tag(self, image: str, name: str) -> Steps:
        """Give an image a name; another image loses it."""
        found = str(self.image(image)["id"])
        self._name_image(found, name)
        yield Step("image-named", found)
        return found

    def untag(self, image: str) -> Steps:
        """Take all names from an image; it stays as an untagged one."""
        found = str(self.image(image)["id"])
        self.edit(IMAGES, found, {"names": None})
        yield Step("image-unnamed", found)
        return found

    def remove_image(self, image: str) -> Steps:
        """Remove an image: record, directory, then its layers from the top down while nothing else needs them."""
        record = self.image(image)
        found = str(record["id"])
        self.drop(IMAGES, found)
        yield Step("image-unrecorded", found)
        remove_tree(self.root / "overlay-images" / found)
        yield Step("image-directory-removed", found)
        for layer in self.chain(str(record["layer"])):
            if self._is_needed(layer):
                break
            yield from self.unmake_layer(layer)
        return found

    def _is_needed(self, layer: str) -> bool:
        owners = self.records(IMAGES, CONTAINERS, VOLATILE_CONTAINERS)
        children = self.records(LAYERS, VOLATILE_LAYERS)
        return any(owner.get("layer") == layer for owner in owners) or any(child.get("parent") == layer for child in children)

    # --- containers -------------------------------------------------------------------------------------------

    def create(self, image: str, name: str, *, volatile: bool = False, pod: tuple[str, str] | None = None, buildah: bool = False) -> Steps:
        """Create a container as podman does; as CRI-O does for ``pod`` (namespace, name); as buildah does. Returns its id.

        ``volatile`` writes its records to the volatile files (``podman run --rm``; CRI-O always).
        """
        volatile = volatile or pod is not None
        sandbox = _Sandbox(*pod) if pod else None
        full_name = sandbox.container(name) if sandbox else name
        record = self.image(image)
        container, layer = self.random_id(), self.random_id()
        yield from self.make_layer(layer, str(record["layer"]), None, volatile=volatile)
        entry: Record = {"id": container, "names": [full_name], "image": record["id"], "layer": layer, "created": self.created()}
        if not buildah:
            entry["metadata"] = json.dumps(self._metadata(record, name, sandbox), separators=(",", ":"))
            entry["flags"] = {"MountLabel": "", "ProcessLabel": ""} | ({"Volatile": True} if volatile else {})
        file = VOLATILE_CONTAINERS if volatile else CONTAINERS
        self.replace_json(file, [*self.records(file), entry])
        yield Step("container-recorded", container)
        if not buildah:
            self.edit(self.file_of(layer, LAYERS, VOLATILE_LAYERS), layer, {"names": [f"{full_name}-layer"]})
            yield Step("layer-named", layer)
        userdata = self.root / "overlay-containers" / container / "userdata"
        userdata.mkdir(mode=0o700, parents=True)
        if buildah:
            document = {"type": "buildah 0.0.1", "image": name, "image-id": record["id"], "container-id": container}
            (userdata / "buildah.json").write_text(json.dumps(document), encoding="utf-8")
        else:
            for part in ("artifacts", "secrets", "shm"):
                (userdata / part).mkdir(mode=0o700)
        yield Step("container-directory", container)
        return container

    def _metadata(self, image: Record, name: str, sandbox: _Sandbox | None) -> Mapping[str, object]:
        first = (image.get("names") or [image["id"]])[0]
        known: dict[str, object] = {"image-name": first, "image-id": image["id"], "name": name, "created-at": seconds(self.clock)}
        if sandbox is None:
            return known
        owner = {"pod-name": sandbox.name, "pod-id": sandbox.id}
        return owner | known | {"name": sandbox.container(name), "metadata-name": name, "attempt": 0}

    def start(self, container: str) -> Steps:
        """Start a container: what is visible in the store is its ``merged``, ``work/work`` and a few files in the upper."""
        record = self.container(container)
        layer = self.root / "overlay" / str(record["layer"])
        remove_tree(layer / "work" / "work")
        (layer / "work" / "work").mkdir(mode=0o700)
        (layer / "merged").mkdir(mode=0o700, exist_ok=True)
        upper = layer / "diff"
        upper.chmod(0o755)
        for number, (name, to) in enumerate((("etc/mtab", "/proc/mounts"), ("run/.containerenv", None)), start=1):
            place = upper / name
            if place.is_symlink() or place.exists():
                continue
            place.parent.mkdir(mode=0o755, exist_ok=True)
            waiting = layer / "work" / "work" / f"#{number:x}"
            if to is None:
                waiting.touch(mode=0o700)
            else:
                waiting.symlink_to(to)
            waiting.rename(place)
        (layer / "work" / "work").chmod(0)
        yield Step("container-mounted", str(record["id"]))
        configuration = {"ociVersion": "1.0.2-dev", "root": {"path": str(layer / "merged")}}
        userdata = self.root / "overlay-containers" / str(record["id"]) / "userdata"
        (userdata / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
        (userdata / "ctr.log").touch(mode=0o600)
        yield Step("container-started", str(record["id"]))
        return str(record["id"])

    def stop(self, container: str) -> Steps:
        """Stop a container: its mount point goes."""
        record = self.container(container)
        remove_tree(self.root / "overlay" / str(record["layer"]) / "merged")
        yield Step("container-stopped", str(record["id"]))
        return str(record["id"])

    def remove_container(self, container: str) -> Steps:
        """Remove a container: record, layer mark and userdata, then the layer."""
        record = self.container(container)
        found, layer = str(record["id"]), str(record["layer"])
        self.drop(self.file_of(found, CONTAINERS, VOLATILE_CONTAINERS), found)
        yield Step("container-unrecorded", found)
        remove_tree(self.root / "overlay-containers" / found)
        yield Step("container-directory-removed", found)
        yield from self.unmake_layer(layer)
        return found

    def write(self, container: str, path: str, size: int) -> Steps:
        """Let a container write ``size`` bytes at ``path`` of its upper (appending), one step a mebibyte."""
        record = self.container(container)
        place = self.upper(container) / path
        self.upper(container).chmod(0o755)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("ab") as file:
            while size > 0:
                size -= file.write(self.random.randbytes(min(size, MEBIBYTE)))
                file.flush()
                yield Step("content-written", str(record["layer"]))
        return str(record["id"])

    def commit(self, container: str, name: str) -> Steps:
        """Make an image of a container: its upper becomes a layer over the container's image. Returns the image id."""
        record = self.container(container)
        parent = self.chain(str(record["layer"]))[1]
        content = Layer(dict(_entries(self.upper(container))))
        top = layer_id(parent, content.diff_hex)
        if all(layer["id"] != top for layer in self.records(LAYERS)):
            yield from self.make_layer(top, parent, content, compressed=False)
        layers = {layer["id"]: layer for layer in self.records(LAYERS)}
        diff_ids = [layers[layer]["diff-digest"] for layer in reversed(self.chain(top))]
        image = yield from self._record_image(name, top, self._config(diff_ids, ("/bin/app",), ["linktrail"] * len(diff_ids)))
        userdata = self.root / "overlay-containers" / str(record["id"]) / "userdata"
        (userdata / "buildah.json").write_text(json.dumps({"type": "buildah 0.0.1", "image": name}), encoding="utf-8")
        yield Step("container-committed", str(record["id"]))
        return image

    # --- what the engine does by itself -----------------------------------------------------------------------

    def open_store(self) -> Steps:
        """Do what any engine command does on opening the store: delete every incomplete layer, and with it the evidence."""
        for record in self.records(LAYERS, VOLATILE_LAYERS):
            if (record.get("flags") or {}).get("incomplete"):
                yield from self.unmake_layer(str(record["id"]))
        return ""

    def recreate_short_links(self) -> Steps:
        """Do what containers/storage up to 1.62 does when a mount misses a short link: make all of them again from the link files."""
        for directory in sorted((self.root / "overlay").iterdir()):
            link = directory / "link"
            name = link.read_text(encoding="ascii") if link.is_file() else ""
            short = self.root / "overlay" / "l" / name
            if name and not short.is_symlink():
                short.symlink_to(f"../{directory.name}/diff")
                yield Step("short-link", directory.name)
        return ""


def _find(records: Sequence[Record], name: str) -> Record:
    for record in records:
        if name == record["id"] or name in record.get("names", []):
            return record
    raise KeyError(name)


def _manifest(config: bytes, layers: Sequence[Record]) -> bytes:
    kind = "application/vnd.oci.image."
    parts = []
    for layer in layers:
        digest, size = layer["compressed-diff-digest"], layer["compressed-size"]
        suffix = "+gzip" if layer.get("compression") else ""
        parts.append({"mediaType": f"{kind}layer.v1.tar{suffix}", "digest": digest, "size": size})
    head = {"mediaType": f"{kind}config.v1+json", "digest": sha256(config), "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": f"{kind}manifest.v1+json", "config": head, "layers": parts}
    return json.dumps(document, separators=(",", ":")).encode()


def _entries(directory: Path) -> Generator[tuple[str, Entry]]:
    for where, names, files in os.walk(directory):
        links = [name for name in names if Path(where, name).is_symlink()]
        for name in sorted(files + links):
            place = Path(where, name)
            path = str(place.relative_to(directory))
            if place.is_symlink():
                yield path, Symlink(os.readlink(place))  # noqa: PTH115 - the target as text
            elif stat.S_ISCHR(place.lstat().st_mode):
                yield path, Whiteout()
            else:
                yield path, place.read_bytes()
