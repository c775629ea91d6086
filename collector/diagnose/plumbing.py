"""Breaks of the short links: ``link`` files, and the entries of ``l/`` (containers-storage and docker).

A layer has a ``link`` file with its short name, and ``l/<short name>`` leads to its ``diff``. Engines write the directory first, then the
short link, then the ``link`` file, all while the record is marked incomplete, and remove them in the opposite order under the same mark:
so an incomplete layer is never judged here. A layer whose directory is gone is a finding of ``chains``.
"""

from __future__ import annotations

from collections import Counter

from collector.diagnose.cases import Case, fact, is_trap, listed, short
from collector.diagnose.context import Examination
from collector.graph_nodes import Layer, Place
from collector.links import Link, LinkKind, LinkState
from linktrail.text import printable


def breaks(look: Examination) -> None:
    """Report damage of link files and short links."""
    graph = look.graph
    if not _has_short_links(look):
        return
    links_known = not graph.unknown(f"{graph.home}/l")
    for place in list(graph.places.values()):
        layer = graph.layers.get(place.layer) if place.layer is not None else None
        if not place.exists or (layer is None and not look.layers_known):
            continue
        if is_trap(place) and not (layer is not None and layer.incomplete and not _given_up(look, layer)):
            _trap(look, place, layer)
        if not place.whole or layer is None or layer.incomplete:
            continue
        _link_file(look, place, layer)
        if links_known:
            _short_link(look, place, layer)
            _duplicates(look, place, layer)
    for link in graph.short_links.values():
        _entry(look, link)


def last_known_name(look: Examination, layer: Layer) -> str | None:
    """Return the short name of a layer: as its own links say, else as the lower files of its children do."""
    place = look.graph.place_of(layer.id)
    if place is not None and place.short_name is not None:
        return place.short_name
    votes: Counter[str] = Counter()
    for child in look.graph.children.get(layer.id, []):
        below = look.graph.places.get(look.graph.layers[child].place)
        lower = below.lowers.get("lower") if below is not None else None
        if lower is not None and lower.state is LinkState.PRESENT and lower.target:
            name = lower.target.split(":")[0].removeprefix("l/")
            if look.graph.owner_of_name(name) in (None, layer.id):
                votes[name] += 1
    return min(votes, key=lambda name: (-votes[name], name), default=None)


def _has_short_links(look: Examination) -> bool:
    """Tell whether this store uses short links; a format that only had ``lower-layers`` would have no trace of them in a chain."""
    graph = look.graph
    places = graph.places.values()
    if graph.short_links or any(place.link_file is not None or "lower" in place.lowers for place in places):
        return True
    return not any(place.lowers["lower-layers"].target for place in places if "lower-layers" in place.lowers)


def _given_up(look: Examination, layer: Layer) -> bool:
    """Tell whether an incomplete layer is old enough to be a finding: the next engine command deletes it."""
    return ("incomplete-layer", layer.id) in look.found or ("interrupted-removal", layer.id) in look.found


def _trap(look: Examination, place: Place, layer: Layer | None) -> None:
    """Report a link file for which an engine that deletes the layer removes ``l/`` itself."""
    name = last_known_name(look, layer) if layer is not None else place.short_name
    subject = layer.id if layer is not None else place.name
    text = place.link_file.target if place.link_file is not None else None
    what = f"its link file holds '{printable(text, 60)}'" if text else "its link file is empty"
    soon = " It is incomplete, so the next engine command of any kind deletes it." if layer is not None and layer.incomplete else ""
    path = f"{look.graph.path_of(place.name)}/link"
    look.report_layer(
        "link-file-empty",
        place,
        layer,
        f"Layer {short(subject)} is a trap: {what}, so {look.advice.trap_effect}.{soon}{_name_known(name)}",
        look.advice.write_link(place.name, name, trap=True, links=len(look.graph.short_links)),
        path=path,
        related=[name] if name else [],
        evidence={"short_name": name, "short_links_in_danger": len(look.graph.short_links), "content": text},
        keys=[(LinkKind.LINK_FILE, place.name, path)],
    )


def _link_file(look: Examination, place: Place, layer: Layer) -> None:
    link = place.link_file
    if link is None and not look.graph.unknown(f"{look.graph.path_of(place.name)}/link"):
        name = last_known_name(look, layer)
        _link_file_missing(look, place, layer, f"Layer {short(layer.id)} has no link file.{_name_known(name)}", name)
    elif link is not None and link.state is LinkState.MALFORMED and not is_trap(place):
        name = last_known_name(look, layer)
        held = f"holds '{printable(link.target, 60)}'" if link.target else "is no regular file"
        _link_file_missing(look, place, layer, f"The link file of layer {short(layer.id)} {held}: no short name.", name)


def _link_file_missing(look: Examination, place: Place, layer: Layer, message: str, name: str | None) -> None:
    path = f"{look.graph.path_of(place.name)}/link"
    look.report_layer(
        "link-file-missing",
        place,
        layer,
        message,
        look.advice.write_link(place.name, name, trap=False, links=len(look.graph.short_links)),
        path=path,
        related=[name] if name else [],
        evidence={
            "short_name": name,
            "short_links": [link.subject for link in place.short_links],
            "in_lower_of": sorted(look.lower_users.get(name or "", []))[:20],
            "content": place.link_file.target if place.link_file is not None else None,
        },
        keys=[(LinkKind.LINK_FILE, place.name, path)],
    )


def _short_link(look: Examination, place: Place, layer: Layer) -> None:
    graph = look.graph
    link = place.link_file
    if link is not None and link.state is LinkState.UNREADABLE:
        return
    name = link.target if link is not None and link.state is LinkState.PRESENT else None
    if name is None:
        if not place.short_links:
            lost = last_known_name(look, layer)
            _short_link_missing(look, place, layer, lost, f"No short link leads to layer {short(layer.id)}.{_name_known(lost)}")
        return
    entry = graph.short_links.get(name)
    if entry is None:
        if not graph.unknown(f"{graph.home}/l/{name}"):
            _short_link_missing(look, place, layer, name, f"Layer {short(layer.id)} has no short link: l/{name} is gone.")
    elif entry.state is LinkState.PRESENT and entry.layer_id is not None and entry.layer_id != place.name:
        _leads_elsewhere(look, place, layer, entry, entry.layer_id)


def _leads_elsewhere(look: Examination, place: Place, layer: Layer, entry: Link, target: str) -> None:
    """The short link of a layer leads to another directory: one that is gone, one of the same chain, or a stranger."""
    graph = look.graph
    other = graph.places.get(target)
    if _dangles(look, entry):
        return  # reported for the entry
    there = f"l/{entry.subject} leads to layer {short(target)}"
    other_id = other.layer if other is not None and other.layer is not None else target
    if other is not None and other.link_file is not None and other.link_file.target == entry.subject:
        message = f"The link file of layer {short(layer.id)} names l/{entry.subject}, which is the short link of layer {short(other_id)}."
        _link_file_missing(look, place, layer, message, _own_name(place, entry.subject))
        return
    if other_id in graph.ancestors(layer.id) or layer.id in graph.ancestors(other_id):
        look.report_layer(
            "overlapping-layers",
            place,
            layer,
            f"The short link of layer {short(layer.id)} is wrong: {there}, which stands in the same chain a second time then.",
            look.advice.overlap_by_link(entry.subject, place.name),
            path=entry.path,
            related=[other_id, entry.subject],
            evidence={"short_link": entry.subject, "leads_to": target, "expected": place.name},
            keys=[entry.key],
        )
        return
    _short_link_missing(
        look, place, layer, entry.subject, f"Layer {short(layer.id)} has no short link of its own: {there}.", leads_to=target
    )


def _own_name(place: Place, wrong: str) -> str | None:
    names = [link.subject for link in place.short_links if link.subject != wrong]
    return names[0] if len(names) == 1 else None


def _short_link_missing(
    look: Examination, place: Place, layer: Layer, name: str | None, message: str, *, leads_to: str | None = None
) -> None:
    others = [link.subject for link in place.short_links]
    path = f"{look.graph.home}/l/{name}" if name else f"{look.graph.home}/l"
    if not look.graph.short_links:
        message += f" So is every other: {look.graph.home}/l is empty or gone."
    advice = look.advice.relink(name, place.name) if name else look.advice.write_link(place.name, None, trap=False, links=0)
    look.report_layer(
        "short-link-missing",
        place,
        layer,
        message,
        advice,
        path=path,
        related=[*([name] if name else []), *([leads_to] if leads_to else []), *others],
        evidence={
            "short_name": name,
            "expected_target": f"../{place.name}/diff",
            "leads_to": leads_to,
            "other_short_links": others,
            "all_short_links_gone": not look.graph.short_links,
        },
        keys=[(LinkKind.SHORT_LINK, name, path)] if name else [],
    )


def _duplicates(look: Examination, place: Place, layer: Layer) -> None:
    graph = look.graph
    links = [link.subject for link in place.short_links if graph.named_places.get(link.subject, place.name) == place.name]
    if len(links) < 2:  # noqa: PLR2004 - two are one too many
        return
    own = place.link_file.target if place.link_file is not None and place.link_file.target in links else None
    strays = sorted(name for name in links if name != own)
    in_use = {name: look.lower_users[name] for name in strays if name in look.lower_users}
    which = f" The link file names {own}; {listed(strays)} is the stray." if own else ""
    look.report_layer(
        "short-link-duplicate",
        place,
        layer,
        f"{len(links)} short links lead to layer {short(layer.id)}: {listed(links)}.{which}",
        look.advice.duplicate(strays if own else [], in_use if own else []),
        path=f"{graph.home}/l/{strays[0]}",
        related=[*strays, *([own] if own else [])],
        evidence={"short_links": sorted(links), "link_file": own, "in_lower_of": {name: users[:20] for name, users in in_use.items()}},
        keys=[(LinkKind.SHORT_LINK, strays[0], f"{graph.home}/l/{strays[0]}")],
    )


def _dangles(look: Examination, link: Link) -> bool:
    """Tell whether a short link leads to nothing, and no other finding says so.

    A directory that a record names is missing there, or will be made by a running creation, or is being removed.
    """
    graph = look.graph
    place = graph.places.get(link.layer_id) if link.layer_id is not None else None
    if link.state is not LinkState.PRESENT or place is None or place.directory is not None or place.layer is not None:
        return False
    return place.name not in look.named and look.layers_known and not graph.unknown(graph.path_of(place.name))


def _entry(look: Examination, link: Link) -> None:
    graph = look.graph
    owner = graph.named_places.get(link.subject)
    if owner is not None and not graph.places[owner].exists:
        owner = None
    of = f" It is the short link of layer {short(owner)}." if owner is not None else ""
    gone: list[str] = []
    if link.state is LinkState.MALFORMED:
        what = f"leads to {printable(link.target, 200)}" if link.target else f"is a {link.detail.get('type', 'strange thing')}"
        if link.layer_id is not None:
            what += ", under a name that is no short name"
        code, message = "short-link-malformed", f"Entry {short(link.subject)} of l/ is no short link: it {what}.{of}"
        advice = look.advice.malformed_short_link(link.subject, owner)
    elif _dangles(look, link):
        gone = [link.layer_id] if link.layer_id is not None else []
        code, message = (
            "short-link-dangling",
            f"Short link {short(link.subject)} leads to layer {short(link.layer_id or '')}, which is gone.{of}",
        )
        advice = look.advice.dangling(link.subject, look.lower_users.get(link.subject, []), owner)
    else:
        return
    owning = graph.layers.get(graph.places[owner].layer or "") if owner is not None else None
    if owning is not None and owning.incomplete:
        return
    look.report(
        Case(
            code,
            "link",
            link.subject,
            link.path,
            message,
            advice,
            related=[name for name in (link.layer_id, owner) if name],
            evidence={
                "target": link.target,
                "layer_of_link_file": owner,
                "in_lower_of": sorted(look.lower_users.get(link.subject, []))[:20],
            },
            times={"entry modified": fact(link, "mtime_ns")},
            compared=look.files_of("layers") if code == "short-link-dangling" else (),
            keys=[link.key],
            needs=[(LinkKind.LAYER_DIRECTORY, name, graph.path_of(name)) for name in gone],
            owner=link.owner,
        )
    )


def _name_known(name: str | None) -> str:
    return f" Its short name is {printable(name, 60)}." if name is not None else " Its short name is not known."
