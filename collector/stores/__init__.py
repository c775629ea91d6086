"""The store kinds that linktrail reads: one driver each, in the order in which a root is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from collector.stores.containerd import DRIVER as CONTAINERD
from collector.stores.containers_storage import DRIVER as CONTAINERS_STORAGE
from collector.stores.protocol import Driver

DRIVERS: Final[tuple[Driver, ...]] = (CONTAINERS_STORAGE, CONTAINERD)


class Found(NamedTuple):
    """A store: its driver, and its root as it is usually named."""

    driver: Driver
    root: Path


def driver_for(root: Path) -> Driver | None:
    """Return the driver that reads the store at ``root``; ``None`` when it is no store of a known kind. Never raises."""
    return next((driver for driver in DRIVERS if driver.detect(root)), None)


def find_stores() -> tuple[Found, ...]:
    """Return the stores at the usual roots of this machine, each once, however many names lead to it."""
    found: dict[tuple[str, str], Found] = {}
    for driver, root in _usual():
        if driver.detect(root):
            found.setdefault((driver.kind, os.path.realpath(root)), Found(driver, root))
    return tuple(found.values())


def looked_at() -> tuple[Path, ...]:
    """Return the roots that ``find_stores`` asks, for the message when there is none."""
    return tuple(dict.fromkeys(root for _, root in _usual()))


def _usual() -> Iterator[tuple[Driver, Path]]:
    for driver in DRIVERS:
        for root in driver.usual_roots():
            yield driver, root
