"""Many small files become few large ones, sorted and indexed, and rows that were stored twice are stored once.

Which files. Of a closed day (its end lies ``CLOSED_AFTER`` back) all small files are merged, so that it ends as one file for each million
rows. Of an open day only files of like size are merged, when there are more than ``most`` of that size: each row is then rewritten
a few times at most, however large the day grows. Merged files are bounded in rows and bytes, and so is the memory that merging takes.

Which rows. The same (cluster, node, run, seq) is the same row: Kafka delivers at least once. Rows without ``seq`` are the processor's own,
which its commit protocol stores once. Merged files say in their name that rows were looked through (``processor.files``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from linktrail.clock import NANOSECONDS
from linktrail.schema import DATE, INTEGER
from processor.files import CARRIED_DAY, ONCE
from processor.lake_table import LakeTable
from processor.table_files import LiveFile

MERGED_ROWS: Final = 1_000_000
MERGED_BYTES: Final = 256 << 20
CLOSED_AFTER: Final = 6 * 3600
MOST_SMALL: Final = 16
_DAY_SECONDS: Final = 86_400
_TIER_BITS: Final = 4  # files of one tier differ by less than a factor of 16 in rows
_RUN: Final = ("cluster", "node", "run")


def compact(table: LakeTable, now: int, *, most: int = MOST_SMALL) -> tuple[int, int]:
    """Merge what is worth merging at ``now`` (ns UTC); return how many files went and how many came instead.

    Raises ``FencedError`` (another maintainer was faster), ``LakeFullError``, ``LakeError``; what was merged before that stands.
    """
    gone = come = 0
    for group in groups(table.live_files(), now, most=most):
        come += table.rewrite(group, [merged(table, group)], data_change=False, stem=ONCE)
        gone += len(group)
    return gone, come


def groups(files: Sequence[LiveFile], now: int, *, most: int) -> Iterator[list[LiveFile]]:
    """Yield the groups of ``files`` that are each to become one file; ``files`` are in the order in which they were written."""
    days: dict[date, list[LiveFile]] = defaultdict(list)
    for file in files:
        days[file.day].append(file)
    for day in sorted(days):
        small = [file for file in days[day] if file.rows < MERGED_ROWS // 2 and file.size < MERGED_BYTES // 2]
        if is_closed(day, now):
            yield from _packed(small)
            continue
        tiers: dict[int, list[LiveFile]] = defaultdict(list)
        for file in small:
            tiers[file.rows.bit_length() // _TIER_BITS].append(file)
        for tier in sorted(tiers):
            if len(tiers[tier]) > most:
                yield from _packed(tiers[tier])


def is_closed(day: date, now: int) -> bool:
    """Tell whether ``day`` is over for long enough that little more will come of it."""
    end = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + _DAY_SECONDS
    return now / NANOSECONDS >= end + CLOSED_AFTER


def merged(table: LakeTable, files: Sequence[LiveFile]) -> pa.Table:
    """Return the rows of ``files``, each once, as ``rewrite`` takes them."""
    rows = once(table.read_files(files))
    return in_partition(rows, CARRIED_DAY) if files[0].day == CARRIED_DAY else rows


def once(rows: pa.Table) -> pa.Table:
    """Return ``rows`` without those that are there already."""
    if not {*_RUN, "seq"} <= set(rows.column_names):
        return rows
    seq, numbers = rows.column("seq"), pa.arange(0, rows.num_rows)
    numbered = pa.table({"run": _run_numbers(rows), "seq": seq, "row": numbers}).filter(pc.is_valid(seq))
    first = numbered.group_by(["run", "seq"], use_threads=False).aggregate([("row", "min")]).column("row_min")
    if len(first) == numbered.num_rows:
        return rows
    return rows.filter(pc.or_(pc.is_null(seq), pc.is_in(numbers, first.combine_chunks())))


def _run_numbers(rows: pa.Table) -> pa.Array:
    """Return for each row the number of its run among those in ``rows``: grouping by it costs a third of grouping by three texts."""
    numbers = pa.repeat(pa.scalar(0, INTEGER), rows.num_rows)
    for name in _RUN:
        texts = rows.column(name).dictionary_encode().combine_chunks()
        pairs = pc.add(pc.multiply(numbers, len(texts.dictionary)), texts.indices.cast(INTEGER))
        numbers = pairs.dictionary_encode().indices.cast(INTEGER)
    return numbers


def in_partition(rows: pa.Table, day: date) -> pa.Table:
    """Return ``rows`` with ``day`` as the partition that they are written to."""
    index = rows.schema.get_field_index("day")
    return rows.set_column(index, rows.schema.field(index), pa.repeat(pa.scalar(day, DATE), rows.num_rows))


def _packed(files: Sequence[LiveFile]) -> Iterator[list[LiveFile]]:
    """Yield neighbours of ``files`` as groups within the bounds; a file alone stays as it is."""
    group: list[LiveFile] = []
    for file in files:
        if sum(one.rows for one in group) + file.rows > MERGED_ROWS or sum(one.size for one in group) + file.size > MERGED_BYTES:
            if len(group) > 1:
                yield group
            group = []
        group.append(file)
    if len(group) > 1:
        yield group
