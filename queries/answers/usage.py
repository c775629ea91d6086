"""What took the space at an instant: every sample, totals by role, and for each filesystem one table that sums to what ``df`` says of it.

The filesystems themselves come first: how full they are is soon known, and what fills them takes longer to look for.

In the last table every part has a name. What is left over lies on the filesystem and not below a store that is recorded; it is negative
where parts overlap (hard links from one layer to another) or shrank since they were measured, and then says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from linktrail.clock import Clock
from linktrail.output import Sheet
from queries.answer import Answer, Coming, coming, engine_of
from queries.answers.eyes import brief_table, owner, places, present, short, span
from queries.catalog import Question, question_named
from queries.engine import Engine

_TOTALS: Final = """
SELECT node, store_root, coalesce(role, scope) AS role, count(*) AS layers, sum(bytes)::BIGINT AS bytes,
    sum(recorded_bytes)::BIGINT AS recorded_bytes, sum(inodes)::BIGINT AS inodes
FROM sampled WHERE scope = 'layer' GROUP BY ALL ORDER BY node, store_root, bytes DESC NULLS LAST, role
"""
_FILESYSTEMS: Final = """
WITH sizes AS (FROM sampled),
disks AS (
    SELECT cluster, node, subject AS filesystem, arg_max(bytes, sampled_before) AS used FROM sizes WHERE scope = 'filesystem' GROUP BY ALL
),
stores AS (  -- layers may lie on a filesystem of their own, below the root's
    SELECT cluster, node, store_root, arg_max(subject, length(subject)) AS layers, arg_min(subject, length(subject)) AS rest
    FROM sizes WHERE scope = 'filesystem' GROUP BY ALL
),
parts AS (
    SELECT s.cluster, s.node, CASE WHEN s.scope = 'layer' OR starts_with(s.store_root || '/' || s.subject, t.layers || '/') THEN t.layers
            ELSE t.rest END AS filesystem, s.bytes,
        CASE WHEN s.scope = 'beside' THEN 6 WHEN s.role = 'image' AND s.containers > 0 THEN 1 WHEN s.role = 'image' THEN 2
            WHEN s.role = 'container' THEN 3 WHEN s.role = 'temporary' THEN 5 ELSE 4 END AS place,
        CASE WHEN s.scope = 'beside' THEN s.role || CASE s.role WHEN 'other' THEN ' files' ELSE '' END || ' of the engine'
            WHEN s.role = 'image' AND s.containers > 0 THEN 'image layers that containers use'
            WHEN s.role = 'image' AND s.images > 0 THEN 'image layers that no container uses'
            WHEN s.role = 'image' THEN 'layers that only a lease, a label or build cache holds'
            WHEN s.role = 'container' THEN 'writable layer of '
                || coalesce(nullif(concat_ws('/', s.k8s_namespace_name, s.k8s_pod_name), ''), s.container_name, s.container_id, s.subject)
            WHEN s.role = 'temporary' THEN 'temporary directories' ELSE 'leaked layers' END AS what
    FROM sizes AS s JOIN stores AS t USING (cluster, node, store_root)
    WHERE s.scope IN ('layer', 'beside') AND s.bytes IS NOT NULL
    UNION ALL
    SELECT f.cluster, f.node, t.layers, f.bytes, 7, 'deleted files that processes keep open'
    FROM findings_at($at) AS f JOIN stores AS t USING (cluster, node, store_root)
    WHERE f.code = 'deleted-open-file' AND f.bytes IS NOT NULL
),
summed AS (
    SELECT cluster, node, filesystem, place, what, count(*) AS things, sum(bytes)::BIGINT AS bytes FROM parts GROUP BY ALL
    UNION ALL
    SELECT d.cluster, d.node, d.filesystem, 8,
        CASE WHEN d.used < coalesce(sum(p.bytes), 0) THEN 'counted twice above, or gone since it was measured'
            ELSE 'elsewhere on the filesystem: not below a store, or hidden under a mount' END, NULL,
        d.used - coalesce(sum(p.bytes), 0)::BIGINT
    FROM disks AS d LEFT JOIN parts AS p USING (cluster, node, filesystem) GROUP BY d.cluster, d.node, d.filesystem, d.used
    UNION ALL
    SELECT cluster, node, filesystem, 9, 'used, as df says', NULL, used FROM disks
)
SELECT node, filesystem, what, things, bytes FROM summed
ORDER BY cluster, node, filesystem, place, bytes DESC, what
"""

_OWNERS: Final = ("k8s_namespace_name", "k8s_pod_name", "container_name", "container_id", "container_image_name", "container_image_id")
_SIZES: Final = ("bytes", "recorded_bytes", "capacity_bytes", "available_bytes")
_SHOWN: Final = ("scope", "subject", "role", *_OWNERS, *_SIZES, "sampled_before", "node", "store_root")
_FIRST: Final = "filesystem"


def usage_at(
    lake: Path | Engine,
    *,
    at: int | None = None,
    cluster: str | None = None,
    node: str | None = None,
    store: str | None = None,
    clock: Clock | None = None,
) -> Answer:
    """Return the newest size sample of everything at ``at`` (default: now), totals by role, and the sum of each filesystem.

    Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    with engine_of(lake) as engine:
        return asking_usage(engine, at=at, cluster=cluster, node=node, store=store, clock=clock).whole()


def asking_usage(
    engine: Engine,
    *,
    at: int | None = None,
    cluster: str | None = None,
    node: str | None = None,
    store: str | None = None,
    clock: Clock | None = None,
) -> Coming:
    """Do the same without waiting for the answer."""
    now = present(clock)
    question = question_named("usage")
    values = {"at": now if at is None else at, "cluster": cluster, "node": node, "store": store}
    return coming(engine, question, values, now, _sheets(engine, question, values))


def _sheets(engine: Engine, question: Question, values: Mapping[str, object]) -> Iterator[Sheet]:
    first = engine.query(question.sql, question.bound({**values, "scope": _FIRST, "without": None}))
    yield Sheet("rows", first, _brief(first, ("scope", "subject", "bytes", "capacity_bytes", "available_bytes")))
    others = engine.query(question.sql, question.bound({**values, "scope": None, "without": _FIRST}))
    yield Sheet("rows", others, _brief(others, ("scope", "subject", "role", "owner", "bytes", "recorded_bytes")))
    sampled = pa.concat_tables([first, others])
    for name, sql in (("totals", _TOTALS), ("filesystems", _FILESYSTEMS)):
        yield Sheet(name, engine.query(sql, question.bound(values), beside={"sampled": sampled}))


def _brief(sampled: pa.Table, names: tuple[str, ...]) -> pa.Table:
    rows = sampled.select(_SHOWN).to_pylist()
    where = places(rows)
    said = ({**row, "subject": short(row["subject"]), "owner": owner(row), "sampled": _sampled(row)} for row in rows)
    columns = (*names, "sampled", *where)
    return brief_table(columns, (tuple(row[name] for name in columns) for row in said), dict.fromkeys(_SIZES, pa.int64()))


def _sampled(row: Mapping[str, Any]) -> str:
    return span(row["sampled_before"], row["sampled_before"])
