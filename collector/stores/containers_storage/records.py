"""From the JSON of containers/storage to records whose every field has the type it claims.

One bad entry or field is a fault in words, never an exception, and hides nothing else. The fields are those of ``Layer``,
``Image`` and ``Container`` in containers/storage's layers.go, images.go and containers.go; unknown ones are ignored.
A file is read whole into a ``Table``; no disk is touched here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from collector.safe_json import MAX_FAULTS, parse
from collector.stores.containers_storage.layout import (
    CONTAINERS_JSON,
    IMAGES_JSON,
    LAYERS_JSON,
    VOLATILE_CONTAINERS_JSON,
    VOLATILE_FILES,
    VOLATILE_LAYERS_JSON,
)

Detail = dict[str, Any]

_TEXT_LIMIT: Final = 4096
_METADATA_LIMIT: Final = 64 << 10
_ID_LIMIT: Final = 255
_LIST_LIMIT: Final = 10_000
_NANOSECONDS: Final = 1_000_000_000
_TYPE_NAMES: Final = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Record:
    """What layers, images and containers have in common. ``detail`` is the JSON-able rest; ``created_ns`` is UTC."""

    id: str
    path: str
    names: tuple[str, ...]
    created_ns: int | None
    big_data: tuple[str, ...]
    detail: Detail


@dataclass(frozen=True, slots=True)
class LayerRecord(Record):
    """An entry of layers.json; ``parent`` is empty for a base layer."""

    parent: str
    incomplete: bool


@dataclass(frozen=True, slots=True)
class ImageRecord(Record):
    """An entry of images.json; ``layer`` is the top layer, ``mapped_layers`` copies of it for other id mappings."""

    layer: str
    mapped_layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContainerRecord(Record):
    """An entry of containers.json; ``metadata`` is what the engine keeps about it, parsed (empty when it is no JSON object)."""

    layer: str
    image: str
    metadata: Detail


@dataclass(frozen=True, slots=True)
class Table:
    """The records of one file, in its order, and what is wrong with it."""

    records: tuple[Record, ...] = ()
    faults: tuple[str, ...] = ()


def read_table(path: str, data: bytes) -> Table:
    """Read the records in ``data``, the content of the metadata file ``path``. Never raises."""
    if not data:
        return Table(faults=("empty file: the engine reads it as no entries at all",))
    parsed = parse(data)
    faults = list(parsed.faults)
    if parsed.value is None:  # null, which Go writes for an empty list
        return Table(faults=tuple(faults))
    if not isinstance(parsed.value, list):
        return Table(faults=(*faults, f"{_type(parsed.value)}, not a list"))
    records: dict[str, Record] = {}
    for number, entry in enumerate(parsed.value):
        if not isinstance(entry, dict):
            faults.append(f"entry {number} is {_type(entry)}, not an object")
            continue
        record, wrong = read_entry(path, entry, number)
        faults.extend(wrong)
        if record.id and records.setdefault(record.id, record) is not record:
            faults.append(f"entry {number} repeats id {record.id}")
    return Table(tuple(records.values()), _cut(faults))


def read_entry(path: str, entry: dict[str, Any], number: int) -> tuple[Record, list[str]]:
    """Return the record that the ``number``-th entry of the file ``path`` is, and what is wrong with it. Never raises."""
    fields = _Fields(entry, f"entry {number}")
    record = _BUILDERS[path](fields, path)
    return record, fields.faults


def created_ns(text: str) -> int | None:
    """Return RFC 3339 ``text`` with up to nanoseconds as ns UTC; ``None`` for anything else and for Go's zero time."""
    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        moment = datetime.fromisoformat(whole + (rest[len(digits) :] if dot else ""))
    except ValueError:
        return None
    if moment.tzinfo is None or moment.year < 1970:  # noqa: PLR2004 - the epoch
        return None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return int(seconds) * _NANOSECONDS + int((digits + "0" * 9)[:9])


@dataclass(slots=True)
class _Fields:
    """The fields of one entry, each asked for with the type it must have; ``null`` is absent, as for Go."""

    entry: dict[str, Any]
    where: str
    faults: list[str] = field(default_factory=list)

    def text(self, name: str, limit: int = _TEXT_LIMIT) -> str:
        return self._text(self.entry.get(name), name, limit)

    def id(self) -> str:
        value = self.text("id")
        if not value:
            self.faults.append(f"{self.where} has no id")
        elif len(value) > _ID_LIMIT or "/" in value or "\0" in value or value in {".", ".."}:
            self.faults.append(f"{self.where} has an id that is no file name")
            value = value[:_ID_LIMIT]
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.entry.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._fault(name, value, "a list")
            return ()
        if len(value) > _LIST_LIMIT:
            self.faults.append(f"{self.where}: {name} has more than {_LIST_LIMIT} items")
        found = (self._text(item, name, _TEXT_LIMIT) for item in value[:_LIST_LIMIT])
        return tuple(item for item in found if item)

    def number(self, name: str) -> int | None:
        value = self.entry.get(name)
        if value is None or type(value) is int:
            return value
        self._fault(name, value, "a whole number")
        return None

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.entry.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._fault(name, value, "an object")
            return {}
        if len(value) > _LIST_LIMIT:
            self.faults.append(f"{self.where}: {name} has more than {_LIST_LIMIT} items")
        return dict(list(value.items())[:_LIST_LIMIT])

    def flags(self) -> dict[str, Any]:
        found = self.mapping("flags")
        for name in [name for name, value in found.items() if isinstance(value, (list, dict))]:
            self._fault(f"flag {name}", found.pop(name), "a plain value")
        return {name[:_TEXT_LIMIT]: value[:_TEXT_LIMIT] if isinstance(value, str) else value for name, value in found.items()}

    def big_data(self) -> dict[str, list[Any]]:
        """Return {item: [size in bytes or None, digest or None]} for the items that the entry names."""
        sizes, digests = self.mapping("big-data-sizes"), self.mapping("big-data-digests")
        found: dict[str, list[Any]] = {}
        for item in self.texts("big-data-names"):
            size, digest = sizes.get(item), digests.get(item)
            if size is not None and type(size) is not int:
                self._fault("big-data-sizes", size, "whole numbers")
                size = None
            found[item] = [size, self._text(digest, "big-data-digests", _TEXT_LIMIT) or None]
        return found

    def _text(self, value: object, name: str, limit: int) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            self._fault(name, value, "a text")
            return ""
        if len(value) > limit:
            self.faults.append(f"{self.where}: {name} has {len(value)} characters")
            return value[:limit]
        return value

    def _fault(self, name: str, value: object, wanted: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(f"{self.where}: {name} is {_type(value)}, not {wanted}")


def _layer(fields: _Fields, path: str) -> LayerRecord:
    created, names, flags, items = fields.text("created"), fields.texts("names"), fields.flags(), fields.texts("big-data-names")
    detail = _present(
        created=created,
        names=list(names),
        diff_digest=fields.text("diff-digest"),
        diff_size=fields.number("diff-size"),
        compressed_digest=fields.text("compressed-diff-digest"),
        compressed_size=fields.number("compressed-size"),
        toc_digest=fields.text("toc-digest"),
        flags=flags,
        big_data_names=list(items),
        volatile=path in VOLATILE_FILES,
    )
    incomplete = flags.get("incomplete") is True
    return LayerRecord(fields.id(), path, names, created_ns(created), items, detail, fields.text("parent"), incomplete)


def _image(fields: _Fields, path: str) -> ImageRecord:
    created, names, data = fields.text("created"), fields.texts("names"), fields.big_data()
    detail = _present(
        digest=fields.text("digest"),
        names=list(names),
        names_history=list(fields.texts("names-history")),
        created=created,
        big_data=data,
    )
    mapped = fields.texts("mapped-layers")
    return ImageRecord(fields.id(), path, names, created_ns(created), tuple(data), detail, fields.text("layer"), mapped)


def _container(fields: _Fields, path: str) -> ContainerRecord:
    created, names, data = fields.text("created"), fields.texts("names"), fields.big_data()
    detail = _present(names=list(names), created=created, flags=fields.flags(), big_data=data, volatile=path in VOLATILE_FILES)
    return ContainerRecord(
        fields.id(), path, names, created_ns(created), tuple(data), detail, fields.text("layer"), fields.text("image"), _metadata(fields)
    )


def _metadata(fields: _Fields) -> Detail:
    """Return the engine's own JSON object about a container; whatever else it is says nothing and is no fault."""
    text = fields.text("metadata", _METADATA_LIMIT)
    value = parse(os.fsencode(text)).value if text else None
    return value if isinstance(value, dict) else {}


_BUILDERS: Final[dict[str, Callable[[_Fields, str], Record]]] = {
    LAYERS_JSON: _layer,
    VOLATILE_LAYERS_JSON: _layer,
    IMAGES_JSON: _image,
    CONTAINERS_JSON: _container,
    VOLATILE_CONTAINERS_JSON: _container,
}


def _present(**fields: object) -> Detail:
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value is not None and value is not False and value not in ("", [], {})}


def _type(value: object) -> str:
    return _TYPE_NAMES.get(type(value), "null")


def _cut(faults: Iterable[str]) -> tuple[str, ...]:
    found = tuple(faults)
    more = len(found) - MAX_FAULTS
    return (*found[:MAX_FAULTS], f"and {more} more") if more > 0 else found
