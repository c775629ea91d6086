"""One question to an Arrow IPC stream that pyarrow does not answer: does any record batch have compressed buffers?

pyarrow decompresses such buffers to whatever size they claim, so a small hostile batch could take all memory. The answer stands in the
flatbuffer of each message, before its body; this reads just that field, with every position checked.

References:
    Arrow columnar format, "Encapsulated message format" and format/Message.fbs (Message, RecordBatch, BodyCompression);
    FlatBuffers internals (tables and vtables).
"""

from __future__ import annotations

import struct
from typing import Final

_CONTINUATION: Final = 0xFFFFFFFF
_MESSAGE_HEADER, _MESSAGE_BODY_LENGTH = 2, 3  # field numbers in Message.fbs
_MESSAGE_HEADER_TYPE: Final = 1
_RECORD_BATCH_COMPRESSION: Final = 3
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # values of the MessageHeader union


def has_compressed_body(stream: bytes) -> bool:
    """Tell whether ``stream`` holds a record batch with compressed buffers, or a dictionary (we never write one).

    Raises ``ValueError`` when a message is damaged.
    """
    position = 0
    try:
        while position < len(stream):
            start, length = _prefix(stream, position)
            if length == 0:
                return False
            message = _Flatbuffer(stream[start : start + length])
            root = message.root()
            kind = message.byte(root, _MESSAGE_HEADER_TYPE)
            if kind == _DICTIONARY_BATCH:
                return True
            if kind == _RECORD_BATCH and message.has(message.table(root, _MESSAGE_HEADER), _RECORD_BATCH_COMPRESSION):
                return True
            body = message.long(root, _MESSAGE_BODY_LENGTH)
            if body < 0:
                raise ValueError("a message has a negative length")
            position = start + length + body
    except (struct.error, IndexError) as error:
        raise ValueError("a message is damaged") from error
    return False


def _prefix(stream: bytes, position: int) -> tuple[int, int]:
    """Return where the metadata of the message at ``position`` starts, and its length."""
    (length,) = struct.unpack_from("<I", stream, position)
    if length != _CONTINUATION:
        return position + 4, length
    return position + 8, struct.unpack_from("<I", stream, position + 4)[0]


class _Flatbuffer:
    """The few reads needed; ``struct`` refuses positions outside the buffer, and negative ones are refused here."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def root(self) -> int:
        return self._read("<I", 0)

    def has(self, table: int, number: int) -> bool:
        return self._field(table, number) != 0

    def byte(self, table: int, number: int) -> int:
        return self._read("<B", table + offset) if (offset := self._field(table, number)) else 0

    def long(self, table: int, number: int) -> int:
        return self._read("<q", table + offset) if (offset := self._field(table, number)) else 0

    def table(self, table: int, number: int) -> int:
        where = table + self._field(table, number)
        return where + self._read("<I", where)

    def _field(self, table: int, number: int) -> int:
        """Return the position of field ``number`` relative to ``table``; 0 when it is absent."""
        vtable = table - self._read("<i", table)
        size = self._read("<H", vtable)
        entry = 4 + 2 * number
        return self._read("<H", vtable + entry) if entry + 2 <= size else 0

    def _read(self, layout: str, where: int) -> int:
        if where < 0:
            raise ValueError("a message is damaged")
        value: int = struct.unpack_from(layout, self._data, where)[0]
        return value
