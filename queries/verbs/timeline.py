"""``linktrail timeline``."""

from __future__ import annotations

from linktrail.output import Format
from queries.verbs.giving import give
from queries.verbs.options import AsJson, Cluster, Form, From, Lake, Node, Subject, To, lake_path, span


def timeline(
    subject: Subject,
    *,
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

    Exit code 3: answered, but the record has gaps in that time.
    """
    from queries.answers.timeline import happened_to  # noqa: PLC0415 - --help must not wait for it

    after, before = span(first, last)
    return give(happened_to(lake_path(lake), subject, after=after, before=before, cluster=cluster, node=node), form, as_json=as_json)
