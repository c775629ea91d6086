"""Bounded time: whatever the shape of 100,000 layers, a diagnosis takes seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from collector.diagnose import examine
from collector.links import Link, LinkKind, LinkState, StoreKind, Survey
from tests.diagnose.model import LAYERS_JSON, LONG_AGO, NOW, identity, short_name

COUNT = 4_000
SECONDS = 20.0  # a tenth of that on an idle machine; the square of the count would take minutes


def layers(count: int, parent_of: list[int | None], *, directories: bool = True, state: LinkState = LinkState.PRESENT) -> Iterator[Link]:
    """Yield the links of ``count`` layers, each on the layer that ``parent_of`` says."""
    ids = [identity(number) for number in range(count)]
    for number, layer in enumerate(ids):
        facts = {"created_ns": LONG_AGO}
        yield Link(LinkKind.LAYER_RECORD, layer, LAYERS_JSON, state=state, layer_id=layer, facts=facts)
        parent = parent_of[number]
        if parent is not None:
            yield Link(LinkKind.PARENT_POINTER, layer, LAYERS_JSON, ids[parent], layer_id=layer)
        if directories:
            path = f"overlay/{layer}"
            detail = {"diff": True, "work": True, "empty": parent is None}
            yield Link(LinkKind.LAYER_DIRECTORY, layer, path, layer_id=layer, detail=detail, facts={"mtime_ns": LONG_AGO})
            yield Link(LinkKind.LINK_FILE, layer, f"{path}/link", short_name(layer), layer_id=layer)
            yield Link(LinkKind.SHORT_LINK, short_name(layer), f"overlay/l/{short_name(layer)}", f"../{layer}/diff", layer_id=layer)


def images(count: int, *, named: bool) -> Iterator[Link]:
    """Yield an image on every layer."""
    for number in range(count):
        image = identity(("image", number))
        yield Link(LinkKind.IMAGE_RECORD, image, "overlay-images/images.json")
        yield Link(LinkKind.IMAGE_LAYER, image, "overlay-images/images.json", identity(number))
        if named:
            yield Link(LinkKind.IMAGE_NAME, f"localhost/{number}", "overlay-images/images.json", image)


def timed(links: list[Link]) -> tuple[int, float]:
    """Diagnose and return the number of findings and the seconds it took."""
    survey = Survey.of(StoreKind.CONTAINERS_STORAGE, "/store", links, started=NOW, finished=NOW)
    started = time.perf_counter()
    result = examine(survey, now=NOW)
    return len(result.findings), time.perf_counter() - started


SHAPES = {
    "one chain, lower files gone": lambda count: [*layers(count, [None, *range(count - 1)]), *images(count, named=True)],
    "one circle": lambda count: [*layers(count, [count - 1, *range(count - 1)]), *images(count, named=True)],
    "two by two in circles": lambda count: [*layers(count, [number ^ 1 for number in range(count)])],
    "no directory at all": lambda count: [*layers(count, [None] + [0] * (count - 1), directories=False), *images(count, named=True)],
    "all incomplete": lambda count: [*layers(count, [None, *range(count - 1)], state=LinkState.INCOMPLETE), *images(count, named=True)],
    "nothing named": lambda count: [*layers(count, [None, *range(count - 1)]), *images(count, named=False)],
    "nothing reached": lambda count: [*layers(count, [None] + [0] * (count - 1))],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_four_thousand_layers(shape: str) -> None:
    """Each shape makes one rule or another do as much as it can."""
    findings, seconds = timed(SHAPES[shape](COUNT))
    assert findings > 0
    assert seconds < SECONDS


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_thousand_layers(shape: str) -> None:
    """The time grows with the number of layers, not with its square."""
    _, small = timed(SHAPES[shape](COUNT))
    _, large = timed(SHAPES[shape](COUNT * 25))
    assert large < max(small, 0.2) * 25 * 3
