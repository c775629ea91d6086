"""What the metadata files of one store said between two readings, version by version; and which versions nobody has read.

A survey sees the newest version only. The versions that ``VersionKeeper`` read before it are compared one after the other, from what is
recorded to what the survey read, so that a record that lived for one version is told as made and removed, with its target, each at the time
of that version. A version that was not read may have held anything: it makes a gap ``unread-version``, from the instant when the one
before it still stood until the next one did. Databases count their transactions (fact ``transaction``), each of which is a version: there,
the numbers between those that were read tell how many nobody has read.

Gaps of one file that follow each other are joined into one row, written when the file was quiet for ``QUIET_SECONDS``, with the next
heartbeat, or when recording ends: a busy store has a row a minute and file, not one a version. Nothing is vouched for beyond the
beginning of a gap that is not written yet (``doubtful``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from collector.brackets import Evidence, Reading, between
from collector.differ import LinkChange, diff
from collector.links import NOBODY, Link, LinkKey, LinkKind, LinkState, Survey
from collector.lives import Round, Timed
from collector.rows import recorded
from collector.safe import Signature
from collector.stores.bolt import transaction_of
from collector.stores.protocol import Driver, ReadsVersions, WatchPlan
from collector.versions import COPIED_BYTES, Keeper, Version
from linktrail.clock import NANOSECONDS, Instant
from linktrail.events import Interval, Origin

QUIET_SECONDS: Final = 2.0
PARSED_BYTES: Final = 32 << 20
"""How much of old versions is parsed a reading, beside ``COPIED_BYTES`` of each database; what is beyond is unread."""


@dataclass(slots=True)
class _Doubt:
    """A time in which versions of one file went unread."""

    after: Instant
    before: Instant
    missed: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class Unread:
    """A gap to be stated."""

    message: str
    interval: Interval


class VersionSteps:
    """One store's. ``keeper`` is ``None`` where versions are not followed."""

    def __init__(self, driver: Driver, keeper: Keeper | None) -> None:
        """Follow nothing yet."""
        self._driver = driver
        self._reader = driver if isinstance(driver, ReadsVersions) else None
        self._keeper = keeper if self._reader is not None else None
        self._root: Path | None = None
        self._paths: tuple[str, ...] = ()
        self._waiting: dict[str, list[Version]] = {}
        self._read: dict[str, Signature | None] = {}  # by path, the version that the last reading saw
        self._committed: dict[str, tuple[int, Instant | None]] = {}  # by path, the last transaction told, and after when it was committed
        self._doubts: dict[str, _Doubt] = {}
        self._behind = False  # what is recorded is older than the last reading

    def follow(self, plan: WatchPlan, previous: Instant | None) -> None:
        """Follow the files of ``plan``; ``previous`` is when the last reading began (``None``: there was none in this run)."""
        if self._keeper is None:
            return
        if self._root is not None and self._root != plan.root:
            self._keeper.forget(self._root)
            self._waiting.clear()
            self._read.clear()
            self._committed.clear()
        self._root = plan.root
        self._paths = tuple(os.fspath(file.relative_to(plan.root)) for file in plan.replaced)
        self._keeper.follow(plan.root, plan.replaced, previous)

    # --- what was between -------------------------------------------------------------------------------------------

    def tell(self, old: Mapping[LinkKey, Link], told: Round, evidence: Evidence) -> tuple[list[Timed], Mapping[LinkKey, Link]]:
        """Return the steps from ``old`` (what is recorded) to the versions that the survey read, and what is recorded after them."""
        for version in self._keeper.take(self._root) if self._keeper is not None and self._root is not None else ():
            self._waiting.setdefault(version.path, []).append(version)
        steps: list[Timed] = []
        result = dict(old) if self._waiting else old
        budget = PARSED_BYTES
        for path in dict.fromkeys((*self._paths, *self._waiting)):
            seen, unread = _version_read(told.survey, path)
            versions = self._numbered(path, self._until(path, seen, told.reading, unread=unread))
            self._read[path] = seen
            if told.previous is None or not versions:
                continue  # what was before the first reading of a run is in the gap before it, or before the record began
            entries = list(self._readable(path, versions, seen, COPIED_BYTES if path in self._committed else budget))
            budget -= 0 if path in self._committed else sum(len(version.data or b"") for version in entries)
            if [version.signature for version in entries if version.data is None] == [seen] and len(entries) == 1:
                continue  # only what the survey read
            before = {key: link for key, link in result.items() if _of_file(key, path)}
            found, after = self._walk(self._contents(path, entries, seen, told.survey), before, told)
            steps += found
            result = {**{key: link for key, link in result.items() if key not in before}, **after}
        self._waiting = {path: versions for path, versions in self._waiting.items() if versions}
        self._count_transactions(told, evidence)
        self._behind = False
        return steps, result

    def fell_behind(self) -> None:
        """State that what the last reading told was not all recorded."""
        self._behind = True

    def _until(self, path: str, seen: Signature | None, reading: Reading, *, unread: bool) -> list[Version]:
        """Take the versions up to the one that the survey read; later ones wait for the next reading."""
        waiting = self._waiting.get(path, [])
        if unread:
            count = len(waiting)
        elif seen in [version.signature for version in waiting if version.known]:
            count = 1 + max(number for number, version in enumerate(waiting) if version.known and version.signature == seen)
        elif path in self._read and self._read[path] == seen:
            count = 0  # all of them came after the survey looked
        else:
            waiting = [_as_far_as_sure(version, seen, reading) for version in waiting]
            count = next((number for number, version in enumerate(waiting) if _is_later(version, seen, reading)), len(waiting))
        if waiting:
            self._waiting[path] = waiting[count:]
        return waiting[:count]

    def _numbered(self, path: str, versions: list[Version]) -> list[Version]:
        """Count, between the transactions of a database that were read, those that nobody has read."""
        if path not in self._committed:
            return versions
        result = []
        for version in versions:
            if version.signature is None:
                result += [version] if version.known else []  # it is gone; or it could not be read, which the next number tells
                continue
            number, (last, _) = transaction_of(version.signature), self._committed[path]
            result.append(replace(version, missed=max(0, number - last - 1), echo=number == last))
            self._committed[path] = (number, version.after)
        return result

    def _readable(self, path: str, versions: list[Version], seen: Signature | None, budget: int) -> Iterator[Version]:
        """Yield the versions whose content is known, the survey's own without data, and note the others as unread."""
        for version in versions:
            read = version.known and version.signature in (seen, None)
            fits = version.data is not None and len(version.data) <= budget
            unread = version.missed + (not read and not fits and not version.echo)
            self._note(path, version.after, version.before, missed=unread, of=version.missed + (not version.echo))
            if version.known and version.signature == seen:
                if version is versions[-1] or version.data is not None:
                    yield replace(version, data=None)
            elif read:
                yield version
            elif fits:
                budget -= len(version.data or b"")
                yield version

    def _contents(
        self, path: str, entries: list[Version], seen: Signature | None, survey: Survey
    ) -> Iterator[tuple[Version, tuple[Link, ...]]]:
        """Yield versions with what they state; one of which nothing can be understood is unread."""
        for version in entries:
            links = self._links(path, version, seen, survey)
            if links is not None:
                yield version, links
            else:
                self._note(path, version.after, version.before, missed=1, of=0)

    def _walk(
        self, contents: Iterable[tuple[Version, tuple[Link, ...]]], before: Mapping[LinkKey, Link], told: Round
    ) -> tuple[list[Timed], Mapping[LinkKey, Link]]:
        """Return the steps between consecutive versions of one file, from what is recorded ``before`` them, and the links after them."""
        steps: list[Timed] = []
        since = told.previous if self._behind else None
        for version, links in contents:
            survey = Survey.of(told.survey.kind, told.survey.root, links)
            interval = between(since or version.after, version.before)
            steps += [Timed(_owned(change, told.survey), interval, Origin.WATCH) for change in diff(before, survey)]
            before = {key: _with_owner(recorded(link), before.get(key)) for key, link in survey.links.items()}
            since = None
        return steps, before

    def _links(self, path: str, version: Version, seen: Signature | None, survey: Survey) -> tuple[Link, ...] | None:
        if version.signature == seen:
            return tuple(link for key, link in survey.links.items() if _of_file(key, path))
        if version.data is None or self._reader is None:
            return ()
        return self._reader.version(path, version.data, survey)

    def _count_transactions(self, told: Round, evidence: Evidence) -> None:
        """Count the transactions before the one that the survey read, as far as no version of it was told."""
        for link in told.survey.of_kind(LinkKind.METADATA_FILE):
            number = link.facts.get("transaction")
            if not isinstance(number, int):
                continue
            known, since = self._committed.get(link.path, (number, None))
            self._committed[link.path] = (number, since if number == known else None)
            if told.previous is None or number <= known:
                continue
            first = None if evidence.broken else evidence.first_event(link.path)
            last = None if evidence.broken else evidence.last_event(link.path)
            after = max((first or told.previous, since or told.previous), key=lambda instant: instant.monotonic)
            self._note(link.path, after, last or told.reading.finished, missed=number - known - 1, of=number - known)

    # --- what is unread ---------------------------------------------------------------------------------------------

    @property
    def doubtful(self) -> Instant | None:
        """The instant after which something unread is not stated yet, ``None`` when all is stated."""
        return min((doubt.after for doubt in self._doubts.values()), key=lambda instant: instant.monotonic, default=None)

    def unread(self, now: Instant, *, all_of_it: bool) -> list[Unread]:
        """Return the gaps to state now, each once: those whose file has been quiet for a while, or all."""
        limit = now.monotonic - round(QUIET_SECONDS * NANOSECONDS)
        over = {path: doubt for path, doubt in self._doubts.items() if all_of_it or doubt.before.monotonic < limit}
        for path in over:
            del self._doubts[path]
        return [Unread(_words(path, doubt, self._things(path)), between(doubt.after, doubt.before)) for path, doubt in over.items()]

    def _things(self, path: str) -> str:
        return "transactions" if path in self._committed else "versions"

    def _note(self, path: str, after: Instant, before: Instant, *, missed: int, of: int) -> None:
        doubt = self._doubts.get(path)
        if doubt is None:
            if not missed:
                return
            doubt = self._doubts[path] = _Doubt(after, before)
        if missed:
            doubt.after = min(doubt.after, after, key=lambda instant: instant.monotonic)
            doubt.before = max(doubt.before, before, key=lambda instant: instant.monotonic)
        doubt.missed += missed
        doubt.of += of


def _words(path: str, doubt: _Doubt, things: str) -> str:
    return (
        f"{doubt.missed} of {doubt.of} {things} of {path} were replaced before they were read; "
        "a record that was made and removed again within them is missing"
    )


def _version_read(survey: Survey, path: str) -> tuple[Signature | None, bool]:
    """Return which version of a file a survey read, and whether it could not read it."""
    link = survey.links.get((LinkKind.METADATA_FILE, path, path))
    if link is None:
        return None, path in survey.unread
    found = link.facts.get("version")
    return (found, False) if isinstance(found, Signature) else (None, link.state is not LinkState.MISSING)


def _is_later(version: Version, seen: Signature | None, reading: Reading) -> bool:
    """Tell whether a version came to stand after a survey read ``seen``, which the keeper has not read."""
    if version.before.monotonic <= reading.started.monotonic:
        return False
    if seen is None or version.signature is None:  # were it older, the end of the file, or its return, would have been told too
        return True
    return _times(version.signature) > _times(seen)


def _as_far_as_sure(version: Version, seen: Signature | None, reading: Reading) -> Version:
    """Return a version without content where nothing tells whether it came before or after ``seen``: it may not be told in any order."""
    if version.before.monotonic <= reading.started.monotonic or seen is None or version.signature is None:
        return version
    return version if _times(version.signature) != _times(seen) else replace(version, data=None)


def _times(signature: Signature) -> tuple[int, int]:
    return signature.ctime_ns, signature.mtime_ns


def _of_file(key: LinkKey, path: str) -> bool:
    return key[2] == path or key[2].startswith(f"{path}#")


def _with_owner(link: Link, before: Link | None) -> Link:
    """Let a link keep its owner where one file alone does not name it."""
    if link.owner is not NOBODY or before is None or before.owner is NOBODY:
        return link
    return replace(link, owner=before.owner)


def _owned(change: LinkChange, survey: Survey) -> LinkChange:
    """Name the owner that the survey knows, where the version alone knew none."""
    standing = survey.links.get(change.link.key)
    if standing is None or standing.owner is NOBODY:
        return change
    return replace(change, link=recorded(replace(change.link, owner=standing.owner)))
