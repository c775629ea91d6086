"""The verbs that list what was there at an instant: ``images``, ``containers`` and ``fleet``."""

from __future__ import annotations

from typing import Annotated

import typer

from linktrail.output import Format
from queries.verbs.giving import give_asked
from queries.verbs.options import AsJson, At, Cluster, Form, Lake, Node, instant, lake_path, require_one


def images(
    *, lake: Lake = None, at: At = "now", cluster: Cluster = None, node: Node = None, form: Form = Format.TABLE, as_json: AsJson = False
) -> int:
    """Images at an instant, as the engine would have listed them then: names, id, size, layers, and how many containers use each.

    Example: linktrail images --at '2h ago'

    Exit code 3: answered, but the record has gaps at that instant.
    """
    return give_asked(lake_path(lake), "images", {"at": instant(at), "cluster": cluster, "node": node}, form, as_json=as_json)


def containers(
    *, lake: Lake = None, at: At = "now", cluster: Cluster = None, node: Node = None, form: Form = Format.TABLE, as_json: AsJson = False
) -> int:
    """Containers at an instant, as the engine would have listed them then: name, pod, image, writable layer, mount points and size.

    Example: linktrail containers --at 2026-11-23T16:02:07Z --json

    Exit code 3: answered, but the record has gaps at that instant.
    """
    return give_asked(lake_path(lake), "containers", {"at": instant(at), "cluster": cluster, "node": node}, form, as_json=as_json)


def fleet(
    *,
    lake: Lake = None,
    at: At = "now",
    code: Annotated[str | None, typer.Option("--code", help="Only this finding code.")] = None,
    cluster: Cluster = None,
    node: Node = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """Which nodes show the same finding, and since which minute: many that begin at once point to what was rolled out then.

    Examples: linktrail fleet
              linktrail fleet --code phantom-child

    Exit code 3: answered, but the record of some node has gaps at that instant.
    """
    from linktrail.codes import CODES  # noqa: PLC0415 - --help must not wait for it

    require_one("--code", code, list(CODES))
    values = {"at": instant(at), "code": code, "cluster": cluster, "node": node}
    return give_asked(lake_path(lake), "fleet", values, form, as_json=as_json)
