"""Is the record of each collector run whole? Batches are numbered from 0 in a run and chained by digest; here that is checked.

* the next number, with the right previous digest and row numbers: taken;
* a number seen before: a duplicate (a producer that was restarted sends again), skipped; the same number with other content
  contradicts what is in the lake: it is set aside and stated as ``chain-broken``;
* a number that leaves some out: taken, and the hole is stated as a gap ``batch-missing``; a batch that comes later and fills
  it is taken;
* a digest or a row number that does not continue the chain: taken, and stated as ``chain-broken``.

A gap reaches from the earliest time that the batch before the hole speaks of to the sealing of the batch after it: whatever is
missing was observed in between. The state of a run is its last batch, and its holes; ``processor.restore`` reads it back from
the rows of ``coverage``, so it is exactly as old as the lake's position.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from linktrail import batch
from processor.coverage import Gap

MOST_RUNS: Final = 100_000
BATCH_MISSING: Final = "batch-missing"
CHAIN_BROKEN: Final = "chain-broken"

RunKey = tuple[str, str, str]


@dataclass(slots=True)
class Run:
    """The last batch of a run: its number, digest, last row number, earliest time (ns UTC) and source; and the numbers left out before."""

    batch: int
    digest: str
    last_seq: int
    low: int
    source: str = ""
    missing: set[tuple[int, int]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with a batch: ``take`` its rows or not, ``set_aside`` its bytes or not, and the ``gaps`` to state.

    ``hole`` is the number of batches of the run that are missing just before it.
    """

    take: bool
    set_aside: bool = False
    hole: int = 0
    gaps: tuple[Gap, ...] = ()


class Continuity:
    """What was received of each run, and of each source. Bounded: the runs heard of least recently are forgotten first."""

    def __init__(self, runs: dict[RunKey, Run] | None = None, sources: dict[str, int] | None = None) -> None:
        """Start from ``runs`` and the earliest time of the last batch of each of ``sources``; without them, know of nothing."""
        self._runs = runs or {}
        self._sources = sources or {}

    def low_of(self, source: str) -> int | None:
        """Return the earliest time that the last batch from ``source`` speaks of (ns UTC); ``None`` before the first."""
        return self._sources.get(source)

    def nodes_of(self, source: str) -> set[tuple[str, str]]:
        """Return (cluster, node) of the runs whose last batch came from ``source``."""
        return {(cluster, node) for (cluster, node, _), run in self._runs.items() if run.source == source}

    def judge(self, header: batch.Header, digest: str, low: int, source: str) -> Judgement:
        """Judge a decoded batch whose rows speak of times from ``low`` (ns UTC) on, and remember it."""
        self._sources[source] = low
        key = (header.cluster, header.node, header.run)
        run = self._runs.pop(key, None)
        if run is None:
            run = Run(batch=-1, digest="", last_seq=-1, low=-1)
        judgement = _judge(run, header, digest)
        if judgement.take and header.batch > run.batch:
            run.batch, run.digest, run.last_seq, run.low, run.source = header.batch, digest, header.last_seq, low, source
        self._remember(key, run)
        return judgement

    def _remember(self, key: RunKey, run: Run) -> None:
        self._runs[key] = run  # at the end: the dictionary is ordered by when a run was last heard of
        if len(self._runs) > MOST_RUNS:
            del self._runs[next(iter(self._runs))]


# --- judging ----------------------------------------------------------------------------------------------------


def _judge(run: Run, header: batch.Header, digest: str) -> Judgement:
    number = header.batch
    if number > run.batch:
        hole = number - run.batch - 1
        if hole:
            run.missing.add((run.batch + 1, number - 1))
            return Judgement(take=True, hole=hole, gaps=(_hole(run, header, digest),))
        return Judgement(take=True, gaps=_chain(run, header, digest))
    for first, last in run.missing:
        if first <= number <= last:
            run.missing.remove((first, last))
            run.missing |= without((first, last), {number})
            return Judgement(take=True)
    if number == run.batch and digest != run.digest:
        what = f"batch {number} came twice with different content; the second is set aside"
        return Judgement(take=False, set_aside=True, gaps=(_gap(CHAIN_BROKEN, what, run, header, digest),))
    return Judgement(take=False)


def _hole(run: Run, header: batch.Header, digest: str) -> Gap:
    first, last = run.batch + 1, header.batch - 1
    names = f"batch {first}" if first == last else f"batches {first} to {last}"
    return _gap(BATCH_MISSING, f"{names} of run {header.run} never arrived", run, header, digest)


def _chain(run: Run, header: batch.Header, digest: str) -> tuple[Gap, ...]:
    if header.previous_digest != run.digest:
        named, known = header.previous_digest[:12] or "none", run.digest[:12] or "none"
        what = f"batch {header.batch} names {named} as the batch before it, which was {known}"
        return (_gap(CHAIN_BROKEN, what, run, header, digest),)
    if header.first_seq != run.last_seq + 1:
        what = f"batch {header.batch} starts at row {header.first_seq}, the batch before it ended at row {run.last_seq}"
        return (_gap(CHAIN_BROKEN, what, run, header, digest),)
    return ()


def _gap(cause: str, message: str, run: Run, header: batch.Header, digest: str) -> Gap:
    is_hole = cause == BATCH_MISSING
    first = run.batch + 1 if is_hole else header.batch
    last = header.batch - 1 if is_hole else header.batch
    return Gap(
        cause=cause,
        message=message,
        gap_id=f"{header.run}/{first}-{last}",
        cluster=header.cluster,
        node=header.node,
        run=header.run,
        after=None if run.batch < 0 else run.low,
        before=header.sealed_at,
        first_batch=first,
        first_seq=run.last_seq + 1 if is_hole else header.first_seq,
        last_seq=header.first_seq - 1 if is_hole else header.last_seq,
        batch_digest=digest,
        previous_digest=header.previous_digest,
    )


def without(hole: tuple[int, int], numbers: set[int]) -> set[tuple[int, int]]:
    """Return what is left of the hole (first and last number) once ``numbers`` arrived."""
    left: set[tuple[int, int]] = set()
    first = hole[0]
    for number in sorted(number for number in numbers if hole[0] <= number <= hole[1]):
        if number > first:
            left.add((first, number - 1))
        first = number + 1
    return left | ({(first, hole[1])} if first <= hole[1] else set())
