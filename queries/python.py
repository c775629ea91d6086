"""The history in Python: ``linktrail.open(lake)``.

A ``History`` is a DuckDB connection with the views and table macros of ``linktrail sql`` in it (``connection``), and typed helpers that
return Arrow tables: the questions of the catalog by name, and the ones with an answer of their own. It shows the lake as it was
when it was opened. Unlike ``linktrail sql`` it is no sandbox: it runs in the caller's process with the caller's rights.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from linktrail.clock import SystemClock
from linktrail.errors import UsageError
from linktrail.state import default_state
from processor.location import place
from queries.answer import Answer, ask
from queries.answers.about import asked, asked_about
from queries.answers.deletion import can_delete
from queries.answers.findings import findings_at
from queries.answers.inspect import inspect
from queries.answers.repair import repair_plan
from queries.answers.timeline import happened_to
from queries.answers.usage import usage_at
from queries.answers.why import held
from queries.catalog import question_named, questions
from queries.completeness import Completeness, Scope, Window, completeness, to_datetime, to_nanoseconds
from queries.engine import Engine, open_lake
from queries.times import parse_past

if TYPE_CHECKING:
    import duckdb

Instant = datetime | str | None
"""When: an aware ``datetime``, text as the command takes it (``2h ago``, ISO 8601), or ``None`` for now."""


def open_history(lake: Path | str | None = None) -> History:
    """Open the lake at ``lake`` (default: the one of this user's state directory).

    Raises ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    return History(open_lake(default_state() / "lake" if lake is None else place(lake)))


class History:
    """One snapshot of a lake, open. A context manager. Instants are in UTC; every helper raises what the command of its name does."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``, and close it in the end."""
        self._engine = engine
        engine.define_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._engine.close()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB connection: ``history.connection.sql("FROM links_at(now())")``."""
        return self._engine.connection

    def sql(self, statement: str, **parameters: object) -> pa.Table:
        """Return the rows of ``statement``; ``parameters`` are bound by name (``$name``). Raises ``QueryError``, ``LakeError``."""
        return self._engine.query(statement, parameters)

    @staticmethod
    def questions() -> dict[str, str]:
        """Return the names of the ready questions, and what each asks."""
        return {name: question.question for name, question in questions().items()}

    def query(self, name: str, **parameters: str | int | datetime | None) -> pa.Table:
        """Return the rows of a ready question."""
        question = question_named(name)
        now = SystemClock().now().wall
        given = {key: _spelled(value) for key, value in parameters.items() if value is not None}
        return ask(self._engine, question, question.values(given, now), now).rows

    def complete(
        self, since: Instant = None, until: Instant = None, *, cluster: str | None = None, node: str | None = None
    ) -> Completeness:
        """Return whether the record was complete between two instants (``since`` ``None``: from the beginning)."""
        now = SystemClock().now().wall
        window = Window(None if since is None else _instant(since), _instant(until))
        scope = Scope(None if cluster is None else frozenset({cluster}), None if node is None else frozenset({node}))
        return completeness(self._engine, window, now=now, scope=scope)

    # --- one thing ------------------------------------------------------------------------------------------------

    def timeline(self, subject: str, since: Instant = None, until: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return everything that happened to ``subject``: an id, 6 characters of one, a name, or a path."""
        after = None if since is None else _instant(since)
        return happened_to(self._engine, subject, after=after, before=_instant(until), node=node).rows

    def whois(self, subject: str, since: Instant = None, until: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return who owns ``subject``, now and in the past; with ``since`` and ``until``, who owned it in that time."""
        bounds = {"since": None if since is None else _instant(since), "until": None if until is None else _instant(until)}
        return asked_about(self._engine, "whois", subject, {**bounds, "node": node}).rows

    def why(self, subject: str, at: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return each path of links that holds ``subject``."""
        return self._at(held, subject, at, node)

    def inspect(self, subject: str, at: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return every fact of ``subject``."""
        return self._at(inspect, subject, at, node)

    def can_delete(self, subject: str, at: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return the verdict with its reasons."""
        return self._at(can_delete, subject, at, node)

    def repair_plan(self, subject: str, at: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return the steps that repair what concerns ``subject``."""
        return self._at(repair_plan, subject, at, node)

    def _at(self, answer: Callable[..., Answer], subject: str, at: Instant, node: str | None) -> pa.Table:
        return answer(self._engine, subject, at=_instant(at), node=node).rows

    # --- an instant, or two ---------------------------------------------------------------------------------------

    def findings(self, at: Instant = None, *, node: str | None = None, family: str | None = None, code: str | None = None) -> pa.Table:
        """Return the findings that were open."""
        return findings_at(self._engine, at=_instant(at), node=node, family=family, code=code).rows

    def usage(self, at: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return the newest size sample of everything."""
        return usage_at(self._engine, at=_instant(at), node=node).rows

    def links(self, at: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return the link graph as it stood."""
        return self.sql("FROM links_at($at) WHERE $node IS NULL OR node = $node", at=_moment(at), node=node)

    def layers(self, at: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return the layers as they stood."""
        return self.sql("FROM layers_at($at) WHERE $node IS NULL OR node = $node", at=_moment(at), node=node)

    def growth(self, since: Instant = None, until: Instant = None, *, by: str = "layer", node: str | None = None) -> pa.Table:
        """Return what grew between two instants, counted together ``by`` layer, container, pod, image, store, node or filesystem."""
        values = {"since": None if since is None else _instant(since), "until": _instant(until), "by": by, "node": node}
        return asked(self._engine, "growth", values).rows

    def diff(self, first: Instant, last: Instant = None, *, node: str | None = None) -> pa.Table:
        """Return what stood at one instant and not, or otherwise, at the other."""
        return asked(self._engine, "diff", {"since": _instant(first), "until": _instant(last), "node": node}).rows


def _instant(when: Instant) -> int:
    """Return ``when`` in ns UTC. Raises ``UsageError``."""
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise UsageError(what=f"{when!r} has no time zone; give it one: when.replace(tzinfo=datetime.UTC)")
        return to_nanoseconds(when)
    return parse_past(when or "now", "the instant", SystemClock().now().wall)


def _moment(when: Instant) -> datetime:
    return to_datetime(_instant(when))


def _spelled(value: str | int | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
