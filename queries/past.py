"""The graph of a store as it stood at a past instant, rebuilt from the record.

A link of the record is what it was in the survey that found it, so the links that stood at an instant are a ``Survey``, and what diagnosis
knows of a live store it knows of a past one. What a survey sees beside links (times, unread parts) is not recorded: rules that need it have
less to go by. A link of which two forms were possible at the instant is taken as it stood before.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from collector.graph import Graph
from collector.links import Link, StoreKind, Survey
from collector.rows import link_of, rows_of
from queries.completeness import to_datetime
from queries.engine import Engine

_LINKS = """
SELECT * EXCLUDE (certainty) FROM links_at($at)
WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node) AND store_root IS NOT NULL AND store_kind IS NOT NULL
ORDER BY run, seq
"""


@dataclass(frozen=True, slots=True)
class PastStore:
    """One store at an instant: whose, and its graph."""

    cluster: str
    node: str
    root: str
    graph: Graph


def stores_at(engine: Engine, at: int, *, cluster: str | None = None, node: str | None = None) -> list[PastStore]:
    """Return the stores as they stood at ``at`` (ns UTC), by node and root. Raises ``LakeError``."""
    table = engine.query(_LINKS, {"at": to_datetime(at), "cluster": cluster, "node": node})
    links: dict[tuple[str, str, str, str], list[Link]] = defaultdict(list)
    for row in rows_of(table):
        place = (str(row["cluster"]), str(row["node"]), str(row["store_root"]), str(row["store_kind"]))
        links[place].append(link_of(row))
    return [
        PastStore(cluster_of, node_of, root, Graph.of(Survey.of(StoreKind(kind), root, found, started=at, finished=at)))
        for (cluster_of, node_of, root, kind), found in sorted(links.items())
    ]
