"""From Docker's small files and JSON to records whose every field has the type it claims.

One bad file or field is a fault in words, never an exception, and hides nothing else. No disk is touched here. The fields are those
of moby's ``layer`` (one small file a field), ``image.Image``, ``container.Container`` and ``reference.store``; unknown ones are
ignored. Docker trims white space around what its small files hold, so a trailing newline is no fault.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from collector.graph_nodes import instant_of
from collector.links import LinkState
from collector.safe import Content
from collector.safe_json import parse
from collector.stores.docker import layout

TEXT_LIMIT: Final = 4096
LIST_LIMIT: Final = 10_000
KUBERNETES: Final = "io.kubernetes."


class Stage(StrEnum):
    """Where a layer's record is in its life, as the name and place of its directory tell."""

    WHOLE = "whole"  # layerdb/sha256/<chain>
    REMOVING = "removing"  # layerdb/sha256/<chain>-<random>-removing
    WRITING = "writing"  # layerdb/tmp/write-set-<number>


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One entry of layerdb. ``id`` is how links call it; ``faults`` are {file: (state, words)} of the files that are bad."""

    id: str
    path: str
    stage: Stage
    chain: str | None
    cache_id: str | None
    parent: str | None
    diff: str | None
    size: int | None
    files: tuple[str, ...]
    mtime_ns: int
    faults: Mapping[str, tuple[LinkState, str]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class MountRecord:
    """One entry of layerdb/mounts: the writable layer of a container (or of a build step), made on an init layer and a chain."""

    container: str
    path: str
    mount_id: str | None
    init_id: str | None
    parent: str | None
    mtime_ns: int
    files: tuple[str, ...]
    faults: Mapping[str, tuple[LinkState, str]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One file of imagedb/content; ``layers`` are its chain ids, base first. ``fault`` says why nothing in it can be trusted."""

    id: str
    path: str
    layers: tuple[str, ...]
    created: str
    built_on: str | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One containers/<id>/config.v2.json; ``fault`` says why it could not be read."""

    id: str
    path: str
    name: str
    image: str
    image_name: str
    driver: str
    created: str
    running: bool
    dead: bool
    removing: bool
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    state: LinkState = LinkState.PRESENT
    fault: str = ""

    @property
    def going(self) -> bool:
        """Tell whether its removal began."""
        return self.dead or self.removing

    @property
    def ours(self) -> bool:
        """Tell whether its layers are in overlay2: not with another storage driver, nor in containerd's image store."""
        return self.driver in {"", layout.DRIVER}


@dataclass(frozen=True, slots=True)
class Names:
    """What repositories.json says: {name with tag or digest: image}, and what is wrong with it."""

    images: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


class Reader:
    """The small files of one entry of layerdb, each read into a value or a fault."""

    def __init__(self, read: Callable[[str, int], Content]) -> None:
        """``read`` reads a file of the entry, given a limit of bytes."""
        self._read = read
        self.faults: dict[str, tuple[LinkState, str]] = {}

    def value(self, name: str, good: Callable[[str], bool], *, optional: bool = False) -> str | None:
        """Return what file ``name`` holds, ``None`` (and a fault) if that is nothing ``good``; ``optional``: it may be absent."""
        content = self._read(name, layout.SMALL_BYTES)
        if content.state is LinkState.MISSING and optional:
            return None
        if content.state not in (LinkState.PRESENT, LinkState.EMPTY):
            self.faults[name] = (content.state, content.error or "no such file")
            return None
        text = os.fsdecode(content.data).strip()
        if good(text):
            return text
        self.faults[name] = (LinkState.MALFORMED, "empty" if not text else f"holds {text[:80]!r}")
        return None


def is_size(text: str) -> bool:
    """Tell whether ``text`` is a size in bytes, as layerdb keeps it."""
    return text.isascii() and text.isdigit() and len(text) < 20  # noqa: PLR2004 - digits of a 64-bit number


def image_record(image: str, path: str, data: bytes, built_on: str | None) -> ImageRecord:
    """Read an image's configuration; the file's name is the digest of its content, as Docker checks when it starts."""
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != image:
        return ImageRecord(image, path, (), "", built_on, "its content has another digest than its name")
    value = parse(data).value
    fields = _Fields(value if isinstance(value, dict) else {})
    diffs = fields.object("rootfs").get("diff_ids")
    if not isinstance(value, dict) or not (diffs is None or isinstance(diffs, list)):
        return ImageRecord(image, path, (), "", built_on, "it is no image configuration")
    known = tuple(diff for diff in (diffs or [])[:LIST_LIMIT] if isinstance(diff, str) and layout.is_digest(diff))
    if len(known) != len(diffs or []):
        return ImageRecord(image, path, (), "", built_on, "its list of layers holds what is no digest")
    return ImageRecord(image, path, tuple(layout.chain_ids(known)), fields.text("created"), built_on)


def container_record(container: str, path: str, data: bytes) -> ContainerRecord:
    """Read a container's configuration."""
    parsed = parse(data)
    if not isinstance(parsed.value, dict):
        return unreadable_container(container, path, LinkState.MALFORMED, "; ".join(parsed.faults) or "it is no JSON object")
    fields = _Fields(parsed.value)
    config, state = _Fields(fields.object("Config"), fields.faults), fields.object("State")
    labels = {
        name: value[:TEXT_LIMIT]
        for name, value in list(config.object("Labels").items())[:LIST_LIMIT]
        if name.startswith(KUBERNETES) and isinstance(value, str)
    }
    record = ContainerRecord(
        id=container,
        path=path,
        name=fields.text("Name").removeprefix("/"),
        image=fields.text("Image"),
        image_name=config.text("Image"),
        driver=fields.text("Driver"),
        created=fields.text("Created"),
        running=state.get("Running") is True,
        dead=state.get("Dead") is True,
        removing=state.get("RemovalInProgress") is True,
        labels=labels,
    )
    faults = [*parsed.faults, *fields.faults]
    return replace(record, state=LinkState.MALFORMED, fault="; ".join(faults)) if faults else record


def unreadable_container(container: str, path: str, state: LinkState, fault: str) -> ContainerRecord:
    """Return the record of a container whose configuration says nothing."""
    return ContainerRecord(container, path, "", "", "", "", "", running=False, dead=False, removing=False, state=state, fault=fault)


def names_of(data: bytes) -> Names:
    """Read repositories.json. Of an entry of the wrong type only itself is lost."""
    parsed = parse(data)
    faults = list(parsed.faults)
    if not isinstance(parsed.value, dict):
        return Names({}, "; ".join(faults) or ("empty file" if not data else "it is no JSON object"))
    repositories = parsed.value.get("Repositories")
    if repositories is not None and not isinstance(repositories, dict):
        return Names({}, "Repositories is no object")
    images: dict[str, str] = {}
    for repository, references in (repositories or {}).items():
        if not isinstance(references, dict):
            faults.append(f"{repository[:80]} is no object")
            continue
        for name, image in references.items():
            if isinstance(image, str) and layout.is_digest(image):
                images[name[:TEXT_LIMIT]] = image
            else:
                faults.append(f"{name[:80]} names no image")
    return Names(images, "; ".join(faults[:20]))


def created_ns(text: str) -> int | None:
    """Return a time of Docker's as ns UTC; ``None`` for Go's zero time and for what is no time."""
    return instant_of(text)


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of a JSON object, each asked for with the type it must have; ``null`` is absent, as for Go."""

    value: Mapping[str, Any]
    faults: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        value = self.value.get(name)
        if isinstance(value, str):
            return value[:TEXT_LIMIT]
        self._missed(name, "a text")
        return ""

    def object(self, name: str) -> dict[str, Any]:
        value = self.value.get(name)
        if isinstance(value, dict):
            return value
        self._missed(name, "an object")
        return {}

    def _missed(self, name: str, wanted: str) -> None:
        if self.value.get(name) is not None:
            self.faults.append(f"{name} is not {wanted}")
