"""The verbs that compare or cover a time: ``growth``, ``diff``, ``coverage`` and ``forecast``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from linktrail.output import Format
from queries.verbs.giving import give_asked
from queries.verbs.options import AsJson, Cluster, Form, From, Lake, Node, Store, To, lake_path, require_one, span

_GROWS: Final = ("layer", "container", "pod", "image", "store", "node", "filesystem")


def growth(
    *,
    first: From = None,
    last: To = "now",
    by: Annotated[str, typer.Option("--by", help=f"What is counted together: {', '.join(_GROWS)}.")] = "layer",
    lake: Lake = None,
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """What grew or shrank between two instants, the largest growth first.

    Examples: linktrail growth --from '1 day ago'
              linktrail growth --from 2026-11-22 --to 2026-11-23 --by pod

    Exit code 3: answered, but the record has gaps in that time.
    """
    require_one("--by", by, _GROWS)
    after, before = span(first, last)
    values = {"since": after, "until": before, "by": by, "cluster": cluster, "node": node}
    return give_asked(lake_path(lake), "growth", values, form, as_json=as_json)


def diff(
    first: Annotated[str, typer.Argument(metavar="T1", help="The first instant; written as --at.")],
    last: Annotated[str, typer.Argument(metavar="[T2]", help="The second instant.")] = "now",
    *,
    lake: Lake = None,
    cluster: Cluster = None,
    node: Node = None,
    store: Store = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """The link graph at one instant against another: which links were added, removed or changed.

    What came and went in between is in no diff; linktrail timeline has it.

    Example: linktrail diff '1 day ago' now --node worker-3

    Exit code 3: answered, but the record has gaps in that time.
    """
    after, before = span(first, last)
    values = {"since": after, "until": before, "cluster": cluster, "node": node, "store": store}
    return give_asked(lake_path(lake), "diff", values, form, as_json=as_json)


def coverage(
    *,
    first: From = None,
    last: To = "now",
    lake: Lake = None,
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Was the record complete in this time: from when to when it reaches, store by store, and what may be missing and why.

    Example: linktrail coverage --from '1 day ago'

    Exit code 3: the record has gaps in that time.
    """
    after, before = span(first, last)
    values = {"since": after, "until": before, "cluster": cluster, "node": node}
    return give_asked(lake_path(lake), "coverage", values, form, as_json=as_json)


def forecast(
    *,
    first: Annotated[str, typer.Option("--from", "--since", metavar="INSTANT", help="Look at the samples from then on.")] = "7d ago",
    last: To = "now",
    lake: Lake = None,
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """When each filesystem runs out of bytes or inodes if it goes on like this: earliest, likely, latest, and since when the slope is so.

    The slope is the median over all pairs of samples since it last changed; earliest and latest go by its steepest and flattest tenth.

    Example: linktrail forecast --from '1 day ago' --node worker-3

    Exit code 3: answered, but the record has gaps in that time.
    """
    after, before = span(first, last)
    values = {"since": after, "until": before, "cluster": cluster, "node": node}
    return give_asked(lake_path(lake), "forecast", values, form, as_json=as_json)
