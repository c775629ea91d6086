"""Leaks: what takes space and what nothing living reaches. Generic over the store kinds.

A layer is *needed* when an image, a container, a lease or a label reaches it, by recorded parents or by what ``lower`` files name
(``Graph.reach``): after a lost record the second still says what must not be deleted. What a record of any kind names is never called
unaccounted, for the same reason; the missing record is a break and is reported as that.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from collector.diagnose.cases import Case, fact, is_trap, listed, short, texts
from collector.diagnose.context import Examination
from collector.graph_nodes import Container, Image, Layer, Place, created
from collector.links import Link, LinkKind

_HEX_ID: Final = re.compile(r"[0-9a-f]{64}")
_CHAIN_LIMIT: Final = 1000


def leaks(look: Examination) -> None:
    """Report every leak. A read-only image store is shared: what this machine does not use there is no leak."""
    if look.read_only:
        return
    graph = look.graph
    going: set[str] = set()  # below an incomplete layer that somebody works on: engines remove an image top to bottom
    for layer in graph.layers.values():
        if layer.incomplete and (layer.record.detail.get("container") or not _incomplete(look, layer)):
            going.update(graph.ancestors(layer.id))
    if look.images_known and look.containers_known:
        for layer in graph.layers.values():
            if not layer.incomplete and layer.id not in look.needed and layer.id not in going:
                _unreferenced(look, layer)
        _untagged(look)
    if look.layers_known:
        _unaccounted(look)
    for container in graph.containers.values():
        _external(look, container)
    temporary(look)


def _incomplete(look: Examination, layer: Layer) -> bool:
    graph = look.graph
    place = graph.places.get(layer.place)
    images, containers = look.used_by(layer.id)
    path = graph.path_of(layer.place)
    removal = _looks_removed(layer, place)
    used = layer.id in look.needed and not removal
    if removal:
        message = f"Layer {short(layer.id)} was being removed, and the removal never finished."
        advice = look.advice.interrupted_removal(layer.id, path)
    else:
        needed = f" {listed([*images, *containers])} need it." if used else ""
        message = f"Layer {short(layer.id)} was never finished: its record is still marked incomplete.{needed}"
        advice = look.advice.incomplete_layer(path, [*containers, *images])
    times = look.layer_times(layer, place)
    if place is None or not place.exists:  # nothing else is left that shows the time of the last work
        times["record file written"] = max((look.changed(record.path) or 0 for record in layer.records), default=0) or None
    left = {"directory": bool(place and place.exists), "link": bool(place and place.link_file), "lower": bool(place and place.lowers)}
    return look.report(
        Case(
            "interrupted-removal" if removal else "incomplete-layer",
            "layer",
            layer.id,
            path,
            message,
            advice,
            related=[*images, *containers, *([layer.parent] if layer.parent else [])],
            evidence={"record": layer.record.path, "flags": layer.record.detail.get("flags"), "parent": layer.parent, "left": left},
            times=times,
            compared=[record.path for record in layer.records],
            keys=[layer.record.key, (LinkKind.LAYER_DIRECTORY, layer.place, path)],
            began=created(layer.record),
            held=_held(look, place),
            severity="critical" if used else None,
            owner=layer.record.owner,
            removes=[layer.id],
        )
    )


def _looks_removed(layer: Layer, place: Place | None) -> bool:
    """Tell an unfinished removal from an unfinished creation.

    Some records say so. A removal unlinks the short link and ``link`` first, then the content and the directory; a creation makes them at
    once. A record gets its digest or its names when the creation is done, so a record that has them and nothing on disk was being removed.
    """
    if layer.record.detail.get("removing") is True:
        return True
    was_whole = bool(layer.record.detail.get("diff_digest") or layer.names)
    if place is None or not place.exists:
        return was_whole
    return place.link_file is None and not place.short_links and (was_whole or place.whole)


def _unreferenced(look: Examination, layer: Layer) -> None:
    graph = look.graph
    place = graph.places.get(layer.place)
    children = sorted(graph.children.get(layer.id, []))
    name = f" ({listed(layer.names)})" if layer.names else ""
    look.report(
        Case(
            "unreferenced-layer",
            "layer",
            layer.id,
            graph.path_of(layer.place),
            f"Layer {short(layer.id)}{name} has a record, but no image and no container reaches it.",
            look.advice.unreferenced_layer(layer.id, children),
            related=[*children, *([layer.parent] if layer.parent else [])],
            evidence={"record": layer.record.path, "names": layer.names, "parent": layer.parent, "children": children},
            times=look.layer_times(layer, place),
            compared=(*look.files_of("images"), *look.files_of("containers"), *look.files_of("layers")),
            keys=[layer.record.key],
            unheld=[layer.id],
            began=created(layer.record),
            held=_held(look, place),
            owner=layer.record.owner,
            removes=[layer.id, *children],
        )
    )


def _unaccounted(look: Examination) -> None:
    graph = look.graph
    data: dict[str, list[str]] = {}
    for link in graph.stray_data:
        data.setdefault(link.subject, []).append(link.path)
    kept = look.named | look.spoken_for
    for place in graph.places.values():
        if place.directory is None or place.layer is not None or not place.exists or place.name in kept or not _is_layer(place):
            continue
        path = graph.path_of(place.name)
        links = [link for link in place.short_links if not graph.unknown(link.path)]
        files = data.get(place.name, [])
        look.report(
            Case(
                "unaccounted-layer",
                "layer",
                place.name,
                path,
                f"Directory {short(place.name)} looks like a layer, but no record names it.",
                look.advice.unaccounted_layer(place.name, [path, *(link.path for link in links), *files], trap=is_trap(place)),
                related=[link.subject for link in links],
                evidence={"short_links": [link.subject for link in links], "data_files": files},
                times=look.layer_times(None, place),
                keys=[place.directory.key],
                unrecorded=[place.name],
                held=(path,),
                owner=place.directory.owner,
            )
        )


def _is_layer(place: Place) -> bool:
    """Tell a layer's directory from whatever else lies there (``lost+found`` of a filesystem of its own)."""
    detail = place.directory.detail if place.directory else {}
    return bool(_HEX_ID.fullmatch(place.name) or detail.get("diff") or place.link_file or place.lowers)


def _untagged(look: Examination) -> None:
    """Report untagged images that alone hold layers: build cache below a named image holds nothing of its own.

    Of a chain of untagged images (the steps of one build) the last one is named; the others are related.
    """
    graph = look.graph
    used = {container.image for container in graph.containers.values()}
    loose = [image for image in graph.images.values() if not image.names and image.id not in used and image.layers]
    if not loose:
        return
    kept = graph.reach(graph.roots(without={image.id for image in loose}))
    by_top: dict[str, list[Image]] = {}
    for image in loose:
        if not kept.issuperset(image.layers):
            by_top.setdefault(image.layers[0], []).append(image)
    below: set[str] = set()
    for top in by_top:
        for ancestor in graph.ancestors(top):
            if ancestor in below:
                break
            below.add(ancestor)
    for top, images in by_top.items():
        if top not in below:
            last = max(images, key=lambda image: (created(image.record) or 0, image.id))
            chain = list(islice(graph.ancestors(top), _CHAIN_LIMIT))
            steps = [image.id for layer in chain for image in by_top.get(layer, [])]
            steps += [image.id for image in images if image is not last]
            _report_untagged(look, last, [layer for layer in (*last.layers, *chain) if layer not in kept], steps)


def _report_untagged(look: Examination, image: Image, alone: list[str], steps: list[str]) -> None:
    directory = next((link for link in look.graph.owner_directories if link.subject == image.id), None)
    history = texts(image.record.detail.get("names_history"))
    was = f" any more (it was {listed(history)})" if history else ""
    look.report(
        Case(
            "untagged-image",
            "image",
            image.id,
            image.record.path,
            f"Image {short(image.id)} has no name{was}, no container uses it, and nothing else needs {len(alone)} of its layers.",
            look.advice.untagged_image(image.id),
            related=[*image.layers, *steps],
            evidence={"names_history": history, "layers": alone, "build_steps": steps},
            times={"data directory modified": fact(directory, "mtime_ns")},
            compared=(*look.files_of("images"), *look.files_of("containers")),
            keys=[image.record.key],
            unheld=[image.id],
            held=tuple(path for layer in alone for path in _held(look, look.graph.places.get(layer))),
            owner=image.record.owner,
            removes=alone,
        )
    )


def _external(look: Examination, container: Container) -> None:
    """Report a container that only a build tool knows. A build in progress has one too, for as long as a step takes."""
    if container.record.detail.get("engine") != "buildah":
        return
    graph = look.graph
    layer = graph.layers.get(container.layer) if container.layer else None
    place = graph.places.get(layer.place) if layer else None
    names = texts(container.record.detail.get("names"))
    name = f" ({listed(names)})" if names else ""
    look.report(
        Case(
            "external-container",
            "container",
            container.id,
            container.record.path,
            f"Container {short(container.id)}{name} was left by a build; no engine lists it, and it pins its image.",
            look.advice.external_container(container.id),
            related=[name for name in (container.layer, container.image) if name],
            evidence={"engine": "buildah", "names": names, "layer": container.layer, "image": container.image},
            times={"container created": created(container.record), **look.layer_times(layer, place)},
            compared=look.files_of("containers"),
            keys=[container.record.key],
            began=created(container.record),
            held=_held(look, place),
            owner=container.record.owner,
            removes=[container.layer] if container.layer else [],
        )
    )


def temporary(look: Examination) -> None:
    """Report temporary directories that were left behind."""
    for link in () if look.read_only else look.graph.temporary:
        _temporary(look, link)


def _temporary(look: Examination, link: Link) -> None:
    holds = texts(link.detail.get("layers")) or ([link.target] if link.target else [])
    what = f", with layer {listed(holds)} in it" if holds else ""
    look.report(
        Case(
            "leftover-tempdir",
            "directory",
            link.subject,
            link.path,
            f"Temporary {link.detail.get('type', 'directory')} {short(link.subject)} was left behind{what}.",
            look.advice.leftover_tempdir(link.path, holds[0] if holds else link.subject),
            related=holds,
            evidence={"layers": holds},
            times={"directory modified": fact(link, "mtime_ns")},
            keys=[(LinkKind.TEMPORARY_DIRECTORY, link.subject, link.path)],
            held=(link.path,),
            owner=link.owner,
        )
    )


def _held(look: Examination, place: Place | None) -> tuple[str, ...]:
    return (look.graph.path_of(place.name),) if place is not None and place.exists else ()
