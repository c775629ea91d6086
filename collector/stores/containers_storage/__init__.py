"""containers/storage: the store of podman, CRI-O and buildah, as files.

The driver reads a directory tree and nothing else: no engine is asked, because engines repair or destroy evidence when asked (a
mere ``podman images`` deletes incomplete layers). ``layout`` names the places, ``records`` and ``metadata`` read the JSON,
``overlay`` and ``data_files`` the directories, ``attribution`` says who owns what, ``survey`` puts it together under a live
writer, ``watching`` says what to watch and what a change means, ``additional`` finds configured read-only image stores.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from collector.links import Link, StoreKind, Survey
from collector.safe import is_root
from collector.stores.containers_storage.additional import additional_stores, usual_roots
from collector.stores.containers_storage.metadata import Remembered
from collector.stores.containers_storage.survey import is_store, read_store, version_links
from collector.stores.containers_storage.watching import interpret, plan
from collector.stores.overlay.layers import read_name
from collector.stores.protocol import Change, Meaning, Progress, WatchPlan, no_progress
from linktrail.clock import Clock

__all__ = ["DRIVER", "ContainersStorage", "additional_stores"]


class ContainersStorage:
    """The driver; see ``collector.stores.protocol.Driver``. It remembers what it parsed, so that unchanged files are not parsed again."""

    kind = StoreKind.CONTAINERS_STORAGE

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._remembered = Remembered()

    def detect(self, root: Path) -> bool:
        """Tell whether ``root`` holds metadata of the overlay driver of containers/storage. Never raises."""
        return is_root(root, is_store)

    def usual_roots(self) -> tuple[Path, ...]:
        """Return the root of system containers, then those of rootless users (all of /home for the root user)."""
        return usual_roots()

    def watch_plan(self, root: Path) -> WatchPlan:
        """Return what to watch now, metadata first, then plumbing, then layers, newest first. Raises ``NoStoreError``."""
        return plan(root)

    def survey(
        self,
        root: Path,
        *,
        clock: Clock,
        progress: Progress = no_progress,
        additional: Iterable[Path] = (),
        read_only: bool = False,
    ) -> Survey:
        """Read the whole graph; see ``survey.read_store`` for the two arguments that this kind has on top of the protocol."""
        return read_store(root, clock=clock, progress=progress, additional=additional, read_only=read_only, remembered=self._remembered)

    def interpret(self, root: Path, change: Change) -> Meaning:
        """Say what ``change`` means."""
        return interpret(root, change)

    def read_name(self, root: Path, link: Link) -> Link | None:
        """Return what stands under the name of a short link now."""
        return read_name(root, link)

    def version(self, path: str, data: bytes, survey: Survey) -> tuple[Link, ...]:
        """Return what one version of a metadata file states."""
        return version_links(path, data, survey, self._remembered)


DRIVER: Final = ContainersStorage()
