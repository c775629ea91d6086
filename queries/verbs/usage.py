"""``linktrail usage``."""

from __future__ import annotations

from linktrail.output import Format
from queries.verbs.giving import give
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
    """What took the space at an instant: layers by role and owner, stores, filesystems, totals, and one table that sums to what df says.

    Examples: linktrail usage
              linktrail usage --at 2026-11-23T16:02:07Z --format csv

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from queries.answers.usage import usage_at  # noqa: PLC0415 - --help must not wait for it

    return give(usage_at(lake_path(lake), at=instant(at), cluster=cluster, node=node, store=store), form, as_json=as_json)
