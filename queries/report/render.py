"""From what was gathered to files: ``report.md`` with its plots as SVG beside it, and ``report.html``, one page that needs nothing else.

Every name goes through ``printable`` first (no control or format characters) and then through the escape of where it stands: Jinja's for
HTML, a code span for Markdown. The page forbids scripts and the network by its own policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from linktrail import __version__
from linktrail.clock import iso
from linktrail.drawing import markdown_text
from linktrail.errors import ReportUnwritableError
from linktrail.sizes import human_bytes
from linktrail.text import printable
from linktrail.values import moment, trim_fraction
from queries.answers.eyes import owner, shorten, span
from queries.completeness import spell, to_datetime
from queries.report.gather import Gathered, spoken
from queries.report.layer_graph import layer_graph
from queries.report.plots import churn_plot, growth_plot, held_plot
from queries.words import happened

BLANK: Final = "to be filled in by people"
SECTIONS: Final = (
    "Summary",
    "Impact",
    "Root causes",
    "Trigger",
    "Resolution",
    "Detection",
    "Action items",
    "Lessons learned",
    "Timeline",
    "Supporting information",
)
_TRIGGER_WINDOW: Final = timedelta(minutes=1)
_MOST_TRIGGERS: Final = 20
_MOST_GROWN: Final = 15
_MOST_NODES: Final = 5
_TEXT: Final = 600


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: its title, the file name beside the Markdown, and the SVG."""

    title: str
    file: str
    svg: str


def write_report(found: Gathered, directory: Path) -> list[Path]:
    """Write ``report.md``, its plots and ``report.html`` into ``directory``; return the files. Raises ``ReportUnwritableError``."""
    values = _values(found)
    texts = {"report.md": _environment(html=False).get_template("report.md.j2").render(values)}
    texts["report.html"] = _environment(html=True).get_template("report.html.j2").render(values)
    texts |= {plot.file: f"{plot.svg}\n" for plot in values["plots"]}
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
            written.append(directory / name)
    except OSError as error:
        raise ReportUnwritableError(path=directory, what=error.strerror or error) from error
    return written


def _environment(*, html: bool) -> Environment:
    loader, strict = PackageLoader("queries.report"), StrictUndefined
    # Markdown has an escape of its own, the filter md
    environment = Environment(loader=loader, autoescape=html, undefined=strict, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 - see above
    environment.filters["md"] = lambda value: markdown_text(printable(value, _TEXT))
    environment.filters["anchor"] = lambda name: str(name).lower().replace(" ", "-")
    return environment


def _values(found: Gathered) -> dict[str, Any]:
    gaps = found.completeness.gaps
    concerned = {row["subject"] for row in (*found.findings, *found.history) if row["subject_kind"] == "layer"}
    plots = (
        Plot("Bytes held by reason", "held.svg", held_plot(found.held, gaps, found.after, found.before)),
        Plot("Growth by owner", "growth.svg", growth_plot(found.sizes, gaps, found.after, found.before)),
        Plot("Link changes per hour", "churn.svg", churn_plot(found.churn, gaps, found.after, found.before)),
        Plot("Layer graph before and after", "layers.svg", layer_graph(found.layers_before, found.layers_after, concerned)),
    )
    return {
        "where": _where(found),
        "from_text": spell(found.after),
        "to_text": spell(found.before),
        "date": spell(found.written_at),
        "version": __version__,
        "blank": BLANK,
        "sections": SECTIONS,
        "summary": _summary(found),
        "impact": [(name, printable(value, _TEXT)) for name, value in _impact(found)],
        "causes": list(_causes(found)),
        "triggers": list(_triggers(found)),
        "resolved": list(_resolved(found)),
        "detection": _detection(found),
        "several": len({row["node"] for row in found.timeline}) > 1,
        "timeline": [_event(row) for row in found.timeline],
        "left_out": found.timeline_left_out,
        "findings": [_finding(row) for row in found.findings],
        "plots": plots,
        "completeness": [printable(line, _TEXT) for line in found.completeness.lines()] or ["Nothing is said about this time."],
        "growth": [_grown(row) for row in found.growth[:_MOST_GROWN] if row["growth_bytes"]],
        "asked": [
            {
                "question": one.question,
                "rows": one.rows,
                "command": printable(f"linktrail query {one.name} {spoken(one.values)}"),
                "sql": one.sql,
            }
            for one in found.asked
        ],
        "inputs": [{"path": printable(file.path), "size": file.size, "sha256": file.sha256} for file in found.inputs],
    }


def _where(found: Gathered) -> str:
    parts = [f"node {printable(found.node, 80)}" if found.node else "", f"cluster {printable(found.cluster, 80)}" if found.cluster else ""]
    return "on " + " of ".join(part for part in parts if part) if any(parts) else "on all nodes"


def _summary(found: Gathered) -> str:
    opened = [row for row in found.history if row["opened_before"] is not None]
    closed = [row for row in found.history if row["closed_before"] is not None and row["closed_before"] <= to_datetime(found.before)]
    codes = sorted({row["code"] for row in opened})
    nodes = len(found.nodes)
    parts = [
        f"{len(opened)} finding(s) were opened ({', '.join(codes)}) and {len(closed)} closed"
        if opened
        else f"No finding was opened and {len(closed)} closed",
        f"on {nodes} node(s)" if nodes else "",
        f"{len(found.findings)} were open at the end, holding {human_bytes(found.end_bytes)}",
    ]
    changes = sum(row["created"] + row["removed"] + row["retargeted"] + row["changed"] for row in found.churn)
    complete = "The record of this time is complete." if found.completeness.complete else "The record of this time has gaps: see below."
    return f"{', '.join(part for part in parts if part)}. {changes} link changes were recorded. {complete}"


def _impact(found: Gathered) -> Iterator[tuple[str, str]]:
    yield "bytes held by open findings, at most", human_bytes(found.peak_bytes)
    yield "bytes held at the end", human_bytes(found.end_bytes)
    yield "nodes", ", ".join(found.nodes) or "none"
    yield "pods that own what was found", ", ".join(found.affected_pods) or "none known"
    for row in found.filesystems:
        if row["resource"] == "bytes":
            full = "does not fill" if row["full_at"] is None else f"full at {trim_fraction(moment(row['full_at']))} if it goes on"
            yield (
                f"filesystem {row['filesystem']} on {row['node']}",
                f"{human_bytes(row['free'])} of {human_bytes(row['capacity'])} free, {full}",
            )


def _causes(found: Gathered) -> Iterator[str]:
    """Yield one line for each code and minute in which findings of it began."""
    for row in found.fleet:
        nodes = row["node_names"]
        more = len(nodes) - _MOST_NODES
        names = ", ".join(printable(name, 60) for name in nodes[:_MOST_NODES]) + (f" and {more} more" if more > 0 else "")
        size = "" if row["bytes"] is None else f", holding {human_bytes(row['bytes'])}"
        yield f"{row['code']}: {row['findings']} on {names}, known to have begun by {trim_fraction(moment(row['minute']))}{size}"


def _triggers(found: Gathered) -> Iterator[str]:
    first = found.first
    if first is None:
        return
    began = _damage(found, first)[1]
    near = [
        row
        for row in found.timeline
        if row["about"] in ("link", "record") and began - _TRIGGER_WINDOW <= row["before"] <= began and row["node"] == first["node"]
    ]
    for row in near[-_MOST_TRIGGERS:]:
        yield f"{span(row['after'], row['before'])}: {printable(shorten(happened(row)), _TEXT)}"


def _damage(found: Gathered, first: Mapping[str, Any]) -> tuple[datetime | None, datetime]:
    """Return when the damage behind a finding began, as far as known; else when it became a finding."""
    for row in found.findings:
        if row["finding_id"] == first["finding_id"] and row["since_before"] is not None:
            return row["since_after"], row["since_before"]
    return first["opened_after"], first["opened_before"]


def _resolved(found: Gathered) -> Iterator[str]:
    for row in found.history:
        if row["closed_before"] is not None and row["closed_before"] <= to_datetime(found.before):
            yield f"{span(row['closed_after'], row['closed_before'])}: {row['code']} {printable(shorten(row['subject']), 120)} was over"


def _detection(found: Gathered) -> str:
    first = found.first
    if first is None:
        return "No finding was opened in this time."
    when = span(first["opened_after"], first["opened_before"])
    opened = f"The first finding, {first['code']} on {printable(first['node'], 80)}, was opened {when}."
    since = _damage(found, first)
    if since == (first["opened_after"], first["opened_before"]):
        return opened
    lag = (first["opened_before"] - since[1]).total_seconds()
    return f"{opened} The damage itself began {span(*since)}: {lag:.0f} s before it was reported (waiting times included)."


def _event(row: Mapping[str, Any]) -> dict[str, str]:
    text = printable(shorten(happened(row, of_many=True)), _TEXT)
    after, before = span(row["after"], row["after"]), span(row["before"], row["before"])
    return {"after": after, "before": before, "node": printable(row["node"], 80), "text": text}


def _finding(row: Mapping[str, Any]) -> dict[str, str]:
    known = row["since_before"] is not None
    since = span(row["since_after"], row["since_before"]) if known else span(row["opened_after"], row["opened_before"])
    return {
        "severity": row["severity"],
        "title": f"{row['code']} {printable(row['subject'], 200)} on {printable(row['node'], 80)}",
        "message": printable(row["message"] or "", _TEXT),
        "since": since,
        "bytes": "unknown" if row["bytes"] is None else human_bytes(row["bytes"]),
        "owner": printable(owner(row), 200) or "not known",
        "advice": printable(row["advice"] or "", _TEXT),
        "evidence": printable(_evidence(row["evidence"]), 2000),
    }


def _evidence(text: str | None) -> str:
    try:
        return json.dumps(json.loads(text or "{}"), sort_keys=True)
    except ValueError:
        return text or ""


def _grown(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": printable(shorten(row["name"]), 120),
        "growth": human_bytes(row["growth_bytes"]),
        "last": human_bytes(row["last_bytes"]),
        "owner": printable(row["k8s_pod_name"] or row["container_name"] or row["container_image_name"] or "", 120),
    }


def title_of(found: Gathered) -> str:
    """Return the name of a directory for this report."""
    begin, end = (str(iso(instant))[:16].replace(":", "").replace("-", "") for instant in (found.after, found.before))
    return f"linktrail-report-{begin}-{end}"
