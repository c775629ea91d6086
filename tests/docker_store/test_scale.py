"""Bounded time: whatever is wrong with thousands of objects, a diagnosis takes seconds, not the square of their number."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from collector.diagnose import examine
from collector.links import Link, LinkKind, LinkState, StoreKind, Survey
from tests.docker_store.build import LATER, digest, short_name

COUNT = 4_000
SECONDS = 20.0  # a tenth of that on an idle machine; the square of the count would take minutes
LAYERDB = "image/overlay2/layerdb"


def directories(count: int, *, chained: bool = False) -> Iterator[Link]:
    """Yield directories of overlay2, each on the first or on the one before."""
    places = [digest(f"place {number}") for number in range(count)]
    for number, place in enumerate(places):
        path = f"overlay2/{place}"
        yield Link(LinkKind.LAYER_DIRECTORY, place, path, layer_id=place, detail={"diff": True, "work": True})
        yield Link(LinkKind.LINK_FILE, place, f"{path}/link", short_name(place), layer_id=place)
        yield Link(LinkKind.SHORT_LINK, short_name(place), f"overlay2/l/{short_name(place)}", f"../{place}/diff", layer_id=place)
        if number:
            below = f"l/{short_name(places[number - 1 if chained else 0])}"
            yield Link(LinkKind.LOWER_REFERENCE, place, f"{path}/lower", below, layer_id=place)


def records(count: int, *, state: LinkState = LinkState.PRESENT, chained: bool = False) -> Iterator[Link]:
    """Yield records of layers in these directories; malformed ones do not say which."""
    for number in range(count):
        chain = f"sha256:{digest(f'chain {number}')}"
        path = f"{LAYERDB}/sha256/{chain.removeprefix('sha256:')}"
        place = digest(f"place {number}") if state is LinkState.PRESENT else None
        yield Link(LinkKind.LAYER_RECORD, chain, path, place, state, layer_id=chain)
        if number:
            parent = f"sha256:{digest(f'chain {number - 1 if chained else 0}')}"
            yield Link(LinkKind.PARENT_POINTER, chain, f"{path}/parent", parent, layer_id=chain)
        if state is LinkState.MALFORMED:
            yield Link(LinkKind.METADATA_FILE, f"{path}/cache-id", f"{path}/cache-id", state=state, detail={"error": "empty"})


def mounts(count: int, *, going: bool = False) -> Iterator[Link]:
    """Yield writable layers without a container, or of one that is being removed."""
    for number in range(count):
        container, layer = digest(f"container {number}"), digest(f"mount {number}")
        path = f"{LAYERDB}/mounts/{container}"
        detail = {"container": container, "removing": going}
        state = LinkState.INCOMPLETE if going else LinkState.PRESENT
        yield Link(LinkKind.LAYER_RECORD, layer, path, layer, state, layer_id=layer, detail=detail)
        yield Link(LinkKind.PARENT_POINTER, layer, path, f"sha256:{digest(f'chain {number}')}", layer_id=layer)
        yield Link(LinkKind.CONTAINER_LAYER, container, f"{path}/mount-id", layer, layer_id=layer)
        yield Link(LinkKind.OWNER_DIRECTORY, container, f"containers/{container}")
        if going:
            yield Link(LinkKind.CONTAINER_RECORD, container, f"containers/{container}/config.v2.json", detail={"removing": True})


def images(count: int) -> Iterator[Link]:
    """Yield images whose top layer has no record, all on one layer."""
    for number in range(count):
        image = f"sha256:{digest(f'image {number}')}"
        top = f"sha256:{digest(f'lost {number}')}"
        detail = {"below": f"sha256:{digest('chain 0')}"}
        yield Link(LinkKind.IMAGE_RECORD, image, f"image/overlay2/imagedb/content/sha256/{image[7:]}")
        yield Link(LinkKind.IMAGE_LAYER, image, "x", top, layer_id=top, detail=detail)


SHAPES = {
    "ghosts on one chain": [*directories(COUNT, chained=True), *records(COUNT, chained=True), *mounts(COUNT)],
    "dead containers": [*directories(COUNT), *records(COUNT), *mounts(COUNT, going=True)],
    "records that do not say where": [*directories(COUNT), *records(COUNT, state=LinkState.MALFORMED)],
    "directories without records": [*directories(COUNT)],
    "images that lost their top": [*directories(COUNT), *records(1), *images(COUNT)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_four_thousand(shape: str) -> None:
    """Each shape makes one rule or another do as much as it can."""
    survey = Survey.of(StoreKind.DOCKER_OVERLAY2, "/var/lib/docker", SHAPES[shape], started=LATER, finished=LATER)
    began = time.perf_counter()
    findings = examine(survey, now=LATER, min_age=0).findings
    assert findings
    assert time.perf_counter() - began < SECONDS
