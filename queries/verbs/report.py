"""``linktrail report``: the postmortem of a time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from linktrail.clock import SystemClock
from linktrail.text import printable
from queries.verbs.giving import say
from queries.verbs.options import Cluster, Lake, Node, To, lake_path, span


def report(
    *,
    first: Annotated[str, typer.Option("--from", "--since", metavar="INSTANT", help="From then on; written as --at.")],
    last: To = "now",
    cluster: Cluster = None,
    node: Node = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to write (default: a new directory here).")] = None,
    lake: Lake = None,
) -> int:
    """Write the postmortem of a time: Markdown with plots, and one HTML page that needs no network.

    Summary, impact, timeline with intervals, findings with evidence, plots with gaps shaded, completeness, the questions asked and the
    hashes of their inputs come from the record; what takes judgement is left visibly empty.

    Example: linktrail report --from '2026-11-23 16:00' --to '2026-11-23 18:00' --node worker-3 --out incident-42

    Exit code 3: written, but the record has gaps in that time.
    """
    from queries.completeness import spell  # noqa: PLC0415 - --help must not wait for it
    from queries.engine import open_lake  # noqa: PLC0415 - likewise
    from queries.report.gather import gather  # noqa: PLC0415 - likewise
    from queries.report.render import title_of, write_report  # noqa: PLC0415 - likewise

    after, before = span(first, last)
    now = SystemClock().now().wall
    with open_lake(lake_path(lake)) as engine:
        say([f"Asking the record about {spell(after or 0)} to {spell(before)}."])  # at once: the questions take their time
        found = gather(engine, after or 0, before, cluster=cluster, node=node, now=now)
    written = write_report(found, out or Path(title_of(found)))
    sys.stdout.write("".join(f"{printable(path)}\n" for path in written))
    say(found.completeness.lines())
    return found.completeness.exit_code
