"""Which files make up a lake now: one snapshot of its four Delta tables, read from their logs.

Coverage is opened first: the processor commits it last, so what is opened after it holds at least the rows that it vouches for.

A live lake has many small files, and opening one costs more than the rows in it are worth to skip. So the smallest are marked
to be read into memory once (``recent``, up to ``MEMORY_ROWS`` rows of a table), and the others to be read where a query needs them
(``stored``). Of a closed day that upkeep has put in order only tiny files are marked: they are few, and sorted for leaving rows out.

A row may be stored twice (Kafka delivers at least once) where several files may hold it, or where nobody has looked through the one that
does; such files are ``doubtful``. Names, days and statistics tell, so that a lake in order is opened without reading any of its rows.

A lake in an object store is read through local copies of its files (``queries.lake_cache``).

Limits. delta-rs takes some paths for addresses and DuckDB some for patterns; a lake in such a directory is refused, with the reason.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa

from linktrail.errors import LakeError, LakeMissingError, LakeNewerError
from linktrail.schema import SCHEMA_VERSION
from linktrail.text import encode
from processor.files import CARRIED_DAY, ONCE
from processor.location import address, is_remote, storage_options
from processor.object_store import ObjectStore
from queries.lake_cache import local_copies

if TYPE_CHECKING:
    from deltalake import DeltaTable

SCHEMA_VERSION_KEY: Final = "linktrail.schema_version"
OPENING_ORDER: Final = ("coverage", "links", "findings", "usage")
MEMORY_ROWS: Final = 200_000
_SMALL_ROWS: Final = 20_000
_TINY_ROWS: Final = 2_000
_BYTES_A_ROW: Final = 30  # where a log states no number of rows
_NOT_FOR_LIBRARIES: Final = re.compile(r"[\[\]|^\\*?\x00-\x1f\x7f]|%[0-9a-fA-F]{2}")


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The data files of one table at one version, absolute: ``recent`` for memory, ``stored`` for when they are needed.

    ``doubtful`` are those that may hold a row twice, or one that another file holds.
    """

    name: str
    recent: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    doubtful: frozenset[str] = frozenset()

    @property
    def files(self) -> list[str]:
        """All of them."""
        return [*self.recent, *self.stored]


@dataclass(frozen=True, slots=True)
class LakeFiles:
    """One snapshot of a lake: its directory and the files of each table."""

    path: Path
    tables: Mapping[str, TableFiles]

    @property
    def files(self) -> list[str]:
        """Every data file of the snapshot."""
        return [file for table in self.tables.values() for file in table.files]

    def only(self, *names: str) -> LakeFiles:
        """Return the snapshot with these tables alone; the others are empty then."""
        return LakeFiles(self.path, {name: table if name in names else TableFiles(name) for name, table in self.tables.items()})


def read_lake(path: Path, *, memory_rows: int = MEMORY_ROWS) -> LakeFiles:
    """List the files of the lake at ``path``; at most ``memory_rows`` rows of each table are marked to be read into memory.

    Raises ``LakeMissingError`` (no table there), ``LakeNewerError`` (written by a newer linktrail), ``LakeError`` (unreadable).
    """
    path = path.absolute()
    try:
        found = [name for name in OPENING_ORDER if _has_log(path / name / "_delta_log")]
    except OSError as error:
        raise LakeError(path=address(path), what=error.strerror or " ".join(str(error).split())) from error
    if not found:
        raise LakeMissingError(path=address(path))
    if not is_remote(path):
        _refuse_strange_path(path)
    tables = {name: _table_files(path, name, memory_rows) if name in found else TableFiles(name) for name in OPENING_ORDER}
    return LakeFiles(path, tables)


def _has_log(log: Path) -> bool:
    return bool(ObjectStore(log).names(log)) if is_remote(log) else log.is_dir()


def _refuse_strange_path(path: Path) -> None:
    try:
        strange = _NOT_FOR_LIBRARIES.search(encode(str(path)).decode())
    except UnicodeDecodeError as error:
        raise LakeError(path=path, what="Delta and DuckDB open only paths that are UTF-8; rename the directory") from error
    if strange:
        raise LakeError(path=path, what=f"Delta and DuckDB cannot open a path with {strange[0]!r} in it; rename the directory")


def _table_files(lake: Path, name: str, memory_rows: int) -> TableFiles:
    from deltalake import DeltaTable  # noqa: PLC0415 - help and usage errors must not wait for it
    from deltalake.exceptions import DeltaError  # noqa: PLC0415 - likewise

    try:
        table = DeltaTable(address(lake / name), storage_options=storage_options(lake))
        version = table.metadata().configuration.get(SCHEMA_VERSION_KEY, "1")
        files = _found_files(lake, name, table)
    except (DeltaError, OSError, ValueError) as error:
        raise LakeError(path=lake, what=f"table {name} cannot be opened ({' '.join(str(error).split())})") from error
    if not version.isdecimal():
        raise LakeError(path=lake, what=f"table {name} states the schema version {version!r}")
    if int(version) > SCHEMA_VERSION:
        raise LakeNewerError(path=lake, found=version, known=SCHEMA_VERSION)
    recent, stored = _divide(files, memory_rows)
    return TableFiles(name, tuple(sorted(recent)), tuple(sorted(stored)), frozenset(_doubtful(files)))


@dataclass(frozen=True, slots=True)
class _Found:
    """What the log says of one data file; ``None`` where it does not. ``rows`` may be estimated."""

    path: str
    rows: int
    once: bool
    day: date | None
    nodes: tuple[str, str] | None
    observed: tuple[datetime, datetime] | None


def _found_files(lake: Path, name: str, table: DeltaTable) -> list[_Found]:
    """Return the data files of a table. The log has paths percent-encoded, relative to the table."""
    actions = pa.table(table.get_add_actions(flatten=True))
    if not actions.num_rows:
        return []
    paths = [unquote(path) for path in actions.column("path").to_pylist()]
    sizes, rows = (actions.column(column).to_pylist() for column in ("size_bytes", "num_records"))
    copies = (
        local_copies(lake, name, list(zip(paths, sizes, strict=True))) if is_remote(lake) else [str(lake / name / path) for path in paths]
    )
    days, nodes, observed = _said(actions, "partition.day"), _bounds(actions, "node"), _bounds(actions, "observed_at")
    counts = (size // _BYTES_A_ROW if count is None else count for size, count in zip(sizes, rows, strict=True))
    once = (f"/{ONCE}-" in path for path in paths)
    return [_Found(*values) for values in zip(copies, counts, once, days, nodes, observed, strict=True)]


def _said(actions: pa.Table, name: str) -> list[Any]:
    values: list[Any] = actions.column(name).to_pylist() if name in actions.column_names else [None] * actions.num_rows
    return values


def _bounds(actions: pa.Table, name: str) -> list[Any]:
    both = zip(_said(actions, f"min.{name}"), _said(actions, f"max.{name}"), strict=True)
    return [None if least is None or most is None else (least, most) for least, most in both]


def _divide(files: Sequence[_Found], memory_rows: int) -> tuple[list[str], list[str]]:
    """Return the smallest files, as many as fit into memory, and the others."""
    recent: list[str] = []
    stored: list[str] = []
    left = memory_rows
    for file in sorted(files, key=lambda file: (file.rows, file.path)):
        if file.rows <= min(_TINY_ROWS if file.once else _SMALL_ROWS, left):
            recent.append(file.path)
            left -= file.rows
        else:
            stored.append(file.path)
    return recent, stored


# --- rows that may be stored twice --------------------------------------------------------------------------------


def _doubtful(files: Sequence[_Found]) -> set[str]:
    """Return the files that may hold a row twice, or one that another file holds. The same row always has the same day and node."""
    days: dict[date | None, list[_Found]] = defaultdict(list)
    for file in files:
        days[file.day].append(file)
    doubtful = {file.path for day, found in days.items() if day is None or not _is_once(found) for file in found}
    for carried in days.get(CARRIED_DAY, []):
        met = [file.path for file in files if file.day != CARRIED_DAY and _may_have_day(carried, file.day)]
        doubtful.update(met, [carried.path] if met else [])
    return doubtful


def _is_once(files: Sequence[_Found]) -> bool:
    """Tell whether no row is twice in ``files`` of one day: each was looked through, and no two may be of the same node."""
    if not all(file.once for file in files):
        return False
    nodes = sorted(file.nodes or ("", chr(0x10FFFF)) for file in files)
    return all(before[1] < after[0] for before, after in pairwise(nodes))


def _may_have_day(carried: _Found, day: date | None) -> bool:
    return day is None or carried.observed is None or carried.observed[0].date() <= day <= carried.observed[1].date()
