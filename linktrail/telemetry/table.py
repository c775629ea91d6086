"""Every metric there is, once: what is served, docs/metrics.md and the tests come from this table.

Labels are words of linktrail's own (store kinds, link kinds, causes, finding codes, classes of errors), never a layer, a container,
a path or anything else that is read from a disk: that bounds their number, and nothing hostile can get in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COLLECTOR: Final = "collect"
PROCESSOR: Final = "process"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``kind`` is ``counter``, ``gauge`` or ``info``; ``name`` is as Prometheus shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    programs: tuple[str, ...]
    meaning: str


_BOTH = (COLLECTOR, PROCESSOR)


def _collector(name: str, kind: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"linktrail_{name}", kind, labels, (COLLECTOR,), meaning)


def _processor(name: str, kind: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"linktrail_processor_{name}", kind, labels, (PROCESSOR,), meaning)


METRICS: Final = (
    Metric("linktrail_build_info", "info", ("version", "schema"), _BOTH, "Always 1; which linktrail this is."),
    Metric("linktrail_ready", "gauge", (), _BOTH, "1 while /readyz says so: the record is complete up to now."),
    Metric("linktrail_live", "gauge", (), _BOTH, "1 while /livez says so: no thread is stuck."),
    _collector("events_total", "counter", "Link changes recorded, by kind of link and action.", "store", "kind", "action"),
    _collector("gaps_total", "counter", "Gaps stated: times in which the record may miss something, by cause.", "reason"),
    _collector("watches", "gauge", "Kernel watches held."),
    _collector("watches_limit", "gauge", "The kernel's limit of watches for this user."),
    _collector("watches_missing", "gauge", "Directories that should be watched and are not."),
    _collector("spool_bytes", "gauge", "What the spool takes on disk."),
    _collector("spool_limit_bytes", "gauge", "The most that the spool may take."),
    _collector("spool_pending_batches", "gauge", "Sealed batches that are not acknowledged yet."),
    _collector(
        "spool_oldest_event_timestamp_seconds", "gauge", "When the oldest batch was sealed that is not acknowledged; absent without."
    ),
    _collector("send_failures_total", "counter", "Times that shipping to Kafka failed, by class of error.", "reason"),
    _collector("last_reconcile_timestamp_seconds", "gauge", "When a store was last read in whole (of several, the oldest).", "store"),
    _collector("findings", "gauge", "Open findings, by code.", "store", "reason"),
    _collector("unreferenced_bytes", "gauge", "Bytes that leaks hold, by code.", "store", "reason"),
    _collector("store_bytes", "gauge", "Bytes of all layers; absent until all were measured.", "store"),
    _collector("filesystem_size_bytes", "gauge", "Size of the filesystem below a store (of several, the fullest).", "store"),
    _collector("filesystem_available_bytes", "gauge", "What an unprivileged user could still write there.", "store"),
    _collector("last_event_timestamp_seconds", "gauge", "When something was last sealed into the spool; heartbeats count."),
    _processor("lag_batches", "gauge", "Batches that wait in the source, not taken yet."),
    _processor("lag_events", "gauge", "Rows in them, estimated by the mean of batches taken so far (a batch is opened only when taken)."),
    _processor("waiting_rows", "gauge", "Rows taken that wait for a commit."),
    _processor("commits_total", "counter", "Rounds that ended with a commit to the lake."),
    _processor("rows_total", "counter", "Rows committed."),
    _processor("batches_total", "counter", "Batches committed."),
    _processor("duplicates_total", "counter", "Batches that were there already, and were left out."),
    _processor("gaps_total", "counter", "Gaps found in the numbering of batches, and stated."),
    _processor("dead_letters_total", "counter", "Batches that could not be used, and were set aside."),
    _processor("failures_total", "counter", "Rounds that failed and are tried again, by class of error.", "reason"),
    _processor("last_commit_timestamp_seconds", "gauge", "When rows were last committed; absent before."),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}


def metrics_page() -> str:
    """Return docs/metrics.md."""
    lines = [
        "# Metrics and health",
        "",
        "`linktrail collect --metrics ADDRESS:PORT` and `linktrail process --metrics ADDRESS:PORT` (in the file `collect.metrics` and",
        "`process.metrics`; off without) serve over HTTP, without TLS and without asking who it is: use loopback, or the address of a pod",
        "behind a NetworkPolicy. Needs the extra `metrics`.",
        "",
        "* `/metrics`: Prometheus' text format. Values are those of the last second. Counters begin at 0 with the program.",
        "* `/readyz`: 200 while the record is complete up to now. 503 with the reasons, a line each, while it is not: a store that was not",
        "  read yet or cannot be read, an overflow or another loss after which it was not read again, directories that are not watched, a",
        "  full spool, brokers away for longer than `collect.broker_limit`; for the processor a source that cannot be read, a lake that",
        "  cannot be written, a source that is held, more lag than `process.lag_limit`.",
        "* `/livez`: 200 while every thread gives signs of life, 503 with the names of those that do not: the recorder's loop, the one",
        "  that drains the kernel's queue, the shipper, the processor's loop.",
        "",
        "Labels are words of linktrail's own, never a layer, a container or a path: `store` is a kind of store, `kind` and `action` those",
        "of `links`, `reason` a cause (docs/coverage.md), a finding code (docs/findings.md) or a class of error (docs/exit-codes.md).",
        "",
        "| metric | type | labels | program | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        programs = ", ".join(f"`{program}`" for program in metric.programs)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {programs} | {metric.meaning} |")
    return "\n".join([*lines, "", "Python's own `process_*` metrics (CPU time, memory, open files) are served beside them.", ""])
