"""Docker's data beside the records: what is gone, what differs, and metadata that outlived its object."""

from __future__ import annotations

from typing import Final

from collector.diagnose.cases import ANYTHING, Case, fact, listed, short
from collector.diagnose.context import Examination
from collector.diagnose.docker import LAYERS, MOUNTS, advice_of
from collector.diagnose.records import work
from collector.graph_nodes import Container, Image, Layer, created
from collector.links import Link, LinkKind, LinkState

_TAR_SPLIT: Final = "tar-split"
_IMAGE_METADATA: Final = "image/overlay2/imagedb/metadata/sha256/"
_CONTAINERS: Final = "containers/"
_OURS: Final = "overlay2"


def breaks(look: Examination) -> None:
    """Report lost and modified data, containers without a writable layer, and leftovers."""
    graph = look.graph
    for layer in graph.layers.values():
        if not layer.incomplete:
            work(look, layer)
            _tar_split(look, layer)
    for image in graph.images.values():
        if image.record.state is LinkState.MALFORMED:
            _image_modified(look, image)
    if look.images_known:
        _images_without_content(look)
    if look.tables_read("layers"):
        for container in graph.containers.values():
            if _lost_its_layer(look, container):
                _container_layer_missing(look, container)
    ghosts = {holder.subject for holder in graph.holders if holder.kind is LinkKind.CONTAINER_LAYER}
    for link in graph.owner_directories:
        _leftover(look, link, ghosts)


def _tar_split(look: Examination, layer: Layer) -> None:
    path = f"{layer.record.path}/{_TAR_SPLIT}.json.gz"
    recorded = layer.record.path.startswith(f"{LAYERS}/") and layer.record.state is LinkState.PRESENT
    if not recorded or _TAR_SPLIT in layer.data or look.graph.unknown(path):
        return
    images, containers = look.used_by(layer.id)
    look.report(
        Case(
            "layer-data-missing",
            "layer",
            layer.id,
            path,
            f"Layer {short(layer.id)} has lost its tar-split: it can be mounted, but not be saved or pushed.",
            look.advice.layer_data_missing(images),
            related=[*images, *containers],
            evidence={"missing": [_TAR_SPLIT], "record": layer.record.path},
            times={"record written": created(layer.record)},
            compared=[layer.record.path],
            keys=[(LinkKind.DATA_FILE, layer.id, path)],
            owner=layer.record.owner,
            removes=ANYTHING,
        )
    )


def _image_modified(look: Examination, image: Image) -> None:
    error = str(image.record.detail.get("error", "unknown"))
    look.report(
        Case(
            "image-data-modified",
            "image",
            image.id,
            image.record.path,
            f"The configuration of image {short(image.id)}{_names(image)} cannot be trusted: {error}.",
            look.advice.image_data(image.id),
            related=image.names,
            evidence={"error": error},
            compared=look.files_of("images"),
            keys=[image.record.key],
            owner=image.record.owner,
        )
    )


def _images_without_content(look: Examination) -> None:
    graph = look.graph
    lost: dict[str, list[Link]] = {}
    for link in graph.survey.of_kind(LinkKind.IMAGE_NAME):
        if link.target is not None and link.target not in graph.images:
            lost.setdefault(link.target, []).append(link)
    for image, links in lost.items():
        names = [link.subject for link in links]
        path = f"image/overlay2/imagedb/content/sha256/{image.removeprefix('sha256:')}"
        look.report(
            Case(
                "image-data-missing",
                "image",
                image,
                path,
                f"{listed(names)} names image {short(image)}, whose configuration is gone.",
                look.advice.image_data(names[0]),
                related=names,
                evidence={"names": names, "missing": path},
                compared=look.files_of("images"),
                keys=[(LinkKind.IMAGE_RECORD, image, path)],
                owner=links[0].owner,
            )
        )


def _lost_its_layer(look: Examination, container: Container) -> bool:
    """Tell whether nothing is left of a container's record in layerdb/mounts, though it is one of overlay2 and not being removed."""
    detail = container.record.detail
    if container.layer is not None or container.record.state is not LinkState.PRESENT or detail.get("removing") or detail.get("dead"):
        return False
    bad_record = f"{MOUNTS}/{container.id}/mount-id" in look.graph.metadata
    return detail.get("driver", _OURS) == _OURS and not bad_record


def _container_layer_missing(look: Examination, container: Container) -> None:
    path = f"{MOUNTS}/{container.id}"
    look.report(
        Case(
            "container-layer-missing",
            "container",
            container.id,
            container.record.path,
            f"Container {short(container.id)}{_names(container)} has no writable layer: {path} is gone.",
            look.advice.container_layer_missing(container.id, directory=None),
            evidence={"record": container.record.path, "missing": path},
            times={"container created": created(container.record)},
            compared=(*look.files_of("containers"), *look.files_of("layers")),
            keys=[(LinkKind.CONTAINER_LAYER, container.id, f"{path}/mount-id")],
            began=created(container.record),
            owner=container.record.owner,
        )
    )


def _leftover(look: Examination, link: Link, ghosts: set[str]) -> None:
    graph = look.graph
    if link.path.startswith(f"{LAYERS}/"):
        what, kind = f"Entry {short(link.subject)} of layerdb is empty: no image that has this layer can be pulled or loaded.", "layer"
    elif link.path.startswith(f"{MOUNTS}/") and link.subject not in graph.containers:
        what, kind = f"Entry {short(link.subject)} of layerdb/mounts is empty, and no container is called so.", "container"
    elif link.path.startswith(_IMAGE_METADATA) and link.subject not in graph.images and look.images_known:
        what, kind = f"Metadata of image {short(link.subject)} was left behind: the image is gone.", "image"
    elif link.path.startswith(_CONTAINERS) and link.subject not in graph.containers and look.tables_read("containers"):
        if link.subject in ghosts:
            return  # its writable layer is there: a ghost, which is reported with it
        what, kind = f"Directory of container {short(link.subject)} was left behind: it has no configuration.", "container"
    else:
        return
    look.report(
        Case(
            "metadata-leftover",
            kind,
            link.subject,
            link.path,
            what,
            advice_of(look).empty_record(link.path) if kind == "layer" else look.advice.metadata_leftover([link.path], link.subject),
            evidence={"paths": [link.path]},
            times={"directory modified": fact(link, "mtime_ns")},
            keys=[link.key],
            held=(link.path,) if kind == "container" else (),
            owner=link.owner,
        )
    )


def _names(node: Image | Container) -> str:
    names = node.names if isinstance(node, Image) else node.record.detail.get("names")
    return f" ({listed(names)})" if isinstance(names, list) and names else ""
