"""The store kinds that linktrail reads: one driver each, in the order in which a root is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from collector.stores.containerd import DRIVER as CONTAINERD
from collector.stores.containers_storage import DRIVER as CONTAINERS_STORAGE
from collector.stores.docker import DRIVER as DOCKER
from collector.stores.protocol import Driver
from collector.stores.roots import Configured, Warn, configured_roots, ignore

DRIVERS: Final[tuple[Driver, ...]] = (CONTAINERS_STORAGE, CONTAINERD, DOCKER)


class Found(NamedTuple):
    """A store: its driver, and its root as it is usually named."""

    driver: Driver
    root: Path


def driver_for(root: Path) -> Driver | None:
    """Return the driver that reads the store at ``root``; ``None`` when it is no store of a known kind. Never raises."""
    return next((driver for driver in DRIVERS if driver.detect(root)), None)


def find_stores(warn: Warn = ignore) -> tuple[Found, ...]:
    """Return the stores of this machine, each once, however many names lead to it (links, bind mounts).

    Asked are the usual roots, and those that engines' configuration names; what of it cannot be understood is told to ``warn``.
    """
    found: dict[tuple[str, int, int], Found] = {}
    for driver, root in _candidates(configured_roots(warn)):
        identity = identity_of(root)
        if identity is not None and driver.detect(root):
            found.setdefault((driver.kind, *identity), Found(driver, root))
    return tuple(found.values())


def looked_at() -> tuple[Path, ...]:
    """Return the usual roots that ``find_stores`` asks, for the message when there is none."""
    return tuple(dict.fromkeys(root for _, root in _candidates(())))


def is_of_this_machine(root: Path) -> bool:
    """Tell whether ``root`` is one that this machine's engines use, usual or configured."""
    identity = identity_of(root)
    return identity is not None and any(identity == identity_of(other) for _, other in _candidates(configured_roots(ignore)))


def identity_of(root: Path) -> tuple[int, int] | None:
    """Return what tells a directory from any other, whatever name leads to it; ``None`` when it cannot be asked."""
    try:
        facts = root.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def _candidates(configured: Iterable[Configured]) -> Iterator[tuple[Driver, Path]]:
    for driver in DRIVERS:
        for root in driver.usual_roots():
            yield driver, root
        for kind, root in configured:
            if kind is driver.kind:
                yield driver, root
