"""Rows for eyes: Markdown, plain text, and tables on a terminal.

Names from disks are made printable, sizes human-readable. A terminal gets as many rows as a person reads: laying one out takes a
millisecond, so the 150,000 rows of a fleet would come minutes later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from itertools import chain, pairwise
from typing import Any, Final, Protocol, TextIO

import pyarrow as pa

from linktrail.sizes import human_bytes
from linktrail.text import printable
from linktrail.values import CHUNK, moment, plain, trim_fraction

MOST_DRAWN: Final = 200
_PLAIN_MARKDOWN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:;()/-+=%")
_SEVERITY_STYLES: Final = {"critical": "bold red", "error": "red", "warning": "yellow"}
_FIRST_PART: Final = 250  # rows of a table that are laid out together: of the first part fewer, because it is waited for
_PART: Final = 1_000


def markdown_text(text: str) -> str:
    """Put whatever could mean something in Markdown or HTML into a code span, which means nothing."""
    if set(text) <= _PLAIN_MARKDOWN:
        return text
    longest, run = 0, 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def eye_rows(table: pa.Table) -> Iterator[list[str]]:
    """Yield the rows of ``table`` as the texts that a person sees."""
    return _cells(table, str)


def _cells(table: pa.Table, form: Callable[[str], str]) -> Iterator[list[str]]:
    for batch in table.to_batches(max_chunksize=CHUNK):
        for record in batch.to_pylist():
            yield [form(_for_eyes(name, value)) for name, value in record.items()]


def _right(field: pa.Field) -> bool:
    kind = field.type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


# --- tables -----------------------------------------------------------------------------------------------------------


class Drawing(Protocol):
    """A table on its way to a stream, part by part; all parts have the same columns."""

    def write(self, part: pa.Table) -> None:
        """Write further rows; before the first, the header."""

    def end(self) -> None:
        """Say what there is to say behind the last."""


def drawing(stream: TextIO, *, markdown: bool) -> Drawing:
    """Return how to write one table: Markdown; as wide as the terminal; or, so that nothing is cut, as wide as the table is."""
    return Markdown(stream) if markdown else OnTerminal(stream) if stream.isatty() else Plain(stream)


class Markdown:
    """A table in Markdown."""

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``."""
        self._stream = stream
        self._begun = False

    def write(self, part: pa.Table) -> None:
        """Write further rows; before the first, the header."""
        lines = [] if self._begun else [part.column_names, ["--:" if _right(field) else "---" for field in part.schema]]
        self._stream.writelines(f"| {' | '.join(cells)} |\n" for cells in chain(lines, _cells(part, markdown_text)))
        self._begun = True

    def end(self) -> None:
        """Nothing is left to say."""


class Plain:
    """A table in plain text, laid out part by part, so that a long one begins at once; a column is as wide as its widest cell so far."""

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``."""
        self._stream = stream
        self._widths: list[int] = []

    def write(self, part: pa.Table) -> None:
        """Write further rows; before the first, the header."""
        from rich.cells import cell_len  # noqa: PLC0415 - programs that want json need not wait for it

        right = [_right(field) for field in part.schema]
        rows = [] if self._widths else [[printable(name).upper() for name in part.column_names]]
        starts = [0, *range(_PART if self._widths else _FIRST_PART, part.num_rows, _PART), part.num_rows]
        self._widths = self._widths or [0] * part.num_columns
        for start, end in pairwise(starts):
            rows += _cells(part.slice(start, end - start), str)
            lengths = [[cell_len(cell) for cell in cells] for cells in rows]
            self._widths = [max(known) for known in zip(self._widths, *lengths, strict=True)]
            for cells, lengths_of in zip(rows, lengths, strict=True):
                spaces = (" " * (width - length) for width, length in zip(self._widths, lengths_of, strict=True))
                padded = (space + cell if to_right else cell + space for cell, space, to_right in zip(cells, spaces, right, strict=True))
                self._stream.write("  ".join(padded).rstrip() + "\n")
            rows = []

    def end(self) -> None:
        """Nothing is left to say."""


class OnTerminal:
    """A table on a terminal, of which ``MOST_DRAWN`` rows are drawn; a line says how many there are."""

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``."""
        self._stream = stream
        self._drawn = self._rows = 0
        self._begun = False

    def write(self, part: pa.Table) -> None:
        """Draw further rows; before the first, the header."""
        shown = part.slice(0, MOST_DRAWN - self._drawn)
        if shown.num_rows or not self._begun:
            _draw(shown, self._stream, header=not self._begun)
        self._begun = True
        self._drawn += shown.num_rows
        self._rows += part.num_rows

    def end(self) -> None:
        """Say how many rows are not drawn."""
        if self._rows > self._drawn:
            self._stream.write(f"The first {self._drawn} of {self._rows:,} rows; a pipe, a file and --format csv get all of them.\n")


def _draw(shown: pa.Table, stream: TextIO, *, header: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - programs that want json need not wait for it
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    colour = not os.environ.get("NO_COLOR")
    console = Console(file=stream, no_color=not colour, highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, show_header=header, header_style="bold" if colour else "")
    for field in shown.schema:
        table.add_column(Text(printable(field.name).upper()), justify="right" if _right(field) else "left", overflow="fold")
    for cells in _cells(shown, str):
        styles = (_SEVERITY_STYLES.get(cell, "") if colour else "" for cell in cells)
        table.add_row(*(Text(cell, style=style) for cell, style in zip(cells, styles, strict=True)))
    console.print(table)


# --- values ---------------------------------------------------------------------------------------------------------


def _for_eyes(name: str, value: Any) -> str:  # noqa: ANN401, PLR0911 - one value of any Arrow type
    if value is None:
        return ""
    if isinstance(value, datetime):
        return trim_fraction(moment(value))
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and _is_size(name):
        return human_bytes(float(value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return printable(bytes(value))
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return printable(", ".join(value))
    plainly = plain(value)
    return printable(json.dumps(plainly) if isinstance(plainly, (dict, list)) else plainly)


def _is_size(name: str) -> bool:
    return name == "bytes" or name.endswith("_bytes")
