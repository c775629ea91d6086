"""What only Docker can have wrong: records of many small files, containers that never finish to go, writable layers without a container.

The generic rules see layers by chain id, writable and init layers by mount id, and build cache by BuildKit's keys; these rules go
first, so that one damage is one finding. A record whose ``cache-id`` or ``mount-id`` cannot be read hides which directory it stands
for: the directories that it may be (made on the same layer, named by nothing else) are ``spoken_for`` and never called unaccounted.
Neither is one that the ``lower`` file of a recorded layer names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final

from collector.diagnose.advice_docker import DockerAdvice
from collector.diagnose.cases import Case, listed, short
from collector.diagnose.context import Examination
from collector.graph_nodes import Container, Layer, Place, created
from collector.links import Link, LinkKind, LinkState

LAYERS: Final = "image/overlay2/layerdb/sha256"
MOUNTS: Final = "image/overlay2/layerdb/mounts"
_BUILD_ID: Final = 25  # characters of the names that BuildKit gives
_LIMIT: Final = 100
_CHAIN_LIMIT: Final = 200  # more than the 128 layers that Docker makes a chain of
_IDS: Final = frozenset({"cache-id", "mount-id", "init-id"})


def records(look: Examination) -> None:
    """Report entries of layerdb that do not say what they stand for, and keep what they may stand for."""
    made_on = _made_on(look)
    _named_below(look)
    _lost_tops(look, made_on)
    of_mounts: dict[str, set[str | None]] = {}
    for link in look.graph.survey.of_kind(LinkKind.PARENT_POINTER):
        if link.path.startswith(f"{MOUNTS}/"):
            of_mounts.setdefault(link.path, set()).update((link.subject, link.target))
    for path, link in look.graph.metadata.items():
        home, _, file = path.rpartition("/")
        if link.state not in (LinkState.MALFORMED, LinkState.MISSING) or home.rpartition("/")[0] not in (LAYERS, MOUNTS):
            continue
        layer = look.graph.layers.get(f"sha256:{home.rpartition('/')[2]}")
        bases = {layer.parent} if layer is not None else of_mounts.get(home, {None})
        suspects = sorted(name for base in bases for name in made_on.get(base, ())) if file in _IDS else []
        _bad_record(look, link, layer, suspects)


def _made_on(look: Examination) -> dict[str | None, list[str]]:
    """Return the unrecorded directories by the layer that they were made on (``None``: on nothing, or nothing knows on what)."""
    found: dict[str | None, list[str]] = {}
    for place in look.graph.places.values():
        if place.layer is None and place.exists:
            below = _first_below(look, place)
            known = look.graph.places.get(below) if below is not None else None
            found.setdefault(known.layer if known is not None and known.layer is not None else below, []).append(place.name)
    return found


def _named_below(look: Examination) -> None:
    """Keep what lower files of recorded layers name, and find by them the directories of parents that have no record any more."""
    graph = look.graph
    for name, users in look.lower_users.items():
        short_link = graph.short_links.get(name)
        if short_link is not None and short_link.layer_id is not None and any(user in graph.layers for user in users):
            look.spoken_for.add(short_link.layer_id)
    for layer in graph.layers.values():
        place = graph.places.get(layer.place)
        if layer.parent is not None and graph.layer(layer.parent) is None and place is not None:
            below = _first_below(look, place)
            if below is not None:
                look.stand_ins.setdefault(layer.parent, below)


def _lost_tops(look: Examination, made_on: Mapping[str | None, list[str]]) -> None:
    """Find the directories of tops of images that have no record any more: made on the layer that the image names below."""
    for link in look.graph.survey.of_kind(LinkKind.IMAGE_LAYER):
        if link.target is not None and look.graph.layer(link.target) is None:
            suspects = made_on.get(link.detail.get("below"), [])
            look.spoken_for.update(suspects)
            if len(suspects) == 1:
                look.stand_ins.setdefault(link.target, suspects[0])


def _first_below(look: Examination, place: Place) -> str | None:
    """Return the directory right below ``place``, as its lower file says; ``None``: there is none, or nothing knows its name."""
    lower = place.lowers.get("lower")
    name = (lower.target or "").split(":", 1)[0].removeprefix("l/") if lower is not None else ""
    short_link = look.graph.short_links.get(name)
    return short_link.layer_id if short_link is not None and short_link.layer_id else look.graph.named_places.get(name)


def _bad_record(look: Examination, link: Link, layer: Layer | None, suspects: list[str]) -> None:
    home, _, file = link.path.rpartition("/")
    name = home.rpartition("/")[2]
    of_mount = home.startswith(f"{MOUNTS}/")
    subject = name if of_mount or layer is None else layer.id
    look.spoken_for.update(suspects)
    images, containers = look.used_by(layer.id) if layer is not None else ([], [name] if of_mount else [])
    error = str(link.detail.get("error", "unknown error"))
    whose = f"container {short(name)}" if of_mount else f"layer {short(subject)}"
    may_be = f" It may be the record of {listed(suspects)}." if suspects else ""
    look.report(
        Case(
            "metadata-unreadable",
            "store",
            link.path,
            link.path,
            f"The record of {whose} cannot be read as it should: {file}: {error}.{may_be}",
            look.advice.metadata_unreadable(link.path),
            related=[subject, *suspects, *images, *containers],
            evidence={"error": error, "may_be": suspects[:_LIMIT]},
            keys=[link.key],
            compared=[home],
        )
    )


def leaks(look: Examination) -> None:
    """Report containers that never finished to go, and writable layers whose container is gone."""
    layers: dict[str, list[Layer]] = {}
    for layer in look.graph.layers.values():
        if isinstance(owner := layer.record.detail.get("container"), str):
            layers.setdefault(owner, []).append(layer)
    for container in look.graph.containers.values():
        if container.record.detail.get("removing") or container.record.detail.get("dead"):
            _interrupted(look, container, layers.get(container.id, []))
    if look.tables_read("containers"):
        ghosts = [holder for holder in look.graph.holders if holder.kind is LinkKind.CONTAINER_LAYER]
        living = _living(look) if ghosts else set()
        for holder in ghosts:
            _ghost(look, holder, [layer.id for layer in layers.get(holder.subject, [])], living)


def _living(look: Examination) -> set[str]:
    """Return every layer that something other than a lost container needs."""
    graph = look.graph
    held = [link.target for link in graph.holders if link.kind is not LinkKind.CONTAINER_LAYER and link.target]
    tops = [layer for image in graph.images.values() for layer in image.layers]
    return graph.reach([*held, *tops, *(container.layer for container in graph.containers.values() if container.layer is not None)])


def _interrupted(look: Examination, container: Container, layers: list[Layer]) -> None:
    directory = look.owner_times.get(container.id)
    detail = container.record.detail
    what = "dead, its removal failed" if detail.get("dead") else "being removed, and the removal never finished"
    look.report(
        Case(
            "interrupted-removal",
            "container",
            container.id,
            container.record.path.rpartition("/")[0],
            f"Container {short(container.id)}{_named(container)} is {what}.",
            advice_of(look).interrupted_container(container.id, [path for layer in layers for path in _held(look, [layer.id])]),
            related=[*(layer.id for layer in layers), *([container.image] if container.image else [])],
            evidence={
                "record": container.record.path,
                "dead": bool(detail.get("dead")),
                "removing": bool(detail.get("removing")),
                "left": {layer.id: _left(look, layer) for layer in layers},
            },
            times={
                "container directory modified": directory,
                **{f"{name} of {short(layer.id)}": when for layer in layers for name, when in _layer_times(look, layer).items()},
            },
            keys=[container.record.key],
            began=created(container.record),
            held=_held(look, [layer.id for layer in layers]),
            owner=container.record.owner,
            removes=[layer.id for layer in layers],
        )
    )


def _layer_times(look: Examination, layer: Layer) -> dict[str, int | None]:
    times = look.layer_times(None, look.graph.places.get(layer.place))
    return {name: when for name, when in times.items() if when is not None}


def _left(look: Examination, layer: Layer) -> dict[str, bool]:
    place = look.graph.places.get(layer.place)
    return {
        "directory": bool(place and place.exists),
        "diff": bool(place and place.whole),
        "link": bool(place and place.link_file),
        "lower": bool(place and place.lowers),
    }


def _ghost(look: Examination, holder: Link, own: list[str], living: set[str]) -> None:
    graph = look.graph
    top = holder.target or ""
    pinned = sorted({layer for layer in islice(graph.ancestors(top), _CHAIN_LIMIT) if layer in graph.layers} - living - set(own))
    build = len(holder.subject) == _BUILD_ID
    directory = look.owner_times.get(holder.subject)
    what = "step of a build" if build else "container"
    pins = f" It pins {len(pinned)} layers of an image that is gone." if pinned else ""
    look.report(
        Case(
            "ghost-reference",
            "container",
            holder.subject,
            holder.path.rpartition("/")[0],
            f"Writable layer {short(top)} is kept for {what} {short(holder.subject)}, which does not exist.{pins}",
            advice_of(look).ghost_reference(holder.path.rpartition("/")[0], _held(look, own), build=build),
            related=[*own, *pinned],
            evidence={"mount_id": top, "layers": own, "pinned_layers": pinned[:_LIMIT], "build": build},
            times={
                "record written": created(holder),
                "container directory modified": directory,
                **{name: when for layer in own for name, when in _layer_times(look, graph.layers[layer]).items()},
            },
            compared=(*look.files_of("containers"), *look.files_of("layers")),
            keys=[holder.key],
            unrecorded=[holder.subject],
            began=created(holder),
            held=_held(look, [*own, *pinned]),
            owner=holder.owner,
            removes=[*own, *pinned],
            grace="unreferenced" if build else None,
        )
    )


def _held(look: Examination, layers: Collection[str]) -> tuple[str, ...]:
    places = [look.graph.places.get(look.graph.layers[layer].place) for layer in layers if layer in look.graph.layers]
    return tuple(look.graph.path_of(place.name) for place in places if place is not None and place.exists)


def advice_of(look: Examination) -> DockerAdvice:
    """Return the advice for this store, which is one of Docker's."""
    return look.advice if isinstance(look.advice, DockerAdvice) else DockerAdvice(look.graph.survey.root)


def _named(container: Container) -> str:
    names = container.record.detail.get("names")
    return f" ({listed(names)})" if isinstance(names, list) and names else ""
