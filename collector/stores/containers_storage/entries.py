"""Metadata files entry by entry, so that reading one again costs the entries that changed.

Engines write a list of objects that all begin with their id, without white space (Go's encoding). An unescaped quote ends a JSON
string, so the bytes ``,{"id":"`` never stand inside one: they can be cut there without parsing, and an entry that was met before, byte for
byte, is the same record. An entry that holds such bytes itself is cut in two halves, neither of which parses. Whatever does not
look like that, does not parse, or has a fault, is read whole by ``read_table``, which says what is wrong.

The last ``DOCUMENTS`` versions of each file are remembered; what their entries have in common is kept once.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from collector.safe_json import parse
from collector.stores.containers_storage.records import Record, Table, read_entry, read_table

DOCUMENTS: Final = 4
_FIRST: Final = b'[{"id":"'
_NEXT: Final = b',{"id":"'
_LAST: Final = b"}]"

_Known = dict[bytes, tuple[bytes, Record]]


class Entries:
    """What was read of each file; ``decoded`` counts the entries that had to be parsed. For one thread at a time."""

    def __init__(self) -> None:
        """Know of none."""
        self.decoded = 0
        self._documents: dict[str, deque[_Known]] = {}

    def table(self, path: str, data: bytes) -> Table:
        """Return what ``read_table`` would. Never raises."""
        known = self._known(path, _cut(data))
        if known is None:
            table = read_table(path, data)
            self.decoded += len(table.records)
            return table
        self._documents.setdefault(path, deque(maxlen=DOCUMENTS)).appendleft(known)
        return Table(tuple(record for _, record in known.values()))

    def _known(self, path: str, pieces: list[bytes] | None) -> _Known | None:
        """Return the records of ``pieces`` in order; ``None`` where they must be read as a whole."""
        if pieces is None:
            return None
        found: _Known = {}
        seen: set[str] = set()
        documents = self._documents.get(path, ())
        for piece in pieces:
            entry = next((document[piece] for document in documents if piece in document), None) or self._decoded(path, piece)
            if entry is None or entry[1].id in seen:
                return None
            seen.add(entry[1].id)
            found[entry[0]] = entry
        return found

    def _decoded(self, path: str, piece: bytes) -> tuple[bytes, Record] | None:
        self.decoded += 1
        parsed = parse(b"[" + piece + b"]")
        if parsed.faults or not isinstance(parsed.value, list) or len(parsed.value) != 1 or not isinstance(parsed.value[0], dict):
            return None
        record, faults = read_entry(path, parsed.value[0], 0)
        return None if faults or not record.id else (piece, record)


def _cut(data: bytes) -> list[bytes] | None:
    """Return the bytes of each entry; ``None`` where the file does not look as engines write it."""
    text = data.removesuffix(b"\n")
    if not text.startswith(_FIRST) or not text.endswith(_LAST):
        return None
    first, *others = text[1:-1].split(_NEXT)
    return [first, *(_NEXT[1:] + other for other in others)]
