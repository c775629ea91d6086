"""Options that the verbs share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from linktrail.clock import SystemClock
from linktrail.errors import UsageError
from linktrail.output import Format
from linktrail.state import default_state
from processor.commands import LakeOption

Lake = LakeOption
At = Annotated[str, typer.Option("--at", metavar="INSTANT", help="now, '2h ago', ISO 8601 (UTC), or unix seconds.")]
From = Annotated[str | None, typer.Option("--from", "--since", metavar="INSTANT", help="Only from then on; written as --at.")]
To = Annotated[str, typer.Option("--to", "--until", metavar="INSTANT", help="Only up to then; written as --at.")]
Cluster = Annotated[str | None, typer.Option("--cluster", help="Only this cluster.")]
Node = Annotated[str | None, typer.Option("--node", help="Only this node.")]
Store = Annotated[str | None, typer.Option("--store", metavar="ROOT", help="Only the store with this root.")]
Form = Annotated[Format, typer.Option("--format", help="How rows are written.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Subject = Annotated[str, typer.Argument(metavar="ID|PATH", help="An id, 6 or more characters of one, a name, or a path in a store.")]


def lake_path(path: Path | None) -> Path:
    """Return the lake that is meant."""
    return path or default_state() / "lake"


def instant(text: str, option: str = "--at") -> int:
    """Return the instant that ``text`` names (ns UTC). Raises ``UsageError``."""
    from queries.times import parse_past  # noqa: PLC0415 - --help must not wait for it

    return parse_past(text, option, SystemClock().now().wall)


def span(first: str | None, last: str) -> tuple[int | None, int]:
    """Return the time between ``--from`` (``None``: from the beginning) and ``--to`` (ns UTC). Raises ``UsageError``."""
    after, before = (None if first is None else instant(first, "--from")), instant(last, "--to")
    if after is not None and after > before:
        raise UsageError(what=f"--from {first} lies after --to {last}")
    return after, before


def open_span(first: str | None, last: str) -> tuple[int | None, int | None]:
    """Return the same for questions about the whole record, where ``now`` is no bound. Raises ``UsageError``."""
    after, before = span(first, last)
    return after, None if last == "now" else before


def require_one(option: str, value: str | None, known: Sequence[str]) -> None:
    """Refuse a ``value`` that is not ``known``. Raises ``UsageError``."""
    if value is not None and value not in known:
        raise UsageError(what=f"{option} {value} is none of {', '.join(known)}")
