"""Opening a bolt file by path, and what is in it as plain dictionaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from collector.safe import open_root
from collector.stores.bolt import BoltFile, Bucket, Image
from linktrail.testing.clock import FakeClock
from tests.bolt.writer import Page, Tree


def read(path: Path, previous: Image | None = None, limit: int = 1 << 30) -> Image:
    """Read the file at ``path``."""
    with open_root(path.parent) as directory:
        return BoltFile(directory, path.name, root=path.parent, path=path.name, clock=FakeClock(), limit=limit).read(previous)


def plain(bucket: Bucket) -> dict[bytes, Any]:
    """Return what a bucket holds as dictionaries."""
    return {key: plain(value) if isinstance(value, Bucket) else value for key, value in bucket.items()}


def written(tree: Tree) -> dict[bytes, Any]:
    """Return what the test's writer holds, in the same form."""
    found: dict[bytes, Any] = {}

    def walk(page: Page) -> None:
        for key, value in zip(page.keys, page.values, strict=True):
            if not page.leaf:
                walk(value)
            else:
                found[key] = written(value) if isinstance(value, Tree) else value

    walk(tree.root)
    return found
