r"""The one schema table: what crosses every border of linktrail.

Four tables, each a list of ``Column``. Arrow schemas, the documentation page (docs/schema.md), the SQL views and
the JSON form all come from here; a golden file in tests/data pins it. Adding a nullable column at the end of a table
is compatible; anything else raises ``SCHEMA_VERSION`` and is a new topic and a new lake.

Times are ``timestamp('us', tz='UTC')``: Delta has no nanoseconds, so lower bounds are rounded down and upper bounds up.
Names that are not UTF-8 stand in the text column with ``\xNN`` and, as they were, in the ``*_raw`` column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1

TEXT: Final = pa.string()
BYTES: Final = pa.binary()
INTEGER: Final = pa.int64()
TIME: Final = pa.timestamp("us", tz="UTC")
DATE: Final = pa.date32()
FLAG: Final = pa.bool_()


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, Arrow type, meaning (with unit), and whether it may be null."""

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its name, what a row is, and its columns in order."""

    name: str
    row: str
    columns: tuple[Column, ...]

    def arrow(self, metadata: dict[bytes, bytes] | None = None) -> pa.Schema:
        """Return the Arrow schema, with ``metadata`` if given."""
        fields = [pa.field(column.name, column.type, column.nullable) for column in self.columns]
        return pa.schema(fields, metadata)

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)


def _need(name: str, kind: pa.DataType, meaning: str) -> Column:
    return Column(name, kind, meaning, nullable=False)


COMMON: Final = (
    _need("day", DATE, "UTC day of observed_at; the lake is partitioned by it"),
    _need("cluster", TEXT, "cluster the node belongs to; empty on a single machine"),
    _need("node", TEXT, "node the row is about"),
    _need("run", TEXT, "collector run: start time and a random part"),
    Column("seq", INTEGER, "number of the row in its run, from 0 without holes; null in rows the processor adds"),
    Column("occurred_after", TIME, "the change happened after this instant (null: unknown, before recording began)"),
    _need("occurred_before", TIME, "the change happened before this instant"),
    _need("observed_at", TIME, "when linktrail saw it"),
    _need("monotonic_ns", INTEGER, "nanoseconds since boot when linktrail saw it; compare only within one boot_id"),
    _need("boot_id", TEXT, "kernel boot the monotonic clock belongs to"),
    _need("origin", TEXT, "how it is known: watch, survey, baseline, import, processor"),
    Column("store_kind", TEXT, "containers_storage, containerd_overlayfs or docker_overlay2; null for the node itself"),
    Column("store_root", TEXT, "root directory of the store"),
)

ATTRIBUTION: Final = (
    Column("k8s_pod_name", TEXT, "pod that owns it, as far as the store's own records tell"),
    Column("k8s_namespace_name", TEXT, "namespace of that pod"),
    Column("k8s_pod_uid", TEXT, "uid of that pod"),
    Column("container_id", TEXT, "container that owns it"),
    Column("container_name", TEXT, "name of that container"),
    Column("container_image_name", TEXT, "name of the image it belongs to (the first, where there are several)"),
    Column("container_image_id", TEXT, "id of that image"),
)

LINKS: Final = Table(
    "links",
    "a link created, removed, retargeted, changed or observed",
    (
        *COMMON,
        _need("link_kind", TEXT, "what sort of link it is (see Link kinds)"),
        _need("action", TEXT, "created, removed, retargeted, changed, observed (baseline)"),
        _need("subject", TEXT, "what the link starts from: the id of a layer, image, container or short link"),
        Column("subject_raw", BYTES, "subject as bytes, where it is not UTF-8"),
        Column("target", TEXT, "what it points to now, as written; null after removal or where it was gone before it could be read"),
        Column("target_raw", BYTES, "target as bytes, where it is not UTF-8"),
        Column("previous_target", TEXT, "what it pointed to before; null where there was nothing"),
        Column("layer_id", TEXT, "layer concerned"),
        Column("file_path", TEXT, "where the link is written, relative to store_root"),
        Column("file_path_raw", BYTES, "file_path as bytes, where it is not UTF-8"),
        Column("file_inode", INTEGER, "inode number of that file"),
        Column("file_nlink", INTEGER, "number of hard links of that file"),
        _need("link_state", TEXT, "present, incomplete, empty, malformed, missing, unreadable, removed"),
        Column("detail", TEXT, "JSON object of what else the record says (names, digests, sizes, flags)"),
        *ATTRIBUTION,
    ),
)

FINDINGS: Final = Table(
    "findings",
    "a leak, break or growth opened, changed or closed",
    (
        *COMMON,
        _need("finding_id", TEXT, "stable while the same damage lasts: digest of store, code and subject"),
        _need("code", TEXT, "finding code (see Finding codes)"),
        _need("family", TEXT, "leaks, breaks, contents or growth"),
        _need("severity", TEXT, "info, warning, error or critical"),
        _need("action", TEXT, "opened, changed or closed"),
        _need("subject_kind", TEXT, "layer, image, container, link, directory, mount, filesystem or store"),
        _need("subject", TEXT, "id of it, as the engine writes it"),
        Column("file_path", TEXT, "path of it, relative to store_root"),
        Column("bytes", INTEGER, "allocated bytes it holds; null where unknown"),
        Column("related", TEXT, "JSON array of the other ids concerned"),
        _need("read_only", FLAG, "found in an additional read-only image store"),
        Column("since_after", TIME, "the damage began after this instant (null: before recording began)"),
        Column("since_before", TIME, "the damage began before this instant"),
        Column("message", TEXT, "what is wrong, in one sentence"),
        Column("evidence", TEXT, "JSON object of what the finding rests on"),
        Column("advice", TEXT, "whether it is safe to remove, and the least invasive next step"),
        *ATTRIBUTION,
    ),
)

USAGE: Final = Table(
    "usage",
    "a size sample of a layer, a store or a filesystem",
    (
        *COMMON,
        _need("scope", TEXT, "layer, store, filesystem, or beside (what a store keeps beside its layers)"),
        _need("subject", TEXT, "layer id, store root, or mount point"),
        Column("role", TEXT, "what it serves as: image, container, orphan, temporary; beside: metadata, content, logs, volumes, other"),
        Column("bytes", INTEGER, "allocated bytes (blocks x 512), a hard-linked file counted once"),
        Column("apparent_bytes", INTEGER, "sum of file sizes, a hard-linked file counted once"),
        Column("inodes", INTEGER, "number of inodes"),
        Column("shared_bytes", INTEGER, "allocated bytes of files that have further names outside the subject"),
        Column("recorded_bytes", INTEGER, "size that the engine's own record states"),
        Column("capacity_bytes", INTEGER, "size of the filesystem"),
        Column("available_bytes", INTEGER, "bytes of it an unprivileged writer may still use"),
        Column("capacity_inodes", INTEGER, "inodes of the filesystem"),
        Column("available_inodes", INTEGER, "inodes of it still free"),
        *ATTRIBUTION,
    ),
)

COVERAGE: Final = Table(
    "coverage",
    "a statement about the record itself: batch, gap, start, heartbeat or stop",
    (
        *COMMON,
        _need("kind", TEXT, "batch, gap, start, heartbeat or stop"),
        Column("cause", TEXT, "why (gap: restart, overflow, watch-budget, unmount, clock-jump, batch-missing, unreadable, ...)"),
        Column("gap_id", TEXT, "name of the gap, for the rows that were found in it"),
        Column("message", TEXT, "the cause in one sentence"),
        Column("batch", INTEGER, "number of the batch in its run"),
        Column("batch_table", TEXT, "table the batch is of"),
        Column("batch_rows", INTEGER, "rows in it"),
        Column("first_seq", INTEGER, "seq of its first row"),
        Column("last_seq", INTEGER, "seq of its last row"),
        Column("batch_digest", TEXT, "SHA-256 of the sealed batch"),
        Column("previous_digest", TEXT, "SHA-256 of the batch before it in the run, as the batch states it"),
        Column("source", TEXT, "where the processor read it: spool/<id> or kafka/<topic>/<partition>/<topic id>"),
        Column("source_offset", INTEGER, "position there"),
        Column("watches", INTEGER, "watches held (heartbeat)"),
        Column("mode", TEXT, "watch mode in use: inotify, fanotify, survey-only"),
    ),
)

TABLES: Final[dict[str, Table]] = {table.name: table for table in (LINKS, FINDINGS, USAGE, COVERAGE)}
