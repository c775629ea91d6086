"""The layer graph before and after, side by side in one SVG: chains from base to top, coloured by what holds each layer.

Drawn are the layers that differ between the two instants or that findings are about, with all their ancestors, up to ``MOST_LAYERS``; how
many were left out is said in the picture. A layer that is gone is a cross.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from linktrail.sizes import human_bytes
from linktrail.text import printable
from queries.answers.eyes import shorten

Row = Mapping[str, Any]

MOST_LAYERS: Final = 60
_ROW, _STEP, _LEFT, _TOP, _WORDS = 26, 24, 16, 44, 260
_COLOURS: Final = {
    "image": "#3b7dd8",
    "container": "#2e9e6b",
    "lease": "#8a63d2",
    "nothing": "#d1495b",
    "gone": "#9a9a9a",
}
_LABEL: Final = 18


@dataclass(frozen=True, slots=True)
class _Node:
    layer: str
    parent: str | None
    held: str
    size: int | None
    changed: bool


def layer_graph(before: Sequence[Row], after: Sequence[Row], concerned: set[str]) -> str:
    """Return the picture; ``before`` and ``after`` are rows of the question ``layers``, ``concerned`` the layers of findings."""
    old, new = _nodes(before), _nodes(after)
    differing = {layer for layer in {*old, *new} if _state(old.get(layer)) != _state(new.get(layer))}
    wanted = _with_ancestors(differing | (concerned & {*old, *new}), {**old, **new})
    chosen = sorted(wanted)[:MOST_LAYERS]
    places = _places(chosen, {**old, **new})
    depth = max((column for column, _ in places.values()), default=0)
    side = _LEFT + depth * _STEP + _WORDS
    height = _TOP + (len(places) + 2) * _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * side}" height="{height}" viewBox="0 0 {2 * side} {height}" role="img"',
        ' font-family="sans-serif" font-size="10">',
        "<title>Layer graph before and after</title>",
        f'<rect width="{2 * side}" height="{height}" fill="white"/>',
    ]
    for number, (name, nodes, absent) in enumerate((("before", old, "not on record"), ("after", new, "gone"))):
        parts.append(f'<text x="{_LEFT + number * side}" y="20" font-weight="bold">{name}</text>')
        parts += _drawn(chosen, places, nodes, differing, (number * side, absent))
    parts += _key(height - 12)
    if len(wanted) > len(chosen):
        parts.append(f'<text x="{_LEFT}" y="34">{len(wanted) - len(chosen)} more layers are not drawn</text>')
    if not chosen:
        parts.append(f'<text x="{_LEFT}" y="{_TOP + 10}">no layer differs, and no finding is about one</text>')
    return "".join([*parts, "</svg>"])


def _nodes(rows: Sequence[Row]) -> dict[str, _Node]:
    found = {}
    for row in rows:
        held = "container" if row["containers"] else "image" if row["images"] else "lease" if row["leases"] else "nothing"
        if row["directory"] is None and row["record"] is None:
            continue
        found[row["layer_id"]] = _Node(row["layer_id"], row["parent"], held, row["bytes"], changed=False)
    needed = {node.layer for node in found.values() if node.held != "nothing"}
    for layer in list(needed):
        needed.update(_chain(layer, found))
    return {
        layer: _Node(layer, node.parent, "image" if node.held == "nothing" and layer in needed else node.held, node.size, changed=False)
        for layer, node in found.items()
    }


def _state(node: _Node | None) -> tuple[object, ...] | None:
    return None if node is None else (node.parent, node.held)


def _chain(layer: str, nodes: Mapping[str, _Node]) -> list[str]:
    chain: list[str] = []
    current = nodes.get(layer)
    while current is not None and current.parent is not None and current.parent not in chain:
        chain.append(current.parent)
        current = nodes.get(current.parent)
    return chain


def _with_ancestors(layers: set[str], nodes: Mapping[str, _Node]) -> set[str]:
    return layers | {ancestor for layer in layers for ancestor in _chain(layer, nodes)}


def _places(layers: Sequence[str], nodes: Mapping[str, _Node]) -> dict[str, tuple[int, int]]:
    """Return (column, row) of each layer: the column is its depth, chains stand together."""
    chosen = set(layers)
    chains = {layer: tuple(reversed([ancestor for ancestor in _chain(layer, nodes) if ancestor in chosen])) for layer in layers}
    ordered = sorted(layers, key=lambda layer: (*chains[layer], layer))
    return {layer: (len(chains[layer]), row) for row, layer in enumerate(ordered)}


def _drawn(
    chosen: Sequence[str], places: Mapping[str, tuple[int, int]], nodes: Mapping[str, _Node], differing: set[str], panel: tuple[int, str]
) -> list[str]:
    lines, dots = [], []
    shift, absent = panel
    for layer in chosen:
        x, y = _at(places[layer], shift)
        node = nodes.get(layer)
        if node is None:
            dots.append(f'<path d="M{x - 4} {y - 4}l8 8m0 -8l-8 8" stroke="{_COLOURS["gone"]}" stroke-width="1.5"/>')
        else:
            if node.parent is not None and node.parent in places:
                px, py = _at(places[node.parent], shift)
                lines.append(f'<path d="M{px} {py}V{y}H{x}" fill="none" stroke="#b8b8b8"/>')
            ring = ' stroke="black" stroke-width="1.5"' if layer in differing else ""
            dots.append(f'<circle cx="{x}" cy="{y}" r="6" fill="{_COLOURS[node.held]}"{ring}/>')
        size = "" if node is None or node.size is None else f" {human_bytes(node.size)}"
        label = f"{printable(shorten(layer), _LABEL)}{size}{f' ({absent})' if node is None else ''}"
        dots.append(f'<text x="{x + 10}" y="{y + 4}">{escape(label)}</text>')
    return [*lines, *dots]


def _at(place: tuple[int, int], shift: int) -> tuple[int, int]:
    column, row = place
    return shift + _LEFT + 8 + column * _STEP, _TOP + 12 + row * _ROW


def _key(y: int) -> list[str]:
    parts = []
    for number, (name, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + number * 110
        text = {"image": "in an image", "container": "a container's", "lease": "leased", "nothing": "held by nothing", "gone": "gone"}[name]
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/><text x="{x + 9}" y="{y + 4}">{text}</text>')
    return parts
