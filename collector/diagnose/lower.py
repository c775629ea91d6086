"""Breaks of ``lower`` and ``lower-layers`` (containers-storage and docker): the chain as a layer's own directory states it.

``lower`` names the short links of all layers below, nearest first (``l/X:l/Y``); ``lower-layers``, which engines write beside it from
containers/storage 1.63 on and prefer, names their ids. Both must agree with the recorded parents, which tell the right content. A
short name counts as right when the parent's ``link`` file or any short link to the parent says it; a name that nothing knows any more
is not held against the layer, because then the parent's links are the damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from collector.diagnose.cases import short
from collector.diagnose.context import Examination
from collector.diagnose.plumbing import last_known_name
from collector.graph_nodes import SHORT_NAME, Layer, Place
from collector.links import Link, LinkKind, LinkState
from linktrail.text import printable

LOWER: Final = "lower"
LOWER_LAYERS: Final = "lower-layers"
_END: Final = ""
_CHAIN_LIMIT: Final = 500  # layers in one mount, as containers/storage and the kernel have it


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a chain leaves the recorded one: ``position`` from 0, what stands there and what should (``None``: nothing)."""

    position: int
    found: str | None
    expected: str | None


def breaks(look: Examination) -> None:
    """Report damage of lower files."""
    for layer in look.graph.layers.values():
        place = look.graph.places.get(layer.place)
        if place is not None and place.whole and not layer.incomplete:
            _check(look, layer, place)


def _check(look: Examination, layer: Layer, place: Place) -> None:
    lower, by_id = place.lowers.get(LOWER), place.lowers.get(LOWER_LAYERS)
    path = f"{look.graph.path_of(place.name)}/{LOWER}"
    expects = layer.parent is not None and layer.id not in look.circular and not look.graph.unknown(path)
    if expects and lower is None and by_id is None:
        expected = expected_lower(look, layer)
        look.report_layer(
            "lower-missing",
            place,
            layer,
            f"Layer {short(layer.id)} has a parent, but no lower file.",
            look.advice.write_lower(path, expected),
            path=path,
            related=[layer.parent] if layer.parent else [],
            evidence={"parent": layer.parent, "expected": expected},
            keys=[(LinkKind.LOWER_REFERENCE, place.name, path)],
        )
    for link in (lower, by_id):
        if link is not None:
            _file(look, layer, place, link)


def _file(look: Examination, layer: Layer, place: Place, link: Link) -> None:
    by_id = link.path.endswith(LOWER_LAYERS)
    text = link.target or ""
    if link.state is LinkState.EMPTY:
        is_child = layer.parent is not None and layer.id not in look.circular
        if is_child or not by_id:  # a base layer has no lower; an empty lower-layers says the same
            _report(look, "lower-empty", layer, place, link, what="is empty")
    elif link.state is LinkState.MALFORMED:
        _malformed(look, layer, place, link, text)
    elif link.state is LinkState.PRESENT:
        parts = text.split(":")
        if "size" in link.detail:  # longer than what a survey keeps: the last part may be cut
            parts = parts[:-1]
        twice = _twice(parts)
        if twice is not None:
            _report(
                look,
                "overlapping-layers",
                layer,
                place,
                link,
                what=f"names {printable(twice, 80)} twice",
                related=[twice.removeprefix("l/")],
            )
            return
        wrong = _compare(look, layer, parts, by_id=by_id, cut="size" in link.detail)
        if wrong is not None:
            _mismatch(look, layer, place, link, wrong)


def _malformed(look: Examination, layer: Layer, place: Place, link: Link, text: str) -> None:
    parts = text.split(":")
    position = next((number for number, part in enumerate(parts) if not SHORT_NAME.fullmatch(part.removeprefix("l/"))), 0)
    part = parts[position]
    ancestor = next(islice(look.graph.ancestors(layer.id), position, None), None)
    if link.path.endswith(LOWER_LAYERS) or not text:
        what = "is no list of layers"
    elif part in ("l", "l/", ""):
        bare = "empty" if not part else f"a bare '{part}'"
        origin = f": the link file of layer {short(ancestor)} was empty when it was written" if ancestor and part else ""
        what = f"is malformed: component {position + 1} is {bare}{origin}"
    else:
        what = f"is malformed: component {position + 1} is '{printable(part, 80)}'"
    _report(look, "lower-malformed", layer, place, link, what=what, related=[ancestor] if ancestor else [], position=position)


def _mismatch(look: Examination, layer: Layer, place: Place, link: Link, wrong: Disagreement) -> None:
    where = f"component {wrong.position + 1}"
    if wrong.found is None:
        what = f"ends before layer {short(wrong.expected or '')}, which the recorded chain goes on with"
    elif wrong.expected is None:
        what = f"goes on with {printable(wrong.found, 80)} where the recorded chain has ended"
    else:
        what = f"disagrees with the recorded parents: {where} is {printable(wrong.found, 80)}, not layer {short(wrong.expected)}"
    related = [name for name in ((wrong.found or "").removeprefix("l/"), wrong.expected) if name]
    _report(look, "lower-mismatch", layer, place, link, what=what, related=related, position=wrong.position)


def _report(
    look: Examination,
    code: str,
    layer: Layer,
    place: Place,
    link: Link,
    *,
    what: str,
    related: list[str] | None = None,
    position: int | None = None,
) -> None:
    file = link.path.rpartition("/")[2]
    expected = expected_chain(look, layer) if file == LOWER_LAYERS else expected_lower(look, layer)
    names = [*(related or []), *([layer.parent] if layer.parent else [])]
    advice = look.advice.overlap_in_lower if code == "overlapping-layers" else look.advice.write_lower
    look.report_layer(
        code,
        place,
        layer,
        f"The {file} file of layer {short(layer.id)} {what}.{_risk(code, file)}",
        advice(link.path, expected),
        path=link.path,
        related=names,
        evidence={
            "file": file,
            "content": (link.target or "")[:2000],
            "expected": expected,
            "parent": layer.parent,
            **({} if position is None else {"position": position + 1}),
        },
        keys=[link.key],
    )


def _risk(code: str, file: str) -> str:
    if code == "lower-empty" and file == LOWER:
        return " A mount may show every other layer of the store to the container."
    return ""


def _twice(parts: list[str]) -> str | None:
    seen: set[str] = set()
    for part in parts:
        if part in seen:
            return part
        seen.add(part)
    return None


def _compare(look: Examination, layer: Layer, parts: list[str], *, by_id: bool, cut: bool) -> Disagreement | None:
    """Compare a chain with the recorded one. A recorded chain that breaks off or goes in a circle says nothing about the rest."""
    chain = _chain(look, layer)
    position = 0
    for position, part in enumerate(parts):
        parent = next(chain, _END)
        if parent == _END:
            return Disagreement(position, part, None)
        if parent is None or look.graph.layer(parent) is None:
            return None
        if not (part == parent if by_id else _is_name_of(look, part.removeprefix("l/"), parent)):
            return Disagreement(position, part, parent)
    following = next(chain, _END)
    if cut or following is None or following == _END:
        return None
    return Disagreement(position + 1, None, following)


def _chain(look: Examination, layer: Layer) -> Iterator[str | None]:
    """Yield the recorded parents; then nothing where the chain ends at a base layer, ``None`` where its rest is unknown."""
    last = layer.id
    for parent in look.graph.ancestors(layer.id):
        if last in look.circular:
            break
        yield parent
        last = parent
    end = look.graph.layer(last)
    while end is None or end.parent is not None:  # no record, or a circle
        yield None


def _is_name_of(look: Examination, name: str, layer_id: str) -> bool:
    place = look.graph.place_of(layer_id)
    record = look.graph.layer(layer_id)
    if place is None or (record is not None and record.record.state is LinkState.MALFORMED):
        return True
    said = place.link_file.target if place.link_file is not None and place.link_file.state is LinkState.PRESENT else None
    links = [link.subject for link in place.short_links]
    if name == said or name in links:
        return True
    sound = said is not None and said in links
    return not sound and look.graph.owner_of_name(name) in (None, layer_id)


def expected_chain(look: Examination, layer: Layer) -> str | None:
    """Return the right content of ``lower-layers``; ``None`` while the recorded chain is broken."""
    parents = _recorded(look, layer)
    return None if parents is None else ":".join(parents)


def expected_lower(look: Examination, layer: Layer) -> str | None:
    """Return the right content of ``lower`` (empty for a base layer); ``None`` while it cannot be computed."""
    names: list[str] = []
    for parent in _recorded(look, layer) or ():
        record = look.graph.layer(parent)
        name = last_known_name(look, record) if record is not None else None
        if name is None:
            return None
        names.append(f"l/{name}")
    return ":".join(names) if names or layer.parent is None else None


def _recorded(look: Examination, layer: Layer) -> list[str] | None:
    """Return all recorded parents, ``None`` when the chain breaks off, goes in a circle or is longer than any engine allows."""
    depth = look.depths.get(layer.id)
    return None if depth is None or depth > _CHAIN_LIMIT else list(look.graph.ancestors(layer.id))
