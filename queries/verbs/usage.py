"""``linktrail usage``."""

from __future__ import annotations

from linktrail.output import Format
from queries.verbs.giving import give_coming
from queries.verbs.options import AsJson, At, Cluster, Form, Lake, Node, Store, instant, lake_path


def usage(
    *,
    lake: Lake = None,
    at: At = "now",
    cluster: Cluster = None,
    node: Node = None,
    store: Store = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """What took the space at an instant: how full filesystems were, layers by role and owner, and one table that sums to what df says.

    Examples: linktrail usage
              linktrail usage --at 2026-11-23T16:02:07Z --format csv

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from queries.answers.usage import asking_usage  # noqa: PLC0415 - --help must not wait for it

    when = instant(at)
    return give_coming(
        lake_path(lake), lambda engine: asking_usage(engine, at=when, cluster=cluster, node=node, store=store), form, as_json=as_json
    )
