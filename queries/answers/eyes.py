"""How rows are shortened for eyes: ids, intervals, owners."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from linktrail.clock import Clock, SystemClock
from linktrail.output import moment, trim_fraction
from linktrail.schema import TEXT

_ID_CHARACTERS: Final = frozenset("0123456789abcdef")
_WHOLE_ID: Final = 64
_SHORT_ID: Final = 12


def short(name: str) -> str:
    """Return the first 12 characters of an id of 64 hexadecimal digits (also after ``sha256:``), as engines do; other names whole."""
    digits = name.removeprefix("sha256:")
    return digits[:_SHORT_ID] if len(digits) == _WHOLE_ID and set(digits) <= _ID_CHARACTERS else name


def span(after: datetime | None, before: datetime | None) -> str:
    """Return an interval for a person; what is not known is a question mark."""
    ends = ["?" if end is None else trim_fraction(moment(end)) for end in (after, before)]
    return ends[0] if ends[0] == ends[1] else " .. ".join(ends)


def owner(row: Mapping[str, Any]) -> str:
    """Return who owns a row: the pod, else the container, else the image."""
    if row["k8s_pod_name"]:
        return "/".join(part for part in (row["k8s_namespace_name"], row["k8s_pod_name"], row["container_name"]) if part)
    named = row["container_name"] or short(row["container_id"] or "")
    return named or row["container_image_name"] or short(row["container_image_id"] or "")


def places(rows: Collection[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns that tell where a row is from, as far as rows differ in them."""
    return tuple(name for name in ("node", "store_root") if len({row[name] for row in rows}) > 1)


def brief_table(names: tuple[str, ...], rows: Iterable[tuple[object, ...]], kinds: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """Return ``rows`` as a table of texts, but for the columns in ``kinds``."""
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    types = [(kinds or {}).get(name, TEXT) for name in names]
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, types, strict=True)})


def present(clock: Clock | None) -> int:
    """Return the present (ns UTC)."""
    return (clock or SystemClock()).now().wall
