"""The processor's memory, read back from the lake: the rows of ``coverage`` say what was received, so nothing else needs to be kept.

Only the newest ``LOOK_BACK_DAYS`` days that have rows are read: more than any broker keeps by default, and enough for every source
that is still delivering. Files are read one at a time and only the last batch of each run is kept, so memory stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from linktrail.schema import INTEGER
from processor.continuity import BATCH_MISSING, Continuity, Run, RunKey, without
from processor.lake_table import LakeTable

LOOK_BACK_DAYS: Final = 8
_COLUMNS: Final = [
    "cluster",
    "node",
    "run",
    "kind",
    "cause",
    "gap_id",
    "occurred_after",
    "batch",
    "last_seq",
    "batch_digest",
    "source",
    "source_offset",
]
Holes = dict[RunKey, set[tuple[int, int]]]


def restore(coverage: LakeTable) -> Continuity:
    """Return what the rows of ``coverage`` say was received; raises ``LakeError``."""
    return restore_from(lambda: coverage.read_newest(_COLUMNS, LOOK_BACK_DAYS))


def restore_from(read: Callable[[], Iterable[pa.Table]]) -> Continuity:
    """As ``restore``, from the tables that each call of ``read`` yields."""
    runs: dict[RunKey, Run] = {}
    sources: dict[str, tuple[int, int]] = {}
    holes: Holes = {}
    for part in read():
        batches = part.filter(pc.equal(part.column("kind"), "batch"))
        _take_runs(batches, runs)
        _take_sources(batches, sources)
        _take_holes(part, holes)
    if holes:  # rare: only then is it asked which of the missing batches came after all
        arrived = _arrived(read(), holes)
        for key, ranges in holes.items():
            if key in runs:
                runs[key].missing.update(*(without(hole, arrived[key]) for hole in ranges))
    return Continuity(runs, {source: low for source, (_, low) in sources.items()})


def _take_runs(batches: pa.Table, runs: dict[RunKey, Run]) -> None:
    for row in _newest(batches, ["cluster", "node", "run"], "batch"):
        key = _key(row)
        if key not in runs or runs[key].batch < row["batch"]:
            runs[key] = Run(row["batch"], row["batch_digest"], row["last_seq"], row["occurred_after"] * 1000, row["source"])


def _take_sources(batches: pa.Table, sources: dict[str, tuple[int, int]]) -> None:
    for row in _newest(batches, ["source"], "source_offset"):
        if sources.get(row["source"], (-1, 0))[0] < row["source_offset"]:
            sources[row["source"]] = (row["source_offset"], row["occurred_after"] * 1000)


def _take_holes(part: pa.Table, holes: Holes) -> None:
    gaps = part.filter(pc.and_(pc.equal(part.column("kind"), "gap"), pc.equal(part.column("cause"), BATCH_MISSING)))
    for row in gaps.select(["cluster", "node", "run", "gap_id"]).to_pylist():
        hole = _hole_of(row["gap_id"], row["run"])
        if hole:
            holes.setdefault(_key(row), set()).add(hole)


def _arrived(parts: Iterable[pa.Table], holes: Holes) -> dict[RunKey, set[int]]:
    """Return the numbers of all batches received of the runs that have holes."""
    arrived: dict[RunKey, set[int]] = {key: set() for key in holes}
    wanted = pa.array(sorted({run for _, _, run in holes}))
    for part in parts:
        rows = part.filter(pc.and_(pc.equal(part.column("kind"), "batch"), pc.is_in(part.column("run"), wanted)))
        for row in rows.select(["cluster", "node", "run", "batch"]).to_pylist():
            if _key(row) in arrived:
                arrived[_key(row)].add(row["batch"])
    return arrived


def _hole_of(gap_id: str | None, run: str) -> tuple[int, int] | None:
    """Read (first, last) back from the id of a ``batch-missing`` gap of ``run``; ``None`` when it is a gap of a source."""
    name, _, numbers = (gap_id or "").rpartition("/")
    first, _, last = numbers.partition("-")
    return (int(first), int(last)) if name == run and first.isdecimal() and last.isdecimal() else None


def _key(row: dict[str, Any]) -> RunKey:
    return (row["cluster"], row["node"], row["run"])


def _newest(rows: pa.Table, keys: list[str], number: str) -> list[dict[str, Any]]:
    """Return, for each value of ``keys``, the row with the highest ``number``; times as microseconds."""
    times = pc.cast(rows.column("occurred_after"), INTEGER)
    rows = rows.set_column(rows.schema.get_field_index("occurred_after"), "occurred_after", times)
    rows = rows.sort_by([(number, "ascending")]).append_column("row", pa.array(range(rows.num_rows), INTEGER))
    last = rows.group_by(keys).aggregate([("row", "max")])
    found: list[dict[str, Any]] = rows.take(last.column("row_max")).to_pylist()
    return found
