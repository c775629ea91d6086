"""The real collector program in a process of its own, paced so that a test sees a lot in little time."""

from __future__ import annotations

from pathlib import Path

from collector.program import Options, collect
from collector.settings import Settings
from collector.watch.probe import INOTIFY

FAST = Settings(quiet=0.05, max_delay=0.3, heartbeat=1.0, seal_interval=0.1, checkpoint_interval=0.4, status_interval=0.1)


def run(root: str, state: str, watch: str = INOTIFY) -> None:
    """Collect until killed."""
    collect([Path(root)], Path(state), Options(node="n1", settings=FAST, watch=watch))
