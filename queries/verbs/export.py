"""``linktrail export``: the history in the forms of other tools."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from linktrail.clock import SystemClock
from queries.export.writing import ExportForm
from queries.verbs.giving import say
from queries.verbs.options import Cluster, Lake, Node, To, lake_path, span


def export(
    *,
    to_form: Annotated[ExportForm, typer.Option("--as", help="timesketch: CSV; ecs: JSON lines; ocsf: JSON lines, findings only.")],
    first: Annotated[str, typer.Option("--from", "--since", metavar="INSTANT", help="From then on; written as --at.")],
    last: To = "now",
    cluster: Cluster = None,
    node: Node = None,
    lake: Lake = None,
) -> int:
    """Write link changes and findings of a time for Timesketch, Elastic (ECS) or an OCSF consumer, to standard output.

    Their events have one instant: it is the end of the interval of the change; the beginning goes with it. For anything else there is
    Parquet: linktrail sql "FROM links" --format parquet.

    Examples: linktrail export --as timesketch --from '1 day ago' > timeline.csv
              linktrail export --as ecs --from '1h ago' --node worker-3 > events.ndjson

    Exit code 3: written, but the record has gaps in that time.
    """
    from queries.completeness import Scope, Window, completeness  # noqa: PLC0415 - --help must not wait for it
    from queries.engine import open_lake  # noqa: PLC0415 - likewise
    from queries.export.writing import export as write  # noqa: PLC0415 - likewise

    after, before = span(first, last)
    with open_lake(lake_path(lake)) as engine:
        written = write(engine, to_form, after or 0, before, sys.stdout, cluster=cluster, node=node)
        scope = Scope(None if cluster is None else frozenset({cluster}), None if node is None else frozenset({node}))
        said = completeness(engine, Window(after, before), now=SystemClock().now().wall, scope=scope)
    say([f"{written} events.", *said.lines()])
    return said.exit_code
