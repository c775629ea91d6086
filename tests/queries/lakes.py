"""Lakes for tests, written by the real ``processor.lake`` from rows of a made-up collector run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from linktrail import batch
from linktrail.clock import NANOSECONDS
from linktrail.durable import LocalFileSystem
from linktrail.events import Row
from linktrail.schema import INTEGER, TABLES, TEXT
from linktrail.testing.clock import START
from processor.lake import Lake

STORE = "/srv/store"
BOOT = "00000000-0000-4000-8000-000000000001"
RUN = "20261123T160000Z-aaaaaaaa"

Ends = tuple[float | None, float]


def at(seconds: float) -> int:
    """Return the instant ``seconds`` after the beginning of every test, in ns UTC."""
    return START + round(seconds * NANOSECONDS)


class Run:
    """Rows of one collector run, numbered as a spool numbers them. Times are seconds after the beginning."""

    def __init__(self, run: str = RUN, *, node: str = "n1", cluster: str = "", store: str | None = STORE, boot: str = BOOT) -> None:
        self.run = run
        self.node = node
        self.cluster = cluster
        self.store = store
        self.boot = boot
        self.rows: list[tuple[str, Row]] = []

    def link(self, kind: str, action: str, subject: str, when: Ends, **more: object) -> None:
        """Add a link change."""
        default: Row = {"origin": "watch", "file_path": f"{kind}/{subject}", "link_state": "removed" if action == "removed" else "present"}
        self._add("links", when, {**default, "link_kind": kind, "action": action, "subject": subject, **more})

    def finding(self, action: str, code: str, subject: str, when: Ends, **more: object) -> None:
        """Add a finding opened, changed or closed."""
        default: Row = {
            "origin": "survey",
            "finding_id": f"{code}-{subject}",
            "code": code,
            "family": "leaks",
            "severity": "warning",
            "action": action,
            "subject_kind": "layer",
            "subject": subject,
            "read_only": False,
            "message": f"layer {subject} leaks",
            "advice": "look",
        }
        self._add("findings", when, {**default, **more})

    def usage(self, scope: str, subject: str, when: Ends, size: int | None, **more: object) -> None:
        """Add a size sample."""
        self._add("usage", when, {"origin": "survey", "scope": scope, "subject": subject, "bytes": size, **more})

    def coverage(self, kind: str, when: Ends, **more: object) -> None:
        """Add a statement about the record."""
        self._add("coverage", when, {"origin": "survey", "kind": kind, **more})

    def start(self, when: float) -> None:
        """State that recording began."""
        self.coverage("start", (when, when), mode="inotify")

    def vouch(self, until: float, *, since: float) -> None:
        """Vouch for the record by heartbeats."""
        while since < until:
            following = min(since + 60, until)
            self.coverage("heartbeat", (since, following), mode="inotify")
            since = following

    def table(self, name: str) -> pa.Table:
        """Return the rows of one table as a decoded batch would hold them."""
        numbered = [(seq, row) for seq, (table, row) in enumerate(self.rows) if table == name]
        body = batch.columns(name, [row for _, row in numbered])
        own = {
            "cluster": pa.array([self.cluster] * len(numbered), TEXT),
            "node": pa.array([self.node] * len(numbered), TEXT),
            "run": pa.array([self.run] * len(numbered), TEXT),
            "seq": pa.array([seq for seq, _ in numbered], INTEGER),
        }
        schema = TABLES[name].arrow()
        return pa.table([own[column] if column in own else body.column(column) for column in schema.names], schema=schema)

    def _add(self, table: str, when: Ends, columns: Row) -> None:
        after, before = when
        row: Row = {
            "occurred_after": None if after is None else at(after),
            "occurred_before": at(before),
            "observed_at": at(before),
            "monotonic_ns": round(before * NANOSECONDS),
            "boot_id": self.boot,
            "store_kind": None if self.store is None else "containers_storage",
            "store_root": self.store,
        }
        self.rows.append((table, {**row, **columns}))


def write_lake(path: Path, runs: Sequence[Run], *, twice: Sequence[str] = ()) -> Path:
    """Write ``runs`` as a lake at ``path``; the rows of tables in ``twice`` are committed two times."""
    lake = Lake.open_for_writing(path, filesystem=LocalFileSystem())
    offset = 0
    for run in runs:
        for name, table in lake.tables.items():
            rows = run.table(name)
            for _ in range((1 + (name in twice)) if rows.num_rows else 0):
                lake.tables[name].commit(rows, {"test": offset + 1}, {"test": table.transaction_version("test")})
                offset += 1
    return path
