"""The recorded links, folded, beside what the engine itself says."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.live.podman import Done, Podman
from tests.live.recording import Recorded

_BEGINNINGS = {"created", "observed"}


def folded(rows: Iterable[Recorded]) -> dict[tuple[str, str, str], Recorded]:
    """Return the links that hold after ``rows``."""
    held: dict[tuple[str, str, str], Recorded] = {}
    for row in rows:
        if row.action == "removed":
            held.pop(row.key, None)
        else:
            held[row.key] = row
    return held


def _said(row: Recorded) -> tuple[str | None, ...]:
    return row.link_state, row.target, row.detail, row.layer_id


def told_twice(rows: Iterable[Recorded]) -> list[tuple[Recorded | None, Recorded]]:
    """Return the rows that say what was said already: made while there, removed while gone, changed to what it was."""
    wrong: list[tuple[Recorded | None, Recorded]] = []
    held: dict[tuple[str, str, str], Recorded] = {}
    for row in rows:
        known = held.get(row.key)
        same = known is not None and _said(known) == _said(row)
        if (known is not None) == (row.action in _BEGINNINGS) or (row.action not in {"removed", *_BEGINNINGS} and same):
            wrong.append((known, row))
        if row.action == "removed":
            held.pop(row.key, None)
        else:
            held[row.key] = row
    return wrong


def agrees(rows: Sequence[Recorded], podman: Podman) -> None:
    """Assert that the links that hold are those podman and containers-storage state, no more and no fewer."""
    links = folded(rows)
    by_kind: dict[str, dict[str, str | None]] = defaultdict(dict)
    for (kind, subject, _), link in links.items():
        by_kind[kind][subject] = link.target
    images = {image["Id"]: image for image in podman.told("images", "--all", "--no-trunc")}
    containers = {container["Id"]: container for container in podman.told("ps", "--all", "--no-trunc")}
    layers = {layer["id"]: layer for layer in podman.stored("layers")}
    assert set(by_kind["layer_record"]) == set(layers)
    assert by_kind["parent_pointer"] == {layer: record["parent"] for layer, record in layers.items() if record.get("parent")}
    assert set(by_kind["layer_directory"]) == set(layers)
    assert set(by_kind["short_link"].values()) == {f"../{layer}/diff" for layer in layers}
    assert by_kind["link_file"] == {str(target)[3:67]: name for name, target in by_kind["short_link"].items()}
    assert set(by_kind["image_record"]) == set(images)
    assert by_kind["image_name"] == {name: image for image, said in images.items() for name in said.get("Names") or []}
    assert set(by_kind["container_record"]) == set(containers)
    for container in containers:
        [inspected] = podman.told("container", "inspect", container)
        assert by_kind["container_image"][container] == inspected["Image"]
        assert Path(inspected["GraphDriver"]["Data"]["UpperDir"]).parent.name == by_kind["container_layer"][container]
    for image in images:
        [inspected] = podman.told("image", "inspect", image)
        layer, depth = by_kind["image_layer"][image], 0
        while layer is not None:
            layer, depth = by_kind["parent_pointer"].get(layer), depth + 1
        assert depth == len(inspected["RootFS"]["Layers"])


def plumbing(rows: Iterable[Recorded], layer: str) -> Counter[tuple[str, str]]:
    """Return how often which (kind of link, action) of a layer's own plumbing was recorded; ``changed`` aside."""
    kinds = {"layer_record", "layer_directory", "parent_pointer", "link_file", "short_link", "lower_reference", "data_file"}
    of_layer = (row for row in rows if layer in (row.subject, row.layer_id) and row.link_kind in kinds and row.action != "changed")
    return Counter((row.link_kind, row.action) for row in of_layer)


def expected_plumbing(*actions: str, base: bool = False, image: bool = True, linked: bool = True) -> Counter[tuple[str, str]]:
    """Return what the engine does for one layer: everything once for each of ``actions`` (``created``, ``removed``).

    Not ``linked``: its short link is told by name alone, see ``short_link_told``.
    """
    kinds = ["layer_record", "layer_directory", "link_file"]
    kinds += ["short_link"] if linked else []
    kinds += [] if base else ["parent_pointer", "lower_reference"]
    kinds += ["data_file"] if image else []
    return Counter((kind, action) for kind in kinds for action in actions)


def short_link_told(rows: Iterable[Recorded], name: str, layer: str, made: Done, gone: Done) -> bool:
    """Assert that a short link that came and went was told as both, each once and in its time; tell whether with its target.

    Where it was gone before it could be read, its target is unknown in both rows, and so is its layer. There is no third way.
    """
    mine = [row for row in rows if (row.link_kind, row.subject) == ("short_link", name)]
    assert [row.action for row in mine] == ["created", "removed"], mine
    assert {row.origin for row in mine} == {"watch"}, mine
    assert mine[0].meets(made.before, made.after), (mine, made)
    assert mine[1].meets(gone.before, gone.after), (mine, gone)
    known = mine[0].target is not None
    assert (mine[0].target, mine[0].layer_id, mine[1].layer_id) == ((f"../{layer}/diff", layer, layer) if known else (None,) * 3), mine
    return known


def file_times(root: Path) -> dict[tuple[str, str], int]:
    """Return when the small plumbing files of every layer were written (ns UTC), by kind of link and path in the store."""
    times: dict[tuple[str, str], int] = {}
    for layer in (root / "overlay").iterdir():
        for name, kind in (("link", "link_file"), ("lower", "lower_reference")):
            if (layer / name).is_file():
                times[kind, f"overlay/{layer.name}/{name}"] = (layer / name).stat().st_mtime_ns
    for short in os.scandir(root / "overlay/l"):
        times["short_link", f"overlay/l/{short.name}"] = short.stat(follow_symlinks=False).st_mtime_ns
    for split in (root / "overlay-layers").glob("*.tar-split.gz"):
        times["data_file", f"overlay-layers/{split.name}"] = split.stat().st_ctime_ns
    return times
