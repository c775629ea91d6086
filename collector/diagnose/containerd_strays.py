"""What is left beside the snapshots of a containerd store: directories that no record names, and downloads that never ended."""

from __future__ import annotations

from typing import Final

from collector.diagnose.advice_containerd import ContainerdAdvice
from collector.diagnose.cases import Case, fact
from collector.diagnose.containerd_store import SNAPSHOTTER, ContainerdStore, brief
from collector.diagnose.context import Examination
from collector.graph_nodes import instant_of
from collector.links import Link
from linktrail.clock import NANOSECONDS

_DAY: Final = 86_400 * NANOSECONDS  # containerd lets a download expire a day after its last beginning


def leaks(look: Examination, store: ContainerdStore, advice: ContainerdAdvice) -> None:
    """Report directories and downloads that were left behind."""
    if store.named_known:
        _downloads(look, store, advice)
    for link in store.directories.values():
        _unaccounted(look, store, link, advice)


def _unaccounted(look: Examination, store: ContainerdStore, link: Link, advice: ContainerdAdvice) -> None:
    """Report a directory that no record names; what is not called by a number is not containerd's."""
    snapshotter = link.path.removeprefix(SNAPSHOTTER).partition("/")[0]
    name = link.path.rpartition("/")[2]
    if link.layer_id is not None or snapshotter not in store.known_snapshotters or not name.isdecimal() or "type" in link.detail:
        return
    look.report(
        Case(
            "unaccounted-layer",
            "layer",
            link.subject,
            link.path,
            f"Directory {brief(name)} looks like a snapshot's, but no record in the snapshotter's database has that number.",
            advice.unaccounted_layer(name, [link.path], trap=False),
            evidence={"directory": name, "snapshotter": snapshotter},
            times={
                "directory modified": fact(link, "mtime_ns"),
                "directory changed": fact(link, "ctime_ns"),
                "fs modified": fact(link, "diff_mtime_ns"),
            },
            keys=[link.key],
            unrecorded=[link.subject],
            held=(link.path,),
        )
    )


def _downloads(look: Examination, store: ContainerdStore, advice: ContainerdAdvice) -> None:
    """Report downloads without an end: the record, its directory, or both; they are one finding."""
    records: dict[str | None, tuple[str, Link]] = {
        link.target: (namespace, link) for (namespace, _), link in store.ingests.items() if link.target
    }
    for directory in store.downloads:
        recorded = records.pop(directory.target, None)
        if recorded is not None:
            _download(look, advice, recorded[1], namespace=recorded[0], record=recorded[1], directory=directory)
        else:
            _download(look, advice, directory, directory=directory)
    for namespace, record in records.values():
        _download(look, advice, record, namespace=namespace, record=record)


def _download(
    look: Examination,
    advice: ContainerdAdvice,
    link: Link,
    *,
    namespace: str | None = None,
    record: Link | None = None,
    directory: Link | None = None,
) -> None:
    """Report one download; ``link`` is its record, or its directory where there is no record."""
    name = record.subject if record is not None else link.target or link.subject
    got, total = (fact(directory, "size"), directory.detail.get("total")) if directory is not None else (None, None)
    expires = record.detail.get("expires") if record is not None else None
    size = f" ({got} of {total} bytes came)" if got is not None and total else ""
    look.report(
        Case(
            "leftover-ingest",
            "ingest",
            name,
            directory.path if directory is not None else link.path,
            f"Download {brief(name)}{size} never ended{'' if record is not None else ', and no record knows it'}.",
            advice.leftover_ingest(namespace, name, directory.path if directory is not None else None, recorded=record is not None),
            related=[text for text in (link.subject, directory.subject if directory else None, link.target) if text],
            evidence={"namespace": namespace, "expires": expires, "bytes": got, "total": total},
            times={
                "data written": fact(directory, "mtime_ns"),
                "engine noted progress": instant_of(directory.facts.get("updated")) if directory is not None else None,
                "download begun": instant_of(directory.detail.get("started")) if directory is not None else None,
                "record written": fact(record, "updated_ns") or fact(record, "created_ns"),
                "record made": (fact(record, "expires_ns") or 0) - _DAY or None,
            },
            keys=[link.key],
            held=(directory.path,) if directory is not None else (),
            owner=link.owner,
        )
    )
