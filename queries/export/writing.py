"""Writing what is exported: links and findings of a time, in the order in which they are known to have happened, a few at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final, TextIO

from queries.completeness import to_datetime
from queries.engine import Engine
from queries.export.forms import TIMESKETCH_COLUMNS, ecs, ocsf, timesketch

_ROWS: Final = """
SELECT * FROM (
    SELECT 'link' AS about, * FROM links WHERE action <> 'observed'
    UNION ALL BY NAME
    SELECT 'finding' AS about, * FROM findings
)
WHERE occurred_before >= $after AND occurred_before <= $before
  AND ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
ORDER BY occurred_before, node, run, seq
"""
_CHUNK: Final = 5000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class ExportForm(StrEnum):
    """What is written."""

    TIMESKETCH = "timesketch"
    ECS = "ecs"
    OCSF = "ocsf"


def export(
    engine: Engine, form: ExportForm, after: int, before: int, out: TextIO, *, cluster: str | None = None, node: str | None = None
) -> int:
    """Write the time between ``after`` and ``before`` (ns UTC) to ``out``; return the number of events."""
    rows = _rows(engine, after, before, cluster, node)
    if form is ExportForm.TIMESKETCH:
        return _write_timesketch(rows, out)
    written = 0
    for row in rows:
        event = ecs(row) if form is ExportForm.ECS else ocsf(row)
        if event is not None:
            out.write(json.dumps(event, separators=(",", ":")) + "\n")
            written += 1
    return written


def _rows(engine: Engine, after: int, before: int, cluster: str | None, node: str | None) -> Iterator[dict[str, Any]]:
    values = {"after": to_datetime(after), "before": to_datetime(before), "cluster": cluster, "node": node}
    for batch in engine.query(_ROWS, values).to_batches(max_chunksize=_CHUNK):
        yield from batch.to_pylist()


def _write_timesketch(rows: Iterator[dict[str, Any]], out: TextIO) -> int:
    writer = csv.DictWriter(out, TIMESKETCH_COLUMNS, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writeheader()
    written = 0
    for row in rows:
        writer.writerow({name: _inert(value) for name, value in timesketch(row).items()})
        written += 1
    return written


def _inert(value: object) -> object:
    """Keep a name from being a formula where somebody opens the file with a spreadsheet, and a line a line."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", "\\r").replace("\n", "\\n").replace("\x00", "\\x00")
    return f"'{text}" if text.startswith(_FORMULA) else text
