"""What differs from engine to engine in the words of diagnosis: who gives the advice.

``Advice`` holds the words for containers/storage; another store kind has a subclass in a module of its own (``advice_<kind>``) that
overrides what its engines do differently. Nobody is told to run another engine's command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collector.diagnose.advice import Advice
from collector.diagnose.advice_containerd import ContainerdAdvice
from collector.diagnose.advice_docker import DockerAdvice
from collector.links import StoreKind

ADVICE: Final[Mapping[StoreKind, type[Advice]]] = {
    StoreKind.CONTAINERS_STORAGE: Advice,
    StoreKind.CONTAINERD_OVERLAYFS: ContainerdAdvice,
    StoreKind.DOCKER_OVERLAY2: DockerAdvice,
}


def advice_for(kind: StoreKind, root: str) -> Advice:
    """Return who gives advice for a store of ``kind`` at ``root``."""
    return ADVICE[kind](root)
