"""``linktrail verify``."""

from __future__ import annotations

from linktrail.output import Format
from queries.verbs.giving import give
from queries.verbs.options import AsJson, Cluster, Form, Lake, Node, lake_path


def verify(*, lake: Lake = None, cluster: Cluster = None, node: Node = None, form: Form = Format.TABLE, as_json: AsJson = False) -> int:
    """Is the record whole: the hash chain of every collector run, the numbering of its batches, and the rows of each in the lake.

    Example: linktrail verify --node worker-3

    Exit code 12: a run is broken. 3: whole as far as it goes, but the record has gaps.
    """
    from queries.answers import verify as verifying  # noqa: PLC0415 - --help must not wait for it

    return give(verifying.verify(lake_path(lake), cluster=cluster, node=node), form, as_json=as_json)
