"""One store to record: its driver, its root, and the read-only image stores that it uses.

The links to those (``ADDITIONAL_STORE``) are not written in the store, but given to it by configuration, so they are added here. What
they hold is read for diagnosis only (a parent or an image may live there), again at every periodic survey.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from collector.check import CONFIGURATIONS
from collector.links import Link, LinkKey, LinkKind, StoreKind, Survey
from collector.mounts.machine import Machine, as_seen, with_seen
from collector.stores import driver_for, identity_of, is_of_this_machine
from collector.stores.containers_storage import additional_stores
from collector.stores.protocol import Driver
from linktrail.clock import Clock
from linktrail.errors import LinktrailError, NoStoreError, StoreUnreadableError
from linktrail.text import column_text


@dataclass(frozen=True, slots=True)
class Source:
    """A store as the recorder sees it. ``root`` is as it was named, ``additional`` the roots of the stores it uses, in order.

    ``machine`` is where its mounts are read, if at all.
    """

    driver: Driver
    root: Path
    additional: tuple[Path, ...] = ()
    machine: Machine | None = None

    @property
    def kind(self) -> StoreKind:
        """The kind of the store."""
        return self.driver.kind

    @property
    def name(self) -> str:
        """The root as it stands in rows and in the ledger."""
        return column_text(os.fspath(self.root))

    @property
    def real_root(self) -> Path:
        """The root without symbolic links, as watch plans and events name it."""
        return Path(os.path.realpath(self.root))

    def survey(self, clock: Clock) -> Survey:
        """Read the store. Raises ``NoStoreError``, ``StoreUnreadableError`` or ``StoreUnstableError``."""
        survey = self.driver.survey(self.root, clock=clock)
        if self.additional:
            survey = replace(survey, links=MappingProxyType({**self._used(), **survey.links}))
        return survey if self.machine is None else with_seen(survey, self.machine.look(survey), record=True)

    def remounted(self, survey: Survey) -> bool:
        """Tell whether other mounts hold the store now than ``survey`` says."""
        seen = None if self.machine is None else self.machine.look(survey)
        return seen is not None and not as_seen(survey, seen)

    def survey_additional(self, clock: Clock) -> tuple[Survey, ...]:
        """Read the additional stores; one that cannot be read is left out (diagnosis then knows that it is not known)."""
        found: list[Survey] = []
        for root in self.additional:
            driver = driver_for(root)
            if driver is None:
                continue
            try:
                found.append(replace(driver.survey(root, clock=clock), read_only=True))
            except LinktrailError:
                continue
        return tuple(found)

    def parent(self) -> tuple[int, int] | None:
        """Return what tells the directory that holds the root from any other, ``None`` when it cannot be asked."""
        try:
            facts = self.root.absolute().parent.stat()
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def gone(self, parent: tuple[int, int] | None) -> bool:
        """Tell whether the root certainly does not exist: the directory that held it (``parent``) can be read and does not hold it."""
        directory = self.root.absolute().parent
        try:
            return self.root.name not in os.listdir(directory) and parent is not None and self.parent() == parent  # noqa: PTH208 - names
        except OSError:
            return False

    def _used(self) -> Mapping[LinkKey, Link]:
        links = [
            Link(LinkKind.ADDITIONAL_STORE, os.fspath(self.root), str(number), os.fspath(root))
            for number, root in enumerate(self.additional)
        ]
        return {link.key: link for link in links}


def find_sources(roots: Sequence[Path], machine: Machine | None = None) -> tuple[Source, ...]:
    """Return what to record at ``roots``, each store once, with its mounts as ``machine`` has them.

    Raises ``NoStoreError``, ``StoreUnreadableError``.
    """
    found: dict[tuple[int, int] | Path, Source] = {}
    for root in roots:
        found.setdefault(identity_of(root) or root, Source(_driver(root), root, _additional(root), machine))
    return tuple(found.values())


def _driver(root: Path) -> Driver:
    driver = driver_for(root)
    if driver is not None:
        return driver
    try:
        os.listdir(root)  # noqa: PTH208 - only to learn why
    except PermissionError as error:
        raise StoreUnreadableError(root=root, what=(error.strerror or str(error)).lower()) from error
    except OSError as error:
        raise NoStoreError(root=root, what=(error.strerror or str(error)).lower()) from error
    raise NoStoreError(root=root, what="its layout is none that linktrail knows")


def _additional(root: Path) -> tuple[Path, ...]:
    """Return the image stores that this machine's configuration gives to ``root``, if it is one of this machine's usual stores."""
    if not is_of_this_machine(root):
        return ()
    try:
        return tuple(path for path in additional_stores(root, CONFIGURATIONS) if path.is_dir())
    except (LinktrailError, OSError):  # ``linktrail check`` names what is wrong with it; the store itself is recorded all the same
        return ()
