"""The plots of a report, as SVG text: bytes held by reason, growth by owner, link churn per hour, each with the gaps of the record shaded.

Labels are names from disks: they are made printable, and never read as mathematics or markup. Nothing here depends on a display, a font
server, or the time of drawing, so the same rows give the same picture.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from matplotlib import dates, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from linktrail.sizes import human_bytes
from linktrail.text import printable
from queries.completeness import Gap, to_datetime

Row = Mapping[str, Any]

_dates: Any = dates  # matplotlib has no types for these

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "linktrail",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}
_MOST_OWNERS: Final = 8
_LABEL: Final = 48


def held_plot(rows: Sequence[Row], gaps: Sequence[Gap], after: int, before: int) -> str:
    """Bytes held by open findings, stacked by code, from change to change."""
    moments = sorted({row["moment"] for row in rows} | {to_datetime(after), to_datetime(before)})
    codes = sorted({row["code"] for row in rows})
    known = {(row["code"], row["moment"]): row["bytes"] for row in rows}
    series: dict[str, list[float]] = {}
    for code in codes:
        size, values = 0.0, []
        for moment in moments:
            size = known.get((code, moment), size)
            values.append(size)
        if any(values):
            series[code] = values
    return _stacked(moments, series, gaps, after=after, before=before, title="bytes held by open findings", step="post")


def growth_plot(rows: Sequence[Row], gaps: Sequence[Gap], after: int, before: int) -> str:
    """Size of what changed most, stacked by owner."""
    moments = sorted({row["moment"] for row in rows} | {to_datetime(after), to_datetime(before)})
    place = {moment: number for number, moment in enumerate(moments)}
    owners: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(moments))
    for row in rows:
        owners[_label(row["owner"])][place[row["moment"]]] += row["bytes"]
    largest = sorted(owners, key=lambda owner: (-max(owners[owner]), owner))
    series = {owner: owners[owner] for owner in largest[:_MOST_OWNERS]}
    if len(largest) > _MOST_OWNERS:
        others = [owners[owner] for owner in largest[_MOST_OWNERS:]]
        series[f"{len(others)} others"] = [sum(values) for values in zip(*others, strict=True)]
    return _stacked(moments, series, gaps, after=after, before=before, title="bytes of layers that changed in size", step="post")


def churn_plot(rows: Sequence[Row], gaps: Sequence[Gap], after: int, before: int) -> str:
    """Link changes per hour, by what happened."""
    hours: dict[str, dict[datetime, int]] = {name: defaultdict(int) for name in ("created", "removed", "retargeted", "changed")}
    for row in rows:
        for name, counts in hours.items():
            counts[row["hour"]] += row[name]
    with _figure(after, before, gaps, "link changes an hour") as (figure, axes):
        floor: dict[datetime, float] = defaultdict(float)
        for name, counts in hours.items():
            moments = [moment for moment, count in sorted(counts.items()) if count]
            if moments:
                lefts = [_dates.date2num(moment) for moment in moments]
                values = [float(counts[moment]) for moment in moments]
                axes.bar(lefts, values, width=1 / 26, bottom=[floor[moment] for moment in moments], align="edge", label=name)
            for moment in moments:
                floor[moment] += counts[moment]
        _legend(axes)
        return _svg(figure)


def _stacked(
    moments: Sequence[datetime],
    series: Mapping[str, Sequence[float]],
    gaps: Sequence[Gap],
    *,
    after: int,
    before: int,
    title: str,
    step: str | None = None,
) -> str:
    with _figure(after, before, gaps, title) as (figure, axes):
        if series:
            options: dict[str, Any] = {"step": step} if step else {}
            axes.stackplot([_dates.date2num(moment) for moment in moments], *series.values(), labels=list(series), alpha=0.85, **options)
        else:
            axes.text(0.5, 0.5, "nothing in this time", transform=axes.transAxes, ha="center", color="gray")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(max(value, 0.0))))
        _legend(axes)
        return _svg(figure)


@contextmanager
def _figure(after: int, before: int, gaps: Sequence[Gap], title: str) -> Iterator[tuple[Figure, Axes]]:
    with rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots()
        first, last = to_datetime(after), max(to_datetime(before), to_datetime(after) + timedelta(seconds=1))
        axes.set_xlim(_dates.date2num(first), _dates.date2num(last))
        locator = _dates.AutoDateLocator(tz=UTC)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(_dates.ConciseDateFormatter(locator, tz=UTC))
        axes.set_title(f"{title} (UTC; grey: the record may miss something)", loc="left", fontsize=9)
        for gap in gaps:
            begin = first if gap.after is None else max(first, to_datetime(gap.after))
            end = min(last, to_datetime(gap.before))
            if begin <= end:
                axes.axvspan(_dates.date2num(begin), _dates.date2num(end), color="#6a6a6a", alpha=0.3, linewidth=0, zorder=3)
        yield figure, axes


def _legend(axes: Axes) -> None:
    axes.set_ylim(0, max(axes.get_ylim()[1], 1e-9) * 1.15)  # room above for the legend
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, [_label(label) for label in labels], loc="upper left", fontsize=8, frameon=False)


def _label(name: object) -> str:
    text = printable(name, _LABEL)
    return f" {text}" if text.startswith("_") else text  # a leading underscore would hide it from the legend


def _svg(figure: Figure) -> str:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]  # without the XML declaration, so that it can stand inside a page
