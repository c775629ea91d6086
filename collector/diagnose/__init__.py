"""Diagnosis: from one survey to findings. Pure: it reads no file and no clock.

Which rules apply depends on the store kind; the rules of ``reachability`` and ``chains`` know only the graph and serve all kinds. The
decision whether something is a finding yet (grace, settling) is in ``context``, the words of what to do in ``advice`` (of another
engine: in the class that ``engines`` names for its store kind).

Three promises: a healthy store yields nothing, also while engines change it; one damage is one finding, and what follows from it is
``related``; the time it takes is bounded by the size of the survey, whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from collector.diagnose import (
    chains,
    containerd,
    docker,
    docker_data,
    lower,
    mounts,
    plumbing,
    reachability,
    records,
)
from collector.diagnose.context import SETTLE_SECONDS, Examination, Past
from collector.findings import Diagnosis, Finding, worst_first
from collector.graph import Graph
from collector.links import StoreKind, Survey
from collector.measure import Size

Rule = Callable[[Examination], None]

RULES: Final[Mapping[StoreKind, tuple[Rule, ...]]] = {
    StoreKind.CONTAINERS_STORAGE: (reachability.leaks, chains.breaks, plumbing.breaks, lower.breaks, records.breaks),
    StoreKind.DOCKER_OVERLAY2: (
        docker.records,
        docker.leaks,
        reachability.leaks,
        chains.breaks,
        plumbing.breaks,
        lower.breaks,
        docker_data.breaks,
        records.breaks,
    ),
    StoreKind.CONTAINERD_OVERLAYFS: (containerd.findings, reachability.temporary, records.breaks),
}


def examine(
    survey: Survey,
    *,
    now: int,
    additional: Sequence[Survey] = (),
    sizes: Mapping[str, Size] | None = None,
    min_age: float | None = None,
    settle: float = SETTLE_SECONDS,
    past: Past | None = None,
    confirmed: Collection[tuple[str, str]] = (),
) -> Diagnosis:
    """Return the findings of ``survey`` as of ``now`` (ns UTC), and what is held back.

    ``additional`` are surveys of the read-only stores it uses (not diagnosed here). ``sizes`` are by path relative to the root, or by
    layer id. ``min_age`` (seconds) replaces every grace period. ``settle`` (seconds): a finding that rests on something changed less than
    that before the survey is held back, unless it is in ``confirmed``: the ``settling`` of the diagnosis of an earlier survey, read at
    least that long before. ``past`` is the history of links, where there is one.
    """
    look = Examination(
        Graph.of(survey, additional),
        now=now,
        sizes=sizes or {},
        min_age=min_age,
        settle=settle,
        past=past,
        confirmed=confirmed,
    )
    for rule in (*RULES[survey.kind], mounts.leaks):
        rule(look)
    findings = sorted(look.found.values(), key=worst_first)
    withheld = sorted(look.withheld.values(), key=lambda item: item.key)
    return Diagnosis(tuple(findings), tuple(withheld))


def diagnose(
    survey: Survey,
    *,
    now: int,
    additional: Sequence[Survey] = (),
    sizes: Mapping[str, Size] | None = None,
    min_age: float | None = None,
    past: Past | None = None,
) -> list[Finding]:
    """Return the findings of ``survey``; see ``examine`` for the arguments and for what is held back."""
    return list(examine(survey, now=now, additional=additional, sizes=sizes, min_age=min_age, past=past).findings)


__all__ = ["RULES", "SETTLE_SECONDS", "diagnose", "examine"]
