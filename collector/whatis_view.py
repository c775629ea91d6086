"""What a person sees of ``linktrail whatis``. Names from stores are hostile: all are made printable. Nothing is cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from collector.contents.path import UNREAD, Standing
from collector.whatis import Row, Told, WhatReport, changed
from linktrail.clock import iso
from linktrail.text import printable

_NO_TERMINAL: Final = 1000  # columns: nobody wraps a file


def render(report: WhatReport, stream: TextIO) -> None:
    """Write ``report`` to ``stream`` for a person."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _NO_TERMINAL
    for survey, chains in report.stores:
        root = printable(survey.root)
        if not chains:
            console.print(Text(f"No layer of the images and containers in {root} has {printable(report.path)}."))
        for told in chains:
            console.print(Text(f"{printable(report.path)} in {_users(told) or 'layers that nothing uses'}  ({root})", style="bold"))
            console.print(_rows(report.path, told))
            for line in _lines(report.path, told):
                console.print(line)
            console.print()
    for row in report.unread:
        console.print(Text(f"error: layer {printable(row.layer)} could not be looked into: {printable(row.standing.error)}", style="red"))


def _users(told: Told) -> str:
    images = [f"image {min(image.names) if image.names else name}" for name, image in sorted(told.images.items())]
    containers = []
    for name, container in sorted(told.containers.items()):
        owner = container.record.owner
        pod = f" (pod {owner.k8s_namespace_name}/{owner.k8s_pod_name})" if owner.k8s_pod_name else ""
        containers.append(f"container {owner.container_name or name}{pod}")
    return ", ".join(printable(user) for user in (*images, *containers))


def _rows(path: str, told: Told) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "number", "layer", "what it has", "layer made"):
        table.add_column(name, overflow="fold", justify="right" if name == "number" else "left")
    for row in told.rows:
        cells = (str(row.number), printable(row.layer), _what(path, row.standing), iso(row.created) or "")
        table.add_row(*(Text(cell) for cell in (" ", *cells)))
    return table


def _what(path: str, standing: Standing) -> str:
    if standing.kind == UNREAD:
        return f"could not be read: {printable(standing.error)}"
    target = f" -> {printable(standing.target)}" if standing.target is not None else ""
    opaque = " (opaque: hides what the layers below have in it)" if standing.opaque else ""
    return f"{standing.kind}{target}{opaque}{'' if standing.at == path else f', at {printable(standing.at)}'}"


def _lines(path: str, told: Told) -> Iterator[Text]:
    for place, upper, lower in told.changes:
        yield Text(f"  {printable(changed(place, upper, lower))}", style="yellow")
    yield Text(f"  Seen: {_seen(path, told)}", style="green")


def _seen(path: str, told: Told) -> str:
    seen = told.seen
    through = f"{printable(path)} is {printable(seen.real)}; " if seen.real != path else ""
    if any(row.standing.kind == UNREAD for row in told.rows):
        return "not known, as not every layer could be looked into."
    if told.mounted is not None:
        return f"{through}nothing of the layers: in a running container something is mounted at {printable(told.mounted)}."
    if seen.kind == "absent":
        hidden = _by(told.rows, told.by)
        return f"{through}nothing is there{f' ({hidden})' if hidden else ''}."
    if seen.kind == "loop":
        return f"{through}the links go round in a circle."
    return f"{through}the {'symbolic link' if seen.kind == 'symlink' else seen.kind} of layer {printable(told.by)}."


def _by(rows: tuple[Row, ...], layer: str | None) -> str:
    row = next((row for row in rows if row.layer == layer), None)
    if row is None:
        return ""
    if row.standing.kind == "whiteout":
        return f"layer {printable(row.layer)} removed it"
    return f"in layer {printable(row.layer)}, {printable(row.standing.at)} is a {row.standing.kind}"
