"""From what the kernel holds to links.

* MOUNT, path ``mountinfo#<device>``: subject=mount point (in the namespace of process 1 where it is mounted there, else in the first
  that has it), target=layer: the upper one, else the nearest lower one; detail {type, device, lower: [layers], deleted: true when the
  directory was removed under the mount}; facts {namespaces: [{namespace, point, processes, command}], read_only}. One for each overlay
  however many namespaces have it; also for a layer's directory that is bind-mounted
  elsewhere (but as the root of a process: so engines unpack, for some milliseconds)
* OPEN_FILE, path ``open-files#<layer or device>``: subject=layer, or ``overlay <device>`` where the overlay that held it is mounted
  nowhere any more and nobody remembers of which layer it was, or the directory (relative to the root) of files that an engine keeps
  beside its layers; target=layer; detail {device, detached} or {device, beside: true}; facts {bytes, files,
  changed_ns, shared, holders: [{process, command, container, files, bytes, paths, descriptors}]}; a file has a path and a descriptor

Which processes hold something changes all the time and is no change of the link, so it stands in facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from collector.links import NOBODY, Link, LinkKind
from collector.mounts.holders import OpenFile, OpenFiles, Process
from collector.mounts.kernel import OVERLAY_MAGIC, FileSystem
from collector.mounts.mountinfo import Layers, Mount, below, layers_of
from collector.mounts.namespaces import Namespace, Namespaces
from collector.mounts.places import Places, Position

MOUNTS: Final = "mountinfo"
OPEN_FILES: Final = "open-files"
NO_LAYER: Final = ""
_SHOWN: Final = 20
_LOWER_SHOWN: Final = 500
_MERGED: Final = "merged"


@dataclass(slots=True)
class _Seen:
    """One overlay, or one bind mount of a layer: where it is mounted, and what it is made of."""

    mount: Mount
    places: list[str]
    upper: bool
    where: list[dict[str, Any]] = field(default_factory=list)  # the first namespaces that have it
    count: int = 0


class MountLinks:
    """The mounts of one store. ``layers`` maps a device to the layer that its overlay writes to, ``ids`` a mount to its device."""

    def __init__(self, places: Places, position: Position, namespaces: Namespaces) -> None:
        """Find them in ``namespaces``."""
        self._places = places
        self._position = position
        self._made: dict[str, Layers] = {}
        self._seen: dict[tuple[str, str], _Seen] = {}
        self.ids: dict[int, Mount] = {}
        for space in namespaces.all:
            for mount in space.mounts:
                self.ids[mount.id] = mount
                self._take(mount, space)
        self.links = tuple(self._link(seen) for seen in self._seen.values())
        self.layers = {link.detail["device"]: link.target for link in self.links if link.target and link.detail["type"] != "bind"}

    def _take(self, mount: Mount, space: Namespace) -> None:
        if "overlay" in mount.kind:
            key = (mount.device, "")
            if key not in self._seen:
                found = self._of_overlay(mount)
                if found is None:
                    return
                self._seen[key] = found
        elif mount.device == self._position.device and mount.point != "/" and (rest := below(self._position.path, mount.root)):
            key = (mount.device, mount.root)
            self._seen.setdefault(key, _Seen(mount, [rest.partition("/")[0]], upper=True))
        else:
            return
        seen = self._seen[key]
        seen.count += 1
        if len(seen.where) < _SHOWN:
            living = list(space.processes[:_SHOWN])
            seen.where.append({"namespace": space.name, "point": mount.point, "processes": living, "command": space.command})

    def _of_overlay(self, mount: Mount) -> _Seen | None:
        made = self._made.get(mount.device)
        if made is None:
            made = self._made[mount.device] = layers_of(mount)
        at = self._at(mount.point)
        near = at is not None or (not (made.upper or "").startswith("/") and self._all_short(made))
        upper = self._places.place(made.upper, relative=near) if made.upper else None
        ours = near or upper is not None
        lower = [place for path in made.lower if (place := self._places.place(path, relative=ours)) is not None]
        if upper is None and not made.upper and not made.lower:
            upper = at  # fuse-overlayfs does not say what it is made of
        found = [*([upper] if upper else []), *lower]
        return _Seen(mount, found or ([at] if at else []), upper=upper is not None) if found or at else None

    def _at(self, point: str) -> str | None:
        """Return the place whose ``merged`` is mounted at ``point``."""
        parent, _, name = point.rpartition("/")
        return self._places.place(parent) if name == _MERGED else None

    def _all_short(self, made: Layers) -> bool:
        """Tell whether the relative directories are short links, whose random names only this store has."""
        relative = [path for path in made.lower if not path.startswith("/")]
        return bool(relative) and all(path.startswith("l/") and self._places.place(path, relative=True) for path in relative)

    def _link(self, seen: _Seen) -> Link:
        layers = [self._places.layer(place) for place in seen.places]
        mount, first = seen.mount, seen.where[0]
        overlay = "overlay" in mount.kind
        detail: dict[str, Any] = {"type": mount.kind if overlay else "bind", "device": mount.device}
        lower = layers[1:] if seen.upper else layers
        if lower:
            detail["lower"] = lower[:_LOWER_SHOWN]
        if not seen.upper:
            detail["upper"] = False
        gone = [layer for place, layer in zip(seen.places, layers, strict=True) if place not in self._places.directories]
        if mount.deleted:
            detail["deleted"] = True
        if gone:
            detail["gone"] = gone[:_SHOWN]
        told = self._places.link(seen.places[0])
        return Link(
            LinkKind.MOUNT,
            first["point"],
            f"{MOUNTS}#{mount.device}",
            layers[0],
            layer_id=layers[0],
            detail=detail,
            facts={"namespaces": seen.where, "namespace_count": seen.count, "read_only": mount.read_only},
            owner=told.owner if told is not None else NOBODY,
        )


@dataclass(frozen=True, slots=True)
class Attribution:
    """What tells of which layer a deleted file is: the store's mounts, its position, and the overlays that were seen before.

    ``root`` is the position of the store's root: a file below it that is of no layer lies beside them. ``geometry`` is that of the
    filesystem of the store when an engine of this machine uses the store, else ``None``.
    """

    mounts: MountLinks
    places: Places
    position: Position
    root: Position | None
    remembered: Mapping[str, str]
    geometry: tuple[int, int, int] | None

    def layer(self, file: OpenFile) -> str | None:
        """Return the layer; ``NO_LAYER``: one of an overlay on the filesystem of this store; ``None``: it is not of this store."""
        known = self.mounts.layers.get(file.status.device)
        mount = self.mounts.ids.get(file.status.mount)
        if known is not None or mount is not None:
            return known or (self._on_disk(mount, file.path) if mount and mount.device == self.position.device else None)
        return self.remembered.get(file.status.device) or (NO_LAYER if self._like_ours(file.filesystem) else None)

    def beside(self, file: OpenFile) -> str | None:
        """Return the directory of a file that the engine kept beside its layers, relative to the root; ``None``: it is no such file."""
        mount = self.mounts.ids.get(file.status.mount)
        if mount is None or self.root is None or mount.device != self.root.device:
            return None
        inside = _inside(self.root, mount, file.path)
        return inside.rpartition("/")[0] or "." if inside else None

    def _on_disk(self, mount: Mount, path: str) -> str | None:
        inside = _inside(self.position, mount, path)
        place = inside.partition("/")[0] if inside else ""
        return self.places.layer(place) if place else None

    def _like_ours(self, filesystem: FileSystem | None) -> bool:
        return filesystem is not None and filesystem.magic == OVERLAY_MAGIC and filesystem.geometry == self.geometry


def _inside(position: Position, mount: Mount, path: str) -> str | None:
    """Return ``path``, seen through ``mount``, relative to ``position``; ``None`` where it is not below that."""
    rest = below(mount.point, path)
    return None if rest is None else below(position.path, f"{mount.root.rstrip('/')}/{rest}")


def open_file_links(open_files: OpenFiles, attribution: Attribution) -> Iterator[Link]:
    """Yield a link for each layer, overlay that is mounted nowhere, or directory beside the layers of which deleted files are held."""
    groups: dict[tuple[str, str], list[OpenFile]] = {}
    beside: dict[str, list[OpenFile]] = {}
    for file in open_files.files:
        layer = attribution.layer(file)
        if layer is not None:
            groups.setdefault((layer, "" if layer else file.status.device), []).append(file)
        elif (directory := attribution.beside(file)) is not None:
            beside.setdefault(directory, []).append(file)
    holders = dict(open_files.processes)
    for (layer, device), files in groups.items():
        yield _open_files(layer, device, files, holders, attribution)
    for directory, files in beside.items():
        detail = {"device": files[0].status.device, "beside": True}
        yield Link(LinkKind.OPEN_FILE, directory, f"{OPEN_FILES}#{directory}", detail=detail, facts=_facts(files, holders))


def _open_files(layer: str, device: str, files: list[OpenFile], holders: Mapping[int, Process], attribution: Attribution) -> Link:
    devices = sorted({file.status.device for file in files})
    mounted = any(file.status.mount in attribution.mounts.ids for file in files)
    told = attribution.places.link(layer) if layer else None
    return Link(
        LinkKind.OPEN_FILE,
        layer or f"overlay {device}",
        f"{OPEN_FILES}#{layer or device}",
        layer or None,
        layer_id=layer or None,
        detail={"device": device or devices[0], **({} if mounted else {"detached": True})},
        facts=_facts(files, holders),
        owner=told.owner if told is not None else NOBODY,
    )


def _facts(files: list[OpenFile], holders: Mapping[int, Process]) -> dict[str, Any]:
    unique = {file.name: file for file in files}
    return {
        "bytes": sum(file.status.bytes for file in unique.values()),
        "files": len(unique),
        "changed_ns": max(_age(file, holders) for file in unique.values()),
        "holders": list(_holders(files, holders))[:_SHOWN],
        "processes": len({file.pid for file in files}),
    }


def _age(file: OpenFile, holders: Mapping[int, Process]) -> int:
    """Return since when it is certain to be deleted and held: its last change, or where it is written ever since, its holder's start."""
    holder = holders.get(file.pid)
    if file.written_since and holder is not None and holder.started is not None:
        return min(holder.started, file.status.changed)
    return file.status.changed


def _holders(files: Iterable[OpenFile], holders: Mapping[int, Process]) -> Iterator[dict[str, Any]]:
    by_process: dict[int, dict[tuple[str, int], OpenFile]] = {}
    for file in files:
        by_process.setdefault(file.pid, {}).setdefault(file.name, file)
    for pid, held in sorted(by_process.items()):
        process = holders.get(pid)
        shown = sorted((file.path, file.descriptor) for file in held.values())[:_SHOWN]
        yield {
            "process": pid,
            "command": process.command if process else "",
            **({"container": process.container} if process and process.container else {}),
            "files": len(held),
            "bytes": sum(file.status.bytes for file in held.values()),
            "paths": [path for path, _ in shown],
            "descriptors": [descriptor for _, descriptor in shown],
        }
