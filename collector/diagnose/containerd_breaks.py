"""Breaks of a containerd store's snapshots: records that lead nowhere, and databases that disagree.

One damage is one finding: who needs a lost snapshot is ``related`` to it. Nothing is said of what a database would have recorded that could
not be read, or of a snapshotter that keeps its data elsewhere (a proxy plugin). Which code means what here:

* ``layer-missing``: a snapshot whose directory is gone, or that only meta.db records (its directory cannot be found any more)
* ``lower-mismatch``: the two databases name different parents for one snapshot, or the children index lacks a child. There are no ``lower``
  files here: what is mounted follows from metadata.db, what is collected from meta.db, and they must agree as ``lower`` and ``parent`` must
* ``phantom-child``: reported once for each parent, because that is what cannot be removed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, Final

from collector.diagnose.advice_containerd import ContainerdAdvice
from collector.diagnose.cases import ANYTHING, Case
from collector.diagnose.containerd_leaks import identity
from collector.diagnose.containerd_store import META, SNAPSHOTTER, ContainerdStore, Snapshot, brief, briefly
from collector.diagnose.context import Examination
from collector.graph_nodes import created
from collector.links import Link, LinkKind, LinkState

_SHOWN: Final = 50


def breaks(look: Examination, store: ContainerdStore, advice: ContainerdAdvice) -> None:
    """Report every break between records, and between records and directories."""
    rules = _Breaks(look, store, advice)
    for snapshot in store.snapshots.values():
        rules.snapshot(snapshot)
    for cycle in look.cycles:
        rules.cycle(cycle)
    rules.phantoms()


class _Breaks:
    """The rules of one look."""

    def __init__(self, look: Examination, store: ContainerdStore, advice: ContainerdAdvice) -> None:
        self.look = look
        self.store = store
        self.advice = advice
        children = [(link.subject, link.target, link.path.startswith(META)) for link in store.children]
        self.index = {(parent, child) for parent, child, named in children if named}
        self.stored_index = {(parent, child) for parent, child, named in children if not named}
        self.image_names: dict[str, list[str]] = {}
        for (_, name), link in store.images.items():
            self.image_names.setdefault(link.target or "", []).append(name)
        self.image_tops: dict[str, list[str]] = {}
        for link in store.tops:
            self.image_tops.setdefault(link.target or "", []).append(link.subject)
        self.users_of: dict[str, list[str]] = {}
        self.gone = self._all_gone()
        for (_, name), container in store.containers.items():
            if container.layer is not None and container.layer.target:
                self.users_of.setdefault(container.layer.target, []).append(name)

    def _all_gone(self) -> set[str]:
        """Return the snapshotters of which every directory is gone, as when the filesystem that held them is not mounted."""
        kept = [snapshot for snapshot in self.store.snapshots.values() if snapshot.path is not None]
        counts = Counter(snapshot.snapshotter for snapshot in kept)
        standing = {snapshot.snapshotter for snapshot in kept if snapshot.directory is not None}
        return {snapshotter for snapshotter, count in counts.items() if count > 1 and snapshotter not in standing}

    # --- snapshots --------------------------------------------------------------------------------------------

    def snapshot(self, snapshot: Snapshot) -> None:
        """Look at one snapshot: its records, its directory, its parents."""
        if snapshot.snapshotter not in self.store.known_snapshotters:
            return
        faulty = [link for link in (snapshot.stored, snapshot.named) if link is not None and link.state is LinkState.MALFORMED]
        if faulty:
            self._unreadable(snapshot, faulty[0])
            return
        if snapshot.stored is None:
            self._missing(snapshot, "is recorded in meta.db, but the snapshotter's database does not know it")
        elif snapshot.named is not None or not self.store.named_known:
            self._directory(snapshot)
        if snapshot.stored is not None and snapshot.named is not None:
            self._parents(snapshot)

    def _directory(self, snapshot: Snapshot) -> None:
        path, found = snapshot.path, snapshot.directory
        if path is None or snapshot.stands or self.store.unknown(path):
            self._work(snapshot)
            return
        if found is None:
            what = "but that directory is gone"
            if snapshot.snapshotter in self.gone:
                what += ", like that of every other snapshot"
        elif found.state is not LinkState.PRESENT:
            what = f"but in place of its directory there is a {found.detail.get('type', 'different thing')}"
        else:
            what = "but the directory with its content (fs) is gone"
        self._missing(snapshot, f"has its record, {what}")

    def _missing(self, snapshot: Snapshot, what: str) -> None:
        images, containers = self._users(snapshot.key)
        children = self.store.below.get(snapshot.key, [])
        self._report(
            "layer-missing",
            snapshot,
            f"Snapshot {snapshot.words()} {what}.{_needs(self._named(images), containers)}",
            self.advice.all_gone(snapshot)
            if snapshot.snapshotter in self.gone
            else self.advice.snapshot_missing(snapshot, self._named(images), containers, children=bool(children)),
            related=[*images, *containers],
            evidence={"images": self._named(images)[:_SHOWN], "containers": containers[:_SHOWN]},
            keys=[(LinkKind.LAYER_DIRECTORY, snapshot.stored.target or "", snapshot.path or "")] if snapshot.stored is not None else [],
        )

    def _work(self, snapshot: Snapshot) -> None:
        """Report an active snapshot without ``work``: the kernel does not mount it."""
        found = snapshot.directory
        if snapshot.kind != "active" or snapshot.parent is None or not snapshot.stands or found is None:
            return
        if found.detail.get("work") is False:
            _, containers = self._users(snapshot.key)
            place = f"{found.path}/work"
            self._report(
                "layer-data-missing",
                snapshot,
                f"Active snapshot {snapshot.words()} has no work directory, so it cannot be mounted.{_needs([], containers)}",
                f"Nothing to remove: no file is lost. Next: mkdir -m 0711 {self.advice.at(place)}",
                related=containers,
                evidence={"missing": ["work"]},
                path=place,
                keys=[found.key],
            )

    def _unreadable(self, snapshot: Snapshot, link: Link) -> None:
        faults = link.detail.get("faults") or ["no kind"]
        self._report(
            "metadata-unreadable",
            snapshot,
            f"The record of snapshot {snapshot.words()} in {link.path} cannot be read: {', '.join(brief(str(fault)) for fault in faults)}.",
            self.advice.metadata_unreadable(link.path),
            evidence={"faults": list(faults)},
            path=link.path,
            keys=[link.key],
        )

    def _parents(self, snapshot: Snapshot) -> None:
        stored = snapshot.below.target if snapshot.below is not None else None
        named = snapshot.below_named.target if snapshot.below_named is not None else None
        records = self.store.snapshots
        lost = [
            parent
            for parent, there in (
                (stored, stored is not None and stored in records and records[stored].stored is not None),
                (named, named is not None and named in records and records[named].named is not None),
            )
            if parent is not None and not there
        ]
        if lost:
            images, containers = self._users(snapshot.key)
            self._report(
                "parent-missing",
                snapshot,
                f"Snapshot {snapshot.words()} stands on snapshot {brief(lost[0])}, which is not recorded"
                f"{' in either database' if len(lost) > 1 else ''}.{_needs(self._named(images), containers)}",
                self.advice.parent_gone(snapshot, [*self._named(images), *containers]),
                related=[*lost, *images, *containers],
                evidence={"metadata.db": stored, "meta.db": named},
                keys=[(LinkKind.LAYER_RECORD, lost[0], META)],
            )
        elif stored != named:
            self._disagree(
                snapshot,
                f"stands on {brief(named or 'nothing')} in meta.db, but on {brief(stored or 'nothing')} in metadata.db",
                stored,
                named,
            )
        elif stored is not None and ((stored, snapshot.key) not in self.index or (stored, snapshot.key) not in self.stored_index):
            where = "meta.db" if (stored, snapshot.key) not in self.index else "metadata.db"
            self._disagree(
                snapshot, f"is not in its parent's list of children in {where}, so that parent can be taken from under it", stored, named
            )

    def _disagree(self, snapshot: Snapshot, what: str, stored: str | None, named: str | None) -> None:
        images, containers = self._users(snapshot.key)
        self._report(
            "lower-mismatch",
            snapshot,
            f"Snapshot {snapshot.words()} {what}.{_needs(self._named(images), containers)}",
            self.advice.databases_disagree([*self._named(images), *containers]),
            related=[name for name in (stored, named) if name] + images + containers,
            evidence={"metadata.db": stored, "meta.db": named},
            keys=[link.key for link in (snapshot.below, snapshot.below_named) if link is not None],
        )

    def cycle(self, members: list[str]) -> None:
        """Report snapshots that are their own ancestors, once."""
        first = self.store.snapshots[min(members)]
        chain = " -> ".join(brief(self.store.snapshots[name].name) for name in members[:6])
        self._report(
            "overlapping-layers",
            first,
            f"Snapshot {first.words()} is its own ancestor: {chain}.",
            self.advice.cycle(),
            related=members,
            evidence={"cycle": members[:100], "length": len(members)},
            keys=[(LinkKind.PARENT_POINTER, first.key, META)],
        )

    def phantoms(self) -> None:
        """Report each snapshot whose list of children names one that is gone."""
        found: dict[tuple[str, bool], list[Link]] = {}
        for link in self.store.children:
            named = link.path.startswith(META)
            child = self.store.snapshots.get(link.target or "")
            parent = self.store.snapshots.get(link.subject)
            if parent is None or parent.snapshotter not in self.store.known_snapshotters:
                continue
            if child is None or (child.named if named else child.stored) is None:
                found.setdefault((link.subject, named), []).append(link)
        for (subject, named), links in found.items():
            parent = self.store.snapshots[subject]
            names = sorted(str(link.detail.get("name", link.target)) for link in links)
            where = "meta.db" if named else "the snapshotter's database"
            self._report(
                "phantom-child",
                parent,
                f"Snapshot {parent.words()} cannot be removed by name: {where} lists {briefly(names)} as on top of it, and"
                f" {'that is' if len(names) == 1 else 'those are'} gone.",
                self.advice.phantom_child(parent, names, stored=not named),
                related=names,
                evidence={"children": names[:_SHOWN], "index": links[0].path},
                keys=[links[0].key],
            )

    # --- shared -----------------------------------------------------------------------------------------------

    def _users(self, key: str) -> tuple[list[str], list[str]]:
        """Return the image digests and the containers whose chain holds a snapshot."""
        images: set[str] = set()
        containers: set[str] = set()
        waiting, seen = [key], {key}
        while waiting:
            current = waiting.pop()
            images.update(self.image_tops.get(current, ()))
            containers.update(self.users_of.get(current, ()))
            new = [child for child in self.store.below.get(current, ()) if child not in seen]
            seen.update(new)
            waiting += new
        return sorted(images), sorted(containers)

    def _named(self, digests: Collection[str]) -> list[str]:
        """Return the names of images, the digests where none has one."""
        return sorted(name for digest in digests for name in self.image_names.get(digest, ())) or sorted(digests)

    def _report(
        self,
        code: str,
        snapshot: Snapshot,
        message: str,
        advice: str,
        *,
        evidence: dict[str, Any],
        keys: list[tuple[LinkKind, str, str]],
        related: Collection[str] = (),
        path: str | None = None,
    ) -> None:
        self.look.report(
            Case(
                code,
                "layer",
                snapshot.key,
                path or snapshot.path or snapshot.record.path,
                message,
                advice,
                related=[snapshot.name, *([snapshot.number] if snapshot.number else []), *related],
                evidence={**identity(snapshot), **evidence},
                times=snapshot.times(),
                compared=[META, f"{SNAPSHOTTER}{snapshot.snapshotter}/metadata.db"],
                keys=keys,
                began=created(snapshot.record),
                owner=snapshot.owner,
                removes=ANYTHING,
            )
        )


def _needs(images: Collection[str], containers: Collection[str]) -> str:
    parts = [f"{word} {briefly(names)}" for word, names in (("image", images), ("container", containers)) if names]
    return f" Needed by {' and '.join(parts)}." if parts else ""
