"""The values that containerd puts in bolt: integers, times, and protobuf messages of type Any.

Integers are LEB128: unsigned (``encoding/binary.PutUvarint``) for ids, zigzag (``PutVarint``) for sizes. Times are
``time.Time.MarshalBinary``: version 1, seconds since year 1 (i64, big endian), nanoseconds (i32), minutes of the zone (i16, -1 for UTC);
version 2 has one byte more. An Any is field 1, the type's URL, and field 2, the bytes. Anything else raises ``ValueError``.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from collector.safe_json import parse
from linktrail.clock import NANOSECONDS

JSON_LIMIT: Final = 1 << 20
_YEAR_ONE: Final = 62_135_596_800  # seconds from year 1 to 1970
_TIME: Final = struct.Struct(">BqiH")
_VERSIONS: Final = {1: 15, 2: 16}
_LONGEST: Final = 10  # bytes of a 64-bit LEB128 number
_BYTES: Final = 2  # protobuf wire type
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def uvarint(data: bytes) -> int:
    """Return the unsigned integer that ``data`` is, whole."""
    value, at = _uvarint_at(data, 0)
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes after an integer")
    return value


def varint(data: bytes) -> int:
    """Return the signed (zigzag) integer that ``data`` is, whole."""
    value = uvarint(data)
    return (value >> 1) ^ -(value & 1)


def _uvarint_at(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST):
        if at + place >= len(data):
            raise ValueError("an integer is cut short")
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            if value >> 64:
                break
            return value, at + place + 1
    raise ValueError("an integer is over 64 bits")


def go_time(data: bytes) -> int | None:
    """Return a Go time as ns UTC since 1970, ``None`` for Go's zero time."""
    if len(data) != _VERSIONS.get(data[0] if data else 0):
        raise ValueError(f"not a time: {len(data)} bytes")
    _version, seconds, nanoseconds, _zone = _TIME.unpack(data[: _TIME.size])
    if not 0 <= nanoseconds < NANOSECONDS:
        raise ValueError(f"not a time: {nanoseconds} nanoseconds")
    if seconds == 0:
        return None
    return int((seconds - _YEAR_ONE) * NANOSECONDS + nanoseconds)


def written(nanoseconds: int | None) -> str | None:
    """Return a time as RFC 3339 with all its nanoseconds, ``None`` for one that no calendar holds."""
    if nanoseconds is None:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=nanoseconds // NANOSECONDS)
    except OverflowError:
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % NANOSECONDS:09d}Z"


def any_of(data: bytes) -> tuple[str, bytes]:
    """Return the type's URL and the value of a protobuf Any."""
    fields = {1: b"", 2: b""}
    at = 0
    while at < len(data):
        tag, at = _uvarint_at(data, at)
        if tag & 7 != _BYTES:
            raise ValueError(f"not a message of type Any: wire type {tag & 7}")
        size, at = _uvarint_at(data, at)
        if size > len(data) - at:
            raise ValueError("a message is cut short")
        fields[tag >> 3] = data[at : at + size]
        at += size
    return fields[1].decode("utf-8", "backslashreplace"), fields[2]


def json_of(data: bytes) -> Any:  # noqa: ANN401 - JSON has any shape
    """Return the JSON in a protobuf Any (containerd keeps OCI specs and CRI's records so), ``None`` when there is none.

    Never raises: what it would have said is an extra, and what else the record says stands without it.
    """
    try:
        _url, value = any_of(data)
    except ValueError:
        return None
    return parse(value).value if len(value) <= JSON_LIMIT else None
