"""A bolt file under a live writer: no lock, no mmap, one consistent transaction or an error.

bolt's owner holds an exclusive flock for as long as it runs, so the library, even read-only, would wait for ever. A flock is
advisory: plain reads work, and nothing here takes a lock. What makes them sound: bolt writes a transaction's pages to places that
the last committed one (N) does not use, syncs, then writes one of the two meta pages. Pages of N are free for writing only after N+1 is
committed. So: read the meta pages, read the file, read the meta pages again; if the highest valid transaction is still the same
one, every page of it was whole all the time. If not, the reading is thrown away before a byte of it is parsed, and tried again
``ATTEMPTS`` times (a file that parses proves nothing: torn ones do).

The older meta page is no second version to read. Its tree shares its pages with N's but for those that N freed, and these are where N+1
writes, before any meta page says so (bbolt releases them when N+1 begins): a reading of it can be torn with both meta pages unmoved, and no
page carries a checksum. Whoever wants every transaction reads each as soon as it stands (``copied``).

One invalid meta page is normal: it is the one being written, or the damage that having two is for.

Reading again costs a read of the file and a comparison of its pages in use, not a parse: see ``tree``. A file whose status and meta
pages are those of the previous image is not read at all. Memory: the pages in use, and for the time of a reading the whole file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from collector.links import LinkState
from collector.safe import Directory, Signature, refused, words
from collector.stores.bolt.pages import Defect, Meta, Read, find_meta
from collector.stores.bolt.tree import Bucket, Builder, Node
from linktrail.clock import Clock
from linktrail.errors import BoltError, StoreUnreadableError, StoreUnstableError, TooLargeError

ATTEMPTS: Final = 20
LIMIT_BYTES: Final = 1 << 30
_PAUSE_SECONDS: Final = 0.002
_COPY_ATTEMPTS: Final = 3
_BUFFER: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Image:
    """One committed transaction of a file. ``nodes`` are its pages in use by number; ``facts`` its status when it was read."""

    facts: os.stat_result
    meta: Meta
    root: Bucket
    nodes: Mapping[int, Node]

    @property
    def txid(self) -> int:
        """The number of the transaction."""
        return self.meta.txid


class Copy(NamedTuple):
    """One committed transaction of a file, whole; ``data`` is ``None`` where it is larger than wanted."""

    signature: Signature
    data: bytes | None


class BoltFile:
    """A bolt file ``name`` in an open directory; ``path`` and ``root`` say in errors which one it is."""

    def __init__(self, directory: Directory, name: str, *, root: object, path: str, clock: Clock, limit: int = LIMIT_BYTES) -> None:
        """Prepare to read; nothing is opened yet. ``limit`` bounds the bytes in use in the file."""
        self._directory = directory
        self._name = name
        self._root = root
        self._path = path
        self._clock = clock
        self._limit = limit

    def read(self, previous: Image | None = None) -> Image:
        """Return the file's last committed transaction; ``previous`` itself when nothing changed since.

        Nodes that did not change are the nodes of ``previous``. Raises ``FileNotFoundError``, ``BoltError`` (damaged),
        ``TooLargeError``, ``StoreUnreadableError``, or ``StoreUnstableError`` (a writer was faster, every time).
        """
        try:
            descriptor = self._directory.open_file(self._name)
        except FileNotFoundError:
            raise
        except OSError as error:
            if refused(error).state is LinkState.MALFORMED:  # no regular file
                raise BoltError(root=self._root, path=self._path, what=words(error)) from error
            raise self._unreadable(error) from error
        try:
            return self._settled(descriptor, previous)
        except OSError as error:
            raise self._unreadable(error) from error
        except Defect as error:
            raise BoltError(root=self._root, path=self._path, what=error) from error
        finally:
            os.close(descriptor)

    def _settled(self, descriptor: int, previous: Image | None) -> Image:
        for attempt in range(ATTEMPTS):
            if attempt:
                self._clock.sleep(_PAUSE_SECONDS * attempt)
            facts = os.fstat(descriptor)
            meta = None
            try:
                meta = _meta(descriptor)
                if previous and previous.meta == meta and _same_file(previous.facts, facts):
                    return previous
                builder = _builder(descriptor, meta, self._extent(descriptor, meta), previous)
                root = builder.build() if previous else None
                if _meta(descriptor) == meta:
                    return Image(facts, meta, root or builder.build(), builder.nodes())
            except Defect:
                if self._damaged(descriptor, meta, last=attempt == ATTEMPTS - 1):
                    raise
        raise StoreUnstableError(root=self._root, attempts=ATTEMPTS)

    @staticmethod
    def _damaged(descriptor: int, meta: Meta | None, *, last: bool) -> bool:
        """Tell whether a bad page is damage: not if a transaction was committed meanwhile, nor while the file may just be being made."""
        if meta is None:
            return last
        try:
            return _meta(descriptor) == meta
        except Defect:
            return last

    def _extent(self, descriptor: int, meta: Meta) -> int:
        """Return how many bytes of the file its pages in use lie in; what a meta page claims beyond the end is not there.

        The size is asked after the meta page was read: the file may have grown for that very transaction.
        """
        extent = min(meta.high * meta.page_size, os.fstat(descriptor).st_size)
        if extent > self._limit:
            raise TooLargeError(root=self._root, path=self._path, limit=self._limit)
        return extent

    def _unreadable(self, error: OSError) -> StoreUnreadableError:
        return StoreUnreadableError(root=self._root, what=f"{self._path}: {words(error)}")


def copied(directory: Directory, name: str, limit: int, known: Signature | None = None) -> Copy | None:
    """Return the last committed transaction of a file, unparsed; ``None`` when each time another one ended meanwhile.

    Nothing is copied of the one that is ``known``. Raises ``OSError``, and ``Defect`` where no meta page is valid.
    """
    descriptor = directory.open_file(name)
    try:
        for _ in range(_COPY_ATTEMPTS):
            meta = _meta(descriptor)
            facts = os.fstat(descriptor)
            signature = signature_of(facts, meta.txid)
            extent = min(meta.high * meta.page_size, facts.st_size)
            data = _whole(descriptor, extent) if extent <= limit and signature != known else None
            if _meta(descriptor) == meta:
                return Copy(signature, data)
    finally:
        os.close(descriptor)
    return None


def root_of(data: bytes) -> Bucket:
    """Return the root bucket of a file that was ``copied``. Raises ``Defect``."""

    def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    return Builder(read, find_meta(read), same={}, changed=frozenset()).build()


def signature_of(facts: os.stat_result, txid: int) -> Signature:
    """Return what tells one transaction of a file from the next; its number stands in the place of the times, in whose order it is."""
    return Signature(facts.st_ino, 0, txid, txid)


def transaction_of(signature: Signature) -> int:
    """Return the number of the transaction in its signature."""
    return signature.mtime_ns


def _meta(descriptor: int) -> Meta:
    return find_meta(_reading(descriptor))


def _reading(descriptor: int) -> Read:
    return lambda offset, size: os.pread(descriptor, size, offset)


def _builder(descriptor: int, meta: Meta, extent: int, previous: Image | None) -> Builder:
    """Read what the tree will be made of, as fast as can be: this is the time in which no transaction may end.

    The first time that is the whole file, parsed later. Then it is a comparison; the few new pages are read and parsed at once.
    """
    if previous is None:
        data = _whole(descriptor, extent)
        return Builder(lambda offset, size: data[offset : offset + size], meta, same={}, changed=frozenset())
    same = _unchanged(descriptor, meta.page_size, extent, previous)
    return Builder(_reading(descriptor), meta, same=same, changed=previous.nodes.keys() - same.keys())


def _whole(descriptor: int, size: int) -> bytes:
    """Return the first ``size`` bytes of the file, fewer where it was cut short."""
    chunks: list[bytes] = []
    at = 0
    while at < size:
        chunk = os.pread(descriptor, size - at, at)
        if not chunk:
            break
        chunks.append(chunk)
        at += len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _unchanged(descriptor: int, page_size: int, extent: int, previous: Image) -> dict[int, Node]:
    """Return the earlier nodes whose own page has the same bytes now.

    The file goes through a small buffer, which stays in the processor's cache: that is five times as fast as a large one.
    """
    if page_size != previous.meta.page_size:
        return {}
    nodes, same = previous.nodes, {}
    step = max(_BUFFER // page_size, 1)
    offsets = range(0, step * page_size, page_size)
    for first in range(0, -(-extent // page_size), step):
        buffer = os.pread(descriptor, step * page_size, first * page_size)
        for number, at in zip(range(first, first + step), offsets, strict=True):
            node = nodes.get(number)
            if node is None:
                continue
            page = node.page
            now = buffer[at : at + page_size] if node.pages == 1 else os.pread(descriptor, len(page), number * page_size)
            if now == page:
                same[number] = node
    return same


def _same_file(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (
        other.st_dev,
        other.st_ino,
        other.st_size,
        other.st_mtime_ns,
        other.st_ctime_ns,
    )
