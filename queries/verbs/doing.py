"""The verbs that a person asks before doing something: ``can-delete`` and ``repair-plan``. Neither does anything."""

from __future__ import annotations

from linktrail.output import Format
from queries.verbs.giving import give
from queries.verbs.options import AsJson, At, Cluster, Form, Lake, Node, Subject, instant, lake_path


def can_delete(
    subject: Subject,
    *,
    lake: Lake = None,
    at: At = "now",
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Is it safe to delete: a verdict (yes, no, wait) with every reason, and how many bytes that would free.

    Examples: linktrail can-delete 4f1c0a9be2d7
              linktrail can-delete /var/lib/containers/storage/overlay/4f1c0a9be2d7... --json

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from queries.answers import deletion  # noqa: PLC0415 - --help must not wait for it

    return give(deletion.can_delete(lake_path(lake), subject, at=instant(at), cluster=cluster, node=node), form, as_json=as_json)


def repair_plan(
    subject: Subject,
    *,
    lake: Lake = None,
    at: At = "now",
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """How to repair just this: steps in order, printed and never run, and what each of them loses.

    Example: linktrail repair-plan 4f1c0a9be2d7

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from queries.answers import repair  # noqa: PLC0415 - --help must not wait for it

    return give(repair.repair_plan(lake_path(lake), subject, at=instant(at), cluster=cluster, node=node), form, as_json=as_json)
