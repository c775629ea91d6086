"""Where linktrail keeps its own files on a machine: the state directory, and what lies in it.

``spool/`` sealed batches, ``lake/`` the Delta tables (embedded mode), ``ledger`` what the collector has recorded, ``status.json`` the live
view, ``*.log`` what the two programs said. It may never lie inside a store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linktrail.errors import StateInStoreError


@dataclass(frozen=True, slots=True)
class State:
    """The state directory and the paths in it."""

    path: Path
    elsewhere: Path | None = None

    @property
    def spool(self) -> Path:
        """Sealed batches."""
        return self.path / "spool"

    @property
    def lake(self) -> Path:
        """The lake: ``elsewhere`` where one was named, else in the state directory."""
        return self.elsewhere or self.path / "lake"

    @property
    def ledger(self) -> Path:
        """Checkpoint of what the collector has recorded."""
        return self.path / "ledger"

    def log(self, program: str) -> Path:
        """What ``program`` said."""
        return self.path / f"{program}.log"


def default_state() -> Path:
    """Return the usual state directory of this user."""
    named = os.environ.get("LINKTRAIL_STATE")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/lib/linktrail")
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "linktrail"


def open_state(path: Path | None, roots: Iterable[Path], lake: Path | None = None) -> State:
    """Return the state directory ``path`` (or the usual one), with its lake at ``lake`` if given.

    Raises ``StateInStoreError`` when one of the two lies inside one of ``roots``.
    """
    chosen = (path or default_state()).absolute()
    own = (chosen, chosen if lake is None else lake.absolute())
    for root in roots:
        for place in own:
            if place.resolve().is_relative_to(root.resolve()):
                raise StateInStoreError(path=place, root=root)
    return State(chosen, None if lake is None else own[1])
