"""``linktrail verify``."""

from __future__ import annotations

from linktrail.output import Format
from queries.verbs.giving import give
from queries.verbs.options import AsJson, Cluster, Form, From, Lake, Node, To, lake_path, open_span


def verify(
    *,
    lake: Lake = None,
    first: From = None,
    last: To = "now",
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Is the record whole: the hash chain of every collector run, the numbering of its batches, and the rows of each in the lake.

    Examples: linktrail verify --node worker-3
              linktrail verify --from '1 day ago'

    --from and --to choose the runs that sent something in that time; each is checked whole.

    Exit code 12: a run is broken. 3: whole as far as it goes, but the record has gaps.
    """
    from queries.answers import verify as verifying  # noqa: PLC0415 - --help must not wait for it

    after, before = open_span(first, last)
    return give(verifying.verify(lake_path(lake), since=after, until=before, cluster=cluster, node=node), form, as_json=as_json)
