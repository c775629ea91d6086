"""Docker with the overlay2 storage driver, and BuildKit inside it, as files.

The driver reads a data root and nothing else: no daemon is asked, because dockerd shows neither what it lost nor what it leaks.
``layout`` names the places, ``records`` understands small files and JSON, ``databases`` and ``buildkit`` the build cache,
``entries`` and ``metadata`` read all records, ``overlay`` the directories, ``attribution`` says who owns what, ``record_links``
states it as links, ``survey`` puts it together under a live writer, ``watching`` says what to watch and what a change means.

Docker's containerd image store, where it is used, is a store of its own (``containerd/daemon`` below the data root, or containerd's
own root): ``collector.stores.containerd`` reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from collector.links import Link, StoreKind, Survey
from collector.safe import is_root
from collector.stores.docker.layout import usual_roots
from collector.stores.docker.survey import is_store, read_store
from collector.stores.docker.watching import interpret, plan
from collector.stores.overlay.layers import read_name
from collector.stores.protocol import Change, Meaning, Progress, WatchPlan, no_progress
from linktrail.clock import Clock

__all__ = ["DRIVER", "Docker"]


class Docker:
    """The driver; see ``collector.stores.protocol.Driver``. It holds no state."""

    kind = StoreKind.DOCKER_OVERLAY2

    def detect(self, root: Path) -> bool:
        """Tell whether ``root`` is a data root of Docker that uses overlay2. Never raises."""
        return is_root(root, is_store)

    def usual_roots(self) -> tuple[Path, ...]:
        """Return the data root of the system, those of remapped users, of the snap, and of rootless users."""
        return usual_roots()

    def watch_plan(self, root: Path) -> WatchPlan:
        """Return what to watch now: records, then plumbing, then containers and layers, newest first. Raises ``NoStoreError``."""
        return plan(root)

    def survey(self, root: Path, *, clock: Clock, progress: Progress = no_progress) -> Survey:
        """Read the whole graph; see ``survey.read_store``."""
        return read_store(root, clock=clock, progress=progress)

    def interpret(self, root: Path, change: Change) -> Meaning:
        """Say what ``change`` means."""
        return interpret(root, change)

    def read_name(self, root: Path, link: Link) -> Link | None:
        """Return what stands under the name of a short link now."""
        return read_name(root, link)


DRIVER: Final = Docker()
