"""How large things are: samples of layers, stores and filesystems, at a bounded cost.

A layer of an image never changes, so it is measured once, when its record is complete; what can grow (containers' layers, orphans,
layers in the making, temporary directories) again every ``interval``. A measurement that equals the last one is not repeated in the
record for an hour. From the beginning of one tree of N inodes to that of the next pass at least N / ``entries_per_second`` seconds, so
that a collector never reads a disk faster than that on average; the order is: what findings hold, then what was never measured, then
what is due longest.

Trees are measured one at a time by a ``Measurer``, which need not know the size at once: the recorder asks again (``measure_one``), ever
more seldom. A size is taken only if the directory that was measured still stands at its place when it is known.

What a store keeps beside its layers (``collector.beside``) is measured in the same way, a large tree of it so seldom that it costs a
twentieth of the time at most.

Paths are opened below the root without following links (``collector.safe``). Filesystems are asked with statvfs where the store and its
layers lie.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.beside import beside, role_of
from collector.graph import LAYER_HOME, Graph
from collector.links import NOBODY, Attribution, Link, LinkKind, LinkState, Survey
from collector.measure import Size
from collector.measuring import InProcess, Measurement, Measurer
from collector.rows import Sample
from collector.safe import open_root
from linktrail.clock import NANOSECONDS, Clock, Instant
from linktrail.errors import LinktrailError

REPEAT_NS: Final = 3600 * NANOSECONDS
_ASK_FIRST_NS: Final = NANOSECONDS // 500
_ASK_LAST_NS: Final = NANOSECONDS // 2
_TRY_AGAIN_NS: Final = 10 * NANOSECONDS
_BESIDE_SHARE: Final = 20


@dataclass(frozen=True, slots=True)
class Target:
    """Something to measure: ``path`` relative to the root, ``subject`` as it stands in usage rows."""

    path: str
    subject: str
    role: str
    grows: bool
    recorded_bytes: int | None
    owner: Attribution
    scope: str = "layer"


@dataclass(frozen=True, slots=True)
class Measured:
    """A sample and when it was taken."""

    sample: Sample
    started: Instant
    finished: Instant


@dataclass(slots=True)
class _UnderWay:
    """A measurement that is not done: of what, which directory stood there, since when, and when to ask again (monotonic ns)."""

    target: Target
    identity: tuple[int, int]
    measurement: Measurement
    started: Instant
    ask_at: int


def targets(survey: Survey) -> dict[str, Target]:
    """Return what can be measured in a store, by path."""
    graph = Graph.of(survey)
    needed = graph.reach(graph.roots())
    writable = {container.layer for container in graph.containers.values()}
    found: dict[str, Target] = {}
    for link in survey.of_kind(LinkKind.LAYER_DIRECTORY, LinkKind.TEMPORARY_DIRECTORY):
        if link.state is LinkState.PRESENT:
            found[link.path] = _target(link, graph, needed, writable)
    return found


def _target(link: Link, graph: Graph, needed: set[str], writable: set[str | None]) -> Target:
    place = graph.places.get(link.subject)
    layer = graph.layers.get(place.layer) if place is not None and place.layer is not None else None
    if link.kind is LinkKind.TEMPORARY_DIRECTORY:
        return Target(link.path, link.subject, "temporary", grows=True, recorded_bytes=None, owner=link.owner)
    if layer is None:
        return Target(link.path, link.layer_id or link.subject, "orphan", grows=True, recorded_bytes=None, owner=link.owner)
    size = layer.record.detail.get("diff_size")
    recorded = size if isinstance(size, int) else None
    role = "container" if layer.id in writable else "image" if layer.id in needed else "orphan"
    grows = role == "container" or layer.incomplete
    return Target(link.path, layer.id, role, grows=grows, recorded_bytes=recorded, owner=layer.record.owner)


class Sampler:
    """The samples of one store. ``sizes`` (by subject) is the ledger's; what stands there was measured before."""

    def __init__(
        self, root: Path, sizes: Mapping[str, Size], *, interval: float, entries_per_second: float, measurer: Measurer | None = None
    ) -> None:
        """Sample the store at ``root``; ``interval`` in seconds. Without a ``measurer``, trees are measured where the caller stands."""
        self._root = root
        self._measurer = measurer or InProcess()
        self._under_way: _UnderWay | None = None
        self._sizes = sizes
        self.interval = round(interval * NANOSECONDS)
        self._rate = entries_per_second
        self._targets: dict[str, Target] = {}
        self._beside: dict[str, Target] = {}  # directories that hold no layer
        self._loose: dict[str, Size] = {}  # what was told of loose files
        self._open: dict[str, Target] = {}  # those that may ever be due, as far as known
        self._measured_at: dict[str, int] = {}  # by path, monotonic ns
        self._told_at: dict[str, int] = {}
        self._complete: set[str] = set()  # paths measured since they can no longer grow
        self._rest_until = 0
        self._held: dict[str, Size] = {}  # what findings hold besides layers, by path
        self._doubted: set[str] = set()  # paths that grow and whose size is too old to be told as what they hold now

    def update(self, survey: Survey) -> None:
        """Take over what there is to measure from a new survey."""
        found = targets(survey)
        self._targets = {**{path: target for path, target in self._beside.items() if path not in found}, **found}
        for known in (self._measured_at, self._told_at):
            for path in [path for path in known if path not in self._targets]:
                del known[path]
        self._held.clear()
        self._doubted &= self._targets.keys()
        self._complete &= {path for path, target in self._targets.items() if not target.grows}
        self._open = dict(self._targets)

    def look_beside(self, survey: Survey) -> list[Sample]:
        """Take over what there is to measure beside the layers; return samples of what lies loose there, where that changed."""
        layers = [path for path, target in self._targets.items() if target.scope == "layer"]
        found = beside(self._root, layers, LAYER_HOME[survey.kind])
        gone = (self._beside.keys() - set(found.directories)) | (self._loose.keys() - found.loose.keys())
        known = (
            Target(path, path, role_of(path), grows=True, recorded_bytes=None, owner=NOBODY, scope="beside") for path in found.directories
        )
        self._beside = {target.path: target for target in known}
        self.update(survey)
        new = {path: size for path, size in found.loose.items() if self._loose.get(path) != size}
        new |= {path: Size(0, 0, 0, 0, 0) for path in gone}
        self._loose = found.loose
        return [_beside_sample(path, role_of(path), size) for path, size in new.items()]

    def by_path(self) -> dict[str, Size]:
        """Return the known sizes by path, as diagnosis asks for them."""
        known = {path: self._sizes[target.subject] for path, target in self._targets.items() if target.subject in self._sizes}
        return {path: size for path, size in {**self._held, **known}.items() if path not in self._doubted}

    def doubt(self, paths: Iterable[str], since: int) -> bool:
        """Take sizes at ``paths`` for unknown where they grow and were measured before ``since`` (monotonic ns); tell if any was."""
        before = len(self._doubted)
        for path in paths:
            target = self._targets.get(path)
            if target is not None and target.grows and target.subject in self._sizes and self._measured_at.get(path, since - 1) < since:
                self._doubted.add(path)
        return len(self._doubted) > before

    def unknown(self, path: str) -> bool:
        """Tell whether ``path`` was not measured yet, nor tried in vain."""
        if self._under_way is not None and self._under_way.target.path == path:
            return True
        target = self._targets.get(path)
        known = path in self._held if target is None else target.subject in self._sizes
        return path in self._doubted or (not known and path not in self._measured_at)

    def total(self) -> int | None:
        """Return the allocated bytes of all layers and temporary directories, ``None`` until every one was measured."""
        total = 0
        for target in self._targets.values():
            if target.scope != "layer":
                continue
            size = self._sizes.get(target.subject)
            if size is None:
                return None
            total += size.bytes
        return total

    def due_at(self, wanted: Iterable[str] = ()) -> int | None:
        """Return when to measure next, or to ask for what is being measured (monotonic ns); ``None`` when there is nothing to measure."""
        if self._under_way is not None:
            return self._under_way.ask_at
        chosen = self._choose(wanted)
        return None if chosen is None else max(chosen[0], self._rest_until)

    def measure_one(self, clock: Clock, wanted: Iterable[str] = ()) -> tuple[Target, Size, Measured | None] | None:
        """Begin to measure what is due, if anything; once it is known, return the target, its size, and the sample when it is worth a row.

        ``wanted`` are paths whose size a finding asks for. A target that is gone meanwhile is passed over.
        """
        if self._under_way is None:
            self._begin(clock.now(), wanted)
        work = self._under_way
        if work is None:
            return None
        outcome, finished = work.measurement.outcome(), clock.now()
        if outcome is None:
            passed = finished.monotonic - work.started.monotonic
            work.ask_at = finished.monotonic + min(max(passed // 4, _ASK_FIRST_NS), _ASK_LAST_NS)
            return None
        self._under_way = None
        self._doubted.discard(work.target.path)
        if isinstance(outcome, OSError):
            self._failed(work.target, outcome, finished)
            return None
        self._rest_until = work.started.monotonic + round(outcome.inodes / self._rate * NANOSECONDS)
        target = self._current(work)
        if target is None:
            self._forget(work.target)
            return None
        return self._known(target, outcome, work.started, finished)

    def _begin(self, started: Instant, wanted: Iterable[str]) -> None:
        chosen = self._choose(wanted)
        if chosen is None or max(chosen[0], self._rest_until) > started.monotonic:
            return
        target = chosen[1]
        self._measured_at[target.path] = started.monotonic
        if not target.grows:
            self._complete.add(target.path)
        parent, _, name = target.path.rpartition("/")
        try:
            with open_root(self._root) as root, root.directory(*(parent.split("/") if parent else ())) as directory:
                facts = directory.stat(name)
                measurement = self._measurer.begin(directory.fd, name, not_after=started.wall)
        except (OSError, LinktrailError):  # gone or unreadable: the survey says so
            self._doubted.discard(target.path)
            return
        self._under_way = _UnderWay(target, (facts.st_dev, facts.st_ino), measurement, started, started.monotonic)

    def _failed(self, target: Target, error: OSError, now: Instant) -> None:
        """Take note that there is no size: the tree is gone or unreadable, which the survey says, or nobody could look."""
        if error.errno == errno.ECHILD:  # whoever measured it ended: it is as if nothing had been tried
            self._forget(target)
            self._rest_until = now.monotonic + _TRY_AGAIN_NS

    def _forget(self, target: Target) -> None:
        self._measured_at.pop(target.path, None)
        self._complete.discard(target.path)
        if target.path in self._targets:
            self._open[target.path] = self._targets[target.path]

    def _current(self, work: _UnderWay) -> Target | None:
        """Return what was measured as it is known now; ``None`` when it became something else, or another directory stands there."""
        target = work.target
        if target.role:
            known = self._targets.get(target.path)
            if known is None or (known.subject, known.grows) != (target.subject, target.grows):
                return None
            target = known
        parent, _, name = target.path.rpartition("/")
        try:
            with open_root(self._root) as root, root.directory(*(parent.split("/") if parent else ())) as directory:
                facts = directory.stat(name)
        except (OSError, LinktrailError):  # gone: what was counted is not all that was there
            return None
        return target if (facts.st_dev, facts.st_ino) == work.identity else None

    def _known(self, target: Target, size: Size, started: Instant, finished: Instant) -> tuple[Target, Size, Measured | None]:
        if not target.role:
            self._held[target.path] = size
            return target, size, None
        same = self._sizes.get(target.subject)
        told = self._told_at.get(target.path)
        if same is not None and _equal(same, size) and told is not None and finished.monotonic - told < REPEAT_NS:
            return target, size, None
        self._told_at[target.path] = finished.monotonic
        return target, size, Measured(_sample(target, size), started, finished)

    def _choose(self, wanted: Iterable[str]) -> tuple[int, Target] | None:
        """Return what to measure next and when it is due."""
        for path in wanted:
            if self.unknown(path):
                return 0, self._targets.get(path) or Target(path, path, "", grows=True, recorded_bytes=None, owner=NOBODY)
        best: tuple[int, Target] | None = None
        done: list[str] = []
        for path, target in self._open.items():
            measured = self._measured_at.get(path)
            if measured is None and (target.grows or target.subject not in self._sizes):
                best = 0, target
                break
            if not target.grows and (measured is None or path in self._complete):
                done.append(path)  # measured, perhaps by an earlier run, and it cannot have changed since
                continue
            due = measured + self._pause(target) if measured is not None and target.grows else 0
            if best is None or due < best[0]:
                best = due, target
        for path in done:
            del self._open[path]
        return best

    def _pause(self, target: Target) -> int:
        """Return how long a tree that grows is left alone (ns)."""
        size = self._sizes.get(target.subject)
        if target.scope == "layer" or size is None:
            return self.interval
        return max(self.interval, round(size.inodes / self._rate * _BESIDE_SHARE * NANOSECONDS))


def _beside_target(path: str) -> Target:
    return Target(path, path, role_of(path), grows=True, recorded_bytes=None, owner=NOBODY, scope="beside")


def _beside_sample(path: str, role: str, size: Size) -> Sample:
    return Sample("beside", path, role=role, bytes=size.bytes, apparent_bytes=size.apparent_bytes, inodes=size.inodes)


def filesystems(survey: Survey) -> list[Sample]:
    """Return what is free on the filesystems of a store and of its layers, each once, named by mount point."""
    found: dict[str, Sample] = {}
    root = Path(os.path.realpath(survey.root))
    for path in (root, root / LAYER_HOME[survey.kind]):
        try:
            facts = os.statvfs(path)
            point = _mount_point(path)
        except OSError:
            continue
        unit = facts.f_frsize
        found[point] = Sample(
            "filesystem",
            point,
            bytes=(facts.f_blocks - facts.f_bfree) * unit,
            inodes=facts.f_files - facts.f_ffree,
            capacity_bytes=facts.f_blocks * unit,
            available_bytes=facts.f_bavail * unit,
            capacity_inodes=facts.f_files,
            available_inodes=facts.f_favail,
        )
    return list(found.values())


def _mount_point(path: Path) -> str:
    """Return the uppermost directory of the filesystem of ``path`` (a directory mounted on itself is no border)."""
    device = path.stat().st_dev
    while path != path.parent and path.parent.stat().st_dev == device:
        path = path.parent
    return os.fspath(path)


def _equal(one: Size, other: Size) -> bool:
    return (one.bytes, one.apparent_bytes, one.inodes, one.shared_bytes) == (
        other.bytes,
        other.apparent_bytes,
        other.inodes,
        other.shared_bytes,
    )


def _sample(target: Target, size: Size) -> Sample:
    if target.scope == "beside":
        return _beside_sample(target.path, target.role, size)
    return Sample(
        "layer",
        target.subject,
        role=target.role,
        bytes=size.bytes,
        apparent_bytes=size.apparent_bytes,
        inodes=size.inodes,
        shared_bytes=size.shared_bytes,
        recorded_bytes=target.recorded_bytes,
        owner=target.owner,
    )
