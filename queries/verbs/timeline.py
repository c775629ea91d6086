"""``linktrail timeline``."""

from __future__ import annotations

from typing import Annotated

import typer

from linktrail.clock import NANOSECONDS, SystemClock
from linktrail.durations import parse_duration
from linktrail.errors import UsageError
from linktrail.output import Format
from queries.verbs.giving import give
from queries.verbs.options import AsJson, Cluster, Form, From, Lake, Node, To, instant, lake_path, span


def timeline(
    subject: Annotated[
        str | None, typer.Argument(metavar="[ID|PATH]", help="An id, 6 or more characters of one, a name, or a path in a store.")
    ] = None,
    *,
    around: Annotated[str | None, typer.Option("--around", metavar="INSTANT", help="Everything about that instant.")] = None,
    window: Annotated[str, typer.Option("--window", metavar="DURATION", help="How long before and after --around.")] = "10m",
    lake: Lake = None,
    first: From = None,
    last: To = "now",
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Everything that happened to a layer, image, container, short link or path, on one axis of time.

    Its links in both directions, its findings and sizes, and the gaps of the record. Every change has an interval: it happened after
    one instant and before the other.

    Examples: linktrail timeline 4f1c0a9be2d7
              linktrail timeline /var/lib/containers/storage/overlay/4f1c0a9be2d7.../diff/etc --from '2 days ago'
              linktrail timeline --around 2026-11-23T16:02:07Z --window 2m --node worker-3

    Exit code 3: answered, but the record has gaps in that time.
    """
    from queries.answers.timeline import happened_around, happened_to  # noqa: PLC0415 - --help must not wait for it

    if (subject is None) is (around is None):
        raise UsageError(what="linktrail timeline takes an id or path, or --around an instant")
    after, before = span(first, last)
    if around is None:
        answer = happened_to(lake_path(lake), subject or "", after=after, before=before, cluster=cluster, node=node)
    else:
        middle, half = instant(around, "--around"), round(parse_duration(window, "--window") * NANOSECONDS)
        after, before = middle - half, min(middle + half, SystemClock().now().wall)
        answer = happened_around(lake_path(lake), after=after, before=before, cluster=cluster, node=node)
    return give(answer, form, as_json=as_json)
