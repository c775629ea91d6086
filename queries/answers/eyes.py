"""How rows are shortened for eyes: ids, intervals, owners."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from linktrail.clock import Clock, SystemClock
from linktrail.schema import TEXT
from linktrail.values import moment, trim_fraction

_ID_CHARACTERS: Final = frozenset("0123456789abcdef")
_WHOLE_ID: Final = 64
_SHORT_ID: Final = 12
_LONG_ID: Final = re.compile(r"(?<![0-9a-f])([0-9a-f]{12})[0-9a-f]{52}(?![0-9a-f])")
_IS_ID: Final = r"\A[0-9a-f]{64}\z"
_COPIED: Final = frozenset({"advice", "detail", "do", "safe", "value"})  # what people copy into a shell stays whole
_PLACES: Final = ("cluster", "node", "store_kind", "store_root")


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


def sentences(*texts: str | None) -> str:
    """Join texts that may or may not end with a full stop."""
    return " ".join(text if text.endswith((".", "?", ")")) else f"{text}." for text in texts if text)


def shorten(text: str) -> str:
    """Return ``text`` with every id of 64 hexadecimal digits in it cut to 12."""
    return _LONG_ID.sub(r"\1", text)


def brief(rows: pa.Table, kept: Collection[str] = ()) -> pa.Table:
    """Return ``rows`` for eyes: ids short, the two ends of an interval in one column, columns that say nothing left out.

    Those in ``kept`` stay.
    """
    names = rows.column_names
    columns: dict[str, pa.Array] = {}
    for name in names:
        column = rows.column(name)
        if name.endswith("_before") and f"{name.removesuffix('before')}after" in names:
            continue
        if name.endswith("_after") and f"{name.removesuffix('after')}before" in names:
            ends = rows.column(f"{name.removesuffix('after')}before").to_pylist()
            columns[name.removesuffix("_after")] = pa.array(map(span, column.to_pylist(), ends), TEXT)
        elif name in kept or not _says_nothing(name, column):
            columns[name] = _short_column(column, whole=name in _COPIED) if _has_text(column.type) else column
    return pa.table(columns) if columns else rows


def _says_nothing(name: str, column: pa.ChunkedArray) -> bool:
    if name in _PLACES:
        return len(column.unique()) <= 1
    return len(column) > 0 and (_is_empty(column) or (name == "certainty" and column.unique().to_pylist() == ["certain"]))


def _is_empty(column: pa.ChunkedArray) -> bool:
    if column.null_count == len(column):
        return True
    if pa.types.is_list(column.type):
        return not pc.any(pc.greater(pc.list_value_length(column), 0)).as_py()
    return bool(pa.types.is_string(column.type)) and not pc.any(pc.not_equal(column, "")).as_py()


def _has_text(kind: pa.DataType) -> bool:
    return bool(kind == TEXT or pa.types.is_string(kind) or pa.types.is_list(kind))


def _short_column(column: pa.ChunkedArray, *, whole: bool) -> pa.Array:
    """Return a column of texts or lists with the ids in it short: at once where a text is an id and nothing else, as most are."""
    if pa.types.is_list(column.type):
        return pa.array([_joined(value) for value in column.to_pylist()], TEXT)
    texts = column.cast(TEXT).combine_chunks()
    lengths = pc.fill_null(pc.binary_length(texts), 0)
    if whole or not len(texts) or pc.max(lengths).as_py() < _WHOLE_ID:
        return texts
    is_id = pc.and_(pc.equal(lengths, _WHOLE_ID), pc.fill_null(pc.match_substring_regex(texts, _IS_ID), fill_value=False))
    among = pc.and_not(pc.greater_equal(lengths, _WHOLE_ID), is_id)
    cut = pc.if_else(is_id, pc.utf8_slice_codeunits(texts, 0, _SHORT_ID), texts)
    others = pa.array(map(shorten, texts.filter(among).to_pylist()), TEXT)
    return pc.replace_with_mask(cut, among, others)


def _joined(parts: list[object] | None) -> str | None:
    return " -> ".join(shorten(str(part)) for part in parts) if parts else None
