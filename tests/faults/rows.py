"""Rows for tests of the spool and the lake: small, valid, and each with a number by which it is found again."""

from __future__ import annotations

from linktrail.batch import encode
from linktrail.clock import NANOSECONDS
from linktrail.events import Row
from linktrail.testing.clock import START

DAY = 86_400 * NANOSECONDS


def common(moment: int = START) -> Row:
    return {
        "occurred_after": moment - 500,
        "occurred_before": moment + 500,
        "observed_at": moment,
        "monotonic_ns": 7,
        "boot_id": "boot",
        "origin": "watch",
        "store_kind": "containers_storage",
        "store_root": "/store",
    }


def link(number: int, moment: int = START) -> Row:
    return {
        **common(moment),
        "link_kind": "layer_directory",
        "action": "created",
        "subject": f"layer-{number}",
        "layer_id": f"layer-{number}",
        "file_path": f"overlay/layer-{number}",
        "file_inode": number,
        "link_state": "present",
    }


def finding(number: int, moment: int = START) -> Row:
    return {
        **common(moment),
        "finding_id": f"finding-{number}",
        "code": "unreferenced-layer",
        "family": "leaks",
        "severity": "warning",
        "action": "opened",
        "subject_kind": "layer",
        "subject": f"layer-{number}",
        "bytes": number,
        "read_only": False,
        "since_after": moment - 1,
        "since_before": moment + 1,
    }


def usage(number: int, moment: int = START) -> Row:
    return {**common(moment), "scope": "layer", "subject": f"layer-{number}", "bytes": number}


def heartbeat(number: int, moment: int = START) -> Row:
    return {**common(moment), "kind": "heartbeat", "watches": number, "mode": "inotify"}


MAKERS = {"links": link, "findings": finding, "usage": usage, "coverage": heartbeat}
NUMBER_COLUMN = {"links": "file_inode", "findings": "bytes", "usage": "bytes", "coverage": "watches"}


def sealed(
    rows: list[Row],
    *,
    table: str = "links",
    run: str = "run",
    batch: int = 0,
    first_seq: int = 0,
    previous_digest: str = "",
    sealed_at: int = START,
    node: str = "node",
) -> bytes:
    return encode(
        table,
        rows,
        cluster="",
        node=node,
        run=run,
        batch=batch,
        first_seq=first_seq,
        previous_digest=previous_digest,
        sealed_at=sealed_at,
    )
