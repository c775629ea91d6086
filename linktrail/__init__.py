"""The waist of linktrail: what crosses every border (rows, schema, batches, names, errors, durable files) and the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queries.python import History

__all__ = ["__version__", "open"]

__version__ = "0.1.0"


def open(lake: Path | str | None = None) -> History:  # noqa: A001 - linktrail.open(lake) is how it reads
    """Open a lake to ask it from Python (default: the lake of this user's state directory); see ``queries.python.History``.

    Raises ``MissingExtraError`` without the ``query`` extra, ``LakeMissingError``, ``LakeNewerError``, ``LakeError``.
    """
    from linktrail.late import load_late  # noqa: PLC0415 - importing linktrail costs nothing

    history: History = load_late("queries.python", for_verb="open", extra="query").open_history(lake)
    return history
