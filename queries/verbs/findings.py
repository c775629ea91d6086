"""``linktrail findings``."""

from __future__ import annotations

from typing import Annotated

import typer

from linktrail.output import Format
from queries.verbs.giving import give
from queries.verbs.options import AsJson, At, Cluster, Form, Lake, Node, Store, instant, lake_path, require_one


def findings(
    *,
    lake: Lake = None,
    at: At = "now",
    cluster: Cluster = None,
    node: Node = None,
    store: Store = None,
    family: Annotated[str | None, typer.Option("--family", help="Only leaks, breaks, contents or growth.")] = None,
    code: Annotated[str | None, typer.Option("--code", help="Only this finding code.")] = None,
    form: Form = Format.TABLE,
    as_json: AsJson = False,
) -> int:
    """What leaked, was broken or grew at an instant: since when, how large, whose, and what to do.

    Examples: linktrail findings
              linktrail findings --at '2h ago' --family leaks
              linktrail findings --at 2026-11-23T16:02:07Z --json

    Exit code 3: answered, but the record has gaps at that instant.
    """
    from linktrail.codes import CODES  # noqa: PLC0415 - --help must not wait for it
    from queries.answers.findings import findings_at  # noqa: PLC0415 - likewise

    require_one("--family", family, sorted({known.family for known in CODES.values()}))
    require_one("--code", code, list(CODES))
    answer = findings_at(lake_path(lake), at=instant(at), cluster=cluster, node=node, store=store, family=family, code=code)
    return give(answer, form, as_json=as_json)
