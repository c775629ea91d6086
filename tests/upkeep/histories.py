"""Histories of weeks, made by hypothesis, and what people may ask about them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from linktrail.clock import NANOSECONDS
from linktrail.schema import TABLES
from linktrail.testing.clock import START, FakeClock
from processor.lake import Lake
from processor.upkeep.retain import LEAST_DAYS, first_kept_day
from queries.completeness import Window, completeness, to_datetime
from queries.engine import Engine, open_lake
from tests.faults.filesystems import QuickFileSystem
from tests.queries.lakes import Run

HOUR: Final = 3600
DAY: Final = 24 * HOUR
STATES: Final = ("links_at", "findings_at", "usage_at", "layers_at")
_NODES: Final = ("n1", "n2")
_LAYERS: Final = ("a", "b")
_GAPS: Final = ("restart", "ledger-lost", "overflow", "batch-missing", "batch-undecodable")


@dataclass(frozen=True)
class Step:
    """One thing that a node records: ``pause`` hours after the step before, of something that took ``length`` hours."""

    node: str
    kind: str
    subject: str
    action: str
    pause: float
    length: float | None
    choice: int


steps = st.lists(
    st.builds(
        Step,
        node=st.sampled_from(_NODES),
        kind=st.sampled_from(["layer", "layer", "parent", "baseline", "finding", "finding", "usage", "usage", "beat", "gap", "run"]),
        subject=st.sampled_from(_LAYERS),
        action=st.sampled_from(["created", "removed", "removed", "retargeted"]),
        pause=st.sampled_from([0, 1, 5, 11, 24, 40, 90, -7]),  # a clock may be set back
        length=st.sampled_from([0, 1, 30, None]),
        choice=st.integers(0, 4),
    ),
    min_size=4,
    max_size=40,
)


def runs_of(history: Sequence[Step]) -> tuple[list[Run], float]:
    """Return the collector runs that recorded ``history``, and when it ended (seconds after the beginning)."""
    current: dict[str, Run] = {}
    runs: list[Run] = []
    clock = latest = 0.0
    for step in history:
        clock = max(0.0, clock + step.pause * HOUR)
        latest = max(latest, clock)
        if step.node not in current or step.kind == "run":
            begun = datetime.fromtimestamp(START / NANOSECONDS + clock, UTC)
            current[step.node] = Run(f"{begun:%Y%m%dT%H%M%S}Z-{len(runs):08x}", node=step.node)
            runs.append(current[step.node])
            current[step.node].start(clock)
        _record(current[step.node], step, clock)
    return runs, latest


def _record(run: Run, step: Step, clock: float) -> None:
    when = (None if step.length is None else clock - step.length * HOUR, clock)
    if step.kind == "layer":
        kind = ("layer_directory", "layer_record", "container_layer", "image_layer", "lease")[step.choice]
        run.link(kind, step.action, step.subject, when, layer_id=step.subject, target="a")
    elif step.kind == "parent":
        run.link("parent_pointer", step.action, step.subject, when, target=f"p{step.choice}", layer_id=step.subject)
    elif step.kind == "baseline":
        run.link("layer_directory", "observed", step.subject, (None, clock), layer_id=step.subject, origin="baseline")
    elif step.kind == "finding":
        action = ("opened", "changed", "closed", "closed", "opened")[step.choice]
        run.finding(action, "unaccounted-layer", step.subject, when, bytes=step.choice)
    elif step.kind == "usage":
        run.usage(("layer", "layer", "layer", "store", "filesystem")[step.choice], step.subject, (clock, clock), step.choice)
    elif step.kind == "beat":
        run.coverage("stop" if step.choice == 0 else "heartbeat", (clock - HOUR, clock), mode="inotify")
    elif step.kind == "gap":
        numbers = {"first_seq": len(run.rows), "last_seq": len(run.rows) + step.choice}
        run.coverage("gap", when, cause=_GAPS[step.choice], message="m", gap_id=f"g{len(run.rows)}", **numbers)
        if step.choice % 2:
            run.coverage("batch", when, batch_rows=step.choice + 1, source="s", source_offset=len(run.rows), **numbers)


def write(path: Path, runs: Sequence[Run], *, pieces: int, twice: bool) -> Path:
    """Write ``runs`` in ``pieces`` commits each; ``twice``: the first of them a second time, as a restarted producer does."""
    lake = Lake.open_for_writing(path, filesystem=QuickFileSystem())
    position = 0
    for run in runs:
        for name, table in lake.tables.items():
            rows = run.table(name)
            size = max(1, -(-rows.num_rows // pieces))
            parts = [rows.slice(start, size) for start in range(0, rows.num_rows, size)]
            for part in (*parts, *(parts[:1] if twice else ())):
                table.commit(part, {"test": position + 1}, {"test": table.transaction_version("test")})
                position += 1
    return path


def copy_of(path: Path, to: Path) -> Path:
    """Return a copy of the lake at ``path``."""
    shutil.copytree(path, to)
    return to


def clock_after(latest: float, hours: float) -> FakeClock:
    """Return a clock that stands ``hours`` after ``latest`` (seconds after the beginning)."""
    return FakeClock(START + round((latest + hours * HOUR) * NANOSECONDS))


def horizon_of(clock: FakeClock) -> int:
    """Return the horizon of the shortest retention, in ns UTC."""
    day = first_kept_day(clock.now().wall, LEAST_DAYS)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * NANOSECONDS


def answers(path: Path, instants: Sequence[int], horizon: int, now: int) -> dict[str, Any]:
    """Return everything that is asked about instants from ``horizon`` on (ns UTC)."""
    with open_lake(path) as engine:
        told: dict[str, Any] = {}
        for instant in instants:
            for state in STATES:
                told[f"{state} {instant}"] = _rows(engine, f"FROM {state}($t)", instant)
        for window in (Window(instants[0], instants[0]), Window(horizon, instants[-1])):
            told[f"completeness {window}"] = completeness(engine, window, now=now, state=window.is_instant)
        told["leaks"] = _rows(engine, "FROM leaks", now)
        told["gaps"] = _rows(engine, "FROM gaps WHERE ended >= $t", horizon)
        for name in TABLES:
            told[name] = _rows(engine, f"FROM {name} WHERE observed_at >= $t", horizon)
        return told


def _rows(engine: Engine, sql: str, instant: int) -> list[str]:
    return sorted(repr(row) for row in engine.rows(sql, {"t": to_datetime(instant)}))
