"""Every version of the metadata files of an engine, read before the next one takes its place.

What such a file said for a moment leaves no trace: an image name that was given and taken away between two surveys was in neither.
So the directories of these files are watched through an inotify descriptor of their own, and a thread does nothing but read what was
just put in place. Two promises:

* every replacement is counted. One whose content was not read (replaced again first, too large, beyond the memory allowed, a lost
  event) is counted as ``missed``, between two instants: the recorder makes a gap of it
* a version came to stand between ``after`` and ``before``, by the watermark rule as everywhere

A database in bolt's format (``*.db``) is written in place, in several writes a transaction; its versions are its transactions. Each is
copied whole, up to ``DATABASE_BYTES``, and ``COPIED_BYTES`` a database for all that wait. Transactions are numbered, so those that were
missed are counted by whoever takes the versions.

Files are opened below the root without following links, and closed again at once; nothing is held open in a store. Limits:
``FILE_BYTES`` a version, ``KEPT_BYTES`` for all that wait to be taken. Writing a file in place (no engine does) is one version when it
is closed.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from collector.links import LinkState
from collector.safe import Root, Signature, open_root
from collector.stores.bolt import Defect, copied
from collector.watch import inotify
from collector.watch.inotify import Inotify, columns, parts_of
from collector.watch.watermark import Looks, Watermark, bracket
from linktrail.clock import Clock, Instant
from linktrail.errors import StoreError

FILE_BYTES: Final = 8 << 20
DATABASE_BYTES: Final = 4 << 20
COPIED_BYTES: Final = 8 << 20
KEPT_BYTES: Final = 64 << 20
_DATABASE: Final = ".db"
_IN_CLOSE_WRITE: Final = 0x8
_NEWS: Final = inotify.IN_MOVED_TO | inotify.IN_MOVED_FROM | inotify.IN_DELETE | _IN_CLOSE_WRITE
_MASK: Final = _NEWS | inotify.IN_CREATE | inotify.IN_ONLYDIR  # with what happens to temporary names, no two news are alike and joined


class Followed(NamedTuple):
    """A file that is followed: the store's real root, and its path below that."""

    root: Path
    path: str

    @property
    def is_database(self) -> bool:
        """Whether it is a database, written in place."""
        return self.path.endswith(_DATABASE)


@dataclass(frozen=True, slots=True)
class Version:
    """What ``path`` held since some instant between ``after`` and ``before``.

    ``signature`` is ``None`` when the file was gone then, or could not be read (``known`` false). ``data`` is ``None`` where the content is
    not at hand. ``missed`` are the versions between the one told before and this one that nobody has read. An ``echo`` is the version
    told before once more: it had been read early, for news of one that it had replaced already.
    """

    path: str
    signature: Signature | None
    data: bytes | None
    after: Instant
    before: Instant
    missed: int = 0
    known: bool = True
    echo: bool = False


class Keeper(Protocol):
    """Whoever reads versions."""

    def start(self) -> None:
        """Begin to read as soon as something is replaced."""

    def stop(self) -> None:
        """End; twice is no harm."""

    def tend(self) -> None:
        """Do what is to be done from time to time."""

    def follow(self, root: Path, files: Iterable[Path], since: Instant | None) -> None:
        """Follow exactly ``files`` (absolute) below the real ``root``."""

    def forget(self, root: Path) -> None:
        """Follow nothing below ``root`` any more."""

    def take(self, root: Path) -> list[Version]:
        """Return the versions that came to stand until now and were not taken yet; those of one file are in order."""


class VersionKeeper:
    """Reads versions as they come. ``follow``, ``take`` and ``forget`` are called by one thread, beside the keeper's own."""

    def __init__(self, clock: Clock, *, file_bytes: int = FILE_BYTES, kept_bytes: int = KEPT_BYTES, threaded: bool = True) -> None:
        """Open the descriptor. Raises ``OSError`` where the kernel grants none.

        Not ``threaded``: what is replaced is read when ``look`` or ``take`` is called.
        """
        self._threaded = threaded
        self._clock = clock
        self._file_bytes = file_bytes
        self._kept_bytes = kept_bytes
        self._kept = 0
        self._lock = threading.Lock()
        self._files: dict[tuple[int, str], Followed] = {}
        self._versions: dict[Followed, list[Version]] = {}
        self._last: dict[Followed, Version] = {}
        self._since: dict[Followed, Instant] = {}  # after when databases changed that nobody could read, so fast they did
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.looks = Looks()
        self._open()

    @property
    def descriptor(self) -> int:
        """What to wait for when ``look`` is called from elsewhere."""
        return self._inotify.fd

    def start(self) -> None:
        """Begin to read as soon as something is replaced."""
        if self._threaded and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="versions", daemon=True)
            self._thread.start()

    def tend(self) -> None:
        """Replace the thread, should it have ended."""
        if self._thread is not None and not self._stopping:
            self.start()

    def stop(self) -> None:
        """End the thread and close the descriptors; twice is no harm."""
        if self._stopping:
            return
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join()
        self._inotify.close()
        os.close(self._wake)

    def follow(self, root: Path, files: Iterable[Path], since: Instant | None) -> None:
        """Follow exactly ``files`` (absolute) below the real ``root``.

        What was replaced in a directory that is only followed from now on, although the store was known at ``since``, is counted as missed.
        """
        wanted: dict[str, list[Followed]] = {}
        for file in files:
            followed = Followed(root, os.fspath(file.relative_to(root)))
            wanted.setdefault(followed.path.rpartition("/")[0], []).append(followed)
        with self._lock:
            stale = {key for key, followed in self._files.items() if followed.root == root}
            try:
                with open_root(root) as opened:
                    for place, followed_here in wanted.items():
                        stale -= self._follow(opened, place, followed_here, since)
            except StoreError:  # gone or closed: the survey says so
                pass
            for key in stale:
                del self._files[key]
            for descriptor in {descriptor for descriptor, _ in stale} - {descriptor for descriptor, _ in self._files}:
                self._inotify.remove(descriptor)

    def forget(self, root: Path) -> None:
        """Follow nothing below ``root`` any more, and let go of what was kept."""
        self.follow(root, (), None)
        self.take(root)
        with self._lock:
            for known in (self._last, self._since):
                for followed in [followed for followed in known if followed.root == root]:
                    del known[followed]

    def look(self) -> None:
        """Read what has been replaced until now."""
        with self._lock:
            self._pump()

    def take(self, root: Path) -> list[Version]:
        """Return the versions that came to stand until now and were not taken yet; those of one file are in order."""
        with self._lock:
            self._pump()
            taken = [followed for followed in self._versions if followed.root == root]
            versions = [version for followed in taken for version in self._versions.pop(followed)]
            self._kept -= sum(len(version.data or b"") for version in versions)
        return versions

    # --- following --------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._inotify = Inotify()
        self._watermark = Watermark(self._clock.now())
        self._files.clear()

    def _follow(self, root: Root, place: str, files: list[Followed], since: Instant | None) -> set[tuple[int, str]]:
        """Watch one directory; return the keys of its files."""
        try:
            with root.directory(*(place.split("/") if place else ())) as directory:
                written = inotify.IN_MODIFY if any(followed.is_database for followed in files) else 0
                descriptor = self._inotify.add_open(directory.fd, _MASK | written)
        except OSError:  # not there; or it may not be watched, and then the plan's watch of it is refused too, and stated
            return set()
        keys = set()
        for followed in files:
            key = (descriptor, followed.path.rpartition("/")[2])
            keys.add(key)
            if key in self._files:
                continue
            self._files[key] = followed
            if followed.is_database:
                if since is not None:
                    self._copy(followed, since)
            elif since is not None and (version := self._read(followed, since)).signature is not None:
                self._add(followed, version, missed=1)
        return keys

    # --- reading ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._inotify.fd, select.POLLIN)
        while not self._stopping:
            ready = poll.poll(self.looks.seconds * 1000)  # also when nothing comes: what comes next came after this look
            if not self._stopping:
                self.look()
            if any(event & ~select.POLLIN for _, event in ready):
                return  # the descriptor was replaced: ``tend`` starts another thread

    def _pump(self) -> None:
        try:
            found = False
            while data := self._drain():
                found = True
                self._understand(*data)
            self.looks.looked(found=found)
        except OSError:  # the queue cannot be read: begin anew, and what came meanwhile counts as missed when it is followed again
            self._inotify.close()
            self._open()

    def _drain(self) -> tuple[bytes, Instant] | None:
        now = self._clock.now()
        pending = self._inotify.pending()
        self._watermark.measured(now, pending)
        data = self._inotify.read(pending) if pending else b""
        after = self._watermark.consume(len(data))
        return (data, after) if data else None

    def _understand(self, data: bytes, after: Instant) -> None:
        replaced: dict[Followed, int] = {}
        keys, _, names = columns(data)
        for key, name in zip(keys, names, strict=True):
            descriptor, mask = parts_of(key)
            if mask & inotify.IN_Q_OVERFLOW:
                for followed in set(self._files.values()):
                    replaced[followed] = replaced.get(followed, 0) + 2  # one that stands, and at least one that is lost
            elif mask & inotify.IN_IGNORED:
                for ended in [held for held in self._files if held[0] == descriptor]:
                    del self._files[ended]
            elif mask & (_NEWS | inotify.IN_MODIFY) and (found := self._files.get((descriptor, name))) is not None:
                replaced[found] = replaced.get(found, 0) + 1
        for followed, count in replaced.items():
            if followed.is_database:
                self._copy(followed, after)
                continue
            self._add(followed, self._read(followed, after), missed=count - 1)

    def _read(self, followed: Followed, after: Instant) -> Version:
        """Read what stands now. A file that is gone is known to be; one that cannot be read is not known."""
        *place, name = followed.path.split("/")
        signature, content, known = None, None, True
        try:
            with open_root(followed.root) as root, root.directory(*place) as directory:
                read = directory.read(name, self._file_bytes)
                known = read.state is LinkState.MISSING or read.facts is not None
                signature = Signature.of(read.facts) if read.facts is not None else None
                if read.state in (LinkState.PRESENT, LinkState.EMPTY) and self._kept + len(read.data) <= self._kept_bytes:
                    content = read.data
        except (OSError, StoreError):
            known = False
        return Version(followed.path, signature, content, *bracket(after, self._clock.now()), known=known)

    def _copy(self, followed: Followed, after: Instant) -> None:
        """Read the transaction that stands now, if it is a new one.

        What was not committed at one reading has happened after the changes that led to it; so where a reading comes to nothing, the
        next one reaches back to its beginning. The writer that was faster is about to say so again.
        """
        after = self._since.pop(followed, after)
        *place, name = followed.path.split("/")
        signature, content, known, last = None, None, True, self._last.get(followed)
        try:
            with open_root(followed.root) as root, root.directory(*place) as directory:
                copy = copied(directory, name, DATABASE_BYTES, None if last is None else last.signature)
            if copy is None:
                self._since[followed] = after
                return
            signature = copy.signature
            content = copy.data if self._has_room(followed, copy.data) else None
        except FileNotFoundError:
            pass
        except (OSError, StoreError, Defect):
            known = False
        if last is not None and (last.known, last.signature) == (known, signature):
            return  # the pages of the next one are being written
        self._add(followed, Version(followed.path, signature, content, *bracket(after, self._clock.now()), known=known), missed=0)

    def _has_room(self, followed: Followed, data: bytes | None) -> bool:
        waiting = sum(len(version.data or b"") for version in self._versions.get(followed, ()))
        return data is not None and self._kept + len(data) <= self._kept_bytes and waiting + len(data) <= COPIED_BYTES

    def _add(self, followed: Followed, version: Version, *, missed: int) -> None:
        last = self._last.get(followed)
        if last is not None and last.known and version.known and last.signature == version.signature:
            # What was read for the news before was already this one, so the one that those news were of is missed.
            version = replace(version, data=None, after=last.after, missed=missed + 1, echo=True)
        else:
            version = replace(version, missed=missed)
            self._last[followed] = version
        self._kept += len(version.data or b"")
        self._versions.setdefault(followed, []).append(version)
