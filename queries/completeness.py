"""Was the record complete in the time that was asked about? Every answer ends with this.

The collector states, per store, from when it records (start), until when it vouches for the record (heartbeat, stop), and what it may have
missed (gap). A state at an instant is known when the instant lies in no gap; what a lost batch said stays unknown for ever after. Time
before recording began, and after the last word, is a gap like any other. A live collector's last word is up to ``TOLERANCE`` old
(heartbeats every 60 s, idle commits after 30 s), so an answer about now is complete up to that word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from linktrail.clock import NANOSECONDS, iso
from linktrail.durations import spell_duration
from linktrail.errors import EXIT_GAPS, EXIT_OK
from linktrail.text import printable
from linktrail.values import trim_fraction
from queries.engine import Engine

TOLERANCE: Final = 150 * NANOSECONDS
LASTING: Final = ("batch-missing", "batch-undecodable")
MOST_LINES: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """The time asked about: ``after`` to ``before`` (ns UTC). ``after`` ``None``: from the beginning. Equal: an instant."""

    after: int | None
    before: int

    @property
    def is_instant(self) -> bool:
        """Whether the question is about one moment."""
        return self.after == self.before


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose record is asked about; ``None``: everybody's."""

    clusters: frozenset[str] | None = None
    nodes: frozenset[str] | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A time (ns UTC) in which the record may miss something, and why. ``after`` ``None``: unknown; ``store_root`` ``None``: all."""

    cluster: str
    node: str
    store_root: str | None
    after: int | None
    before: int
    cause: str
    message: str

    def document(self) -> dict[str, object]:
        """Return the gap as JSON has it."""
        return {
            "cluster": self.cluster,
            "node": self.node,
            "store_root": self.store_root,
            "after": iso(self.after),
            "before": iso(self.before),
            "cause": self.cause,
            "message": self.message,
        }

    def line(self) -> str:
        """Return the gap as one line for a person."""
        where = ", ".join(part for part in (self.node and f"node {printable(self.node)}", printable(self.store_root or "")) if part)
        span = f"until {spell(self.before)}"
        if self.after is not None:
            span = f"{spell(self.after)} to {spell(self.before)} ({spell_duration((self.before - self.after) / NANOSECONDS)})"
        return f"{where or 'all nodes'}: {span}: {self.cause}: {printable(self.message)}"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The record of one store: from ``began`` to ``vouched`` (ns UTC), and whether recording was stopped then."""

    cluster: str
    node: str
    store_root: str
    began: int
    vouched: int
    stopped: bool


@dataclass(frozen=True, slots=True)
class Completeness:
    """What an answer can say about the record in its window."""

    window: Window
    stretches: tuple[Stretch, ...]
    gaps: tuple[Gap, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return not self.gaps

    @property
    def exit_code(self) -> int:
        """0, or 3 where the asked time has gaps."""
        return EXIT_OK if self.complete else EXIT_GAPS

    @property
    def known(self) -> tuple[int, int] | None:
        """The part of the window (ns UTC) that every store's record reaches over; ``None`` where there is none."""
        if not self.stretches:
            return None
        began = max(stretch.began for stretch in self.stretches)
        vouched = min(stretch.vouched for stretch in self.stretches)
        return (began if self.window.after is None else max(began, self.window.after)), min(vouched, self.window.before)

    def document(self) -> dict[str, object]:
        """Return the statement as JSON has it."""
        stores = [
            {
                "cluster": stretch.cluster,
                "node": stretch.node,
                "store_root": stretch.store_root,
                "recorded_from": iso(stretch.began),
                "recorded_to": iso(stretch.vouched),
                "stopped": stretch.stopped,
            }
            for stretch in self.stretches
        ]
        return {
            "complete": self.complete,
            "asked_from": iso(self.window.after),
            "asked_to": iso(self.window.before),
            "stores": stores,
            "gaps": [gap.document() for gap in self.gaps],
        }

    def lines(self) -> list[str]:
        """Return the statement for a person, a line each."""
        if self.gaps:
            asked = f"at {spell(self.window.before)}" if self.window.is_instant else "in the asked time"
            count = "a gap" if len(self.gaps) == 1 else f"{len(self.gaps)} gaps"
            shown = [f"  {gap.line()}" for gap in self.gaps[:MOST_LINES]]
            more = len(self.gaps) - MOST_LINES
            rest = [f"  and {more} more: linktrail query coverage_gaps"] if more > 0 else []
            return [f"The record has {count} {asked}:", *shown, *rest]
        if self.known is None:
            return []
        after, before = self.known
        stores = self.stretches[0].store_root if len(self.stretches) == 1 else f"{len(self.stretches)} stores"
        nodes = {(stretch.cluster, stretch.node) for stretch in self.stretches}
        where = f"node {next(iter(nodes))[1]}" if len(nodes) == 1 else f"{len(nodes)} nodes"
        span = f"from {spell(after)} to {spell(before)}" if after < before else f"at {spell(before)}"
        return [f"The record is complete {span} ({printable(stores)} on {printable(where)})."]


def spell(nanoseconds: int | None) -> str | None:
    """Return an instant for a person: ISO 8601, without a fraction of zero."""
    text = iso(nanoseconds)
    return None if text is None else trim_fraction(text)


def to_datetime(nanoseconds: int) -> datetime:
    """Return an instant as DuckDB takes it (microseconds, rounded down)."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def to_nanoseconds(moment: datetime) -> int:
    """Return an instant that DuckDB gave, in ns UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


# --- asking the lake --------------------------------------------------------------------------------------------

_STRETCHES: Final = """
SELECT cluster, node, store_root, min(began) AS began, max(vouched) AS vouched, arg_max(stopped, run) AS stopped
FROM lake.recorded_runs GROUP BY ALL HAVING min(began) IS NOT NULL ORDER BY ALL
"""
_GAPS: Final = """
SELECT cluster, node, store_root, began, ended, cause, coalesce(message, cause) AS message
FROM gaps
WHERE (began IS NULL OR began <= $before)
  AND ($after IS NULL OR ended >= $after OR ($state AND cause IN ('batch-missing', 'batch-undecodable')))
ORDER BY began NULLS FIRST, ended, cluster, node, store_root, cause
"""


def completeness(engine: Engine, window: Window, *, now: int, scope: Scope | None = None, state: bool = False) -> Completeness:
    """Say what the record of ``scope`` misses in ``window``.

    ``state`` asks whether what stood at ``window.before`` is known, to which batches that were lost before matter too.
    """
    scope = scope or Scope()
    bounds = {"after": None if window.after is None else to_datetime(window.after), "before": to_datetime(window.before), "state": state}
    stretches = [stretch for stretch in _stretches(engine) if _within(stretch, scope)]
    stated = [gap for gap in map(_gap, engine.rows(_GAPS, bounds)) if _within(gap, scope)]
    ends = [gap for stretch in stretches for gap in _ends(stretch, window, now)]
    if not stretches:
        ends.append(Gap("", "", None, None, window.before, "not-recorded", "nothing here says that anything was recorded"))
    gaps = sorted(_merged([*ends, *stated]), key=lambda gap: (gap.after or 0, gap.before, gap.node, gap.store_root or ""))
    return Completeness(window, tuple(stretches), tuple(gaps))


def _stretches(engine: Engine) -> list[Stretch]:
    return [
        Stretch(
            row["cluster"],
            row["node"],
            row["store_root"],
            to_nanoseconds(row["began"]),
            to_nanoseconds(row["vouched"]),
            bool(row["stopped"]),
        )
        for row in engine.rows(_STRETCHES)
    ]


def _gap(row: dict[str, Any]) -> Gap:
    after = None if row["began"] is None else to_nanoseconds(row["began"])
    message = row["message"]
    if row["cause"] in LASTING:
        message = f"{message}; what they said is in no answer about a later time either"
    return Gap(row["cluster"], row["node"], row["store_root"], after, to_nanoseconds(row["ended"]), row["cause"], message)


def _within(part: Gap | Stretch, scope: Scope) -> bool:
    """Tell whether ``part`` concerns ``scope``; a gap without a node or store concerns all."""
    of_cluster = scope.clusters is None or not part.node or part.cluster in scope.clusters
    of_node = scope.nodes is None or not part.node or part.node in scope.nodes
    return of_cluster and of_node and (scope.store is None or part.store_root is None or part.store_root == scope.store)


def _ends(stretch: Stretch, window: Window, now: int) -> Iterable[Gap]:
    """Yield the parts of the window that lie before a store's record began, and after its last word."""
    asked_from = stretch.began if window.after is None else window.after
    if asked_from < stretch.began:
        yield _of(stretch, None, stretch.began, "not-recorded", f"recording began at {spell(stretch.began)}; before, nothing is known")
    if window.before > stretch.vouched and now - stretch.vouched > TOLERANCE:
        what = "recording was stopped" if stretch.stopped else "no word from the collector; linktrail may not be running there"
        cause = "stopped" if stretch.stopped else "silent"
        yield _of(stretch, stretch.vouched, window.before, cause, what)


def _of(stretch: Stretch, after: int | None, before: int, cause: str, message: str) -> Gap:
    return Gap(stretch.cluster, stretch.node, stretch.store_root, after, before, cause, message)


def _merged(gaps: Sequence[Gap]) -> list[Gap]:
    """Join gaps of one place, cause and message that follow each other (a lasting condition is stated again every minute)."""
    places: dict[tuple[str, str, str, str, str], list[Gap]] = {}
    for gap in gaps:
        known = places.setdefault((gap.cluster, gap.node, gap.store_root or "", gap.cause, gap.message), [])
        last = known[-1] if known else None
        if last is not None and gap.after is not None and gap.after <= last.before:
            known[-1] = replace(last, before=max(last.before, gap.before))
        else:
            known.append(gap)
    return [gap for known in places.values() for gap in known]
