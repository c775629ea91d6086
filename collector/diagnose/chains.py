"""Breaks between records, and between a record and its directory. Generic over the store kinds.

One damage is one finding: a short link that dangles because its layer's directory is gone, or a directory that lost the record which
an image names, is related to that finding and no finding of its own. A cycle of parents is ``overlapping-layers`` (a chain in which a
layer meets itself), reported once, for the smallest id in it.
"""

from __future__ import annotations

from collector.diagnose.cases import ANYTHING, Case, fact, listed, short, texts
from collector.diagnose.context import Examination
from collector.graph_nodes import Container, Image, Layer, Place, created
from collector.links import LinkKind, LinkState


def breaks(look: Examination) -> None:
    """Report records that lead nowhere."""
    graph = look.graph
    gone = [layer for layer in graph.layers.values() if not layer.incomplete and _is_gone(look, layer)]
    whole = sum(not layer.incomplete for layer in graph.layers.values()) - len(gone)
    for layer in gone:
        _layer_missing(look, layer, everything=whole == 0 and len(gone) > 1)
    for cycle in look.cycles:
        _cycle(look, cycle)
    if look.layers_known and look.stores_known:
        _without_layer_record(look)
    if look.images_known and look.stores_known:
        for container in graph.containers.values():
            if container.image is not None and graph.image(container.image) is None:
                _container_image_missing(look, container, container.image)


def _without_layer_record(look: Examination) -> None:
    graph = look.graph
    for layer in graph.layers.values():
        if layer.parent is not None and not layer.incomplete and graph.layer(layer.parent) is None:
            _parent_missing(look, layer, layer.parent)
    for image in graph.images.values():
        for top in image.layers:
            if graph.layer(top) is None:
                _image_layer_missing(look, image, top)
    for container in graph.containers.values():
        if container.layer is not None and graph.layer(container.layer) is None:
            _container_layer_missing(look, container, container.layer)


def _is_gone(look: Examination, layer: Layer) -> bool:
    if layer.record.state is LinkState.MALFORMED:  # it does not say where its directory is
        return False
    place = look.graph.places.get(layer.place)
    return (place is None or not place.whole) and not look.graph.unknown(look.graph.path_of(layer.place))


def _layer_missing(look: Examination, layer: Layer, *, everything: bool) -> None:
    graph = look.graph
    place = graph.places.get(layer.place)
    images, containers = look.used_by(layer.id)
    writable = layer.id in graph.tops()[1]
    links = [link.subject for link in place.short_links] if place else []
    if place is None or place.directory is None:
        what = "but its directory is gone"
    elif not place.exists:
        what = f"but in place of its directory there is a {place.directory.detail.get('type', 'different thing')}"
    else:
        what = "but the directory with its content (diff) is gone"
    together = ", like that of every other layer" if everything else ""
    look.report(
        Case(
            "layer-missing",
            "layer",
            layer.id,
            graph.path_of(layer.place),
            f"Layer {short(layer.id)} has a record, {what}{together}.{_needs(images, containers)}",
            look.advice.layer_missing(images, containers, everything=everything, writable=writable, needed=layer.id in look.needed),
            related=[*links, *images, *containers],
            evidence={"record": layer.record.path, "short_links": links, "all_layers_gone": everything, "stands_there": _stands(place)},
            times=look.layer_times(layer, place),
            compared=[record.path for record in layer.records],
            keys=[(LinkKind.LAYER_DIRECTORY, layer.place, graph.path_of(layer.place))],
            began=created(layer.record),
            owner=layer.record.owner,
            removes=ANYTHING if layer.id in look.needed and not writable else [layer.id],
        )
    )


def _stands(place: Place | None) -> object:
    return dict(place.directory.detail) if place is not None and place.directory is not None else None


def _parent_missing(look: Examination, layer: Layer, parent: str) -> None:
    images, containers = look.used_by(layer.id)
    directory = _directory(look, parent)
    look.report(
        Case(
            "parent-missing",
            "layer",
            layer.id,
            layer.record.path,
            f"Layer {short(layer.id)} is recorded on top of layer {short(parent)}, which has no record.{_needs(images, containers)}",
            look.advice.parent_missing(images, containers, directory=directory),
            related=[parent, *images, *containers],
            evidence={"record": layer.record.path, "parent": parent, "directory_of_parent": directory},
            times={"record created": created(layer.record)},
            compared=look.files_of("layers"),
            keys=[(LinkKind.LAYER_RECORD, parent, layer.record.path)],
            began=created(layer.record),
            owner=layer.record.owner,
            removes=ANYTHING,
        )
    )


def _cycle(look: Examination, members: list[str]) -> None:
    first = min(members)
    layer = look.graph.layers[first]
    what = (
        "is recorded as its own parent" if len(members) == 1 else f"is its own ancestor: {' -> '.join(short(name) for name in members[:6])}"
    )
    look.report(
        Case(
            "overlapping-layers",
            "layer",
            first,
            layer.record.path,
            f"Layer {short(first)} {what}.",
            look.advice.cycle(),
            related=members,
            evidence={"record": layer.record.path, "cycle": members[:100], "length": len(members)},
            times={"record created": created(layer.record)},
            compared=[record.path for record in layer.records],
            keys=[(LinkKind.PARENT_POINTER, first, layer.record.path)],
            began=created(layer.record),
            owner=layer.record.owner,
        )
    )


def _image_layer_missing(look: Examination, image: Image, top: str) -> None:
    directory = _directory(look, top)
    data = next((link for link in look.graph.owner_directories if link.subject == image.id), None)
    name = f" ({listed(image.names)})" if image.names else ""
    look.report(
        Case(
            "image-layer-missing",
            "image",
            image.id,
            image.record.path,
            f"Image {short(image.id)}{name} names layer {short(top)}, which has no record.",
            look.advice.image_layer_missing(image.id, directory=directory),
            related=[top],
            evidence={"record": image.record.path, "layer": top, "directory_of_layer": directory, "short_links": _links_to(look, top)},
            times={"data directory modified": fact(data, "mtime_ns")},
            compared=(*look.files_of("images"), *look.files_of("layers")),
            keys=[(LinkKind.LAYER_RECORD, top, path) for path in look.files_of("layers")],
            owner=image.record.owner,
        )
    )


def _container_layer_missing(look: Examination, container: Container, layer: str) -> None:
    directory = _directory(look, layer)
    links = _links_to(look, layer)
    look.report(
        Case(
            "container-layer-missing",
            "container",
            container.id,
            container.record.path,
            f"Container {short(container.id)}{_named(container)} names writable layer {short(layer)}, which has no record.",
            look.advice.container_layer_missing(container.id, directory=directory),
            related=[layer, *links],
            evidence={"record": container.record.path, "layer": layer, "directory_of_layer": directory, "short_links": links},
            times={"container created": created(container.record)},
            compared=(*look.files_of("containers"), *look.files_of("layers")),
            keys=[(LinkKind.LAYER_RECORD, layer, path) for path in look.files_of("layers")],
            began=created(container.record),
            held=(directory,) if directory else (),
            owner=container.record.owner,
        )
    )


def _container_image_missing(look: Examination, container: Container, image: str) -> None:
    look.report(
        Case(
            "container-image-missing",
            "container",
            container.id,
            container.record.path,
            f"Container {short(container.id)}{_named(container)} names image {short(image)}, which has no record.",
            look.advice.container_image_missing(container.id, image),
            related=[image],
            evidence={"record": container.record.path, "image": image, "image_name": container.record.owner.container_image_name},
            times={"container created": created(container.record)},
            compared=(*look.files_of("containers"), *look.files_of("images")),
            keys=[(LinkKind.IMAGE_RECORD, image, path) for path in look.files_of("images")],
            began=created(container.record),
            owner=container.record.owner,
        )
    )


def _directory(look: Examination, layer: str) -> str | None:
    """Return the path of the directory of a layer that has no record, if it stands."""
    place = look.graph.places.get(look.stand_ins.get(layer, layer))
    standing = place is not None and place.directory is not None and place.directory.state is LinkState.PRESENT
    return look.graph.path_of(place.name) if place is not None and standing else None


def _links_to(look: Examination, layer: str) -> list[str]:
    place = look.graph.places.get(look.stand_ins.get(layer, layer))
    return [link.subject for link in place.short_links] if place is not None else []


def _named(container: Container) -> str:
    names = texts(container.record.detail.get("names"))
    return f" ({listed(names)})" if names else ""


def _needs(images: list[str], containers: list[str]) -> str:
    parts = [f"{word} {listed(names)}" for word, names in (("image", images), ("container", containers)) if names]
    return f" Needed by {' and '.join(parts)}." if parts else ""
