"""What the ledger remembers of one store: the fold of the rows about it, and the form in which that stands in a checkpoint.

Limits: ``GONE_LIMIT`` removed links are remembered, and as many things that ceased to be held or recorded, for "since when" of what
misses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from collector.links import INSIDE, NOBODY, Attribution, Link, LinkKey, LinkKind, LinkState
from collector.measure import Size
from linktrail.events import Interval, Row, last_of

GONE_LIMIT: Final = 50_000
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_HOLDS: Final = frozenset(
    {
        LinkKind.IMAGE_LAYER,
        LinkKind.IMAGE_NAME,
        LinkKind.CONTAINER_LAYER,
        LinkKind.CONTAINER_IMAGE,
        LinkKind.LEASE,
        LinkKind.LABEL_REFERENCE,
    }
)
_RECORDS: Final = frozenset({LinkKind.LAYER_RECORD, LinkKind.IMAGE_RECORD, LinkKind.CONTAINER_RECORD})


@dataclass(slots=True)
class StoreMemory:
    """What is recorded of one store: ``links`` that surveys read, and those ``inside`` layers, which only deep mode does.

    ``since`` says when each link came to stand as it stands, ``gone`` when links were removed. ``vouched`` (ns UTC) is the time before
    which nothing is missing from the record, ``None`` while the store was never read completely. A ``collector.diagnose.context.Past``.
    """

    links: dict[LinkKey, Link] = field(default_factory=dict)
    inside: dict[LinkKey, Link] = field(default_factory=dict)
    since: dict[LinkKey, Interval] = field(default_factory=dict)
    gone: dict[LinkKey, Interval] = field(default_factory=dict)
    findings: dict[str, Row] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    vouched: int | None = None
    _unheld: dict[str, Interval] = field(default_factory=dict)
    _unrecorded: dict[str, Interval] = field(default_factory=dict)
    _parents: dict[str, str] = field(default_factory=dict)  # of layers that are gone too, for a while

    def put(self, link: Link, interval: Interval) -> None:
        """Record that ``link`` stands as it does since ``interval``; one in state removed is forgotten but for that time."""
        key = link.key
        self._doubt_size(link)
        self._note(link, interval)
        held = self.inside if link.kind in INSIDE else self.links
        if link.state is not LinkState.REMOVED:
            held[key] = link
            self.since[key] = interval
            self.gone.pop(key, None)
            return
        held.pop(key, None)
        self.since.pop(key, None)
        self.gone.pop(key, None)
        self.gone[key] = interval
        if len(self.gone) > GONE_LIMIT:
            del self.gone[next(iter(self.gone))]
        self._forget()

    def _doubt_size(self, link: Link) -> None:
        """Forget a size that was measured before a layer was removed, replaced or finished."""
        before = self.links.get(link.key)
        if link.kind in (LinkKind.LAYER_DIRECTORY, LinkKind.LAYER_RECORD) and before is not None and before.state is not link.state:
            self.sizes.pop(link.subject, None)
            if link.layer_id is not None:
                self.sizes.pop(link.layer_id, None)

    def _note(self, link: Link, interval: Interval) -> None:
        """Keep in mind what ceased with this: a hold on a layer and all below it, or on an image; or the record of one of them."""
        before = self.links.get(link.key)
        removed = link.state is LinkState.REMOVED
        if link.kind is LinkKind.PARENT_POINTER and link.target:
            self._parents[link.subject] = link.target
        if before is None or (not removed and link.target == before.target):
            return
        if link.kind in _HOLDS and before.target:
            for name in self._down(before.target):
                _ceased(self._unheld, name, interval)
        elif removed and link.kind in _RECORDS:
            for name in {before.subject, before.target or before.subject}:
                _ceased(self._unrecorded, name, interval)

    def _down(self, layer: str) -> Iterator[str]:
        """Yield a layer and what it stands on, or stood on when that was last known."""
        seen: set[str] = set()
        name: str | None = layer
        while name is not None and name not in seen:
            yield name
            seen.add(name)
            name = self._parents.get(name)

    def _forget(self) -> None:
        """Forget what ceased longest ago, and parents of layers that are gone, once there are too many."""
        for ceased in (self._unheld, self._unrecorded):
            while len(ceased) > GONE_LIMIT:
                del ceased[next(iter(ceased))]
        if len(self._parents) > 2 * GONE_LIMIT + len(self.links):
            self._parents = _parents(self.links)

    def put_finding(self, row: Row) -> None:
        """Record that a finding is open as ``row`` says, or closed."""
        finding_id = str(row["finding_id"])
        if row["action"] == "closed":
            self.findings.pop(finding_id, None)
        else:
            self.findings[finding_id] = row

    def history(self, key: LinkKey) -> Interval | None:
        """Return since when a link stands as it stands now, or is gone; ``None`` when nothing is recorded of it."""
        return self.since.get(key) or self.gone.get(key)

    def unheld(self, name: str) -> Interval | None:
        """Return when the last holder (of those that are gone) of a layer, of one above it, or of an image went; ``None``: none did."""
        return self._unheld.get(name)

    def unrecorded(self, name: str) -> Interval | None:
        """Return when the record of a layer or directory, image or container went; ``None`` when none did."""
        return self._unrecorded.get(name)

    def ceased(self) -> dict[str, list[list[Any]]]:
        """Return what ``unheld`` and ``unrecorded`` rest on, JSON-able."""
        return {
            what: [[name, interval.after, interval.before] for name, interval in known.items()]
            for what, known in (("unheld", self._unheld), ("unrecorded", self._unrecorded))
        }

    def take_ceased(self, document: Mapping[str, Any]) -> None:
        """Take what a checkpoint says of it (nothing, in one that was written before this was kept), and the parents of ``links``."""
        for what, known in (("unheld", self._unheld), ("unrecorded", self._unrecorded)):
            known.update((name, Interval(after, before)) for name, after, before in document.get(what, ()))
        self._parents = _parents(self.links)


def _ceased(known: dict[str, Interval], name: str, interval: Interval) -> None:
    before = known.pop(name, None)
    known[name] = interval if before is None else last_of([before, interval])


def _parents(links: Mapping[LinkKey, Link]) -> dict[str, str]:
    return {link.subject: link.target for link in links.values() if link.kind is LinkKind.PARENT_POINTER and link.target}


def memory_document(memory: StoreMemory) -> dict[str, Any]:
    """Return the part of a checkpoint that is about one store, JSON-able."""
    return {
        "vouched": memory.vouched,
        "links": [_link_document(link, memory.since[key]) for key, link in (*memory.links.items(), *memory.inside.items())],
        "gone": [[*key, interval.after, interval.before] for key, interval in memory.gone.items()],
        **memory.ceased(),
        "findings": memory.findings,
        "sizes": {
            name: [size.bytes, size.apparent_bytes, size.inodes, size.shared_bytes, size.newest_ns] for name, size in memory.sizes.items()
        },
    }


def memory_of(document: Mapping[str, Any]) -> StoreMemory:
    """Return what a checkpoint remembers of one store."""
    memory = StoreMemory(vouched=document["vouched"])
    for item in document["links"]:
        link, interval = _link_of(item)
        (memory.inside if link.kind in INSIDE else memory.links)[link.key] = link
        memory.since[link.key] = interval
    memory.gone = {(LinkKind(kind), subject, path): Interval(after, before) for kind, subject, path, after, before in document["gone"]}
    memory.take_ceased(document)
    memory.findings = dict(document["findings"])
    memory.sizes = {name: Size(*numbers) for name, numbers in document["sizes"].items()}
    return memory


def _link_document(link: Link, since: Interval) -> list[Any]:
    owner = link.owner
    return [
        link.kind,
        link.subject,
        link.path,
        link.target,
        link.state,
        link.layer_id,
        link.inode,
        link.nlink,
        dict(link.detail),
        None if owner is NOBODY else [getattr(owner, name) for name in Attribution.__dataclass_fields__],
        since.after,
        since.before,
    ]


def _link_of(item: list[Any]) -> tuple[Link, Interval]:
    kind, subject, path, target, state, layer_id, inode, nlink, detail, owner, after, before = item
    link = Link(
        kind=LinkKind(kind),
        subject=subject,
        path=path,
        target=target,
        state=LinkState(state),
        layer_id=layer_id,
        inode=inode,
        nlink=nlink,
        detail=detail or _EMPTY,
        owner=Attribution(*owner) if owner else NOBODY,
    )
    return link, Interval(after, before)
