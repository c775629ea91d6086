"""Committing rows to the lake beside ``pyarrow.parquet.write_table`` of the same rows, and what an event costs as the lake grows.

* ``commit``: 100,000 rows a commit (sorted, encoded, fsynced, logged), against one bare write of the same rows with the same settings and
  the same sort; once more against a write of rows that are sorted already.
* ``cost of an event``: commits of 10,000 rows, a day each 600,000 rows, with upkeep after every 30 commits, until ``LINKTRAIL_BENCH_ROWS``
  (50 million) or ``LINKTRAIL_BENCH_SECONDS`` (900) are over: CPU time of an event, upkeep included, of the last quarter against the first
  after the first million (or the first quarter). The row says how far it came.
* ``opening``: a query over a day of small commits, as they were written and after upkeep.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linktrail.batch import decode
from linktrail.clock import NANOSECONDS
from linktrail.durable import LocalFileSystem
from linktrail.schema import BYTES, FLAG, INTEGER, LINKS, TEXT, TIME
from linktrail.testing.clock import START, FakeClock
from processor.files import ROW_GROUP, bloom_filters, sort_columns
from processor.lake import Lake
from processor.upkeep.keeper import maintain
from queries.engine import open_lake
from tests.faults.rows import DAY, link, sealed

ROUNDS: Final = 7
BATCH: Final = 100_000
SMALL: Final = 10_000
OF_A_DAY: Final = 600_000
KEEP_EVERY: Final = 30
MILLION: Final = 1_000_000
FILES: Final = 300
SWEEP_EVERY: Final = 6  # as the schedule has it: upkeep every ten minutes, a look for garbage every hour


def run() -> list[dict[str, object]]:
    """Return the rows of the benchmark."""
    with tempfile.TemporaryDirectory() as where:
        return [*_commits(Path(where) / "commit"), _growth(Path(where) / "growth"), _opening(Path(where) / "open")]


def made(count: int, first: int = 0, moment: int = START) -> pa.Table:
    """Return ``count`` rows of ``links`` as a decoded batch has them: 200 nodes, layers of 50 rows, numbered from ``first``."""
    one = pa.array(range(first, first + count), INTEGER)
    rows = _template().take(pc.bit_wise_and(one, 4095))
    layer = pc.cast(pc.divide(one, 50), TEXT)
    node = pc.binary_join_element_wise("node", pc.cast(pc.subtract(one, pc.multiply(pc.divide(one, 200), 200)), TEXT), "-")
    moments = pc.cast(pc.add(pc.multiply(one, 7), moment // 1000 - first * 7), TIME)
    own = {"seq": one, "node": node, "layer_id": layer, "subject": layer, "observed_at": moments, "occurred_before": moments}
    own["file_path"] = pc.binary_join_element_wise("overlay", layer, "/")
    own["day"] = pa.repeat(pc.cast(pc.floor_temporal(moments[0], unit="day"), pa.date32()), count)
    schema = LINKS.arrow()
    return pa.table([own.get(name, rows.column(name)) for name in schema.names], schema=schema)


def _template() -> pa.Table:
    if not _TEMPLATE:
        _TEMPLATE.append(decode(sealed([link(number) for number in range(4096)]), "template")[1])
    return _TEMPLATE[0]


_TEMPLATE: list[pa.Table] = []


def bare(rows: pa.Table, path: Path, *, is_sorted: bool) -> None:
    """Write ``rows`` with ``pyarrow.parquet.write_table``: the settings and the sort of the lake, and nothing else."""
    rows = rows.drop_columns(["day"])
    order = [(name, "ascending") for name in sort_columns("links")]
    if not is_sorted:
        rows = rows.take(pc.sort_indices(rows, sort_keys=order))
    numbers = [field.name for field in rows.schema if field.type not in (TEXT, BYTES, FLAG)]
    pq.write_table(
        rows,
        path,
        compression="zstd",
        compression_level=3,
        use_dictionary=[field.name for field in rows.schema if field.type in (TEXT, BYTES)],
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        row_group_size=ROW_GROUP,
        bloom_filter_options=bloom_filters(rows),
        sorting_columns=pq.SortingColumn.from_ordering(rows.schema, order),
        write_page_checksum=True,
    )


def _commits(path: Path) -> list[dict[str, object]]:
    table = Lake.open_for_writing(path, filesystem=LocalFileSystem()).tables["links"]
    took: dict[str, list[float]] = {"lake": [], "bare": [], "bare sorted": []}
    for number in range(ROUNDS + 1):
        rows = made(BATCH, number * BATCH)
        ordered = rows.take(pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in sort_columns("links")]))
        work: dict[str, Callable[[], None]] = {
            "lake": partial(table.commit, rows, {"b": number + 1}, {"b": number or None}),
            "bare": partial(bare, rows, path / "bare.parquet", is_sorted=False),
            "bare sorted": partial(bare, ordered, path / "sorted.parquet", is_sorted=True),
        }
        for name, do in work.items():
            began = time.perf_counter()
            do()
            if number:
                took[name].append(time.perf_counter() - began)
    own = statistics.median(took["lake"])
    return [
        {
            "name": f"commit of {BATCH} rows",
            "value": round(BATCH / own),
            "unit": "rows/s",
            "peer": f"write_table ({name})",
            "peer_value": round(BATCH / statistics.median(took[name])),
            "ratio": round(statistics.median(took[name]) / own, 3),
            "goal": ">= 0.4" if name == "bare" else "",
            "rounds": ROUNDS,
        }
        for name in ("bare", "bare sorted")
    ]


def _growth(path: Path) -> dict[str, object]:
    most = int(os.environ.get("LINKTRAIL_BENCH_ROWS", str(50 * MILLION)))
    end = time.monotonic() + float(os.environ.get("LINKTRAIL_BENCH_SECONDS", "900"))
    table = Lake.open_for_writing(path, filesystem=LocalFileSystem()).tables["links"]
    costs: list[float] = []  # CPU seconds of each KEEP_EVERY commits and the upkeep after them
    count = number = 0
    while count < most and time.monotonic() < end:
        spent = 0.0
        for _ in range(KEEP_EVERY):
            rows = made(SMALL, count, START + count // OF_A_DAY * DAY)
            began = time.process_time()
            table.commit(rows, {"b": number + 1}, {"b": number or None})
            spent += time.process_time() - began
            count, number = count + SMALL, number + 1
        began = time.process_time()
        clock = FakeClock(START + count // OF_A_DAY * DAY + 8 * 3600 * NANOSECONDS)
        maintain(path, filesystem=LocalFileSystem(), clock=clock, sweep=len(costs) % SWEEP_EVERY == 0)
        costs.append((spent + time.process_time() - began) / (KEEP_EVERY * SMALL))
    quarter = max(1, len(costs) // 4)
    skipped = min(MILLION // (KEEP_EVERY * SMALL), max(0, len(costs) - 2 * quarter))
    first, last = statistics.mean(costs[skipped : skipped + quarter]), statistics.mean(costs[-quarter:])
    assert Lake.open(path).tables["links"].read(["seq"]).num_rows == count
    return {
        "name": f"cost of an event at {count / MILLION:.1f} million rows, upkeep included",
        "value": round(last * 1e6, 2),
        "unit": "us CPU",
        "peer": f"the same after {skipped * KEEP_EVERY * SMALL / MILLION:.1f} million",
        "peer_value": round(first * 1e6, 2),
        "ratio": round(first / last, 3),
        "goal": ">= 0.8",
        "rounds": quarter,
    }


def _opening(path: Path) -> dict[str, object]:
    table = Lake.open_for_writing(path, filesystem=LocalFileSystem()).tables["links"]
    for number in range(FILES):
        table.commit(made(50, number * 50), {"b": number + 1}, {"b": number or None})
    before = _opened(path)
    maintain(path, filesystem=LocalFileSystem(), clock=FakeClock(START))
    after = _opened(path)
    return {
        "name": f"opening a day of {FILES} commits, after upkeep",
        "value": round(after * 1000),
        "unit": "ms",
        "peer": "before upkeep",
        "peer_value": round(before * 1000),
        "ratio": round(before / after, 2),
        "goal": "",
        "rounds": ROUNDS,
    }


def _opened(path: Path) -> float:
    took: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with open_lake(path) as engine:
            assert engine.rows("SELECT count(*) AS n FROM links") == [{"n": FILES * 50}]
        took.append(time.perf_counter() - began)
    return statistics.median(took)
