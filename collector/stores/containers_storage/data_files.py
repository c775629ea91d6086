"""The directories that images and containers own, and the data files in them and beside layers.json.

A data item called by a plain name is a file of that name; any other is ``=`` and base64 of the name. Layers keep theirs as
``overlay-layers/<id>.tar-split.gz`` and ``overlay-layers/<id>/``, images in ``overlay-images/<id>/``, containers in
``overlay-containers/<id>/userdata/``, where the engine keeps other files too: only data items are read there.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from typing import Final

from collector.links import Link, LinkKind, LinkState
from collector.safe import Directory, Entry, kind_of
from collector.stores.containers_storage import layout
from collector.stores.containers_storage.overlay import read_temporaries
from collector.stores.containers_storage.records import ContainerRecord
from collector.stores.overlay import names
from collector.stores.overlay.parts import Part, Place, ReadEntry, Wanted, impostor, problem, read_entries, read_owned_directory

_USERDATA: Final = "userdata"
_BUILDAH_FILE: Final = "buildah.json"


def read_data(root: Directory, containers: Mapping[str, ContainerRecord], wanted: Wanted) -> dict[str, Part]:
    """Read the data files of layers, images and containers, and who owns a directory."""

    def of_container(parent: Directory, entry: Entry, path: str) -> Part | None:
        record = containers.get(entry.name)
        return _read_owner(parent, entry, path, lambda opened: _in_container(opened, entry.name, path, record))

    return {
        **_read_each(root, layout.LAYERS, _of_layer, wanted),
        **(_read_layer_temporaries(root) if wanted.paths is None else {}),
        **_read_each(root, layout.IMAGES, _of_image, wanted),
        **_read_each(root, layout.CONTAINERS, of_container, wanted),
    }


def _read_each(root: Directory, place: str, read: ReadEntry, wanted: Wanted) -> dict[str, Part]:
    return read_entries(root, place, place, lambda opened, entry, path: read(opened, entry, path) if wanted.has(path) else None)


def _read_layer_temporaries(root: Directory) -> dict[str, Part]:
    path = f"{layout.LAYERS}/{layout.METADATA_TEMPORARIES}"
    try:
        with root.directory(layout.LAYERS) as layers:
            return read_temporaries(layers, layout.METADATA_TEMPORARIES, path)
    except OSError:  # overlay-layers itself: said in _read_each
        return {}


def _of_layer(parent: Directory, entry: Entry, path: str) -> Part | None:
    name = entry.name
    if name.endswith(layout.TAR_SPLIT) and not name.startswith(layout.TEMPORARY_PREFIX):
        layer = name.removesuffix(layout.TAR_SPLIT)
        return _data_file(parent, name, layer, path, item=layout.TAR_SPLIT_ITEM, layer_id=layer)
    if entry.kind != "directory" or name in (layout.METADATA_TEMPORARIES, layout.TEMPDIRS):
        return None
    try:
        with parent.directory(name) as opened:
            return _data_files(opened, name, path, layer_id=name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return problem(path, error)


def _of_image(parent: Directory, entry: Entry, path: str) -> Part | None:
    return _read_owner(parent, entry, path, lambda opened: _in_image(opened, entry.name, path))


def _read_owner(parent: Directory, entry: Entry, path: str, inside: Callable[[Directory], Part | None]) -> Part | None:
    where = Place(LinkKind.OWNER_DIRECTORY, path)
    if entry.kind == "directory":
        return read_owned_directory(parent, entry.name, where, inside)
    return impostor(parent, entry.name, where) if names.is_layer_id(entry.name) else None


def _in_image(image: Directory, name: str, path: str) -> Part:
    files = _data_files(image, name, path)
    return Part((_owner_directory(image, name, path), *files.links), files.problems)


def _in_container(container: Directory, name: str, path: str, record: ContainerRecord | None) -> Part:
    inner = f"{path}/{_USERDATA}"
    buildah, files = False, Part()
    try:
        with container.directory(_USERDATA) as userdata:
            wanted = {layout.data_file_name(item) for item in record.big_data} if record else set()
            listing = userdata.entries(layout.DATA_ENTRIES)
            buildah = any(entry.name == _BUILDAH_FILE for entry in listing.entries)
            names = [entry.name for entry in listing.entries if entry.name in wanted or entry.name.startswith("=")]
            files = _each_file(userdata, names, name, inner)
    except FileNotFoundError:
        pass
    except OSError as error:
        files = problem(inner, error)
    return Part((_owner_directory(container, name, path, buildah=buildah), *files.links), files.problems)


def _owner_directory(opened: Directory, name: str, path: str, *, buildah: bool = False) -> Link:
    detail = {"buildah": True} if buildah else {}
    facts = {"mtime_ns": opened.facts.st_mtime_ns}
    return Link(LinkKind.OWNER_DIRECTORY, name, path, inode=opened.facts.st_ino, detail=detail, facts=facts)


def _data_files(directory: Directory, owner: str, path: str, *, layer_id: str | None = None) -> Part:
    listing = directory.entries(layout.DATA_ENTRIES)
    names = [entry.name for entry in listing.entries if entry.kind != "directory" and not entry.name.startswith(layout.TEMPORARY_PREFIX)]
    found = _each_file(directory, names, owner, path, layer_id=layer_id)
    more = () if listing.complete else problem(path, f"more than {layout.DATA_ENTRIES} entries").problems
    return Part(found.links, (*found.problems, *more))


def _each_file(directory: Directory, names: list[str], owner: str, path: str, *, layer_id: str | None = None) -> Part:
    parts = [_data_file(directory, name, owner, f"{path}/{name}", item=layout.data_item_name(name), layer_id=layer_id) for name in names]
    found = [part for part in parts if part is not None]
    return Part(tuple(link for part in found for link in part.links), tuple(what for part in found for what in part.problems))


def _data_file(parent: Directory, name: str, owner: str, path: str, *, item: str, layer_id: str | None = None) -> Part | None:
    """Describe one data file by its status alone: content is read where it is verified, not here."""
    try:
        facts = parent.stat(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return problem(path, error)
    regular = stat.S_ISREG(facts.st_mode)
    state = LinkState.PRESENT if regular else LinkState.MALFORMED
    detail = {"size": facts.st_size} if regular else {"type": kind_of(facts.st_mode)}
    return Part((Link(LinkKind.DATA_FILE, owner, path, item, state, layer_id, detail=detail),))
