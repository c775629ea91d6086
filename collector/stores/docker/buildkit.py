"""BuildKit's databases below ``buildkit/``: which directories of overlay2 are build cache, and what holds them.

``snapshots.db`` (bolt; builder/builder-next/adapters/snapshot): a bucket a snapshot, by key. ``parent`` is the key it was made on,
empty for none. A committed snapshot is a bucket whose ``committed`` is the key of the active one that it came from (which then has
``iscommitted``): the directory keeps that older name. ``chainid`` says that it became a layer of layerdb, or stands for one; then
layerdb is where it is recorded. ``containerdmeta.db``: ``[v1][buildkit][leases][id][snapshots][default][key]``, what holds a snapshot:
when its last lease goes, BuildKit removes it. ``metadata_v2.db``: ``[_main][id]``, the cache's own records (``docker system df -v``
shows these), with a description, ``cache.snapshot`` and ``cache.equalMutable`` that name other snapshots.

Docker up to 19.03 had no leases: without ``containerdmeta.db`` every snapshot counts as held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from collector.safe_json import parse
from collector.stores.bolt import Bucket, Image
from collector.stores.docker import layout
from linktrail.text import decode

TEXT_LIMIT: Final = 1024
_PATH: Final = (b"v1", b"buildkit", b"leases")
_NAMING: Final = (b"cache.snapshot", b"cache.equalMutable")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot: its key, the directory in overlay2 that holds it, and the layer or snapshot it was made on (``None``: nothing)."""

    key: str
    directory: str
    parent: str | None
    committed: bool


@dataclass(frozen=True, slots=True)
class Holder:
    """A lease or a record of the cache, and the layers or snapshots that it holds."""

    name: str
    path: str
    targets: tuple[str, ...]
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class BuildCache:
    """What BuildKit's databases say. Ids are as links call them: keys of snapshots, chain ids of layers."""

    snapshots: tuple[Snapshot, ...] = ()
    holders: tuple[Holder, ...] = ()


def read_build_cache(images: Mapping[str, Image | None], *, everything_held: bool) -> BuildCache:
    """Understand the databases, by name; ``everything_held``: nothing is known of leases, so nothing may be called unused."""
    stored = images.get(layout.SNAPSHOTS_NAME)
    if stored is None:
        return BuildCache()
    buckets = {decode(key): value for key, value in stored.root.items() if isinstance(value, Bucket)}
    chains = {key: chain for key, bucket in buckets.items() if (chain := _text(bucket, b"chainid"))}
    directories = {key: committed for key, bucket in buckets.items() if (committed := _text(bucket, b"committed"))}
    owned = set(directories.values())

    def known_as(key: str) -> str:
        return chains.get(key, key)

    snapshots: list[Snapshot] = []
    for key, bucket in buckets.items():
        if key in chains or layout.is_digest(key) or (key in owned and key not in directories):
            continue
        directory = directories.get(key, key)
        source = buckets.get(directory, bucket)
        parent = _text(source, b"parent") or _text(bucket, b"parent")
        snapshots.append(Snapshot(key, directory, known_as(parent) if parent else None, committed=key in directories))
    holders = [*_leases(images.get(layout.LEASES_NAME), known_as), *_cache(images.get(layout.CACHE_NAME), known_as)]
    if everything_held:
        holders.append(Holder(layout.SNAPSHOTS_NAME, layout.SNAPSHOTS, tuple(known_as(key) for key in buckets if key not in owned)))
    return BuildCache(tuple(snapshots), tuple(holders))


def _leases(image: Image | None, known_as: Callable[[str], str]) -> Iterator[Holder]:
    leases = image.root.bucket(*_PATH) if image is not None else None
    for key, lease in leases.items() if leases is not None else ():
        held = lease.bucket(b"snapshots", b"default") if isinstance(lease, Bucket) else None
        if held is not None:
            targets = dict.fromkeys(known_as(decode(name)) for name, _ in held.items())
            yield Holder(decode(key), f"{layout.LEASES}#{decode(key)}", tuple(targets))


def _cache(image: Image | None, known_as: Callable[[str], str]) -> Iterator[Holder]:
    records = image.root.bucket(b"_main") if image is not None else None
    for key, record in records.items() if records is not None else ():
        if not isinstance(record, Bucket):
            continue
        named = [decode(key), *(value for name in _NAMING if (value := _value(record, name)))]
        targets = dict.fromkeys(known_as(name) for name in named)
        what = _value(record, b"cache.description")
        detail = {"description": what} if what else {}
        yield Holder(decode(key), f"{layout.CACHE}#{decode(key)}", tuple(targets), detail)


def _text(bucket: Bucket, name: bytes) -> str:
    value = bucket.value(name)
    return decode(value[:TEXT_LIMIT]) if value else ""


def _value(record: Bucket, name: bytes) -> str:
    """Return the text in a value of the cache, which is JSON: ``{"value": ..., "index": ...}``."""
    data = record.value(name)
    parsed = parse(data[: TEXT_LIMIT * 4]).value if data else None
    value = parsed.get("value") if isinstance(parsed, dict) else None
    return value[:TEXT_LIMIT] if isinstance(value, str) else ""
