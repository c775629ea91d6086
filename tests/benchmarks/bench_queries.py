"""Asking a lake of 20 million events of 200 nodes over 30 days, beside a native DuckDB file of the same rows, and as a person waits for it.

* Size: what the files of the lake's tables come to, beside the native file.
* Questions: the same SQL of the catalog, with the same views, through the lake's engine and over the native file, by turns in every round,
  both opened before. Medians of the ratios of a round, so that a loaded machine burdens both sides alike.
* First output: each verb that asks the lake as a process of its own, from its start to its first byte of output; its whole time beside it,
  without a goal, and the processor time of it and its children in a row of its own. The files are in the page cache. ``report`` writes
  files, and the first that it says is said to a person, on standard error.

``LINKTRAIL_BENCH_EVENTS`` makes another size (2000000 for a quick look), ``LINKTRAIL_BENCH_FRESH=1`` makes the history anew: it is kept
in the user's cache directory (some 3 GB at full size).
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb

from linktrail.clock import NANOSECONDS
from linktrail.schema import TABLES
from queries.catalog import question_named
from queries.engine import SETTINGS, literal, open_lake
from queries.snapshot import read_lake
from queries.views import base_views, definitions, repeated_statements
from tests.benchmarks.made_history import DAYS, EVENTS, START, History, made

ROUNDS: Final = 5
_ASKED: Final = 3  # times a round that each question is asked: they take a moment, and a moment is noisy
MOST: Final = 600.0
_DAY: Final = 86_400 * NANOSECONDS
_END: Final = (START + DAYS * 86_400) * NANOSECONDS
_BY_DAY: Final = "SELECT day, link_kind, action, count(*) AS n FROM links GROUP BY ALL"
_LAYER: Final = "SELECT layer_id FROM links WHERE link_kind = 'container_layer' AND day = DATE '2026-11-03' ORDER BY layer_id LIMIT 1"

Ask = Callable[[str, dict[str, object]], int]


def run(rounds: int = ROUNDS) -> list[dict[str, object]]:
    """Measure, and return the rows of ``build/bench/queries.json``."""
    history = made(int(os.environ.get("LINKTRAIL_BENCH_EVENTS", str(EVENTS))), fresh=bool(os.environ.get("LINKTRAIL_BENCH_FRESH")))
    with open_lake(history.lake) as engine:
        layer = str(engine.rows(_LAYER)[0]["layer_id"])
    return [_size(history), *_questions(history, layer, rounds * _ASKED), *_first_outputs(history, layer, rounds)]


def _size(history: History) -> dict[str, object]:
    own = sum(Path(file).stat().st_size for file in read_lake(history.lake).files)
    native = history.native.stat().st_size
    return {
        "name": f"size of {history.events:,} events",
        "value": round(own / 1e6),
        "unit": "MB",
        "peer": "native .duckdb",
        "peer_value": round(native / 1e6),
        "ratio": round(own / native, 3),
        "goal": "<= 0.65",
        "rounds": 1,
    }


# --- questions --------------------------------------------------------------------------------------------------


def _questions(history: History, layer: str, rounds: int) -> list[dict[str, object]]:
    asked: list[tuple[str, str, dict[str, object], str]] = [
        ("timeline of a layer", *_catalog("timeline", id=layer), "< 1"),
        ("growth of a week", *_catalog("growth", since=_END - 7 * _DAY), "<= 1.5"),
        ("findings --at", *_catalog("findings", at=_END - 10 * _DAY), "<= 1.5"),
        ("counts by day", _BY_DAY, {}, "<= 1.5"),
    ]
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    with open_lake(history.lake) as engine, _native(history.native) as native:
        sides: tuple[tuple[str, Ask], ...] = (("lake", lambda sql, values: engine.query(sql, values).num_rows), ("native", native))
        for turn in range(rounds + 1):
            for name, sql, values, _goal in asked:
                counts: dict[str, int] = {}
                for side, ask in sides[:: 1 if turn % 2 else -1]:
                    began = time.perf_counter()
                    counts[side] = ask(sql, values)
                    if turn:  # the first round only warms
                        took[name, side].append(time.perf_counter() - began)
                if counts["lake"] != counts["native"] or not counts["lake"]:
                    raise AssertionError(f"{name}: {counts['lake']} rows of the lake, {counts['native']} of the native file")
    return [
        {
            "name": name,
            "value": round(1000 * statistics.median(took[name, "lake"]), 1),
            "unit": "ms",
            "peer": "native .duckdb",
            "peer_value": round(1000 * statistics.median(took[name, "native"]), 1),
            "ratio": round(statistics.median(own / peer for own, peer in zip(took[name, "lake"], took[name, "native"], strict=True)), 3),
            "goal": goal,
            "rounds": rounds,
        }
        for name, _sql, _values, goal in asked
    ]


def _catalog(name: str, **values: object) -> tuple[str, dict[str, object]]:
    question = question_named(name)
    return question.sql, question.bound({**question.defaults(_END), **values})


@contextmanager
def _native(file: Path) -> Iterator[Ask]:
    """Yield how to ask the native file, which gets the same views."""
    with duckdb.connect(":memory:", config=SETTINGS) as connection:
        for statement in (
            "SET TimeZone = 'UTC'",
            f"ATTACH {literal(str(file))} AS native (READ_ONLY)",
            "CREATE SCHEMA lake",
            *(f"CREATE VIEW lake.{name} AS FROM native.{name}" for name in TABLES),
            *repeated_statements(None),
            *base_views(once=False),
            *(definition.sql for definition in definitions()),
        ):
            connection.execute(statement)

        def ask(sql: str, values: dict[str, object]) -> int:
            used = {name: value for name, value in values.items() if f"${name}" in sql}
            return int(connection.sql(sql, params=used or None).to_arrow_table().num_rows)

        yield ask


# --- first output -----------------------------------------------------------------------------------------------


def _commands(layer: str) -> dict[str, tuple[str, ...]]:
    """Return the verbs that ask the lake, and what is asked of each: of the whole fleet, where the question is not about one thing."""
    at = ("--at", "2026-11-10T12:00:00Z")
    week = ("--from", "2026-11-10", "--to", "2026-11-17")
    return {
        "findings": at,
        "timeline": (layer,),
        "timeline --around": ("2026-11-10T12:00:00Z",),
        "usage": at,
        "whois": (layer,),
        "why": (layer, *at),
        "shared-by": (layer, *at),
        "can-delete": (layer,),
        "repair-plan": (layer,),
        "growth": week,
        "diff": ("2026-11-10", "2026-11-11"),
        "coverage": week,
        "images": at,
        "containers": at,
        "inspect": (layer, *at),
        "forecast": ("--from", "2026-11-10"),
        "fleet": at,
        "verify": (),
        "query": ("--list",),
        "sql": ("SELECT count(*) FROM links",),
        "report": ("--from", "2026-11-10T12:00:00Z", "--to", "2026-11-10T13:00:00Z", "--node", "node-007"),
    }


def _first_outputs(history: History, layer: str, rounds: int) -> list[dict[str, object]]:
    rows = []
    for verb, arguments in _commands(layer).items():
        times = [_started(history.lake, verb, arguments) for _ in range(rounds)]
        first, whole, worked = (round(statistics.median(one), 2) for one in zip(*times, strict=True))
        row = {"name": f"first output: {verb}", "value": first, "unit": "s", "peer": "its end", "peer_value": whole}
        rows.append({**row, "ratio": None, "goal": "< 2 s", "rounds": rounds})
        row = {"name": f"processor: {verb}", "value": worked, "unit": "s", "peer": "its end", "peer_value": whole}
        rows.append({**row, "ratio": None, "goal": "", "rounds": rounds})
    return rows


def _started(lake: Path, verb: str, arguments: tuple[str, ...]) -> tuple[float, float, float]:
    """Return the seconds until the first byte of output, and until the end, of one command, and its seconds of processor time."""
    where = () if arguments == ("--list",) else ("--lake", str(lake))
    words = (*verb.split(), *arguments, *where)
    with tempfile.TemporaryDirectory(prefix="linktrail-bench-") as name:
        out = ("--out", f"{name}/report") if verb == "report" else ()
        command = [sys.executable, "-m", "linktrail", *words, *out]
        with (Path(name) / "errors").open("wb+") as errors:
            began, before = time.perf_counter(), _processor_of_children()
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if verb == "report" else errors) as process:
                first = _read_first(process)
                said = time.perf_counter() - began
                while first and process.stdout is not None and process.stdout.read(1 << 20):
                    pass
                code = process.wait(MOST)
            ended, worked = time.perf_counter() - began, _processor_of_children() - before
            errors.seek(0)
            if code not in {0, 3} or not first:
                raise AssertionError(f"{verb} ended with {code}: {errors.read().decode(errors='replace')[-500:]}")
    return said, ended, worked


def _processor_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read_first(process: Any) -> bytes:
    data: bytes = process.stdout.read1(1)
    return data


if __name__ == "__main__":
    for line in run(1):
        print(line)
