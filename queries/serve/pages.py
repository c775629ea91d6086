"""What each page asks, and what its template gets. Functions of an open lake and what the address says; no web in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from linktrail.clock import iso
from linktrail.errors import UsageError
from linktrail.text import printable
from linktrail.values import trim_fraction
from queries.answer import Answer
from queries.answers.about import asked, asked_about
from queries.answers.deletion import can_delete
from queries.answers.findings import findings_at
from queries.answers.inspect import inspect
from queries.answers.timeline import happened_around, happened_to
from queries.answers.why import held
from queries.engine import Engine
from queries.report.layer_graph import layer_graph
from queries.report.plots import growth_plot, held_plot
from queries.serve.tables import PageTable, page_table
from queries.times import parse_past

DAY: Final = "1 day ago"
_GROWS: Final = ("layer", "container", "pod", "image", "store", "node", "filesystem")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address says: ``given`` as it was written, and the present (ns UTC)."""

    given: Mapping[str, str]
    now: int

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter, or ``default`` where it is left out or empty."""
        return self.given.get(name, "").strip() or default

    def some(self, name: str) -> str | None:
        """Return a parameter, ``None`` where it is left out or empty."""
        return self.text(name) or None

    def instant(self, name: str, default: str) -> int:
        """Return an instant (ns UTC). Raises ``UsageError``."""
        return parse_past(self.text(name, default), name, self.now)

    def span(self) -> tuple[int, int]:
        """Return ``from`` and ``to``; a day up to now where they are left out. Raises ``UsageError``."""
        after, before = self.instant("from", DAY), self.instant("to", "now")
        if after > before:
            raise UsageError(what="from lies after to")
        return after, before


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page: a heading, a table or a picture or lines."""

    heading: str
    table: PageTable | None = None
    svg: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title, parts, and what is said about the completeness of the record."""

    title: str
    parts: tuple[Part, ...]
    complete: bool
    said: tuple[str, ...]


def home(engine: Engine, said: Asked) -> Page:
    """What is wrong now, and where the record reaches."""
    at = said.instant("at", "now")
    findings = findings_at(engine, at=at, node=said.some("node"), cluster=said.some("cluster"), code=said.some("code"))
    coverage = asked(engine, "coverage", {"until": at, "node": said.some("node"), "cluster": said.some("cluster")})
    parts = (
        Part("Open findings", _findings(findings, said), lines=() if findings.rows.num_rows else ("No finding is on record.",)),
        Part("Where the record reaches", page_table(coverage.rows)),
    )
    return _page("Findings", parts, findings)


def thing(engine: Engine, said: Asked) -> Page:
    """Everything about one layer, image, container or path."""
    subject = said.text("id")
    if not subject:
        raise UsageError(what="name an id, a name or a path")
    at = said.instant("at", "now")
    node = said.some("node")
    events = happened_to(engine, subject, before=at, node=node)
    identifier = events.asked.get("id")
    parts: list[Part] = []
    if isinstance(identifier, str):
        facts = inspect(engine, identifier, at=at, node=node)
        holders = held(engine, identifier, at=at, node=node)
        owners = asked_about(engine, "whois", identifier, {"node": node})
        verdict = can_delete(engine, identifier, at=at, node=node)
        carried = _carried(said)
        parts += [
            Part("What it was then", page_table(facts.rows, carried), lines=_worth(facts)),
            Part("Owners, now and in the past", page_table(owners.rows, carried)),
            Part("What holds it", page_table(holders.rows, carried), lines=tuple(line for line in holders.notes if "is " not in line[:80])),
            Part("May it be deleted", page_table(verdict.rows, carried)),
            Part("Layers about it", svg=_neighbours(engine, identifier, at)),
        ]
    parts.append(Part("Timeline", page_table(_told(events))))
    return _page(f"{subject}", tuple(part for part in parts if part.lines or part.svg or (part.table and part.table.rows)), events)


def timeline(engine: Engine, said: Asked) -> Page:
    """Everything that happened between two instants."""
    after, before = said.span()
    answer = happened_around(engine, after=after, before=before, node=said.some("node"), cluster=said.some("cluster"))
    return _page(f"Timeline, {_spelled(after)} to {_spelled(before)}", (Part("What happened", page_table(_told(answer))),), answer)


def growth(engine: Engine, said: Asked) -> Page:
    """What grew between two instants, with a picture."""
    after, before = said.span()
    by = said.text("by", "layer")
    if by not in _GROWS:
        raise UsageError(what=f"by {by} is none of {', '.join(_GROWS)}")
    place = {"node": said.some("node"), "cluster": said.some("cluster")}
    between = {"since": after, "until": before, **place}
    answer = asked(engine, "growth", {**between, "by": by})
    sizes = asked(engine, "size_over_time", between).rows.to_pylist()
    held_by = asked(engine, "held_over_time", between).rows.to_pylist()
    forecast = asked(engine, "forecast", between)
    gaps = answer.completeness.gaps
    parts = (
        Part("Size of what changed most", svg=growth_plot(sizes, gaps, after, before)),
        Part("Bytes held by findings", svg=held_plot(held_by, gaps, after, before)),
        Part(f"Growth by {by}", page_table(answer.rows)),
        Part("When filesystems are full, if it goes on", page_table(forecast.rows)),
    )
    return _page(f"Growth, {_spelled(after)} to {_spelled(before)}", parts, answer)


def layers(engine: Engine, said: Asked) -> Page:
    """The layer graph at two instants."""
    after, before = said.span()
    place = {"node": said.some("node"), "cluster": said.some("cluster")}
    old = asked(engine, "layers", {"at": after, **place}).rows.to_pylist()
    new = asked(engine, "layers", {"at": before, **place}).rows.to_pylist()
    answer = asked(engine, "diff", {"since": after, "until": before, **place})
    parts = (Part("Layers that differ", svg=layer_graph(old, new, set())), Part("Links that differ", page_table(answer.rows)))
    return _page(f"Layers, {_spelled(after)} to {_spelled(before)}", parts, answer)


# --- helpers ----------------------------------------------------------------------------------------------------


def _page(title: str, parts: tuple[Part, ...], answer: Answer) -> Page:
    completeness = answer.completeness
    return Page(printable(title, 300), parts, completeness.complete, tuple(printable(line) for line in completeness.lines()))


def _findings(answer: Answer, said: Asked) -> PageTable:
    columns = (
        "severity",
        "code",
        "subject",
        "bytes",
        "since_after",
        "since_before",
        "k8s_pod_name",
        "container_name",
        "message",
        "advice",
        "node",
        "store_root",
    )
    return page_table(answer.rows.select(list(columns)), _carried(said))


def _told(answer: Answer) -> Any:  # noqa: ANN401 - an Arrow table
    return answer.rows.select(["after", "before", "node", "origin", "happened"]).rename_columns(
        ["after", "before", "node", "origin", "what happened"]
    )


def _worth(answer: Answer) -> tuple[str, ...]:
    return tuple(note for note in answer.notes if note.startswith("It was not"))


def _carried(said: Asked) -> dict[str, str]:
    return {name: said.text(name) for name in ("at", "node") if said.some(name)}


def _neighbours(engine: Engine, identifier: str, at: int) -> str:
    """Return the graph of the layers around ``identifier``: what it stands on, and what stands on it."""
    rows = asked(engine, "layers", {"at": at}).rows.to_pylist()
    about = {
        row["layer_id"]
        for row in rows
        if identifier in (row["layer_id"], row["parent"]) or identifier in (*row["images"], *row["containers"], *row["leases"])
    }
    return layer_graph(rows, rows, about) if about else ""


def _spelled(instant: int) -> str:
    return trim_fraction(iso(instant) or "")
