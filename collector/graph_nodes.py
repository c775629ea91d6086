"""The nodes of a store's graph: layers, the places that hold them, images, containers.

A *layer* is what a record names; a *place* is a directory that holds one. They carry the same name in containers-storage; elsewhere the
record's ``target`` names the directory (docker: chain id -> cache id, containerd: key -> number).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from collector.links import Link, LinkState
from linktrail.clock import NANOSECONDS

SHORT_NAME: Final = re.compile(r"[A-Z2-7]{26}")
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|z|[+-]\d\d:\d\d)")


@dataclass(slots=True)
class Place:
    """A directory that holds a layer, or would: ``directory`` is ``None`` when only links speak of it."""

    name: str
    directory: Link | None = None
    link_file: Link | None = None
    lowers: dict[str, Link] = field(default_factory=dict)  # "lower", "lower-layers" -> link
    short_links: list[Link] = field(default_factory=list)  # that lead here
    layer: str | None = None  # the id whose record names this place

    @property
    def exists(self) -> bool:
        """Tell whether it is there, as a directory."""
        return self.directory is not None and self.directory.state is LinkState.PRESENT

    @property
    def whole(self) -> bool:
        """Tell whether it is there with its content; a directory that could not be looked into counts as whole."""
        return self.exists and self.directory is not None and self.directory.detail.get("diff") is not False

    @property
    def short_name(self) -> str | None:
        """The name in ``l/`` that leads here: as its link file says, else as the only short link does."""
        if self.link_file is not None and self.link_file.state is LinkState.PRESENT and self.link_file.target:
            return self.link_file.target
        return self.short_links[0].subject if len(self.short_links) == 1 else None


@dataclass(slots=True)
class Layer:
    """A recorded layer. ``records`` has more than one entry when two metadata files name it."""

    id: str
    records: list[Link]
    place: str
    parent: str | None = None
    names: list[str] = field(default_factory=list)
    data: dict[str, Link] = field(default_factory=dict)

    @property
    def record(self) -> Link:
        """The authoritative record."""
        return self.records[0]

    @property
    def incomplete(self) -> bool:
        """Tell whether any record says that making or removing it is not finished."""
        return any(record.state is LinkState.INCOMPLETE for record in self.records)


@dataclass(slots=True)
class Image:
    """A recorded image. ``layers`` are its top layer and mapped tops."""

    id: str
    records: list[Link]
    layers: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    data: dict[str, Link] = field(default_factory=dict)

    @property
    def record(self) -> Link:
        """The authoritative record."""
        return self.records[0]


@dataclass(slots=True)
class Container:
    """A recorded container."""

    id: str
    records: list[Link]
    layer: str | None = None
    image: str | None = None
    data: dict[str, Link] = field(default_factory=dict)

    @property
    def record(self) -> Link:
        """The authoritative record."""
        return self.records[0]


def instant_of(text: object) -> int | None:
    """Return an RFC 3339 time as ns UTC; ``None`` for anything else (``0001-01-01T00:00:00Z``, Go's "no time", included)."""
    match = _INSTANT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
        seconds = int(moment.astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds * NANOSECONDS + int((fraction or "").ljust(9, "0")) if seconds > 0 else None


def created(link: Link) -> int | None:
    """Return when the record says that its subject was created (ns UTC)."""
    known = link.facts.get("created_ns")
    return known if isinstance(known, int) and known > 0 else instant_of(link.detail.get("created"))
