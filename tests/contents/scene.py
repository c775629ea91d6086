"""Stores with images for the tests of contents: written as engines write them, then damaged by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collector.check import run_check
from linktrail.testing.clock import FakeClock
from linktrail.testing.containers_storage import StoreBuilder, finish
from linktrail.testing.layer_tar import Entry, Layer, layer_ids

NAME = "localhost/app:1"


class ThroughLink(Layer):
    """A layer whose archive has no entry for the directory ``lib``, so that what it names below goes where a link of that name leads."""

    def walk(self) -> Iterator[tuple[str, Entry | None]]:
        """Yield what any layer does, without that directory."""
        return ((path, entry) for path, entry in super().walk() if entry is not None or path != "lib")


def store(root: Path, layers: Sequence[Mapping[str, Entry] | Layer], *, container: bool = False) -> list[Path]:
    """Pull an image of ``layers`` (base first) into a store at ``root`` and return their directories; the last may be a container's."""
    builder = StoreBuilder(root)
    contents = [layer if isinstance(layer, Layer) else Layer(layer) for layer in layers]
    finish(builder.pull(NAME, contents))
    diffs = [root / "overlay" / layer / "diff" for layer in layer_ids(contents)]
    for diff in diffs:
        diff.chmod(0o755)
    if container:
        finish(builder.create(NAME, "one"))
        diffs.append(builder.upper("one"))
        diffs[-1].chmod(0o755)
    return diffs


def look(root: Path, *, all_links: bool = False) -> list[dict[str, Any]]:
    """Return the findings of ``check --contents``."""
    report = run_check([root], contents=True, all_links=all_links, min_age=0, clock=FakeClock(), configurations=())
    assert report.errors == []
    found: list[dict[str, Any]] = report.document()["findings"]
    return found


def codes(root: Path, *, all_links: bool = False) -> set[tuple[str, str]]:
    """Return (code, first file or link that the evidence names) of each finding."""
    return {(finding["code"], first(finding["evidence"])) for finding in look(root, all_links=all_links)}


def first(evidence: Mapping[str, Any]) -> str:
    """Return the first name in a finding's evidence."""
    for key in ("links", "changed", "missing", "added", "files"):
        if evidence.get(key):
            entry = evidence[key][0]
            return str(entry["path"]) if isinstance(entry, dict) else str(entry)
    return ""


def whiteout(place: Path) -> None:
    """Hide a name, as overlayfs does."""
    os.mknod(place, 0o20600, os.makedev(0, 0))
