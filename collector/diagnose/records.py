"""Breaks of the metadata itself: files that do not parse, data files that are gone, and metadata that outlived its object.

What a file that cannot be read would have said is unknown: its absence from the survey is no evidence, so the rules that compare against
it stay silent (``Examination.layers_known`` and its like) and the one finding is ``metadata-unreadable``. A file that this user may
not read is an error of the reader, not a finding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from collector.diagnose.cases import ANYTHING, Case, fact, listed, short, texts
from collector.diagnose.context import Examination
from collector.graph_nodes import Container, Image, Layer, created
from collector.links import Link, LinkKind, LinkState, StoreKind
from linktrail.text import printable

_HEX_ID: Final = re.compile(r"[0-9a-f]{64}")
_TAR_SPLIT: Final = "tar-split"
_ITEMS: Final = 50


def breaks(look: Examination) -> None:
    """Report damage of metadata and data files."""
    _metadata_files(look)
    if look.graph.survey.kind is not StoreKind.CONTAINERS_STORAGE:
        return
    for layer in look.graph.layers.values():
        if not layer.incomplete:
            _layer_data(look, layer)
            work(look, layer)
    directories = {link.path: link for link in look.graph.owner_directories}
    for image in look.graph.images.values():
        _data(look, "image", image, f"overlay-images/{image.id}", directories)
    for container in look.graph.containers.values():
        _data(look, "container", container, f"overlay-containers/{container.id}", directories)
    _leftovers(look)
    _twice_recorded(look)


def _metadata_files(look: Examination) -> None:
    for path, link in look.graph.metadata.items():
        error = str(link.detail.get("error", ""))
        refused = "permission denied" in error.lower() or "not permitted" in error.lower()
        if link.state in (LinkState.PRESENT, LinkState.EMPTY) or (link.state is LinkState.UNREADABLE and refused):
            continue
        look.report(
            Case(
                "metadata-unreadable",
                "store",
                path,
                path,
                f"{path} cannot be read as it should: {printable(error, 300) or 'unknown error'}.",
                look.advice.metadata_unreadable(path),
                evidence={"error": error, "size": link.facts.get("size")},
                keys=[link.key],
            )
        )
    for path, count in look.missing_files.items():
        look.report(
            Case(
                "metadata-unreadable",
                "store",
                path,
                path,
                f"{path} is gone, but {count} directories that it should name are there.",
                look.advice.metadata_unreadable(path),
                evidence={"error": "no such file", "directories": count},
                keys=[(LinkKind.METADATA_FILE, path, path)],
            )
        )


def _layer_data(look: Examination, layer: Layer) -> None:
    """Report lost data items of a layer; partly pulled layers (with a table of contents) keep no tar-split of their own."""
    detail = layer.record.detail
    wanted = texts(detail.get("big_data_names"))
    partly = bool(detail.get("toc_digest")) or any("chunked" in name for name in wanted)
    if detail.get("diff_digest") and not partly:
        wanted.append(_TAR_SPLIT)
    home = layer.record.path.rpartition("/")[0]
    paths = {name: f"{home}/{layer.id}.tar-split.gz" if name == _TAR_SPLIT else f"{home}/{layer.id}" for name in wanted}
    lost = [name for name in wanted if name not in layer.data and not look.graph.unknown(paths[name])]
    if lost:
        images, containers = look.used_by(layer.id)
        look.report(
            Case(
                "layer-data-missing",
                "layer",
                layer.id,
                paths[lost[0]],
                f"Layer {short(layer.id)} has lost its data {_plural(lost)}.",
                look.advice.layer_data_missing(images),
                related=[*images, *containers],
                evidence={"missing": lost[:_ITEMS], "record": layer.record.path},
                times={"record created": created(layer.record)},
                compared=[layer.record.path],
                keys=[(LinkKind.DATA_FILE, layer.id, paths[lost[0]])],
                began=created(layer.record),
                owner=layer.record.owner,
                removes=ANYTHING,
            )
        )


def work(look: Examination, layer: Layer) -> None:
    """Report a writable layer without ``work``: the kernel does not mount it. Image layers are only ever mounted below others."""
    containers = look.graph.tops()[1].get(layer.id)
    place = look.graph.places.get(layer.place)
    if not containers or place is None or not place.whole or place.directory is None or place.directory.detail.get("work") is not False:
        return
    look.report_layer(
        "layer-data-missing",
        place,
        layer,
        f"Writable layer {short(layer.id)} of container {listed(containers)} has no work directory, so it cannot be mounted.",
        look.advice.work_missing(place.name, containers),
        path=f"{look.graph.path_of(place.name)}/work",
        related=containers,
        evidence={"missing": ["work"], "record": layer.record.path},
        keys=[place.directory.key],
    )


def _data(look: Examination, kind: str, owner: Image | Container, home: str, directories: Mapping[str, Link]) -> None:
    items = owner.record.detail.get("big_data")
    if not isinstance(items, Mapping) or look.graph.unknown(home):
        return
    lost: list[str] = []
    differ: dict[str, Any] = {}
    for name, said in items.items():
        size = said[0] if isinstance(said, list | tuple) and said else None
        file = owner.data.get(name)
        if file is None:
            lost.append(name)
        elif file.state is not LinkState.PRESENT:
            differ[name] = {"recorded": size, "found": file.detail.get("type")}
        elif isinstance(size, int) and file.detail.get("size") != size:
            differ[name] = {"recorded": size, "found": file.detail.get("size")}
    # the three parts of a container (record, data, layer) are removed beside each other
    files = (*look.files_of(f"{kind}s"), *(look.files_of("layers") if kind == "container" else ()))
    times = {"data directory modified": fact(directories.get(home), "mtime_ns")}
    advice = look.advice.image_data(owner.id) if kind == "image" else look.advice.container_data(owner.id)
    for code, what, found in (("missing", f"has lost its data {_plural(lost)}", lost), ("modified", _differing(differ), differ)):
        if found:
            look.report(
                Case(
                    f"{kind}-data-{code}",
                    kind,
                    owner.id,
                    home,
                    f"{kind.capitalize()} {short(owner.id)} {what}.",
                    advice,
                    evidence={"items": list(found)[:_ITEMS] if code == "missing" else dict(list(differ.items())[:_ITEMS])},
                    times=times,
                    compared=files,
                    keys=[(LinkKind.DATA_FILE, owner.id, home)],
                    owner=owner.record.owner,
                )
            )


def _leftovers(look: Examination) -> None:
    graph = look.graph
    if look.read_only:
        return
    stray: dict[str, list[Link]] = {}
    for link in graph.stray_data:
        stray.setdefault(link.subject, []).append(link)
    for link in graph.owner_directories:
        home = link.path.partition("/")[0]
        kind, records, known = (
            ("image", graph.images, look.images_known)
            if home.endswith("-images")
            else ("container", graph.containers, look.containers_known)
        )
        looks_like_one = _HEX_ID.fullmatch(link.subject) or link.subject in stray or link.detail.get("buildah")
        if known and looks_like_one and link.subject not in records:
            _leftover(look, kind, link, [link.path])
    for subject, links in stray.items():
        of_layer = [link for link in links if link.path.startswith("overlay-layers/")]
        place = graph.places.get(subject)
        standing = place is not None and place.directory is not None
        if of_layer and look.layers_known and subject not in look.named and not standing:
            _leftover(look, "layer", of_layer[0], [link.path for link in of_layer])


def _leftover(look: Examination, kind: str, link: Link, paths: list[str]) -> None:
    look.report(
        Case(
            "metadata-leftover",
            kind,
            link.subject,
            paths[0],
            f"Metadata of {kind} {short(link.subject)} was left behind: no record names that {kind}.",
            look.advice.metadata_leftover(paths, link.subject),
            evidence={"paths": paths[:_ITEMS]},
            times={"directory modified": fact(link, "mtime_ns")},
            compared=look.files_of(f"{kind}s"),
            keys=[link.key],
            unrecorded=[link.subject],
            held=(paths[0],) if link.kind is LinkKind.OWNER_DIRECTORY else (),
            owner=link.owner,
        )
    )


def _twice_recorded(look: Examination) -> None:
    """Report an id that two metadata files record: engines follow one of them."""
    graph = look.graph
    for kind, nodes in (("layer", graph.layers), ("container", graph.containers)):
        for node in nodes.values():
            paths = [record.path for record in node.records]
            if len(paths) > 1:
                look.report(
                    Case(
                        "metadata-leftover",
                        kind,
                        node.id,
                        paths[1],
                        f"{kind.capitalize()} {short(node.id)} is recorded twice, in {' and in '.join(paths)}.",
                        look.advice.twice_recorded(paths),
                        evidence={"paths": paths},
                        times={"record created": created(node.record)},
                        compared=paths,
                        keys=[record.key for record in node.records[1:]],
                        owner=node.record.owner,
                    )
                )


def _plural(items: list[str]) -> str:
    return f"item {printable(items[0], 120)}" if len(items) == 1 else f"items {', '.join(printable(item, 120) for item in items[:3])}"


def _differing(differ: Mapping[str, Any]) -> str:
    shown = [f"{printable(name, 120)} (recorded {said['recorded']}, found {said['found']})" for name, said in list(differ.items())[:3]]
    return f"has data that differs from its record: {', '.join(shown)}"
