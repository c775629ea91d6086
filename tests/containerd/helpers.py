"""Surveys of containerd roots in tests, and short questions to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from collector.links import Link, LinkKey, LinkKind, Survey
from collector.stores.containerd import Containerd
from linktrail.testing.clock import FakeClock

META = "io.containerd.metadata.v1.bolt/meta.db"
STORED = "io.containerd.snapshotter.v1.overlayfs/metadata.db"
SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs/snapshots"


def survey(root: Path, driver: Containerd | None = None) -> Survey:
    """Read ``root``, without what an earlier reading knew unless ``driver`` is the same."""
    return (driver or Containerd()).survey(root, clock=FakeClock())


def of(survey: Survey, kind: LinkKind, path: str = "") -> dict[str, Link]:
    """Return the links of a kind by subject; ``path`` is where they are written, or its beginning."""
    return {link.subject: link for link in survey.of_kind(kind) if link.path.startswith(path)}


def targets(survey: Survey, kind: LinkKind, path: str = "") -> set[tuple[str, str | None]]:
    """Return subject and target of the links of a kind."""
    return {(link.subject, link.target) for link in survey.of_kind(kind) if link.path.startswith(path)}


def whole(links: Mapping[LinkKey, Link]) -> dict[LinkKey, tuple[object, ...]]:
    """Return links with all they carry, also what takes no part in comparing them."""
    return {key: (link, dict(link.facts), link.owner) for key, link in links.items()}
