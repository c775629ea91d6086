"""Who a layer belongs to: the nearest owner above it in the recorded chains."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from collector.links import Attribution


def claim(claimed: dict[str, Attribution], tops: Iterable[tuple[str, Attribution]], parents: Mapping[str, str]) -> None:
    """Walk all chains down in step, nearest first; each layer is claimed once, so a loop of parents ends."""
    waiting = deque(tops)
    seen: set[str] = set()
    while waiting:
        layer, owner = waiting.popleft()
        if not layer or layer in seen:
            continue
        seen.add(layer)
        claimed.setdefault(layer, owner)
        waiting.append((parents.get(layer, ""), owner))
