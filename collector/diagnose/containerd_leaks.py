"""Leaks of a containerd store: snapshots that nothing living needs.

A chain of snapshots that only one thing holds is one finding, for its uppermost snapshot; those below are ``related`` and their bytes are
counted with it. What an image or a container reaches is in use. What only leases and labels of a namespace hold whose engine works that
way (Docker's ``moby``, BuildKit) is that engine's own affair and no finding.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from collector.diagnose.advice_containerd import ContainerdAdvice
from collector.diagnose.cases import Case
from collector.diagnose.containerd_gc import Node, Reach
from collector.diagnose.containerd_store import META, ContainerdStore, Lease, Snapshot, briefly
from collector.diagnose.context import Examination
from collector.graph_nodes import created
from collector.links import LinkKey
from linktrail.clock import iso

_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class _Chain:
    """Snapshots that are held, or not, in the same way; ``members`` from the uppermost down."""

    how: str
    members: list[Snapshot]

    @property
    def top(self) -> Snapshot:
        return self.members[0]


def leaks(look: Examination, store: ContainerdStore, advice: ContainerdAdvice) -> None:
    """Report every snapshot that is held by nothing living."""
    if store.named_known:
        reach = Reach(store, look.now)
        for chain in _chains(store, reach):
            _SAY[chain.how](look, store, reach, chain, advice)


def _chains(store: ContainerdStore, reach: Reach) -> list[_Chain]:
    """Sort what is not in use into chains, each snapshot once, the deepest first."""
    how = {snapshot.key: said for snapshot in store.snapshots.values() if (said := _held(store, reach, snapshot)) is not None}
    depths = _depths(store, how)
    chains: list[_Chain] = []
    taken: set[str] = set()
    for key in sorted(how, key=lambda key: (-depths[key], key)):
        if key in taken:
            continue
        taken.add(key)
        chain = _Chain(how[key], [store.snapshots[key]])
        for below in store.ancestors(key):
            if below in taken or below not in how or (how[below] != chain.how and chain.how != "incomplete"):
                break
            taken.add(below)
            chain.members.append(store.snapshots[below])
        chains.append(chain)
    return chains


def _held(store: ContainerdStore, reach: Reach, snapshot: Snapshot) -> str | None:
    """Return how a snapshot is held that is not in use; ``None`` for one that is, and where that cannot be told."""
    if snapshot.snapshotter not in store.known_snapshotters or snapshot.stored is None:
        return None
    if snapshot.named is None:
        return "half"
    node = Node("snapshot", "", snapshot.key)
    if node in reach.used or node in reach.managed:
        return None
    if snapshot.unpacking:
        return "incomplete"
    if node in reach.by_label:
        return "label"
    return "lease" if node in reach.by_lease else "nothing"


def _depths(store: ContainerdStore, keys: dict[str, str]) -> dict[str, int]:
    """Return how many of ``keys`` lie below each of them."""
    depths: dict[str, int] = {}
    for key in keys:
        path = [key]
        for below in store.ancestors(key):
            if below not in keys or below in depths:
                break
            path.append(below)
        known = store.snapshots[path[-1]].parent
        depth = depths.get(known or "", -1)
        for member in reversed(path):
            depth += 1
            depths.setdefault(member, depth)
    return depths


def _unreferenced(look: Examination, store: ContainerdStore, reach: Reach, chain: _Chain, advice: ContainerdAdvice) -> None:
    leases = reach.leases_on(member.key for member in chain.members)
    was = f" Lease {briefly([lease.name for lease in leases])} held it until {_until(leases)}." if leases else ""
    _report(
        look,
        chain,
        "unreferenced-layer",
        f"Snapshot {chain.top.words()} is reached by no image, container, lease or label{_with(chain)}.{was}",
        advice.unreferenced(chain.top, store.below.get(chain.top.key, [])),
        leases=leases,
    )


def _leased(look: Examination, _store: ContainerdStore, reach: Reach, chain: _Chain, advice: ContainerdAdvice) -> None:
    holding = [lease for lease in reach.leases_on(member.key for member in chain.members) if not lease.over(look.now)]
    names = briefly([lease.name for lease in holding]) or "one that leads to it"
    _report(
        look,
        chain,
        "pinned-by-lease",
        f"Only lease {names} holds snapshot {chain.top.words()}{_with(chain)}; it {_ends(holding)}.",
        advice.leased(chain.top, [(lease.namespace, lease.name) for lease in holding]),
        leases=holding,
        needs=[lease.record.key for lease in holding] if len(holding) == 1 else (),
    )


def _labelled(look: Examination, _store: ContainerdStore, reach: Reach, chain: _Chain, advice: ContainerdAdvice) -> None:
    labels = reach.labels_on(member.key for member in chain.members)
    names = sorted({f"{label.detail['label']}={label.detail.get('value', '')}" for label in labels})
    bearers = sorted({label.subject for label in labels if label.subject != chain.top.key})
    on = f" on {briefly(bearers)}" if bearers else ""
    _report(
        look,
        chain,
        "pinned-by-label",
        f"Only label {briefly(names)}{on} holds snapshot {chain.top.words()}{_with(chain)}.",
        advice.labelled(chain.top, [str(label.detail["label"]) for label in labels], store_object=bool(bearers)),
        leases=reach.leases_on(member.key for member in chain.members),
        more={"labels": [label.path for label in labels][:_SHOWN]},
        keys=[label.key for label in labels],
        needs=[label.key for label in labels] if len(labels) == 1 else (),
    )


def _incomplete(look: Examination, _store: ContainerdStore, reach: Reach, chain: _Chain, advice: ContainerdAdvice) -> None:
    leases = reach.leases_on(member.key for member in chain.members)
    held = f" Lease {briefly([lease.name for lease in leases])} {_holds(leases, look.now)}." if leases else ""
    _report(
        look,
        chain,
        "incomplete-layer",
        f"Snapshot {chain.top.words()} was made to unpack a layer into, and that never ended{_with(chain)}.{held}",
        advice.unpacking(chain.top, [(lease.namespace, lease.name) for lease in leases if not lease.over(look.now)]),
        leases=leases,
    )


def _half(look: Examination, _store: ContainerdStore, _reach: Reach, chain: _Chain, advice: ContainerdAdvice) -> None:
    _report(
        look,
        chain,
        "interrupted-removal",
        f"Snapshot {chain.top.words()} stands in the snapshotter's database but not in meta.db{_with(chain)}: its removal (or its making)"
        " was cut off, and no command lists it.",
        advice.half_removed(chain.top),
        leases=[],
    )


_SAY: Final = {"nothing": _unreferenced, "lease": _leased, "label": _labelled, "incomplete": _incomplete, "half": _half}


def _report(
    look: Examination,
    chain: _Chain,
    code: str,
    message: str,
    advice: str,
    *,
    leases: list[Lease],
    more: dict[str, Any] | None = None,
    keys: Collection[LinkKey] = (),
    needs: Collection[LinkKey] = (),
) -> None:
    top = chain.top
    paths = tuple(member.path for member in chain.members if member.path is not None and member.directory is not None)
    evidence: dict[str, Any] = {
        **identity(top),
        "chain": [member.name for member in chain.members[:_SHOWN]],
        "leases": [{"id": lease.name, "namespace": lease.namespace, "expires": iso(lease.expires)} for lease in leases[:_SHOWN]],
        **(more or {}),
    }
    look.report(
        Case(
            code,
            "layer",
            top.key,
            top.path,
            message,
            advice,
            related=[top.name, *(member.key for member in chain.members[1:]), *(lease.name for lease in leases)],
            evidence=evidence,
            times=_times(chain, leases),
            compared=[META, *([top.stored.path] if top.stored is not None else [])],
            keys=[top.record.key, *keys],
            needs=needs,
            unheld=[top.key],
            ended=[lease.expires for lease in leases if lease.expires is not None and lease.over(look.now)],
            began=created(top.record),
            held=paths,
            owner=top.owner,
            removes=[member.key for member in chain.members],
        )
    )


def identity(snapshot: Snapshot) -> dict[str, Any]:
    """Return the names of a snapshot: the question that people ask most."""
    return {
        "namespace": snapshot.namespace,
        "snapshotter": snapshot.snapshotter,
        "name": snapshot.name,
        "directory": snapshot.number,
        "kind": snapshot.kind,
        "parent": snapshot.parent,
    }


def _times(chain: _Chain, leases: list[Lease]) -> dict[str, int | None]:
    """Return what shows when somebody last worked on any of it, or under the same lease: a pull makes its layers one after another."""
    found: dict[str, int | None] = {}
    for member in chain.members:
        for name, when in member.times().items():
            found[name] = max(when or 0, found.get(name) or 0) or None
    for lease in leases:
        found["lease created"] = max(created(lease.record) or 0, found.get("lease created") or 0) or None
    return found


def _with(chain: _Chain) -> str:
    count = len(chain.members) - 1
    return f", with {count} below it" if count else ""


def _until(leases: list[Lease]) -> str:
    return iso(max((lease.expires for lease in leases if lease.expires is not None), default=None)) or "it was deleted"


def _ends(leases: list[Lease]) -> str:
    if not leases or any(lease.expires is None for lease in leases):
        return "never expires"
    return f"expires {_until(leases)}"


def _holds(leases: list[Lease], now: int) -> str:
    return f"held it until {_until(leases)}" if all(lease.over(now) for lease in leases) else f"holds it and {_ends(leases)}"
