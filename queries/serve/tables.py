"""Rows as a page shows them: the same short form as on a terminal, every id a link to all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

import pyarrow as pa

from linktrail.drawing import eye_rows
from queries.answers.eyes import brief

MOST_ROWS: Final = 1000
_SHORT: Final = 28
_IDS: Final = frozenset(
    {
        "subject",
        "layer",
        "layer_id",
        "owner_id",
        "holder",
        "container_id",
        "image_id",
        "container_image_id",
        "parent",
        "id",
        "name",
    }
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text (made printable), and where it leads, if anywhere."""

    text: str
    href: str = ""

    @property
    def is_short(self) -> bool:
        """Whether it should stand on one line."""
        return len(self.text) <= _SHORT


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of a page; ``left_out`` rows are more than a page shows. ``numbers`` are the columns that stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[int]
    left_out: int = 0


def page_table(rows: pa.Table, asked: Mapping[str, str] = MappingProxyType({}), *, shorten: bool = True) -> PageTable:
    """Return ``rows`` for a page; links carry ``asked`` on (``at=...``). ``shorten`` false: as they are (rows of people's SQL)."""
    shown = rows.slice(0, MOST_ROWS)
    table = brief(shown) if shorten else shown
    names = table.column_names
    ids = {name: shown.column(name).to_pylist() for name in names if shorten and name in _IDS and name in shown.column_names}
    cells = [
        [Cell(text, _thing(ids[name][number], asked) if name in ids else "") for name, text in zip(names, texts, strict=True)]
        for number, texts in enumerate(eye_rows(table))
    ]
    numbers = frozenset(
        place for place, field in enumerate(table.schema) if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    )
    return PageTable(names, cells, numbers, rows.num_rows - shown.num_rows)


def _thing(value: object, asked: Mapping[str, str]) -> str:
    return f"/thing?{urlencode({'id': value, **asked})}" if isinstance(value, str) and value else ""
