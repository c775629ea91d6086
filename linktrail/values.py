"""One value of an answer as text forms have it: JSON-able and faithful (bytes as base64), and instants as ISO 8601 UTC."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Container, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

CHUNK: Final = 10_000  # rows that are Python objects at a time


def records(rows: pa.Table, nested: Container[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield rows as JSON-able dictionaries; columns in ``nested`` hold JSON text, which is read."""
    for batch in rows.to_batches(max_chunksize=CHUNK):
        for record in batch.to_pylist():
            yield {name: _parsed(value) if name in nested else plain(value) for name, value in record.items()}


def _parsed(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return what JSON text says; the text itself where it is none (it came from a lake that somebody else wrote)."""
    try:
        return plain(value) if value is None else json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return plain(value)


def plain(value: Any) -> Any:  # noqa: ANN401, PLR0911 - one value of any Arrow type to its JSON form
    """Return ``value`` as JSON has it: times ISO 8601, bytes base64, numbers without a JSON form ``None`` (NaN) or text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return str(value)


def moment(value: datetime) -> str:
    """Return an instant as ISO 8601 UTC with microseconds; one without a zone stays without."""
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{value.microsecond:06d}Z"


def trim_fraction(text: str) -> str:
    """Return an instant of ISO 8601 without the zeros at the end of its fraction, which say nothing to a person."""
    whole, point, fraction = text.partition(".")
    digits = fraction.removesuffix("Z").rstrip("0")
    return text if not point else f"{whole}{'.' + digits if digits else ''}{'Z' if fraction.endswith('Z') else ''}"
